"""What a run writes down as it goes: a row an epoch, lines, loggers, predictions, pictures.

Imports: `runs`, `training.diagnostics`.
"""
