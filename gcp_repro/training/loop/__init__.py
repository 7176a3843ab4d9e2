"""When a run saves, evaluates and stops.

Imports: `weight_files`, `training.record`.
"""
