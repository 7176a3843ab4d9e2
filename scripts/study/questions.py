"""Which runs docs/study.md compares with which: the comparisons of each question, as written down before its runs.

An arm is a mapping of columns of results/study/runs.csv to values; what it does not name is as in `BASE`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd

Arm = dict[str, Any]

BASE: Arm = {
    "experiment": "study",
    "split": "test",
    "train_size": 1000,
    "channels": 128,
    "hidden": "",
    "rate": 0.1,
    "epochs": 10,
    "decays": "5 8",
    "clip_norm": None,
    "protocol": "standalone",
    "dtype": "float64",
}
EXACT: Arm = {"layer": "svd_lyapunov", "route": "auto"}
NEWTON_SCHULZ: Arm = {"layer": "isqrt_cov", "route": "auto", "num_iterations": 5}
DENSE_FLOAT32: Arm = {"route": "dense", "dtype": "float32"}
HIDDEN = "256 256"
PLANNED = range(12)  # seeds of all questions
FRESH = {"fresh seeds": range(12, 20), "seeds 20 to 35": range(20, 36)}  # of two confirmations, each planned before its runs
VALIDATION = range(100, 120)  # seeds of runs that are judged on training images left over
REMEDIES = ("svd_pade", "svd_taylor", "svd_trunc", "svd_newton", "svd_topn", "mpn_cov")
POOLINGS = ("gap", "bcnn", "cbp", "deep_o2p", "g2denet", "improved_bcnn", "mpa_lya", "seb", "isqrt_cov")


@dataclass(frozen=True)
class Comparison:
    """An arm against a reference, paired by seed.

    Attributes:
        question: Its number.
        name: What differs, for tables.
        arm: Columns of the runs that are judged.
        reference: Columns of the runs that they are judged against.
        family: Comparisons that Holm's correction takes together, within the question.
        seeds: Seeds that may enter.
    """

    question: int
    name: str
    arm: Arm = field(hash=False)
    reference: Arm = field(hash=False)
    family: str = "planned"
    seeds: range = PLANNED

    def outcomes(self, runs: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The rows of arm and reference, by seed."""
        own = runs[runs["seed"].isin(self.seeds)]
        return select(own, self.arm), select(own, self.reference)


def matching(runs: pd.DataFrame, wanted: Arm) -> pd.DataFrame:
    """The rows with these values; None stands for an empty cell."""
    fits = pd.Series(True, index=runs.index)
    for column, value in wanted.items():
        fits &= runs[column].isna() if value is None else runs[column] == value
    return runs[fits]


