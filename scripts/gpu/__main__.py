"""All that a GPU is wanted for, in one go of at most eight minutes: tests, speeds, trainings in mixed precision and compiled.

    python -m scripts.gpu [--output DIR] [--peer CLONE] [--minutes M] [--only STEP ...]

Every step is a command with a time limit of its own. One that fails or runs out of time leaves the others theirs. What they say
is in DIR/log.txt, how they ended in DIR/session.csv, what they measured beside it. `--device cpu` goes through the same on a CPU,
at sizes that take it a minute or two.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scripts.gpu.arguments import checked_options, gpu_parser

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Step:
    """A command.

    Attributes:
        name: Of the step.
        command: Program and arguments.
        seconds: That it may take.
    """

    name: str
    command: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Ending:
    """How a step ended: "done", "failed" or "out of time"."""

    step: Step
    state: str
    seconds: float


TESTS = ("tests/metalayers/test_on_gpu.py", "tests/training/test_on_gpu.py", "tests/data/test_device_decoding.py")
"""The files with tests that need a GPU."""
TRAINED = (
    ("alexnet_imagenet", 128, "32-true"), ("resnet50_imagenet", 256, "32-true"),
    ("alexnet_imagenet", 128, "16-mixed"), ("resnet50_imagenet", 256, "16-mixed"),
)  # fmt: skip
"""Experiment, the paper's batch size, and precision of the trainings whose steps are taken apart."""
WARMUP, COUNTED = 3, 7
"""Steps of them."""
IMAGES = (WARMUP + COUNTED) * max(batch for _, batch, _ in TRAINED)


def steps_on(device: str, folder: Path, peer: Path | None) -> list[Step]:
    """What there is to do, the most wanted first."""
    small = device == "cpu"
    shapes = ["--shapes", "4x16x4x4"] if small else []
    bench = str(BIN / "gcp-bench")
    tests = ["-m", "pytest", "-q", "-n", "1" if small else "4", "-m", "gpu", *TESTS]
    rounds = ["--repeats", "1" if small else "3", "--device", device, *shapes]
    return [
        Step("tests", (sys.executable, *tests), 120),
        _script("decompositions", device, folder, ("--sizes", "8", "--batches", "2") if small else (), 30),
        Step("layers", (bench, "layers", *rounds, "--output", str(folder / "layers.csv")), 900 if small else 120),
        *(_training(device, folder, *choice) for choice in _trainings(small)),
        *_benched(device, folder),
        *(
            [Step("peer", (bench, "layers", *_compared(device), "--peer", str(peer), "--output", str(folder / "peer.csv")), 120)]
            if peer
            else []
        ),
        _script("decoding", device, folder, ("--images", "64", "--workers", "0") if small else (), 60),
        Step("tune", (bench, "tune", *rounds, "--output", str(folder / "solvers.csv")), 900 if small else 180),
        Step("data", (bench, "data", "--csv", str(folder / "data_throughput.csv")), 60),
    ]


def _script(name: str, device: str, folder: Path, options: tuple[str, ...], seconds: float) -> Step:
    """A measurement that is a script of this folder."""
    command = (sys.executable, "-m", f"scripts.gpu.{name}", "--device", device, *options)
    return Step(name, (*command, "--output", str(folder / f"{name}.csv")), seconds)


def _compared(device: str) -> tuple[str, ...]:
    """A few layers: the peer decomposes on the CPU, for seconds."""
    layers = ("--layers", "svd_pade", "svd_taylor", "isqrt_cov", "--dtypes", "float64")
    return (*layers, "--shapes", "4x16x4x4" if device == "cpu" else "paper", "--repeats", "2", "--device", device)


def _benched(device: str, folder: Path) -> Iterator[Step]:
    """Trainings whose steps are taken apart, on photographs of ImageNet's size that are written first."""
    bench, output = (str(BIN / "gcp-bench"), "train"), ("--output", str(folder / "train_steps.csv"))
    if device == "cpu":
        digits = ("experiment=digits", "meta_layer=svd_pade", "trainer.accelerator=cpu", "--steps", "2", "--warmup", "1")
        yield Step("train", (*bench, *digits, *output), 900)
        return
    images = folder / "images"
    yield Step("images", (sys.executable, "-m", "scripts.gpu.images", "--output", str(images), "--images", str(IMAGES)), 60)
    data = ("data=image_folder", f"data.root={images}", f"data.num_workers={max(1, (os.cpu_count() or 1) - 1)}")
    counts = ("--steps", str(COUNTED), "--warmup", str(WARMUP), "--repeats", "2")
    for experiment, batch, precision in TRAINED:
        configured = (f"experiment={experiment}", "meta_layer=svd_pade", *data, f"data.batch_size={batch}")
        options = (*configured, f"trainer.precision={precision}", "trainer.accelerator=gpu", *counts)
        yield Step(f"train {experiment} {precision}", (*bench, *options, *output), 90)


