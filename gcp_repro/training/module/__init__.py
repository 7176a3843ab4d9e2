"""The LightningModule: one step, its metrics, and what happens where something is not finite.

Imports: `metalayers`, `training.schedule`, `training.processes`.
"""
