"""Write the tables of docs/study.md, and the numbers of its sentences and of docs/findings.md, from the rows in results/study.

    python -m scripts.study.page [--check]

A generated table stands between `<!-- generated: NAME -->` and `<!-- end -->`, a generated number between `<!-- value: NAME -->`
and `<!-- end -->` (scripts/study/values.py); everything else is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import pandas as pd

from scripts.study.comparisons import read_runs
from scripts.study.questions import EXACT, HIDDEN, NEWTON_SCHULZ, rates
from scripts.study.values import Tables, interval, p_value, signed, value

ROOT = Path(__file__).parents[2]
PAGES, RESULTS = [ROOT / "docs" / f"{name}.md" for name in ("study", "findings")], ROOT / "results" / "study"
PART = re.compile(r"(<!-- generated: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
VALUE = re.compile(r"(<!-- value: (?P<name>[^>]+?) -->).*?(<!-- end -->)")
FILES = ("comparisons", "gradient_error", "arms", "condition", "law", "predictors", "swaps", "cost", "other_images")
STABLE = 5.0  # points above the best mean


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


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
                f"{signed(error['difference'])} [{signed(error['low'])}, {signed(error['high'])}]",
                p_value(error["p_holm"]),
                f"{signed(area['difference'], 4)} [{signed(area['low'], 4)}, {signed(area['high'], 4)}]",
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
        rows.append([name, *words, f"{int(row['n'])}{failed}", f"{row['error']:.2f}", signed(row["difference"]), *diagnostics])
    header = [
        "layer",
        "route",
        "dtype",
        "runs",
        "error",
        "less exact root",
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


def laws(frame: pd.DataFrame) -> str:
    """Every number of the laws, with the number of rows that it rests on."""
    rows = [
        [row["name"], f"{row['value']:.3g}{interval(row, '{:.2g}'.format)}", str(int(row["rows"]))] for _, row in frame.iterrows()
    ]
    return markdown(["number", "value", "rows"], rows)


def swaps(frame: pd.DataFrame) -> str:
    """Gradient norm and loss in the first epoch after the swap and in the last epoch."""
    rows = []
    for (decays, warmup), group in frame.groupby(["decays", "warmup_epochs"], sort=False):
        cells = []
        for _, row in group.iloc[[0, -1]].iterrows():
            cells.append(f"{row['norm_ratio']:.2f} [{row['norm_ratio_low']:.2f}, {row['norm_ratio_high']:.2f}]")
            ends = ", ".join(signed(row[f"loss_difference_{end}"], 3) for end in ("low", "high"))
            cells.append(f"{signed(row['loss_difference'], 3)} [{ends}]")
        rows.append([str(decays), str(warmup), str(int(group["n"].max())), *cells])
    names = [f"{what}, {when}" for when in ("first epoch", "last epoch") for what in ("norm ratio", "loss difference")]
    return markdown(["decays after", "warm-up", "pairs", *names], rows)


def predictors(frame: pd.DataFrame) -> str:
    """Correlations and differences of questions 5 and 6."""
    rows = [
        [
            row["predictor"],
            row["over"],
            row["measure"],
            f"{row['value']:.2g}{interval(row, signed)}",
            p_value(row["p"]),
            str(int(row["n"])),
        ]
        for _, row in frame.iterrows()
    ]
    return markdown(["predictor", "over", "measure", "value", "p", "n"], rows)


def cost(frame: pd.DataFrame) -> str:
    """Processor time of a step by layer."""
    rows = [
        [
            row["layer"],
            row["route"],
            f"{1000 * row['seconds_a_step']:.0f}",
            f"{row['ratio']:.2f} [{row['ratio_25']:.2f}, {row['ratio_75']:.2f}]",
            str(int(row["epochs_at_equal_seconds"])),
        ]
        for _, row in frame.iterrows()
    ]
    return markdown(["layer", "route", "ms a step", "ratio, quartiles over rounds", "epochs at equal seconds"], rows)


def other_images(frame: pd.DataFrame) -> str:
    """Differences on the images that judge no run, with both standard errors."""
    rows = [
        [
            row["comparison"],
            str(int(row["n"])),
            f"{signed(row['difference'])}{interval(row, signed)}",
            f"{row['seed_error']:.2f}",
            f"{row['image_error']:.2f}",
        ]
        for _, row in frame.iterrows()
    ]
    return markdown(["comparison", "pairs", "difference, points", "error of seeds", "error of images"], rows)


def repeats(again: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Runs of a later revision beside the stored ones of the same command, where there are any."""
    joined = again.merge(runs[["command", "error", "loss_area"]], on="command", how="left", suffixes=("", "_stored"))
    rows = [
        [
            f"`{row['command'].removeprefix('gcp-train experiment=study ')}`",
            *(f"{row[key]:.3f}" if pd.notna(row[key]) else "-" for key in ("error", "error_stored")),
            *(f"{row[key]:.4f}" if pd.notna(row[key]) else "-" for key in ("loss_area", "loss_area_stored")),
        ]
        for _, row in joined.iterrows()
    ]
    return markdown(["run", "error", "stored", "loss area", "stored"], rows)


def read_tables(results: Path) -> Tables:
    """The rows behind the page."""
    words = {"decays": str}
    return {name: pd.read_csv(results / f"{name}.csv", dtype=words) for name in FILES} | {
        "runs": read_runs(results),
        "repeats": read_runs(results / "repeats"),
    }


def parts(tables: Tables) -> dict[str, str]:
    """Every generated table by name."""
    predicted = tables["predictors"]
    return {
        "gradient_error": gradient_error(tables["gradient_error"]),
        "law": laws(tables["law"]),
        "rates": stable_rates(tables["runs"]),
        "arms": arms(tables["arms"]),
        "swaps": swaps(tables["swaps"]),
        "condition": condition(tables["condition"]),
        **{f"predictors_{number}": predictors(predicted[predicted["question"] == number]) for number in (5, 6)},
        "cost": cost(tables["cost"]),
        "other_images": other_images(tables["other_images"]),
        "repeats": repeats(tables["repeats"], tables["runs"]),
        **{f"question_{number}": of_question(tables["comparisons"], number) for number in (1, 2, 3, 4, 7, 8)},
    }


def render(text: str, tables: Tables) -> str:
    """A page with its tables and numbers as the rows have them now; parts of other names are another script's."""
    generated = parts(tables)
    own = re.compile(PART.pattern.replace(r"\w+", "|".join(generated)), re.DOTALL)
    text = own.sub(lambda match: match[1] + generated[match["name"]] + match[3], text)
    return VALUE.sub(lambda match: match[1] + value(tables, match["name"]) + match[3], text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table or number is out of date")
    check = parser.parse_args().check
    tables, stale = read_tables(RESULTS), []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        current = render(text, tables)
        if current == text:
            continue
        stale.append(path.name)
        if not check:
            path.write_text(current, encoding="utf-8")
    if check and stale:
        print(f"{', '.join(stale)}: out of date; run python -m scripts.study.page", file=sys.stderr)
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
