"""The runs behind the paper's tables and those of later work: which are missing, the command for each, and what they would cost.

Costs are given only from throughput that was measured: runs of the same network (and, where there are some, of the
same layer) in the results
store. Where there are none, the amount of work is stated in images, not in hours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import pandas as pd

from gcp_repro.metalayers import META_LAYERS
from gcp_repro.paper.layers import LAYERS, REFERENCE_LAYER
from gcp_repro.paper.store.experiments import DEPENDS_ON_PROCESSES, configured_setting, differences
from gcp_repro.paper.store.results import Results
from gcp_repro.paper.tables.table import MISSING, Cell, Column, Table, label

__all__ = [
    "Benchmark",
    "LaterBenchmark",
    "PlannedRun",
    "gpu_hours",
    "missing_runs",
    "plan_table",
    "planned_runs",
    "sweep_commands",
]

IMAGENET_IMAGES = 1_281_167
NOT_GPU = ("cpu", "mps", "")
SVD_LAYERS = tuple(name for name, style in LAYERS.items() if style.published and name != REFERENCE_LAYER)


@dataclass(frozen=True)
class PlannedRun:
    """One training run of a table.

    Attributes:
        table: Number in the paper, or work and table.
        experiment: As in `gcp-train experiment=...`.
        meta_layer: Registered name.
        protocol: "standalone" or "hybrid".
        warmup_epochs: Of the hybrid protocol; `None` for the experiment's own.
        seed: Of initialisation and data order.
        epochs: Length of training.
        train_images: Size of the training set.
        dtype: Of the meta-layer.
        options: Of the meta-layer, those that differ from its defaults, as results have them.
        row: The choice of `configs/row` that makes it; empty for a run that is written out.
        weights: What it starts from, where that is no run of the plan.
    """

    table: str
    experiment: str
    meta_layer: str
    protocol: str
    warmup_epochs: int | None
    seed: int
    epochs: int
    train_images: int
    dtype: str = "float64"
    options: str = ""
    row: str = ""
    weights: str = "random weights"

    @property
    def images(self) -> int:
        """Training images seen."""
        return self.epochs * self.train_images

    @property
    def command(self) -> str:
        """What to type."""
        if self.row:
            return f"gcp-train experiment={self.experiment} row={self.row} seed={self.seed}"
        warmup = "" if self.warmup_epochs is None else f" protocol.warmup_epochs={self.warmup_epochs}"
        route = f" meta_layer.route={self.route}" if self.route else ""
        dtype = "" if self.dtype == "float64" else f" meta_layer.dtype={self.dtype}"
        layer = f"meta_layer={self.meta_layer}{route}{dtype}"
        return f"gcp-train experiment={self.experiment} {layer} protocol={self.protocol}{warmup} seed={self.seed}"

    @property
    def starts_from(self) -> PlannedRun | None:
        """The ImageNet run whose weights are fine-tuned; `gcp-train` finds it by its layer, precision and route."""
        if self.table != "4":
            return None
        protocol = "standalone" if self.meta_layer == REFERENCE_LAYER else "hybrid"
        return PlannedRun("3", "resnet50_imagenet", self.meta_layer, protocol, None, 0, 60, IMAGENET_IMAGES)

    @property
    def route(self) -> str:
        """The dense route, whose rounding is part of what the paper measured; layers without a decomposition have none."""
        return "dense" if "route" in META_LAYERS[self.meta_layer].defaults else ""


@dataclass(frozen=True)
class Benchmark:
    """An experiment of the paper, its tables' rows as layers by protocol: what the plan, `row` and `sweep` are made from.

    Attributes:
        table: Number in the paper.
        sweep: Name of its configuration in the group `sweep`.
        experiment: As in `gcp-train experiment=...`.
        epochs: Length of training.
        train_images: Size of the training set.
        standalone: Layers that train from the first epoch on.
        hybrid: Layers of the hybrid protocol.
        warmups: Its lengths; empty for the experiment's own.
        seeds: Of initialisation and data order.
        dtype: Of the meta-layers.
        of_table2: Warm-up or seed whose run is one of Table 2, where the plan has it.
    """

    table: str
    sweep: str
    experiment: str
    epochs: int
    train_images: int
    standalone: tuple[str, ...]
    hybrid: tuple[str, ...]
    warmups: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0,)
    dtype: str = "float64"
    of_table2: int | None = None

    def runs(self) -> Iterable[PlannedRun]:
        """One run for each row and protocol; the reference layer is its own hybrid."""
        rows: list[tuple[str, str, int | None]] = [(layer, "standalone", None) for layer in self.standalone]
        rows += [(layer, "hybrid", warmup) for layer in self.hybrid for warmup in self.warmups or (None,)]
        for seed in self.seeds:
            for layer, protocol, warmup in rows:
                if (seed if warmup is None else warmup) != self.of_table2:
                    yield PlannedRun(
                        self.table, self.experiment, layer, protocol, warmup, seed, self.epochs, self.train_images, self.dtype
                    )

    @property
    def choices(self) -> dict[str, tuple[str | int, ...]]:
        """What a sweep over all rows varies, by key of the configuration."""
        choices: dict[str, tuple[str | int, ...]] = {"row": (*self.standalone, *(f"{layer}_hybrid" for layer in self.hybrid))}
        if self.warmups:
            choices["protocol.warmup_epochs"] = self.warmups
        if self.dtype != "float64":
            choices["meta_layer.dtype"] = (self.dtype,)
        if len(self.seeds) > 1:
            choices["seed"] = self.seeds
        return choices


@dataclass(frozen=True)
class LaterBenchmark:
    """An experiment of later work: rows of `configs/row`, with the options of their layers."""

    table: str
    experiment: str
    epochs: int
    train_images: int
    rows: tuple[tuple[str, str], ...]
    weights: str = "random weights"

    def runs(self) -> Iterable[PlannedRun]:
        """One run for each row."""
        for row, options in self.rows:
            place = (self.table, self.experiment, row, "standalone", None, 0, self.epochs, self.train_images)
            yield PlannedRun(*place, options=options, row=row, weights=self.weights)


ALEXNET, RESNET = (30, IMAGENET_IMAGES), (60, IMAGENET_IMAGES)
ALL = (REFERENCE_LAYER, *SVD_LAYERS)
SOME = ("svd_pade", "mpn_cov")
BENCHMARKS = (
    Benchmark("2", "table2", "alexnet_imagenet", *ALEXNET, ALL, SVD_LAYERS),
    Benchmark("3", "table3", "resnet50_imagenet", *RESNET, ("gap", *ALL), SVD_LAYERS),
    Benchmark("3", "table3_resnet101", "resnet101_imagenet", *RESNET, ("gap", REFERENCE_LAYER, *SOME), SOME),
    Benchmark("4", "table4", "resnet50_birds", 50, 5_994, ALL, ()),
    Benchmark("4", "table4", "resnet50_dogs", 50, 12_000, ALL, ()),
    Benchmark("4", "table4", "resnet50_cars", 50, 8_144, ALL, ()),
    Benchmark("11", "table11", "alexnet_imagenet", *ALEXNET, (), ("svd_pade",), warmups=(0, 1, 2, 3), of_table2=1),
    Benchmark("Figure 2", "figure2", "alexnet_imagenet", *ALEXNET, (REFERENCE_LAYER, "mpn_cov"), (), dtype="float32"),
    Benchmark("appendix G", "appendix_g", "alexnet_imagenet", *ALEXNET, ("svd_pade",), (), seeds=(0, 1, 2, 3, 4), of_table2=0),
)
"""Rows of the tables that training fills. Table 1 and the other figures come from the runs of Table 2; Table 5 needs none."""
_FIVE_STEPS = "num_iterations=5"
_RIEMGCP = (("log_cholesky", ""), ("pow_tmlr", _FIVE_STEPS), ("scale_pow_emlr", _FIVE_STEPS), (REFERENCE_LAYER, ""))
_DROPCOV = (("gap", ""), ("dropcov", ""))
LATER_BENCHMARKS = (
    LaterBenchmark("RiemGCP 5", "riemgcp_aircraft", 50, 6_667, _RIEMGCP),
    LaterBenchmark("RiemGCP 5", "riemgcp_birds", 100, 5_994, _RIEMGCP),
    LaterBenchmark("RiemGCP 5", "riemgcp_cars", 100, 8_144, _RIEMGCP),
    *(LaterBenchmark("DropCov", f"dropcov_resnet{depth}", 100, IMAGENET_IMAGES, _DROPCOV) for depth in (34, 50, 101)),
    LaterBenchmark("iSICE", "isice_birds", 100, 5_994, ((REFERENCE_LAYER, ""), ("isice", "")), "torchvision's ImageNet weights"),
)
"""Rows of later tables whose configurations are public. RiemGCP's ImageNet column has none; the vision transformers of So-ViT and
DropCov need tokens from a network of their own, and the whitening of the fast matrix square root is no pooling."""
EVERY_BENCHMARK: tuple[Benchmark | LaterBenchmark, ...] = (*BENCHMARKS, *LATER_BENCHMARKS)
LATER_SWEEPS = ("riemgcp_table5", "dropcov_main", "isice_birds")
"""Of the group `sweep`, which name their experiments."""


def sweep_commands() -> dict[str, str]:
    """The command that trains all rows of a table, by sweep."""
    experiments: dict[str, list[str]] = {}
    for benchmark in BENCHMARKS:
        experiments.setdefault(benchmark.sweep, []).append(benchmark.experiment)
    commands = {sweep: f"gcp-train -m experiment={','.join(names)} sweep={sweep}" for sweep, names in experiments.items()}
    return commands | {sweep: f"gcp-train -m sweep={sweep}" for sweep in LATER_SWEEPS}


def planned_runs(benchmarks: Sequence[Benchmark | LaterBenchmark] = EVERY_BENCHMARK) -> list[PlannedRun]:
    """All runs of the tables, the paper's first."""
    return [run for benchmark in benchmarks for run in benchmark.runs()]


