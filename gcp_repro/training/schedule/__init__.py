"""Epochs, decays of the rate, and the epoch at which the hybrid protocol swaps: arithmetic.

Imports: `errors`.
"""
