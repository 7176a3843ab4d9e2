"""Table 2 from generated images to the filled-in table, through what happens on a cluster in a week: what `make rehearsal` runs.

    python -m scripts.rehearsal [--folder DIR]

docs/rehearsal.md says what it shows. Linux alone.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gcp_repro.data.tiny import Tiny, write_tiny
from scripts.rehearsal.checks import Check, check_all
from scripts.rehearsal.disk import Disk, disk
from scripts.rehearsal.processes import NO_ACCOUNT, PATIENCE, Sweep, kill, surroundings

ROOT = Path(__file__).parents[2]
IMAGES = Tiny(classes=20, train=16, val=4, size=(64, 64))
CONFIGURATION = (
    "experiment=alexnet_imagenet", "data.allow_partial=true", "data.image_size=64", "data.batch_size=64", "data.num_workers=0",
    "model.reduce_dim=32", "model.hidden_dims=[64]", "schedule.epochs=3", "schedule.milestones=[1,2]",
    "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.num_threads=1", "progress.seconds=1",
    "callbacks=none", "+callbacks.divergence._target_=scripts.rehearsal.divergence.Divergence",
    "+callbacks.divergence.layer=${meta_layer.name}", "+callbacks.divergence.protocol=${protocol.name}",
)  # fmt: skip
"""The experiment of Table 2, but for sizes: 64 pixels, 3 epochs, a narrower classifier; two processes a run."""
CONTROL = 1
"""The row, killed in the sweep, that is trained a second time without any disturbance, and from the other layout."""


@dataclass(frozen=True)
class Event:
    """Something that happens to a sweep while it trains a row.

    Attributes:
        name: In words.
        row: Of Table 2, counted from 0; it strikes when the row has an epoch behind it.
        strike: Does it.
    """

    name: str
    row: int
    strike: Callable[[Sweep, Disk], None]


@dataclass(frozen=True)
class Start:
    """One start of the same command.

    Attributes:
        events: In order.
        statuses: Exit statuses that it may end with.
        account: What the first line of its account must hold; "no account" where it dies before it can give one.
    """

    events: tuple[Event, ...]
    statuses: tuple[int, ...]
    account: str


def _kill_all(sweep: Sweep, place: Disk) -> None:
    sweep.main.kill()


def _kill_worker(sweep: Sweep, place: Disk) -> None:
    kill(sweep.workers())


def _ask_to_stop(sweep: Sweep, place: Disk) -> None:
    sweep.main.terminate()


def _fill_disk(sweep: Sweep, place: Disk) -> None:
    place.fill(sweep)


STARTS = (
    Start((Event("the main process is killed", CONTROL, _kill_all),), (-signal.SIGKILL,), NO_ACCOUNT),
    Start((Event("a worker is lost", 2, _kill_worker), Event("the disk is full", 4, _fill_disk)), (1,), "failed"),
    Start((Event("the scheduler wants the machine back", 8, _ask_to_stop),), (128 + signal.SIGTERM,), "1 interrupted"),
    Start((), (0,), "1 diverged"),
    Start((), (0,), "13 skipped"),
)


def check_start(number: int, plan: Start, status: int, account: str, place: Disk) -> list[Check]:
    """How a start ended, and its account, which may be lacking where a full disk has no room for what is printed."""
    unheard = not place.keeps_output and any(event.strike is _fill_disk for event in plan.events)
    told = plan.account in account or (unheard and account == NO_ACCOUNT)
    return [
        Check(f"start {number} ends with a status in {plan.statuses}", status in plan.statuses, str(status)),
        Check(f"start {number} says: {plan.account}", told, account),
    ]


class Rehearsal:
    """The whole of it.

    Args:
        folder: Of data, logs and reports; need not exist.
        place: The disk of the runs.
    """

    def __init__(self, folder: Path, place: Disk) -> None:
        self.folder, self.place = folder, place
        self.runs = place.folder / "runs"
        self.began = time.monotonic()
        self.lines: list[tuple[str, str, str]] = []
        self.written: dict[Path, int] = {}

    def say(self, text: str) -> None:
        """A line with the time."""
        minutes, seconds = divmod(int(time.monotonic() - self.began), 60)
        print(f"[{minutes:2d}:{seconds:02d}] {text}", flush=True)

    def command(self, layout: str, runs: Path, *more: str) -> list[str]:
        """Of a training."""
        places = (f"data.root={self.folder / layout}", f"paths.runs_dir={runs}")
        return [sys.executable, "-m", "gcp_repro.cli.train", *more, *CONFIGURATION, *places]

    def start(self, number: int, plan: Start) -> list[Check]:
        """Start the sweep once, and do to it what is planned."""
        self.say(f"start {number}")
        log = self.folder / f"start-{number}.log"
        sweep = Sweep(self.command("imagenet_tar", self.runs, "-m", "sweep=table2"), log, self.runs, surroundings(ROOT))
        known: list[int] = []
        try:
            for event in plan.events:
                self._wait_for(sweep, event)
                known = sweep.processes()
                event.strike(sweep, self.place)
                self.say(f"{event.name} (row {event.row + 1})")
            status = sweep.wait_for_all(known)
        finally:
            kill([*known, *(sweep.processes() if sweep.main.poll() is None else ())])
        account = sweep.account()
        self._note_results()
        self.say(f"ended with status {status}: {account}")
        self.lines.append((", ".join(event.name for event in plan.events) or "nothing", str(status), account))
        if any(event.strike is _fill_disk for event in plan.events):
            self.place.empty()
        return check_start(number, plan, status, account, self.place)

    def _wait_for(self, sweep: Sweep, event: Event) -> None:
        deadline = time.monotonic() + PATIENCE
        while not sweep.trains(event.row):
            if sweep.main.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"row {event.row + 1} was not reached; {sweep.log} says why")
            time.sleep(0.1)
            self._note_results()

    def _note_results(self) -> None:
        """When each was written first: no later start may write it again."""
        for path in self.runs.glob("*/*/result.json"):
            self.written.setdefault(path, path.stat().st_mtime_ns)

    def control(self, overrides: Sequence[str]) -> Path:
        """Train one row without any disturbance; returns its directory."""
        self.say("the row that was killed, a second time: undisturbed, from class folders")
        runs = self.folder / "control"
        command = self.command("imagenet", runs, *overrides)
        with (self.folder / "control.log").open("w", encoding="utf-8") as file:
            subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=surroundings(ROOT), check=True, timeout=PATIENCE)
        return next(runs.glob("*/*/result.json")).parent

    def tables(self) -> Path:
        """Write the report and its tables; returns the csv file of Table 2."""
        tables = [sys.executable, "-m", "gcp_repro.cli.tables", str(self.runs)]
        for form, output in (("html", self.folder / "report" / "index.html"), ("csv", self.folder / "report" / "csv")):
            subprocess.run([*tables, "--format", form, "--output", str(output)], check=True, env=surroundings(ROOT))
        subprocess.run([sys.executable, "-m", "gcp_repro.cli.status", str(self.runs)], check=True, env=surroundings(ROOT))
        return next((self.folder / "report" / "csv").glob("errors-*.csv"))


def run(folder: Path, place: Disk) -> list[Check]:
    """All of it; returns what was checked."""
    rehearsal = Rehearsal(folder, place)
    rehearsal.say(f"the disk: {place.kind}")
    for layout in ("imagenet_tar", "imagenet"):
        write_tiny(layout, folder / layout, IMAGES)
    checks = [check for number, plan in enumerate(STARTS, start=1) for check in rehearsal.start(number, plan)]
    control = rehearsal.control(["row=svd_pade"])
    table = rehearsal.tables()
    checks += check_all(rehearsal.runs, control, table, rehearsal.written)
    shutil.copytree(rehearsal.runs / "sweeps", folder / "sweeps")
    _write_account(folder / "rehearsal.csv", rehearsal.lines)
    rehearsal.say("done")
    return checks


def _write_account(path: Path, lines: Sequence[tuple[str, str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("what happened", "status", "account"), *lines])


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("rehearsal"), help="of all files; an earlier one is replaced")
    folder = parser.parse_args().folder.absolute()
    mark = folder / ".rehearsal"
    if folder.exists() and not mark.exists() and any(folder.iterdir()):
        sys.exit(f"the rehearsal needs a folder of its own; {folder} holds other files: name another one with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    mark.touch()
    with disk(folder / "disk") as place:
        checks = run(folder, place)
    for check in checks:
        print(f"{'yes' if check.holds else 'NO '}  {check.what}{'' if check.holds else f': {check.found}'}")
    return 0 if all(check.holds for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
