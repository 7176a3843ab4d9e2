"""Tables 6 to 10, which are computed and need no training.

Imports: `linalg`, `paper.published`.
"""
