"""The one form of every table, and the formats that it is written in.

Imports: `errors`.
"""
