"""Which layer trains when, and from which weights: the hybrid swap, shared initial stages, fine-tuning.

Imports: `runs`, `user_paths`, `weight_files`, `training.module`.
"""
