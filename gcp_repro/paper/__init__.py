"""Published numbers, analytic tables, the store of results, statistics, the report; reads through `runs`.

Imports: `metalayers`, `runs`.
"""
