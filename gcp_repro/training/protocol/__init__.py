"""Which layer trains when, and from which weights: the hybrid swap, shared initial stages, fine-tuning.

Imports: `runs`, `weight_files`, `training.module`.
"""
