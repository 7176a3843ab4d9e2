"""Several processes on one job: what they share out, exchange and say.

Imports: `runs`.
"""
