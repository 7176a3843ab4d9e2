"""Tables of what this installation has measured: 1 to 5, 11, seeds, imported weights, the list of runs.

Imports: `paper.published`, `paper.store`.
"""
