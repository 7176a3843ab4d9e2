"""High-precision references, written from the definitions and independent of the package: mpmath, 60 digits.

Derivatives are central differences of step 1e-20, whose error at 60 digits is about 1e-40: no formula for a derivative is used.
"""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import numpy as np
import torch
from torch import Tensor

DIGITS = 60
STEP = mp.mpf(10) ** -20
ZERO = mp.mpf(10) ** -35  # eigenvalues below this share of the largest are those of a singular matrix

MatrixMap = Callable[[mp.matrix], mp.matrix]


def to_mp(array: Tensor) -> mp.matrix:
    return mp.matrix(array.detach().double().tolist())


def moment(x: mp.matrix, centered: bool = True) -> mp.matrix:
    """Covariance (or second moment) of C x N features, divided by N."""
    n = x.cols
    if centered:
        means = [mp.fsum(x[i, j] for j in range(n)) / n for i in range(x.rows)]
        x = (
            mp.matrix(
                x.rows,
                n,
            )
            + x
        )
        for i in range(x.rows):
            for j in range(n):
                x[i, j] -= means[i]
    return x * x.T / n


def on_eigenvalues(p: mp.matrix, f: Callable[[list[mp.mpf]], list[mp.mpf]]) -> mp.matrix:
    """U diag(f(l)) U^T; `f` sees the whole spectrum, with rounding noise set to exact zeros."""
    eigenvalues, u = mp.eigsy(p)
    values = list(eigenvalues)
    largest = max(abs(v) for v in values)
    cleaned = [v if v > ZERO * largest else mp.mpf(0) for v in values]
    return u * mp.diag(f(cleaned)) * u.T


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


def pooled(features: Tensor, function: MatrixMap, centered: bool = True) -> np.ndarray:
    with mp.workdps(DIGITS):
        return np.array([[float(v) for v in upper(function(moment(to_mp(x), centered)))] for x in features])


def directional_derivative(
    features: Tensor, direction: Tensor, weights: Tensor, function: MatrixMap, centered: bool = True
) -> float:
    """d/dh <weights, upper(function(moment(features + h direction)))> at h = 0."""
    with mp.workdps(DIGITS):
        total = mp.mpf(0)
        for x, d, w in zip(features, direction, weights, strict=True):
            x_mp, d_mp, w_mp = to_mp(x), to_mp(d), [mp.mpf(v) for v in w.tolist()]
            ahead = upper(function(moment(x_mp + STEP * d_mp, centered)))
            behind = upper(function(moment(x_mp - STEP * d_mp, centered)))
            total += mp.fsum(c * (a - b) for c, a, b in zip(w_mp, ahead, behind, strict=True)) / (2 * STEP)
        return float(total)


def quotient_gradient(features: Tensor, weights: Tensor, k: Callable[[mp.mpf, mp.mpf], mp.mpf]) -> np.ndarray:
    """Gradient of <weights, upper(P^(1/2))> with k(l_i, l_j) for 1/(l_i - l_j): eq. 5 on the whole, exact spectrum."""
    result = []
    with mp.workdps(DIGITS):
        for x, w in zip(features, weights, strict=True):
            x_mp = to_mp(x)
            c, n = x_mp.rows, x_mp.cols
            eigenvalues, u = mp.eigsy(moment(x_mp))
            largest = max(eigenvalues)
            ls = [v if v > ZERO * largest else mp.mpf(0) for v in eigenvalues]
            g, position = mp.matrix(c, c), 0
            for i in range(c):
                for j in range(i, c):
                    value = mp.mpf(w[position].item())
                    g[i, j] = g[j, i] = value if i == j else value / 2
                    position += 1
            h = u.T * g * u
            m = mp.matrix(c, c)
            for i in range(c):
                for j in range(c):
                    a, b = max(ls[i], ls[j]), min(ls[i], ls[j])
                    if a == 0:
                        continue
                    m[i, j] = h[i, j] * (1 / (2 * mp.sqrt(a)) if i == j else (mp.sqrt(a) - mp.sqrt(b)) * k(a, b))
            means = [mp.fsum(x_mp[i, j] for j in range(n)) / n for i in range(c)]
            centered = mp.matrix([[x_mp[i, j] - means[i] for j in range(n)] for i in range(c)])
            gradient = 2 * (u * m * u.T) * centered / n
            result.append([[float(gradient[i, j]) for j in range(n)] for i in range(c)])
    return np.array(result)


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
