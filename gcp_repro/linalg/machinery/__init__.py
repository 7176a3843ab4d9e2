"""What the mathematics runs on: named parts with checked options, operators of torch and their derivatives, threads, kept memory.

Imports: `registry`; of others `numpy`, `torch`.
"""