def missing_runs(results: Results) -> list[PlannedRun]:
    """Planned runs that have no result; one that diverged has one."""
    return [run for run in planned_runs() if not _done(run, results.runs)]


def _done(run: PlannedRun, runs: pd.DataFrame) -> bool:
    """Whether there is a result of this very run: of the experiment as it is configured, and no other."""
    mask = (runs["experiment"] == run.experiment) & (runs["meta_layer"] == run.meta_layer) & (runs["protocol"] == run.protocol)
    mask &= (runs["meta_layer_options"] == run.options) & (runs["protocol_options"] == "")
    mask &= (runs["seed"] == run.seed) & ((runs["dtype"] == "float32") == (run.dtype == "float32")) & (runs["route"] == run.route)
    if run.warmup_epochs is not None:
        mask &= runs["warmup_epochs"] == run.warmup_epochs
    configured = configured_setting(run.experiment) or {}
    return any(set(differences(json.loads(text), configured)) <= {DEPENDS_ON_PROCESSES} for text in runs.loc[mask, "setting"])


def gpu_hours(run: PlannedRun, results: Results, speeds: pd.DataFrame | None = None) -> float | None:
    """Hours on the GPU on which the same experiment and layer were measured, in runs or else by `gcp-bench train`.

    `None` where neither was. Another layer in the same experiment does not count, for the layer is what takes the time, nor does
    another precision of the trainer, in which the run would not be that of the table.

    Args:
        run: What is planned.
        results: Runs.
        speeds: As `read_train_speeds` gives them.
    """
    for measured, column in ((results.runs, "samples_per_second"), (speeds, "images_per_second")):
        if measured is None:
            continue
        mask = ~measured["device"].isin(NOT_GPU) & (measured["experiment"] == run.experiment)
        mask &= measured["meta_layer"] == run.meta_layer
        mask &= measured["precision"] == (configured_setting(run.experiment) or {}).get("trainer.precision")
        throughput = pd.to_numeric(measured.loc[mask, column], errors="coerce").median()
        if not pd.isna(throughput) and throughput > 0:
            return run.images / float(throughput) / 3600
    return None