def select(runs: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """The rows of an arm, by seed."""
    chosen = matching(runs, BASE | arm)
    if chosen["seed"].duplicated().any():
        raise ValueError(f"an arm needs one run a seed; {arm} fits several: name more columns")
    return chosen.set_index("seed").sort_index()


def rates(runs: pd.DataFrame, arm: Arm) -> pd.DataFrame:
    """Validation error by rate: rows are rates, columns the seeds that every rate has."""
    wanted = {key: value for key, value in (BASE | arm | {"split": "validation"}).items() if key != "rate"}
    return matching(runs, wanted).pivot(index="rate", columns="seed", values="error").dropna(axis="columns")


def best_rate(runs: pd.DataFrame, arm: Arm) -> float:
    """The rate with the smallest mean validation error; NaN without any run."""
    means = rates(runs, arm).mean(axis=1)
    return float(means.idxmin()) if len(means) else float("nan")


def comparisons(runs: pd.DataFrame) -> list[Comparison]:
    """All of them; the rates of questions 2 and 8 are chosen from the validation runs."""
    return [*_question_1(), *_question_2(runs), *_question_3(), *_question_4(), *_question_7(), *_question_8(runs)]


def _question_1() -> list[Comparison]:
    found = []
    for channels in (32, 64, 128, 256):
        root: Arm = {"layer": "mpn_cov", "channels": channels}
        exact = root | {"route": "gram"}
        null = max(0, channels - 48)
        found += [
            Comparison(1, f"float32 dense, M = {null}", root | DENSE_FLOAT32, exact),
            Comparison(1, f"float32 gram, M = {null}", exact | {"dtype": "float32"}, exact),
            Comparison(1, f"float64 dense, M = {null}", root | {"route": "dense"}, exact),
        ]
    exact = {"layer": "mpn_cov", "route": "gram"}
    names = ("svd_pade", "svd_taylor", "svd_newton", "svd_lyapunov", "isqrt_cov")
    remedies: list[tuple[str, Arm]] = [(name, {"layer": name}) for name in names]
    remedies += [(f"svd_trunc, T = {t:.0e}", {"layer": "svd_trunc", "max_gradient": t}) for t in (1e10, 1e6, 1e4, 1e2)]
    remedies += [(f"mpn_cov, steps bounded at {norm:g}", {"layer": "mpn_cov", "clip_norm": norm}) for norm in (1.0, 5.0)]
    found += [Comparison(1, f"float32 dense {name}", arm | DENSE_FLOAT32, exact) for name, arm in remedies]
    failing: Arm = {"layer": "mpn_cov"} | DENSE_FLOAT32
    fresh = [Comparison(1, f"float32 dense, M = 80, {name}", failing, exact, name, seeds) for name, seeds in FRESH.items()]
    return [*found, *fresh]


def _question_2(runs: pd.DataFrame) -> list[Comparison]:
    found = []
    for head, hidden in (("linear", ""), ("hidden", HIDDEN)):
        layers = EXACT | {"hidden": hidden}, NEWTON_SCHULZ | {"hidden": hidden}
        exact, approximate = (layer | {"rate": best_rate(runs, layer)} for layer in layers)
        own = f"{head} head, own best rates ({exact['rate']:g} and {approximate['rate']:g})"
        found += [Comparison(2, own, exact, approximate), Comparison(2, f"{head} head, rate 0.1", *layers)]
    other: Arm = {"split": "validation"}
    name = "linear head, rate 0.1, validation images"
    found.append(Comparison(2, name, EXACT | other, NEWTON_SCHULZ | other, "validation images", VALIDATION))
    larger: Arm = {"train_size": 6000}
    return [*found, Comparison(2, "linear head, 6,000 images", EXACT | larger, NEWTON_SCHULZ | larger)]


def _question_3() -> list[Comparison]:
    found = []
    for steps in (2, 3, 5, 7, 10):
        forward: Arm = {"layer": "spectral", "forward": "newton_schulz", "num_iterations": steps}
        found += [
            Comparison(3, f"{steps} steps, own gradient", forward | {"gradient": "exact"}, EXACT),
            Comparison(3, f"{steps} steps, gradient of the root", forward | {"gradient": "lyapunov"}, EXACT),
        ]
    for steps in (2, 5):
        arm: Arm = {"layer": "spectral", "forward": "sqrt", "gradient": "newton_schulz", "num_iterations": steps}
        found.append(Comparison(3, f"root, gradient of {steps} steps", arm, EXACT))
    powers = ({"layer": "spectral", "forward": "power", "exponent": exponent} for exponent in (0.3, 0.4, 0.7, 1.0))
    found += [Comparison(3, f"power {arm['exponent']:g}", arm, EXACT) for arm in powers]
    return found + [_exchanged(steps) for steps in (2, 3, 5, 7, 10)]


def _exchanged(steps: int) -> Comparison:
    """The same value with the other gradient: what F and G differ on, beside the comparisons with the root."""
    forward: Arm = {"layer": "spectral", "forward": "newton_schulz", "num_iterations": steps}
    own, exchanged = (forward | {"gradient": gradient} for gradient in ("exact", "lyapunov"))
    return Comparison(3, f"{steps} steps, gradient of the root to own gradient", exchanged, own, "gradient exchanged")


def _question_4() -> list[Comparison]:
    found = []
    for warmup in (0, 1, 2, 3):
        arm = {"layer": "mpn_cov", "protocol": "hybrid", "warmup_epochs": warmup} | DENSE_FLOAT32
        failing = {"layer": "mpn_cov"} | DENSE_FLOAT32
        found += [
            Comparison(4, f"swap {warmup} epochs before the decay, to Newton-Schulz throughout", arm, NEWTON_SCHULZ),
            Comparison(4, f"swap {warmup} epochs before the decay, to dense float32 throughout", arm, failing),
        ]
    late: Arm = {"layer": "mpn_cov", "decays": "8"} | DENSE_FLOAT32
    arms = [("dense float32 throughout", late)]
    arms += [(f"swap {n} epochs before", late | {"protocol": "hybrid", "warmup_epochs": n}) for n in (0, 3)]
    reference = NEWTON_SCHULZ | {"decays": "8"}
    return found + [Comparison(4, f"one decay, {name}, to Newton-Schulz throughout", arm, reference) for name, arm in arms]


def _question_7() -> list[Comparison]:
    found = [Comparison(7, name, {"layer": name, "route": "dense"} | _default_options(name), EXACT) for name in REMEDIES]
    return [*found, Comparison(7, "isqrt_cov", NEWTON_SCHULZ, EXACT), *_equal_seconds()]


def _equal_seconds() -> list[Comparison]:
    """Dense layers against the exact gradient at the same cost, in two budgets (cost.csv)."""
    short: Arm = {"route": "dense", "epochs": 3, "decays": "2"}
    long: Arm = {"epochs": 31, "decays": "16 25"}
    found = [
        Comparison(
            7, f"{name} 3 epochs, svd_lyapunov 10", {"layer": name} | short | _default_options(name), EXACT, "equal seconds"
        )
        for name in REMEDIES
    ]
    dense: Arm = {"layer": "mpn_cov", "route": "dense"}
    exact = Comparison(7, "svd_lyapunov 31 epochs, mpn_cov 10", EXACT | long, dense, "equal seconds")
    approximate = Comparison(7, "isqrt_cov 31 epochs, mpn_cov 10", NEWTON_SCHULZ | long, dense, "equal seconds")
    return [*found, exact, approximate]


def _default_options(name: str) -> Arm:
    return {"max_gradient": 1e10} if name == "svd_trunc" else {}


def _question_8(runs: pd.DataFrame) -> list[Comparison]:
    def at_best(name: str) -> Arm:
        arm = EXACT if name == "svd_lyapunov" else NEWTON_SCHULZ if name == "isqrt_cov" else {"layer": name}
        arm = arm | ({"dtype": None} if name in ("gap", "bcnn", "cbp") else {})
        return arm | {"rate": best_rate(runs, arm)}

    exact = at_best("svd_lyapunov")
    arms = {name: at_best(name) for name in POOLINGS}
    return [Comparison(8, f"{name} at {arm['rate']:g} (root at {exact['rate']:g})", arm, exact) for name, arm in arms.items()]
