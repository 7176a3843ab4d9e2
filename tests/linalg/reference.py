"""High-precision references, written from the definitions and independent of the package: mpmath, 60 digits.

Derivatives are central differences: no formula for a derivative is used. At 60 digits the rounding in one is 1e-35, its other
error `STEP^2` over the square of the smallest number that matters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import torch
from torch import Tensor

DIGITS = 60
STEP = mp.mpf(10) ** -25
ZERO = mp.mpf(10) ** -35  # eigenvalues below this share of the largest are those of a singular matrix


def central_difference(function: Callable[[mp.matrix], Any], x: mp.matrix, dx: mp.matrix) -> Any:
    """The derivative along `dx` of a function with a list or a matrix as value."""
    ahead, behind = function(x + STEP * dx), function(x - STEP * dx)
    if isinstance(ahead, list):
        return [(a - b) / (2 * STEP) for a, b in zip(ahead, behind, strict=True)]
    return (ahead - behind) / (2 * STEP)


def to_mp(array: Tensor) -> mp.matrix:
    return mp.matrix(array.detach().double().tolist())


def moment(x: mp.matrix, centered: bool = True) -> mp.matrix:
    """Covariance (or second moment) of C x N features, divided by N."""
    n = x.cols
    if centered:
        means = [mp.fsum(x[i, j] for j in range(n)) / n for i in range(x.rows)]
        x = x.copy()
        for i in range(x.rows):
            for j in range(n):
                x[i, j] -= means[i]
    return x * x.T / n


def spectrum(p: mp.matrix) -> tuple[list[mp.mpf], mp.matrix]:
    """Eigenvalues, ascending, with rounding noise set to exact zeros, and eigenvectors."""
    eigenvalues, u = mp.eigsy(p)
    largest = max(abs(v) for v in eigenvalues)
    return [v if v > ZERO * largest else mp.mpf(0) for v in eigenvalues], u


def on_eigenvalues(p: mp.matrix, f: Callable[[list[mp.mpf]], list[mp.mpf]]) -> mp.matrix:
    """U diag(f(l)) U^T; `f` sees the whole spectrum."""
    eigenvalues, u = spectrum(p)
    return u * mp.diag(f(eigenvalues)) * u.T


def root(p: mp.matrix) -> mp.matrix:
    return on_eigenvalues(p, lambda ls: [mp.sqrt(v) for v in ls])


def newton_schulz(p: mp.matrix, iterations: int) -> mp.matrix:
    """The coupled matrix iteration, eqs. 7 to 9, with products of matrices."""
    trace = mp.fsum(p[i, i] for i in range(p.rows))
    y, z, three = p / trace, mp.eye(p.rows), 3 * mp.eye(p.rows)
    for _ in range(iterations):
        t = (three - z * y) / 2
        y, z = y * t, t * z
    return mp.sqrt(trace) * y


def upper(q: mp.matrix) -> list[mp.mpf]:
    return [q[i, j] for i in range(q.rows) for j in range(i, q.cols)]


def features_with_spectrum(eigenvalues: list[float], positions: int, seed: int = 0) -> Tensor:
    """Features (1, C, N), float64, whose covariance has exactly (to rounding) these eigenvalues."""
    generator = torch.Generator().manual_seed(seed)
    channels = len(eigenvalues)
    rank = sum(value > 0 for value in eigenvalues)
    left, _ = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64, generator=generator))
    right = torch.randn(positions, positions, dtype=torch.float64, generator=generator)
    right[:, 0] = 1.0
    orthonormal, _ = torch.linalg.qr(right)  # the first column is constant, the others have mean 0
    assert rank < positions
    values = torch.tensor(sorted(eigenvalues, reverse=True), dtype=torch.float64)
    k = min(channels, positions - 1)
    x = left[:, :k] @ (values[:k].sqrt().unsqueeze(-1) * orthonormal[:, 1 : k + 1].mT) * positions**0.5
    return (x + torch.randn(channels, 1, dtype=torch.float64, generator=generator)).unsqueeze(0)


def decaying_features(decades: float, channels: int, positions: int) -> torch.Tensor:
    """`(1, channels, positions)` of full rank, but for the mean; the covariance has eigenvalues from 1 down to `10^-decades`."""
    rank = min(channels, positions - 1)
    spectrum = [10 ** (-decades * i / (rank - 1)) for i in range(rank)] + [0.0] * (channels - rank)
    return features_with_spectrum(spectrum, positions, seed=3)