def plan_table(results: Results, speeds: pd.DataFrame | None = None) -> Table:
    """Missing runs with commands and costs; `speeds` as `read_train_speeds` gives them."""
    rows = []
    for run in missing_runs(results):
        hours = gpu_hours(run, results, speeds)
        cost = MISSING if hours is None else Cell(f"{hours:,.1f}", hours, "measured")
        images = Cell(f"{run.images / 1e6:,.1f}", run.images / 1e6)
        rows.append(
            (
                label(run.table),
                label(run.experiment),
                label(run.meta_layer),
                label(run.protocol),
                images,
                cost,
                label(_start(run, results)),
                label(run.command),
            )
        )
    columns = ("table", "experiment", "layer", "protocol", "million images", "GPU hours", "starts from", "command")
    return Table(
        "plan",
        "Missing runs",
        tuple(Column(name) for name in columns),
        tuple(rows),
        caption=_plan_caption(results, speeds),
        notes=(*_sweeps(), *_not_configured()),
    )


def _start(run: PlannedRun, results: Results) -> str:
    """The weights a run starts from, and whether they are there."""
    source = run.starts_from
    if source is None:
        return run.weights
    state = "done" if _done(source, results.runs) else "missing: train it first"
    return f"{source.experiment} {source.meta_layer} {source.protocol} ({state})"


def _not_configured() -> tuple[str, ...]:
    names = dict.fromkeys(benchmark.experiment for benchmark in EVERY_BENCHMARK)
    folder = files("gcp_repro.configs").joinpath("experiment")
    absent = [name for name in names if not folder.joinpath(f"{name}.yaml").is_file()]
    return (f"This version has no configuration for {', '.join(absent)}: their commands will not run.",) if absent else ()


def _sweeps() -> tuple[str, ...]:
    return (f"One command a table, which skips finished runs: {'; '.join(sweep_commands().values())}.",)


def _plan_caption(results: Results, speeds: pd.DataFrame | None) -> str:
    missing = missing_runs(results)
    hours = [gpu_hours(run, results, speeds) for run in missing]
    known = [value for value in hours if value is not None]
    work = sum(run.images for run in missing)
    text = (
        f"{len(missing)} of {len(planned_runs())} runs of the tables have no result: {work / 1e9:.1f} billion training images. "
    )
    if not known:
        return text + (
            "GPU hours are not estimated: no run of these experiments on a GPU, in the precision that they have, is in the "
            "results, and gcp-bench train has measured none."
        )
    return (
        text
        + f"{sum(known):,.0f} GPU hours for the {len(known)} of them whose throughput was measured; the others are not estimated."
    )
