"""The figures of docs/study.md from the rows in results/study; needs matplotlib.

python -m scripts.study.figures [--results results/study] [--output docs/images/study]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from scripts.study.comparisons import read_epochs, read_runs
from scripts.study.law import two_terms
from scripts.study.questions import DENSE_FLOAT32, EXACT, HIDDEN, NEWTON_SCHULZ, Arm, comparisons, rates
from scripts.study.swaps import SWAP_LAYER, by_epoch

mpl.use("svg")
mpl.rcParams.update(
    {"svg.hashsalt": "study", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
)
BLUE, RED, GREEN, GREY, ORANGE = "#0a7fd0", "#c8321e", "#2b9a50", "#777777", "#c47f02"
Tables = dict[str, pd.DataFrame]


def gradient_error(tables: Tables) -> plt.Figure:
    """Error of dense `mpn_cov` against the null space's dimension and against the trace, with the law."""
    rows = tables["gradient_error"]
    root = rows[(rows["layer"] == "mpn_cov") & (rows["order"] == "published")]
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
    for colour, dtype, route in ((RED, "float32", "dense"), (BLUE, "float64", "dense"), (ORANGE, "float32", "gram")):
        chosen = root[(root["dtype"] == dtype) & (root["route"] == route)]
        for marker, trained in (("o", False), ("^", True)):
            some = chosen[chosen["features"].str.startswith("trained") == trained]
            some = some[some["positions"] == 49] if trained else some[(some["positions"] == 49) & some["trace"].round().eq(100)]
            some = some.drop_duplicates(["features", "channels"]).sort_values("null_dimension")
            label = f"{dtype} {route}" + (", trained features" if trained else "")
            style = {"color": colour, "fillstyle": "none" if trained else "full", "label": label}
            axes[0].plot(some["null_dimension"], some["error_median"], marker, **style)
            if route == "dense" and not trained:
                axes[0].plot(some["null_dimension"], two_terms(some), "-", color=colour, linewidth=0.8)
        some = chosen[(chosen["features"] == "noise") & (chosen["channels"] == 128) & (chosen["positions"] == 49)].sort_values(
            "trace"
        )
        axes[1].plot(some["trace"], some["error_median"], "o", color=colour)
        if route == "dense":
            axes[1].plot(some["trace"], two_terms(some), "-", color=colour, linewidth=0.8)
    axes[0].set(yscale="log", xlabel="dimension of the null space, M", ylabel="relative error of the gradient")
    axes[1].set(xscale="log", xlabel="trace of the covariance (M = 80)")
    axes[1].legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="lower center", frameon=False)
    return figure


def training_by_null_space(tables: Tables) -> plt.Figure:
    """Test error less that of the same seed in float64 on the gram route, by dimension: a dot a seed, and the mean."""
    figure, axis = plt.subplots(figsize=(5, 3.2))
    arms = {name: {} for name in ("float32 dense", "float64 dense", "float32 gram")}
    for comparison in comparisons(tables["runs"]):
        name, _, dimension = comparison.name.partition(", M = ")
        if comparison.question == 1 and name in arms and comparison.family == "planned":
            arm, reference = comparison.outcomes(tables["runs"])
            arms[name][int(dimension)] = (arm["error"] - reference["error"]).dropna()
    for offset, colour, name in zip((-4, 0, 4), (RED, BLUE, ORANGE), arms, strict=True):
        for dimension, differences in arms[name].items():
            axis.plot([dimension + offset] * len(differences), differences, ".", color=colour, markersize=5)
        means = [differences.mean() for differences in arms[name].values()]
        axis.plot([dimension + offset for dimension in arms[name]], means, "-", color=colour, linewidth=1, label=name)
    axis.axhline(0, color=GREY, linewidth=0.6)
    axis.set(xlabel="dimension of the null space, M", ylabel="test error less that of float64 gram, points", yscale="symlog")
    axis.set_yticks([-1, 0, 1, 3, 10, 30, 70], ["-1", "0", "1", "3", "10", "30", "70"])
    axis.minorticks_off()
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def learning_rates(tables: Tables) -> plt.Figure:
    """Validation error by rate, both heads."""
    figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.1))
    for axis, hidden, title in zip(axes, ("", HIDDEN), ("linear head", "two hidden layers"), strict=True):
        for colour, arm, name in ((RED, EXACT, "exact root"), (BLUE, NEWTON_SCHULZ, "Newton-Schulz, 5 steps")):
            errors = rates(tables["runs"], arm | {"hidden": hidden})
            axis.plot(errors.index, errors.mean(axis=1), "-", color=colour, label=name)
            for seed in errors:
                axis.plot(errors.index, errors[seed], ".", color=colour, markersize=4)
        axis.set(xscale="log", xlabel="learning rate", ylabel="validation error, %", title=title, yscale="log")
        axis.set_yticks([15, 20, 30, 50, 90], ["15", "20", "30", "50", "90"], minor=False)
        axis.minorticks_off()
    axes[0].legend(fontsize=8, frameon=False)
    return figure


