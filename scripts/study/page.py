"""Write the tables of docs/study.md from the rows in results/study.

    python -m scripts.study.page [--check]

A generated table stands between `<!-- generated: NAME -->` and `<!-- end -->`; everything else on the page is written by hand.
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from pathlib import Path

import pandas as pd

from scripts.study.comparisons import read_runs
from scripts.study.questions import EXACT, HIDDEN, NEWTON_SCHULZ, rates

ROOT = Path(__file__).parents[2]
PAGE, RESULTS = ROOT / "docs" / "study.md", ROOT / "results" / "study"
PART = re.compile(r"(<!-- generated: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
STABLE = 5.0  # points above the best mean


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float, digits: int = 2) -> str:
    """Signed, or a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:+.{digits}f}"


def p_value(value: float) -> str:
    """Two digits, or below 0.001."""
    return "-" if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.2g}"


def of_question(comparisons: pd.DataFrame, question: int) -> str:
    """Comparisons of a question, both outcomes in one row."""
    chosen = comparisons[(comparisons["question"] == question) & (comparisons["n"] > 0)]
    rows = []
    for name, pair in chosen.groupby("comparison", sort=False):
        error, area = (pair[pair["outcome"] == outcome].iloc[0] for outcome in ("error", "loss_area"))
        failed = f", {int(error['failed'])} failed" if error["failed"] else ""
        rows.append(
            [
                str(name),
                f"{int(error['n'])}{failed}",
                f"{error['arm_mean']:.2f}",
                f"{error['reference_mean']:.2f}",
                f"{number(error['difference'])} [{number(error['low'])}, {number(error['high'])}]",
                p_value(error["p_holm"]),
                f"{number(area['difference'], 4)} [{number(area['low'], 4)}, {number(area['high'], 4)}]",
                p_value(area["p_holm"]),
            ]
        )
    header = ["comparison", "pairs", "error", "reference", "difference, points", "p", "loss area, difference", "p"]
    return markdown(header, rows)


def stable_rates(runs: pd.DataFrame) -> str:
    """Validation error by rate, with the best and the largest stable rate of each layer and head."""
    rows = []
    for head, hidden in (("linear", ""), ("hidden", HIDDEN)):
        for name, arm in (("exact root", EXACT), ("Newton-Schulz", NEWTON_SCHULZ)):
            errors = rates(runs, arm | {"hidden": hidden})
            means = errors.mean(axis=1)
            stable = errors.index[(errors <= means.min() + STABLE).all(axis=1)]
            cells = [f"{mean:.1f}" for mean in means]
            largest = f"{stable.max():g}" if len(stable) else "-"
            rows.append([head, name, *cells, f"{means.idxmin():g}", largest])
    columns = [f"{rate:g}" for rate in rates(runs, EXACT).index]
    return markdown(["head", "layer", *columns, "best", "largest stable"], rows)


def arms(frame: pd.DataFrame) -> str:
    """Gradient, smoothness and error of every layer in the common setting."""
    rows = []
    for row in frame.sort_values("error").to_dict("records"):
        options = [
            f"{row[name]:g}" if isinstance(row[name], float) else str(row[name]) for name in OPTIONS if pd.notna(row[name])
        ]
        name = f"{row['layer']} {' '.join(options)}".strip()
        diagnostics = [f"{row[key]:.2g}" if pd.notna(row[key]) else "-" for key in DIAGNOSTICS]
        failed = f", {int(row['failed'])} failed" if row["failed"] else ""
        words = [str(row[key]) if pd.notna(row[key]) else "-" for key in ("route", "dtype")]
        rows.append([name, *words, f"{int(row['n'])}{failed}", f"{row['error']:.2f}", *diagnostics])
    header = [
        "layer",
        "route",
        "dtype",
        "runs",
        "error",
        "gradient error",
        "its largest",
        "cosine",
        "beta, input",
        "beta, parameters",
    ]
    return markdown(header, rows)


OPTIONS = ("forward", "gradient", "num_iterations", "exponent", "max_gradient")
DIAGNOSTICS = ("gradient_error", "gradient_error_max", "gradient_cosine", "beta_smoothness", "parameter_smoothness")


def condition(frame: pd.DataFrame) -> str:
    """Decades of the condition number at the ends of the stages."""
    rows = []
    for (arm, decays), group in frame.fillna({"decays": ""}).groupby(["arm", "decays"]):
        by_epoch = group.set_index("epoch")
        cells = [
            f"{by_epoch.loc[epoch, column]:.2f} ± {by_epoch.loc[epoch, f'{column}_sd']:.2f}"
            for column in ("condition_number", "condition_number_range")
            for epoch in (0, 4, 7, 9)
        ]
        rows.append([str(arm), f"after {decays} epochs" if decays else "none", str(int(by_epoch["n"].max())), *cells])
    names = [f"{kind}, epoch {epoch}" for kind in ("published", "range") for epoch in (1, 5, 8, 10)]
    return markdown(["layer", "decays", "runs", *names], rows)


def gradient_error(frame: pd.DataFrame) -> str:
    """Error by layer on trained features of 256 channels."""
    chosen = frame[frame["features"].str.startswith("trained") & (frame["channels"] == 256)]
    rows = []
    for (layer, route, clip, order), group in chosen.groupby(
        ["layer", "route", "max_gradient", "order"], dropna=False, sort=False
    ):
        name = f"{layer}, T = {clip:g}" if pd.notna(clip) else f"{layer}, T = 1e10" if layer == "svd_trunc" else str(layer)
        name += ", symmetric first" if order != "published" else ""
        by_dtype = group.set_index("dtype")
        cells = [f"{by_dtype.loc[d, q]:.1e}" for d in ("float64", "float32") for q in ("error_median", "error_99", "error_max")]
        rows.append([name, str(route), *cells])
    header = [f"{dtype} {quantile}" for dtype in ("float64", "float32") for quantile in ("median", "99 %", "largest")]
    return markdown(["layer", "route", *header], rows)


def parts(results: Path) -> dict[str, str]:
    """Every generated table by name."""
    comparisons = pd.read_csv(results / "comparisons.csv")
    return {
        "gradient_error": gradient_error(pd.read_csv(results / "gradient_error.csv")),
        "rates": stable_rates(read_runs(results)),
        "arms": arms(pd.read_csv(results / "arms.csv")),
        "condition": condition(pd.read_csv(results / "condition.csv")),
        **{f"question_{number}": of_question(comparisons, number) for number in (1, 2, 3, 4, 7, 8)},
    }


def render(text: str, tables: dict[str, str]) -> str:
    """The page with its tables as they are now."""
    return PART.sub(lambda match: match[1] + tables[match["name"]] + match[3], text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table is out of date")
    check = parser.parse_args().check
    text = PAGE.read_text(encoding="utf-8")
    current = render(text, parts(RESULTS))
    if check and current != text:
        print("docs/study.md is out of date: run python -m scripts.study.page", file=sys.stderr)
        return 1
    PAGE.write_text(current, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
