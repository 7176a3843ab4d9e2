"""Tables 7 and 10: bounds of `K_ij`, the analytic one, the published one, and the largest value that a search attains.

The search evaluates each rule of `gcp_repro.linalg` in float64 on a grid of pairs: the larger eigenvalue from EPS to
1, the smaller one
equal, a few units in the last place below, and further apart. It is a lower bound of the true maximum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg import DIFFERENCE_QUOTIENTS, gradient_rule
from gcp_repro.paper.analytic.approximation import pade_value_at_one
from gcp_repro.paper.published.published_tables import published_table, published_value
from gcp_repro.paper.tables.table import MISSING, Cell, Column, Table, label, scientific

__all__ = ["EPS", "Attained", "eigenvalue_pairs", "search_bound", "table7"]

EPS = torch.finfo(torch.float64).eps
"""Floor of the eigenvalues in the published layers."""
DEGREE = 100
MAX_GRADIENT = 1e10

Quotient = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Attained:
    """The largest `|K_ij|` that a search met.

    Attributes:
        value: Its magnitude; infinite where the rule divides by zero.
        finite: The largest finite magnitude.
        larger: `l_i` there.
        smaller: `l_j` there.
    """

    value: float
    finite: float
    larger: float
    smaller: float


@dataclass(frozen=True)
class Bound:
    """A row of the table: the published name, a rule, and the analytic bound at the floor EPS.

    `addition` names pairs that the paper leaves out of its bound: a row without a published value.
    """

    method: str
    quotient: Quotient | None
    formula: str
    analytic: float | None
    addition: str = ""


def eigenvalue_pairs() -> tuple[Tensor, Tensor]:
    """Pairs `(larger, smaller)`, float64 `(n,)` each, EPS <= smaller <= larger <= 1.

    Gaps run from 0 over single units in the last place to the whole of the larger eigenvalue.
    """
    larger = torch.cat([torch.tensor([EPS], dtype=torch.float64), torch.logspace(-15.5, 0, 63, dtype=torch.float64)])
    units = torch.tensor([0.0, 0.5, 1, 2, 3, 4, 8, 16], dtype=torch.float64) * EPS
    gaps = torch.cat([units, torch.logspace(-15, 0, 301, dtype=torch.float64)])
    smaller = (larger.unsqueeze(1) * (1 - gaps)).clamp(min=EPS)
    return larger.unsqueeze(1).expand_as(smaller).flatten(), smaller.flatten()


def search_bound(quotient: Quotient) -> Attained:
    """Largest `|k(larger, smaller)|` over `eigenvalue_pairs`; undefined values (0/0) count as infinite.

    Example:
        >>> search_bound(lambda larger, smaller: 1 / larger) == Attained(1 / EPS, 1 / EPS, EPS, EPS)
        True
    """
    larger, smaller = eigenvalue_pairs()
    magnitude = quotient(larger, smaller).abs().nan_to_num(nan=torch.inf, posinf=torch.inf)
    at = int(magnitude.argmax())
    finite = magnitude[magnitude.isfinite()].max().item()
    return Attained(magnitude[at].item(), finite, larger[at].item(), smaller[at].item())


def _against_dropped(larger: Tensor, smaller: Tensor) -> Tensor:
    """SVD-TopN, a kept eigenvalue and a dropped one, which counts as zero."""
    return DIFFERENCE_QUOTIENTS["svd"](larger, torch.zeros_like(smaller))


def bounds() -> tuple[Bound, ...]:
    """The rows of Table 7 and the exact table of the root."""
    pade = gradient_rule("pade", degree=DEGREE)
    taylor = gradient_rule("taylor", degree=DEGREE)
    trunc = gradient_rule("trunc", max_gradient=MAX_GRADIENT)
    return (
        Bound("SVD-Pade", pade.quotient, "|P(1) / Q(1)| / l_i", abs(pade_value_at_one(DEGREE)) / EPS),
        Bound("SVD-Taylor", taylor.quotient, "(K + 1) / l_i", (DEGREE + 1) / EPS),
        Bound("SVD-Trunc", trunc.quotient, "T", MAX_GRADIENT),
        Bound("SVD-TopN", _against_dropped, "1 / l_N, against a dropped eigenvalue", 1 / EPS),
        Bound("SVD-TopN", DIFFERENCE_QUOTIENTS["svd"], "1 / (l_i - l_j)", float("inf"), "two kept eigenvalues"),
        Bound("SVD-Newton", None, "none derived: no quotient K", None),
        Bound("SVD", DIFFERENCE_QUOTIENTS["svd"], "1 / (l_i - l_j)", float("inf")),
    )


def _published(method: str) -> Cell:
    printed = published_table("7").row(method=method)["maximal_value"]
    return Cell(printed, published_value("7", "maximal_value", method=method), "published")


def _computed(value: float | None) -> Cell:
    return label("none") if value is None else Cell(scientific(value, 3), value, "computed")


def _row(bound: Bound) -> tuple[Cell, ...]:
    attained = search_bound(bound.quotient) if bound.quotient else None
    pair = f"{scientific(attained.larger, 2)}, {scientific(attained.smaller, 2)}" if attained else "none"
    return (
        label(f"{bound.method}, {bound.addition}" if bound.addition else bound.method),
        label(bound.formula),
        MISSING if bound.addition else _published(bound.method),
        _computed(bound.analytic),
        _computed(attained.value if attained else None),
        _computed(attained.finite if attained else None),
        label(pair),
    )


def table7() -> Table:
    """Bounds of `K_ij` for every rule: published, analytic at EPS, attained."""
    columns = ("method", "analytic form", "published", "analytic at EPS", "attained", "largest finite", "attained at l_i, l_j")
    attained_root = search_bound(lambda larger, smaller: 1 / (larger.sqrt() + smaller.sqrt()))
    return Table(
        "table7",
        "Tables 7 and 10: upper bound of K",
        tuple(Column(name) for name in columns),
        tuple(_row(bound) for bound in bounds()),
        caption=(
            f"Degree {DEGREE}, T = {MAX_GRADIENT:.0e}, EPS = {EPS:.2e}; searched in float64 over "
            f"{eigenvalue_pairs()[0].numel():,} pairs of "
            "eigenvalues between EPS and 1."
        ),
        notes=(
            f"The published 6.00e36 is |P(1)/Q(1)| / EPS with 20 digits, coefficients added from the constant "
            f"term up: |P(1)/Q(1)| = "
            f"{scientific(abs(pade_value_at_one(DEGREE)), 4)}. Q(1) is zero but for rounding, so the value says "
            f"how large one rounding residue is; "
            "added in another order it is 3.24e20, and the 6.48e20 of the text is a residue of exactly one unit in the 70th bit.",
            "In float64, which the layer uses, the denominator can be zero at equal eigenvalues and the quotient "
            "infinite: the largest finite entry of "
            "the same matrix then takes its place.",
            "svd_lyapunov, the exact gradient of the root, needs no K: its table 1/(sqrt(l_i) + sqrt(l_j)) is "
            "bounded by 1/(2 sqrt(EPS)) = "
            f"{scientific(0.5 * EPS**-0.5, 3)} (attained: {scientific(attained_root.value, 3)}).",
            *(f"{note.row}: {note.text}" for note in published_table("7").footnotes),
        ),
    )
