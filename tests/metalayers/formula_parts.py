"""What the formulas of the layers are put together from: matrices of the features, functions of eigenvalues, quotients."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import mpmath as mp

from tests.linalg.reference import central_difference, moment, newton_schulz, spectrum, upper

Vector = list[mp.mpf]


# Matrices of the features, and what is done to their root.


def second_moment(x: mp.matrix) -> mp.matrix:
    return moment(x, centered=False)


def gaussian(x: mp.matrix) -> mp.matrix:
    """`[[S + m m^T, m], [m^T, 1]]`."""
    c, n = x.rows, x.cols
    means = mp.matrix([mp.fsum(x[i, :]) / n for i in range(c)])
    embedding = mp.ones(c + 1)
    embedding[:c, :c] = moment(x) + means * means.T
    embedding[:c, c], embedding[c, :c] = means, means.T
    return embedding


def frobenius(matrix: mp.matrix) -> mp.mpf:
    return mp.sqrt(mp.fsum(v * v for v in matrix))


def rooted(values: Vector) -> Vector:
    """`sign(v) sqrt(|v|)`, divided by the l2 norm."""
    result = [mp.sign(v) * mp.sqrt(abs(v)) for v in values]
    norm = mp.sqrt(mp.fsum(v * v for v in result))
    return [v / norm for v in result]


def change_of_rooted(values: Vector, change: Vector) -> Vector:
    return central_difference(lambda v: rooted(list(v)), mp.matrix(values), mp.matrix(change))


# Functions of all eigenvalues, ascending.


def roots(ls: Vector) -> Vector:
    return [mp.sqrt(v) for v in ls]


def iterated(ls: Vector, num_iterations: int) -> Vector:
    matrix = newton_schulz(mp.diag(ls), num_iterations)
    return [matrix[i, i] for i in range(len(ls))]


def logarithms(ls: Vector, epsilon: float) -> Vector:
    return [mp.log(v + mp.mpf(epsilon)) for v in ls]


def powers(ls: Vector, exponent: float) -> Vector:
    return [v ** mp.mpf(exponent) if v > 0 else v for v in ls]


def adjusted(ls: Vector, top_n: float | None = None, floor: float = 0) -> Vector:
    """All but the `top_n` largest given up (eq. 11), a number or a share of the channels; then raised to the floor."""
    count = len(ls) if top_n is None else int(top_n) if top_n >= 1 else max(1, round(top_n * len(ls)))
    given_up = len(ls) - min(count, len(ls))
    return [max(v if i >= given_up else mp.mpf(0), mp.mpf(floor)) for i, v in enumerate(ls)]


# Quotients k(larger, smaller) in the place of 1 / (larger - smaller).


def ordinary(larger: mp.mpf, smaller: mp.mpf) -> mp.mpf:
    """Eq. 5."""
    return 1 / (larger - smaller)


def truncated(larger: mp.mpf, smaller: mp.mpf, *, max_gradient: float) -> mp.mpf:
    """Eq. 12."""
    return min(ordinary(larger, smaller), mp.mpf(max_gradient))


def taylor(larger: mp.mpf, smaller: mp.mpf, *, degree: int) -> mp.mpf:
    """Eq. 16."""
    return mp.fsum((smaller / larger) ** k for k in range(degree + 1)) / larger


@functools.cache
def geometric_pade(degree: int) -> tuple[Vector, Vector]:
    """The published coefficients: made with 20 digits, rounded to float64; highest power first."""
    with mp.workdps(20):
        rows = mp.pade(mp.taylor(lambda x: 1 / (1 - x), 0, degree), degree // 2, degree // 2)
    numerator, denominator = ([mp.mpf(float(c)) for c in reversed(row)] for row in rows)
    return numerator, denominator


def pade(larger: mp.mpf, smaller: mp.mpf, *, degree: int) -> mp.mpf:
    """Eq. 21."""
    numerator, denominator = geometric_pade(degree)
    return mp.polyval(numerator, smaller / larger) / mp.polyval(denominator, smaller / larger) / larger


QUOTIENTS = {"svd": ordinary, "trunc": truncated, "taylor": taylor, "pade": pade}


def by_quotients(
    x: mp.matrix,
    dx: mp.matrix,
    k: Callable[[mp.mpf, mp.mpf], mp.mpf],
    *,
    images: Callable[[Vector], Vector] = roots,
    of: Callable[[mp.matrix], mp.matrix] = moment,
    **adjustment: Any,
) -> Vector:
    """Eq. 5: `U D U^T` with `D_ij = (f_i - f_j) k_ij H_ij`, `H = U^T dP U`, and on the diagonal what the `H_ii` do to `f`.

    Pairs of equal eigenvalues have no part in it: `f_i - f_j` is 0, and `H_ij` too where they are null eigenvalues.
    """
    eigenvalues, u = spectrum(of(x))
    ls = adjusted(eigenvalues, **adjustment)
    fs, h = images(ls), u.T * central_difference(of, x, dx) * u
    moved = mp.matrix([h[i, i] if ls[i] > 0 else mp.mpf(0) for i in range(len(ls))])
    d = mp.diag(central_difference(lambda v: images(list(v)), mp.matrix(ls), moved))
    for i in range(len(ls)):
        for j in range(i):
            if ls[i] > ls[j]:
                d[i, j] = d[j, i] = (fs[i] - fs[j]) * k(ls[i], ls[j]) * h[i, j]
    return upper(u * d * u.T)


FUNCTIONS = {"sqrt": roots, "newton_schulz": iterated, "log": logarithms, "power": powers}
MATRICES = {"covariance": moment, "second_moment": second_moment, "gaussian": gaussian}


def with_options(function: Callable[..., Any], options: dict[str, Any]) -> Callable[..., Any]:
    """Those of them that it takes."""
    return functools.partial(function, **{k: v for k, v in options.items() if k in inspect.signature(function).parameters})
