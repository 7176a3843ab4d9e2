"""Measurements of speed and memory that compare this package with its peers in one run.

Imports: `data`, `models`, `paper`, `training`.
"""
