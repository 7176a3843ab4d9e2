"""What a run writes down as it goes: a row an epoch, lines, loggers, predictions, pictures.

Imports: `runs`, `user_paths`, `training.diagnostics`.
"""
