"""Published numbers, as printed.

Imports: `paper.tables`.
"""
