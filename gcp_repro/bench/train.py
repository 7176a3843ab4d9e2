"""Where the time of a training step goes, for a layer against average pooling and Newton-Schulz in the same run."""

from __future__ import annotations

import argparse
import gc
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from rich.table import Table

from gcp_repro.bench.layer_records import machine, other_rows, write_rows
from gcp_repro.bench.layer_tables import make_console
from gcp_repro.bench.memory import forget_peak, peak_bytes
from gcp_repro.bench.step_clock import PARTS, ClockAround, StepClock
from gcp_repro.errors import OptionError
from gcp_repro.runs import register_resolvers
from gcp_repro.runs.files import refuse_unwritable
from gcp_repro.training.build import Experiment, build, build_experiment, label_of
from gcp_repro.training.diagnostics.diagnostic import MetaLayerDiagnostic
from gcp_repro.training.hardware import check_hardware
from gcp_repro.training.loop.checkpoints import DurableCheckpointIO
from gcp_repro.training.module.compilation import compile_options, explained_failures
from gcp_repro.training.processes.batches import share_batch
from gcp_repro.training.protocol.initial_weights import InitialWeights
from gcp_repro.training.run import ignore_irrelevant_warnings
from gcp_repro.trust import check_targets

__all__ = ["StepTimes", "add_arguments", "measure", "run"]

REFERENCES = ("gap", "isqrt_cov")
DEFAULT_FILE = Path("reports") / "train_steps.csv"
TALKATIVE = ("utilities.rank_zero", "accelerators.cuda", "trainer.connectors.checkpoint_connector")
"""Modules of Lightning that say the same in every round."""


@dataclass(frozen=True)
class StepTimes:
    """What a step of training takes.

    Args:
        experiment: Its name.
        layer: The meta-layer.
        backbone: The network in front of it.
        batch_size: Images a step.
        precision: Of the trainer.
        compiled: Whether the network was (`compile`).
        step_seconds: Of the round that is the median.
        part_seconds: Of that round, by the names in `PARTS`, and "checkpoint": one at an epoch's end, shared out over its steps.
        memory_bytes: Largest, of torch's allocator on a GPU, resident in the process on the CPU (Linux; 0 elsewhere).
        tiny: Whether the images were generated ones, which say nothing about reading the real ones.
    """

    experiment: str
    layer: str
    backbone: str
    batch_size: int
    precision: str
    compiled: bool
    step_seconds: float
    part_seconds: dict[str, float]
    memory_bytes: int
    tiny: bool = False

    @property
    def images_per_second(self) -> float:
        """Training images."""
        return self.batch_size / self.step_seconds

    def row(self) -> dict[str, Any]:
        """Columns of the file."""
        return {
            "experiment": self.experiment,
            "meta_layer": self.layer,
            "backbone": self.backbone,
            "batch_size": self.batch_size,
            "precision": self.precision,
            "compiled": self.compiled,
            "images_per_second": self.images_per_second,
            "step_seconds": self.step_seconds,
            **{f"{part.replace('-', '_')}_seconds": seconds for part, seconds in self.part_seconds.items()},
            "tiny": self.tiny,
            "memory_mib": self.memory_bytes / 2**20,
        }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `gcp-bench train`."""
    parser.add_argument(
        "overrides", nargs="*", help="of the configuration, as gcp-train takes them: experiment=resnet50_imagenet"
    )
    parser.add_argument("--layers", nargs="*", default=list(REFERENCES), help="layers to compare with (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="steps of a round that are counted")
    parser.add_argument("--warmup", type=int, default=3, help="steps before them")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; the layers take turns")
    parser.add_argument("--output", type=Path, default=DEFAULT_FILE, help="csv file for gcp-tables --plan (default: %(default)s)")


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write the file: rows of other experiments, batches and devices stay in it.

    Raises:
        OptionError: A number below 1, or too few batches in an epoch.
        DataError: The file is there, and none of this command.
        GCPError: What `gcp-train` would say of the configuration.
    """
    for name in ("steps", "warmup", "repeats"):
        if getattr(options, name) < 1:
            raise OptionError(f"--{name} needs at least 1; got {getattr(options, name)}: change it")
    refuse_unwritable("--output", options.output)
    for name in TALKATIVE:
        logging.getLogger(f"pytorch_lightning.{name}").setLevel(logging.WARNING)
    configs = _configs(options.overrides, options.layers)
    device = torch.device("cuda" if configs[0].trainer.accelerator != "cpu" and torch.cuda.is_available() else "cpu")
    here = machine(device, configs[0].trainer.num_threads or torch.get_num_threads())
    others = other_rows(options.output, _about(configs[0]) | {name: here[name] for name in ("device", "cpu")})
    with tempfile.TemporaryDirectory() as folder:
        times = measure(configs, Path(folder), steps=options.steps, warmup=options.warmup, repeats=options.repeats)
    make_console().print(_table(times))
    write_rows(options.output, [entry.row() for entry in times], here, others)
    print(f"written: {options.output}")


def _about(config: DictConfig) -> dict[str, Any]:
    """What rows have in common that are measured together, by the names of their columns."""
    return {
        "experiment": config.experiment_name,
        "batch_size": int(config.data.batch_size),
        "precision": str(config.trainer.precision),
        "compiled": compile_options(config.compile) is not None,
    }


def _configs(overrides: Sequence[str], layers: Sequence[str]) -> list[DictConfig]:
    """The configuration as given, then with each of the layers in its place; no layer twice."""
    register_resolvers()
    configs: dict[str, DictConfig] = {}
    of_layer = ("meta_layer=", "meta_layer.", "row=", "protocol=", "protocol.")
    plain = [override for override in overrides if not override.startswith(of_layer)]
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        for given in (list(overrides), *([*plain, f"meta_layer={layer}"] for layer in layers)):
            config = compose("train", given)
            check_targets(config, "the command", config.trusted)
            check_hardware(config.trainer, config.callbacks)
            _check_passes(config)
            configs.setdefault(config.meta_layer.name, config)
    return list(configs.values())


