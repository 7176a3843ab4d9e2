"""Figures 1 to 5 and those of further diagnostics.

Imports: `paper.analytic`, `paper.measured`.
"""
