"""Tables 6, 8 and 9: how well Taylor polynomials and Pade approximants stand for `1 / (1 - x)`.

Three evaluations of the same approximants are told apart, because for the Pade approximants they decide the numbers:

- `constructed`: coefficients found and evaluated with 20 decimal digits by mpmath, as the authors' code finds them;
- `float64`: coefficients rounded to float64 and the fraction evaluated in float64, as the layer does in training;
- `exact`: rational arithmetic. The Taylor error is `x^(K+1) / (1 - x)`; the Pade error is zero, since `1 / (1 - x)` is its own
  approximant.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from fractions import Fraction

import mpmath
import torch

from gcp_repro.linalg.pade import pade_approximant, pade_coefficients
from gcp_repro.paper.published.published_tables import published_table, published_value
from gcp_repro.paper.tables.table import Cell, Column, Table, label, scientific

__all__ = [
    "DEGREES",
    "RATIOS",
    "pade_error",
    "pade_error_constructed",
    "pade_value_at_one",
    "table6",
    "table8",
    "table9",
    "taylor_error",
    "taylor_error_constructed",
]

DEGREES = (50, 100, 200, 300)
"""Degrees of Tables 8 and 9."""
RATIOS = ("0.1", "0.3", "0.5", "0.7", "0.9", "0.99", "0.999")
"""Eigenvalue ratios `l_j / l_i` at which the paper gives errors, as printed."""
DIGITS = 20
"""Decimal digits of the authors' construction."""

Evaluation = Callable[[int, str], float]


def _reciprocal(x: mpmath.mpf) -> mpmath.mpf:
    return 1 / (1 - x)


@functools.cache
def _taylor_coefficients(degree: int) -> tuple[mpmath.mpf, ...]:
    with mpmath.workdps(DIGITS):
        return tuple(mpmath.taylor(_reciprocal, 0, degree))


