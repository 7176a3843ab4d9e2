"""The LightningModule, the protocols and the callbacks that watch a run; writes through `runs`.

Imports: `metalayers`, `runs`, `trust`, `user_paths`, `weight_files`.
"""
