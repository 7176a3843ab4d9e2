"""The report: its sections, and the sentences that the numbers allow.

Imports: `paper`.
"""
