"""Runs on disk as tables of runs and epochs, the settings that they were trained in, and statistics over seeds.

Imports: `runs`, `paper.layers`.
"""
