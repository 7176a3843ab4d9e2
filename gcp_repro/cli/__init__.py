"""The commands: thin entry points.

Imports: all.
"""