def crossing(tables: Tables) -> plt.Figure:
    """Forward function and gradient crossed: difference to the exact root."""
    rows = of_question(tables, 3)
    figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.1), sharey=True)
    for offset, colour, end in ((-0.1, BLUE, "own gradient"), (0.1, RED, "gradient of the root")):
        some = rows[rows["comparison"].str.endswith(f"steps, {end}") & ~rows["comparison"].str.startswith("root")]
        dots(axes[0], some["comparison"].str.extract(r"(\d+)")[0].astype(float) + offset, some, colour, end)
    powers = rows[rows["comparison"].str.startswith("power")]
    dots(axes[1], powers["comparison"].str.extract(r"([\d.]+)")[0].astype(float), powers, GREEN, "own gradient")
    for axis in axes:
        axis.axhline(0, color=GREY, linewidth=0.6)
    axes[0].set(xlabel="Newton-Schulz steps forward", ylabel="test error less that of the root, points", xticks=[2, 3, 5, 7, 10])
    axes[1].set(xlabel="power of the eigenvalues", xticks=[0.3, 0.5, 0.7, 1.0])
    axes[0].legend(fontsize=8, frameon=False)
    return figure


def swap(tables: Tables) -> plt.Figure:
    """Training loss over epochs for swaps to dense float32, by schedule; means over seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.3), sharey=True)
    colours = dict(zip((0, 1, 2, 3), ("#5b2a86", GREEN, ORANGE, "#b06060"), strict=True))
    for axis, decays, warmups in zip(axes, ("5 8", "8"), ((0, 1, 2, 3), (0, 3)), strict=True):
        schedule = {"decays": decays}
        curve(axis, tables, NEWTON_SCHULZ | schedule, BLUE, "Newton-Schulz throughout")
        for warmup in warmups:
            arm = SWAP_LAYER | schedule | {"warmup_epochs": warmup}
            curve(axis, tables, arm, colours[warmup], f"swap {warmup} epochs before the last decay")
        curve(axis, tables, {"layer": "mpn_cov"} | DENSE_FLOAT32 | schedule, RED, "dense float32 throughout")
        after = " and ".join(decays.split())
        axis.set(xlabel="epoch", title=f"decays after {after} epochs", ylim=(0.15, 1.2))
        axis.legend(fontsize=7, frameon=False)
    axes[0].set_ylabel("training loss")
    return figure


def smoothness(tables: Tables) -> plt.Figure:
    """Test error of an arm, less that of the exact root on equal seeds, against its smoothness, both definitions."""
    arms = tables["arms"]
    figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.1), sharey=True)
    for axis, column, name in zip(
        axes, ("beta_smoothness", "parameter_smoothness"), ("layer's input", "parameters"), strict=True
    ):
        for colour, dtype, route in ((RED, "float32", "dense"), (ORANGE, "float32", "gram"), (BLUE, "float64", "")):
            chosen = arms[arms[column].notna() & (arms["dtype"] == dtype) & ((arms["route"] == route) if route else True)]
            axis.plot(chosen[column], chosen["difference"], "o", color=colour, label=f"{dtype} {route}".strip())
        axis.set(xscale="log", xlabel=f"effective beta-smoothness, {name}")
    axes[1].set_xticks([10, 20, 40], ["10", "20", "40"], minor=False)
    axes[1].minorticks_off()
    axes[0].set_ylabel("test error less that of the exact root, points")
    axes[0].legend(fontsize=7, frameon=False)
    return figure


def curve(axis: Any, tables: Tables, arm: Arm, colour: str, label: str) -> None:
    """Mean training loss over epochs of an arm."""
    loss = by_epoch(tables["runs"], tables["epochs"], arm, "train_loss")
    axis.plot(loss.index + 1, loss.mean(axis=1), color=colour, label=f"{label} (n = {loss.shape[1]})", linewidth=1.2)


def dots(axis: Any, x: Any, rows: pd.DataFrame, colour: str, label: str) -> None:
    """Differences with their intervals."""
    spread = np.abs(rows[["low", "high"]].sub(rows["difference"], axis=0).to_numpy().T)
    axis.errorbar(x, rows["difference"], yerr=spread, fmt="o", color=colour, markersize=4, linewidth=1, capsize=2, label=label)


def of_question(tables: Tables, question: int) -> pd.DataFrame:
    """The comparisons of a question in test error."""
    rows = tables["comparisons"]
    return rows[(rows["question"] == question) & (rows["outcome"] == "error") & (rows["n"] > 1)]


FIGURES: dict[str, Callable[[Tables], plt.Figure]] = {
    "gradient_error": gradient_error,
    "training_by_null_space": training_by_null_space,
    "learning_rates": learning_rates,
    "crossing": crossing,
    "swap": swap,
    "smoothness": smoothness,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/study"), help="folder of the rows")
    parser.add_argument("--output", type=Path, default=Path("docs/images/study"), help="folder of the figures")
    arguments = parser.parse_args()
    tables = {name: pd.read_csv(arguments.results / f"{name}.csv") for name in ("gradient_error", "comparisons", "arms")}
    tables |= {"runs": read_runs(arguments.results), "epochs": read_epochs(arguments.results)}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        figure = draw(tables)
        figure.tight_layout()
        figure.savefig(arguments.output / f"{name}.svg", metadata={"Date": None})
        plt.close(figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
