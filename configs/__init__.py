"""Hydra configuration groups, shipped as the package `gcp_repro.configs`.

Imports: nothing.
"""
