"""Single numbers of docs/study.md as they stand in its sentences, from the rows in results/study.

A number on the page is named where it stands, `<!-- value: comparisons; 2; linear head, rate 0.1; error -->`, by the file and the
cells that identify its row.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pandas as pd

Tables = dict[str, pd.DataFrame]
UNITS = {"error": ("points", 2), "loss_area": ("nats", 4)}


def signed(value: float, digits: int = 2) -> str:
    """Signed, or a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:+.{digits}f}"


def p_value(value: float) -> str:
    """Two digits, or below 0.001."""
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.2g}"


def interval(row: pd.Series, value: Callable[[float], str]) -> str:
    """Low and high in brackets; nothing where there is none."""
    return "" if pd.isna(row["low"]) else f" [{value(row['low'])}, {value(row['high'])}]"


def only(rows: pd.DataFrame, name: str) -> pd.Series:
    """The one row.

    Raises:
        ValueError: None, or several.
    """
    if len(rows) != 1:
        raise ValueError(f"a value of docs/study.md needs one row; {name} fits {len(rows)}: correct its name")
    return rows.iloc[0]


def of_comparison(tables: Tables, question: str, comparison: str, outcome: str) -> str:
    """A difference with its interval, corrected p-value and number of pairs."""
    frame = tables["comparisons"]
    chosen = (frame["question"] == int(question)) & (frame["comparison"] == comparison) & (frame["outcome"] == outcome)
    row, (unit, digits) = only(frame[chosen], comparison), UNITS[outcome]
    if row["n"] == 0:
        return "not run"
    failed = f", {int(row['failed'])} of them failed" if row["failed"] else ""
    difference = f"{signed(row['difference'], digits)} {unit}{interval(row, lambda value: signed(value, digits))}"
    return f"{difference}, {with_p(row['p_holm'])}, {int(row['n'])} pairs{failed}"


def with_p(value: float) -> str:
    """`p = 0.02`, `p < 0.001`."""
    text = p_value(value)
    return f"p {text if text.startswith('<') else f'= {text}'}"


def of_signs(tables: Tables, question: str, comparison: str, outcome: str) -> str:
    """How many pairs are worse, with the p-value of the sign test."""
    frame = tables["comparisons"]
    chosen = (frame["question"] == int(question)) & (frame["comparison"] == comparison) & (frame["outcome"] == outcome)
    row = only(frame[chosen], comparison)
    return f"{int(row['positive'])} of {int(row['n'])} pairs, {with_p(row['p_sign'])}"


def of_law(tables: Tables, name: str) -> str:
    """A number of the laws."""
    row = only(tables["law"][tables["law"]["name"] == name], name)
    counted = f" of {int(row['rows'])}" if "within" in name else ""
    return f"{row['value']:.3g}{interval(row, lambda value: f'{value:.2g}')}{counted}"


def of_predictor(tables: Tables, predictor: str, over: str, measure: str) -> str:
    """A rank correlation, or a difference in decades."""
    frame = tables["predictors"]
    chosen = (frame["predictor"] == predictor) & (frame["over"] == over) & (frame["measure"] == measure)
    row = only(frame[chosen], f"{predictor}, {over}, {measure}")
    if measure in ("largest over smallest", "median over that without noise"):
        return f"{float(format(row['value'], '.2g')):,g}"  # two digits, without an exponent
    return f"{signed(row['value'])}{interval(row, signed)}, n = {int(row['n'])}"


def of_other_images(tables: Tables, comparison: str) -> str:
    """A difference on the images that judge no run."""
    frame = tables["other_images"]
    row = only(frame[frame["comparison"] == comparison], comparison)
    return f"{signed(row['difference'])} points{interval(row, signed)}, {int(row['n'])} pairs"


KINDS: dict[str, Callable[..., str]] = {
    "comparisons": of_comparison,
    "signs": of_signs,
    "law": of_law,
    "other images": of_other_images,
    "predictors": of_predictor,
}


def value(tables: Tables, name: str) -> str:
    """The text of a named value: its kind and cells, separated by semicolons."""
    kind, *cells = (part.strip() for part in name.split(";"))
    return KINDS[kind](tables, *cells)