def _check_passes(config: DictConfig) -> None:
    trainer, images = config.trainer, int(config.data.batch_size)
    bound, passes = trainer.images_per_device, trainer.accumulate_grad_batches
    if share_batch(images, 1, passes=passes, images_per_device=bound).passes > 1:
        name, value = ("accumulate_grad_batches", passes) if passes is not None else ("images_per_device", bound)
        raise OptionError(
            f"gcp-bench train needs steps of one pass; got trainer.{name}={value} with data.batch_size={images}: leave it null, "
            "and set data.batch_size to the images of one pass"
        )


def measure(configs: Sequence[DictConfig], folder: Path, *, steps: int, warmup: int, repeats: int) -> list[StepTimes]:
    """Train with each configuration in turn, some steps a round.

    Args:
        configs: Alike but for the layer.
        folder: For a checkpoint.
        steps: That are counted in a round.
        warmup: Before them.
        repeats: Rounds.

    Raises:
        OptionError: An epoch has too few batches.
    """
    if configs[0].trainer.num_threads is not None:
        torch.set_num_threads(configs[0].trainer.num_threads)
    rounds: list[list[StepTimes]] = [[] for _ in range(repeats)]
    for one in rounds:
        for config in configs:
            gc.collect()  # Lightning's objects refer to one another
            one.append(_round(config, folder, steps, warmup))
    return [_median([one[i] for one in rounds]) for i in range(len(configs))]


def _round(config: DictConfig, folder: Path, steps: int, warmup: int) -> StepTimes:
    torch.manual_seed(config.seed)
    config.paths.runs_dir = str(folder)
    Path(config.paths.run_dir).mkdir(parents=True, exist_ok=True)  # for diagnostics that write
    experiment = build_experiment(config)
    if experiment.swap is not None:
        experiment.swap.set_stage(experiment.module, experiment.swap.swap_epoch)  # the layer that the run is named after
    clock = StepClock(experiment.module, experiment.datamodule, warmup)
    trainer = _trainer(config, experiment, clock, folder, warmup + steps)
    forget_peak()
    with ignore_irrelevant_warnings(), explained_failures(experiment.module.compile_options):
        trainer.fit(experiment.module, experiment.datamodule)
    if clock.steps < steps:
        raise OptionError(
            f"gcp-bench train needs {warmup + steps} batches in an epoch; got {trainer.num_training_batches}: lower --steps or "
            "data.batch_size"
        )
    clock.close()
    start = time.perf_counter()
    trainer.save_checkpoint(folder / "bench.ckpt")
    saving = (time.perf_counter() - start) / int(trainer.num_training_batches)
    parts = clock.seconds()
    return StepTimes(
        **_about(config),
        layer=config.meta_layer.name,
        backbone=label_of(experiment.module.network.backbone),
        step_seconds=sum(parts.values()),
        part_seconds=parts | {"checkpoint": saving},
        memory_bytes=peak_bytes(),
        tiny=bool(config.data.get("tiny", False)),
    )


def _trainer(config: DictConfig, experiment: Experiment, clock: StepClock, folder: Path, steps: int) -> Trainer:
    own: Any = OmegaConf.to_container(config.trainer, resolve=True)
    kept = ("accelerator", "devices", "precision", "deterministic", "benchmark", "sync_batchnorm")
    configured = [build(node) for node in config.callbacks.values()]
    return Trainer(
        **{name: own[name] for name in kept},
        max_steps=steps,
        max_epochs=1,
        limit_val_batches=0,
        gradient_clip_val=config.gradient_clip_norm,
        callbacks=[experiment.module.finite_steps, *_timed(configured, clock), clock],
        plugins=[DurableCheckpointIO()],
        logger=False,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _timed(callbacks: Sequence[Callback], clock: StepClock) -> Iterator[Callback]:
    """Diagnostics with the clock around them, other callbacks as they are; weights of another run change no time."""
    for callback in callbacks:
        if isinstance(callback, MetaLayerDiagnostic):
            yield ClockAround(clock, callback)
        elif not isinstance(callback, InitialWeights):
            yield callback


def _median(rounds: Sequence[StepTimes]) -> StepTimes:
    """The round whose step is the median, of two the shorter, with the largest memory of all: its parts sum to its step."""
    middle = sorted(rounds, key=lambda one: one.step_seconds)[(len(rounds) - 1) // 2]
    return replace(middle, memory_bytes=max(one.memory_bytes for one in rounds))


def _table(times: Sequence[StepTimes]) -> Table:
    first = times[0]
    numbers = f"{first.precision}{' compiled' if first.compiled else ''}"
    about = f"{first.experiment}, {first.backbone}, batch {first.batch_size}, {numbers}"
    table = Table(title=f"{about}: percent of a step, without checkpoints")
    for name in ("layer", "ms a step", "images/s", *PARTS, "checkpoint", "MiB"):
        table.add_column(name, justify="left" if name == "layer" else "right", no_wrap=True)
    for entry in times:
        shares = [f"{100 * entry.part_seconds[part] / entry.step_seconds:.1f}" for part in (*PARTS, "checkpoint")]
        speed = f"{1e3 * entry.step_seconds:,.1f}", f"{entry.images_per_second:,.1f}"
        table.add_row(entry.layer, *speed, *shares, f"{entry.memory_bytes / 2**20:,.0f}")
    return table