def _trainings(small: bool) -> Iterator[tuple[str, str, bool]]:
    """Experiment, precision, and whether it is compiled."""
    for experiment in ("digits",) if small else ("alexnet_imagenet", "resnet50_imagenet"):
        yield experiment, "bf16-mixed" if small else "16-mixed", False
        yield experiment, "bf16-mixed", True


def _training(device: str, folder: Path, experiment: str, precision: str, compiled: bool) -> Step:
    """A few steps on generated images, through the hybrid swap."""
    name = f"{experiment} {precision}{' compiled' if compiled else ''}"
    runs = folder / "runs" / name.replace(" ", "_")  # compiled or not is the same run, which would be finished
    options = (
        f"experiment={experiment}", "debug=tiny", "protocol=hybrid", "meta_layer=svd_pade", f"paths.runs_dir={runs}",
        f"trainer.accelerator={'gpu' if device == 'cuda' else 'cpu'}", f"trainer.precision={precision}",
        f"compile={str(compiled).lower()}",
    )  # fmt: skip
    return Step(name, (str(BIN / "gcp-train"), *options), 90 if device == "cuda" else 900)


def run(steps: Sequence[Step], folder: Path, seconds: float) -> list[Ending]:
    """Go through the steps, and write down how each ended, as soon as it has.

    Args:
        steps: In order.
        folder: For `log.txt` and `session.csv`.
        seconds: For all of them together; a step gets what is left at most.
    """
    folder.mkdir(parents=True, exist_ok=True)
    endings: list[Ending] = []
    end = time.monotonic() + seconds
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        for step in steps:
            ending = _ending(step, min(step.seconds, end - time.monotonic()), log.fileno())
            endings.append(ending)
            print(f"{ending.state:<11} {step.name} ({ending.seconds:.0f} s)", flush=True)
            _write(folder / "session.csv", endings)
    return endings


def _ending(step: Step, seconds: float, log: int) -> Ending:
    os.write(log, f"\n== {step.name}: {' '.join(step.command)}\n".encode())
    start = time.monotonic()
    if seconds <= 0:
        return Ending(step, "out of time", 0.0)
    try:
        code = subprocess.run(step.command, cwd=ROOT, stdout=log, stderr=log, timeout=seconds, check=False).returncode
        state = "done" if code == 0 else "failed"
    except subprocess.TimeoutExpired:
        state = "out of time"
    return Ending(step, state, time.monotonic() - start)


def _write(path: Path, endings: Sequence[Ending]) -> None:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "state", "seconds", "device", "torch", "command"])
        for ending in endings:
            command = " ".join(ending.step.command)
            writer.writerow([ending.step.name, ending.state, f"{ending.seconds:.1f}", device, torch.__version__, command])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point: 0 if every step was done."""
    parser = gpu_parser("scripts.gpu", __doc__, "reports/gpu", "folder")
    parser.add_argument("--peer", type=Path, help="your clone of DifferentiableSVD, to be timed in the same run")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all steps together (default: %(default)s)")
    parser.add_argument("--only", nargs="+", metavar="STEP", help="names of steps")
    options = checked_options(parser, arguments)
    folder = options.output.resolve()
    steps = steps_on(options.device, folder, options.peer)
    names = [step.name for step in steps]
    for name in options.only or ():
        if name not in names:
            parser.error(f"no step {name!r}: known are {', '.join(names)}")
    chosen = [step for step in steps if not options.only or step.name in options.only]
    endings = run(chosen, folder, 60 * options.minutes)
    print(f"written: {folder}")
    return 0 if all(ending.state == "done" for ending in endings) else 1


if __name__ == "__main__":
    sys.exit(main())