@functools.cache
def _constructed_pade(degree: int) -> tuple[list[mpmath.mpf], list[mpmath.mpf]]:
    """Highest power first. The linear system is singular; which solution comes out is decided by rounding."""
    with mpmath.workdps(DIGITS):
        numerator, denominator = mpmath.pade(_taylor_coefficients(degree), degree // 2, degree // 2)
    return numerator[::-1], denominator[::-1]


def taylor_error_constructed(degree: int, ratio: str) -> float:
    """Coefficients by numerical differentiation and evaluation with 20 digits, at the float64 number nearest to `ratio`."""
    with mpmath.workdps(DIGITS):
        x = mpmath.mpf(float(ratio))
        return float(abs(mpmath.polyval(_taylor_coefficients(degree)[::-1], x) - _reciprocal(x)))


def taylor_error(degree: int, ratio: str) -> float:
    """Exact error `x^(K+1) / (1 - x)` of the Taylor polynomial of degree K.

    Args:
        degree: K.
        ratio: x as a decimal fraction in [0, 1).

    Example:
        >>> taylor_error(1, "0.5")  # 2 - 1.5
        0.5
    """
    x = Fraction(ratio)
    return float(x ** (degree + 1) / (1 - x))


def pade_error_constructed(degree: int, ratio: str) -> float:
    """Error of the [K/2, K/2] approximant constructed and evaluated with 20 digits."""
    numerator, denominator = _constructed_pade(degree)
    with mpmath.workdps(DIGITS):
        x = mpmath.mpf(float(ratio))
        return float(abs(mpmath.polyval(numerator, x) / mpmath.polyval(denominator, x) - _reciprocal(x)))


def pade_value_at_one(degree: int = 100) -> float:
    """`P(1) / Q(1)` with 20 digits, coefficients added from the constant term up, as the authors' loop over powers adds them.

    `Q(1)` is zero but for rounding; added in the other order the value differs in size and sign.
    """
    numerator, denominator = _constructed_pade(degree)
    with mpmath.workdps(DIGITS):
        return float(sum(numerator[::-1]) / sum(denominator[::-1]))


def pade_error_stored(degree: int, ratio: str) -> float:
    """Error of the coefficients stored in float64, the fraction itself evaluated exactly."""
    numerator, denominator = pade_coefficients(degree)
    x = Fraction(float(ratio))
    fraction = _horner(numerator, x) / _horner(denominator, x)
    return float(abs(fraction - 1 / (1 - x)))


def pade_error(degree: int, ratio: str) -> float:
    """Error of the approximant as a layer uses it: coefficients and evaluation in float64."""
    x = Fraction(float(ratio))
    value = pade_approximant(torch.tensor(float(ratio), dtype=torch.float64), degree).item()
    return float(abs(Fraction(value) - 1 / (1 - x)))


def _horner(coefficients: tuple[float, ...], x: Fraction) -> Fraction:
    result = Fraction(0)
    for coefficient in reversed(coefficients):
        result = result * x + Fraction(coefficient)
    return result


def _row(heading: str, source: str, values: Mapping[str, Cell]) -> tuple[Cell, ...]:
    return (label(heading), label(source), *(values[ratio] for ratio in RATIOS))


def _published_cells(number: str, **where: str) -> dict[str, Cell]:
    row = published_table(number).row(**where)
    return {ratio: Cell(row[ratio], published_value(number, ratio, **where), "published") for ratio in RATIOS}


def _computed_cells(error: Evaluation, degree: int) -> dict[str, Cell]:
    errors = {ratio: error(degree, ratio) for ratio in RATIOS}
    return {ratio: Cell(scientific(value), value, "computed") for ratio, value in errors.items()}


def _exact_pade(degree: int, ratio: str) -> float:
    return 0.0


TAYLOR_EVALUATIONS: dict[str, Evaluation] = {"20 digits, as published": taylor_error_constructed, "exact": taylor_error}
PADE_EVALUATIONS: dict[str, Evaluation] = {
    "float64, as the layer": pade_error,
    "float64 coefficients, exact evaluation": pade_error_stored,
    "exact": _exact_pade,
}
CONSTRUCTED_PADE: dict[str, Evaluation] = {"20 digits, as published": pade_error_constructed}

_COLUMNS = (Column("approximant"), Column("evaluation"), *(Column(ratio, "eigenvalue ratio") for ratio in RATIOS))
_BELOW_DOUBLE = (
    "No procedure that was tried gives the published entries below 1e-16: with 20 digits such errors come out as 0 or a few "
    "1e-21, in float64 as 0 or a few 1e-16. They carry no information about the approximants."
)


def table6() -> Table:
    """Taylor polynomial and diagonal Pade approximant of degree 100."""
    degree = 100
    rows = [_row("Taylor", "published", _published_cells("6", method="Taylor"))]
    rows += [_row("Taylor", name, _computed_cells(error, degree)) for name, error in TAYLOR_EVALUATIONS.items()]
    rows.append(_row("Pade", "published", _published_cells("6", method="Pade")))
    evaluations = CONSTRUCTED_PADE | PADE_EVALUATIONS
    rows += [_row("Pade", name, _computed_cells(error, degree)) for name, error in evaluations.items()]
    return Table(
        "table6",
        "Table 6: approximation error of degree 100",
        _COLUMNS,
        tuple(rows),
        caption="Absolute error against 1/(1-x) at x = l_j/l_i, computed while this page was made.",
        notes=(
            _BELOW_DOUBLE,
            "The published Pade errors at 0.99 and 0.999 are those of float64 coefficients, evaluated without further rounding.",
            *(note.text for note in published_table("6").footnotes),
        ),
    )


def _by_degree(number: str, title: str, evaluations: Mapping[str, Evaluation], notes: tuple[str, ...]) -> Table:
    rows = []
    for degree in DEGREES:
        rows.append(_row(f"degree {degree}", "published", _published_cells(number, degree=str(degree))))
        rows += [_row(f"degree {degree}", name, _computed_cells(error, degree)) for name, error in evaluations.items()]
    return Table(
        f"table{number}",
        f"Table {number}: {title}",
        _COLUMNS,
        tuple(rows),
        caption="Absolute error against 1/(1-x) at x = l_j/l_i, computed while this page was made.",
        notes=(*notes, *(note.text for note in published_table(number).footnotes)),
    )


def table8() -> Table:
    """Taylor polynomials of degree 50 to 300."""
    return _by_degree("8", "approximation error of the Taylor polynomial", TAYLOR_EVALUATIONS, ())


def table9() -> Table:
    """Diagonal Pade approximants of degree 50 to 300."""
    return _by_degree("9", "approximation error of diagonal Pade approximants", PADE_EVALUATIONS, (_BELOW_DOUBLE,))
