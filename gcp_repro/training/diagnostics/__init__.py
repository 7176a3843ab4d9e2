"""Callbacks that look at the meta-layer while it trains: smoothness, condition number, gradients.

Imports: `metalayers`, `training.module`.
"""
