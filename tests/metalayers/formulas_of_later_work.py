"""What the layers of later work compute, as `formulas.py` says it of the others."""

from __future__ import annotations

import functools

import mpmath as mp

from tests.linalg.reference import moment, newton_schulz, on_eigenvalues, upper
from tests.metalayers.formula_parts import MATRICES, Vector, frobenius, powers, rooted


def largest_to_power(m: mp.matrix, exponent: mp.mpf, num_values: int, num_iterations: int) -> mp.matrix:
    """Singular values one after the other, by power iteration from ones; what is left over the last one to `1 - exponent`."""
    result = mp.zeros(m.rows, m.cols)
    for _ in range(num_values):
        v = mp.ones(m.cols, 1)
        for _ in range(num_iterations):
            u = m * v / frobenius(m * v)
            v = m.T * u / frobenius(m.T * u)
        value = (u.T * m * v)[0]
        result, m = result + value**exponent * u * v.T, m - value * u * v.T
    return result + m / (value ** (1 - exponent) + mp.mpf("1e-5"))


def power_of_covariance(x: mp.matrix, exponent: float, num_iterations: int | None) -> mp.matrix:
    if num_iterations is not None:
        return newton_schulz(moment(x), num_iterations)
    return on_eigenvalues(moment(x), functools.partial(powers, exponent=exponent))


def pow_tmlr(x: mp.matrix, exponent: float = 0.5, num_iterations: int | None = None) -> Vector:
    """`(P^t - I) / t`."""
    return upper((power_of_covariance(x, exponent, num_iterations) - mp.eye(x.rows)) / mp.mpf(exponent))


def scale_pow_emlr(x: mp.matrix, exponent: float = 0.5, num_iterations: int | None = None) -> Vector:
    """`P^t / t`."""
    return upper(power_of_covariance(x, exponent, num_iterations) / mp.mpf(exponent))


def log_cholesky(x: mp.matrix, epsilon: float = 1e-6) -> Vector:
    """`L_0 + L_0^T + 2 log(D)` with `P + epsilon I = L L^T`."""
    factor = mp.cholesky(moment(x) + mp.mpf(epsilon) * mp.eye(x.rows))
    return [2 * mp.log(factor[i, i]) if i == j else factor[j, i] for i in range(x.rows) for j in range(i, x.rows)]


def svpn(x: mp.matrix, exponent: float = 0.5, num_values: int = 1, num_iterations: int = 1) -> Vector:
    return upper(largest_to_power(moment(x), mp.mpf(exponent), num_values, num_iterations))


def rank1_update(
    x: mp.matrix,
    start: Vector,
    eta: float = 1.0,
    num_iterations: int = 2,
    moment: str = "second_moment",
    signed_root: bool = True,
) -> Vector:
    """Second moment of `(I - eta v v^T) X` with `v` along `(X X^T)^K r`."""
    v = mp.matrix(start)
    for _ in range(num_iterations):
        v = MATRICES[moment](x) * v
    v /= frobenius(v)
    matrix = MATRICES[moment]((mp.eye(x.rows) - mp.mpf(eta) * v * v.T) * x)
    return rooted(upper(matrix)) if signed_root else upper(matrix)


def inverse_by_iteration(matrix: mp.matrix, num_iterations: int) -> mp.matrix:
    """The square of the Newton-Schulz iterate that tends to the inverse root, eq. 7."""
    trace, three = mp.fsum(matrix[i, i] for i in range(matrix.rows)), 3 * mp.eye(matrix.rows)
    y, z = matrix / trace, mp.eye(matrix.rows)
    for _ in range(num_iterations):
        t = (three - z * y) / 2
        y, z = y * t, t * z
    return z * z / trace


def isice(
    x: mp.matrix, sparsity: float = 0.01, step_size: float = 1.0, num_iterations: int = 5, inverse_iterations: int = 7
) -> Vector:
    """Rahman et al.: steps of the positive and the negative part, each cut at 0; the last one has size 0."""
    p = moment(x)
    c = p / mp.fsum(p[i, i] for i in range(p.rows))
    s = inverse_by_iteration(c, inverse_iterations)
    for k in range(num_iterations):
        size = mp.mpf(step_size) * (1 - mp.mpf(k) / (num_iterations - 1))
        slope = c - inverse_by_iteration(s, inverse_iterations)
        for i in range(p.rows):
            for j in range(p.rows):
                positive = max(max(s[i, j], 0) - size * (slope[i, j] + mp.mpf(sparsity)), 0)
                negative = max(max(-s[i, j], 0) + size * (slope[i, j] - mp.mpf(sparsity)), 0)
                slope[i, j] = positive - negative
        s = (slope + slope.T) / 2
    return upper(s / mp.sqrt(mp.fsum(s[i, i] for i in range(s.rows))))
