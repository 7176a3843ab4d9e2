"""The run from which fine-tuning starts, found by what it trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gcp_repro.errors import DataError
from gcp_repro.metalayers import META_LAYERS
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.states import state_of

__all__ = ["MatchingRun"]


@dataclass(frozen=True)
class MatchingRun:
    """The finished hybrid run of an experiment with the same meta-layer; standalone serves as well where there is no swap.

    Attributes:
        runs_dir: Where runs are kept.
        experiment: Whose runs are looked at.
        meta_layer: Registered name.
        dtype: Of the meta-layer; None if it has none.
        route: Likewise.
        seed: Preferred; without such a run, the lowest seed there is.
        optional: Whether its absence is no error.
    """

    runs_dir: str
    experiment: str
    meta_layer: str
    dtype: str | None
    route: str | None
    seed: int
    optional: bool = False

    @property
    def command(self) -> str:
        """What trains such a run."""
        options = "".join(
            f" meta_layer.{name}={value}" for name, value in (("dtype", self.dtype), ("route", self.route)) if value is not None
        )
        protocol = "hybrid" if self._has_hybrid else "standalone"
        return (
            f"gcp-train experiment={self.experiment} meta_layer={self.meta_layer}{options} protocol={protocol} seed={self.seed}"
        )

    def checkpoint(self) -> Path | None:
        """Its last checkpoint; None where there is no such run and none is required.

        Raises:
            DataError: There is no such run. "fine-tuning svd_pade starts from ...; there is none in runs/...: train it with ..."
        """
        found = sorted(self._matches(), key=lambda match: (match[0] != self.seed, match[0], match[1]))
        if found:
            return found[0][1]
        if self.optional:
            return None
        raise DataError(
            f"fine-tuning {self.meta_layer} starts from a finished run of {self.experiment} with the same layer, precision and "
            f"route; there is none in {Path(self.runs_dir) / self.experiment}: train it with {self.command}, name a checkpoint "
            "with callbacks.initial_weights.checkpoint=FILE, or start from random weights with callbacks.initial_weights.run=null"
        )

    @property
    def _has_hybrid(self) -> bool:
        """Otherwise its hybrid runs, if any, are its standalone ones."""
        entry = META_LAYERS.get(self.meta_layer)
        return entry is not None and entry.has_hybrid

    def _matches(self) -> Iterator[tuple[int, Path]]:
        protocols = ("hybrid",) if self._has_hybrid else ("hybrid", "standalone")
        wanted = {"status": "finished", "meta_layer": self.meta_layer, "dtype": self.dtype, "route": self.route}
        for path in sorted((Path(self.runs_dir) / self.experiment).glob("*/result.json")):
            run = RunDirectory(path.parent)
            result = state_of(run).result
            if result.items() >= wanted.items() and result["protocol"] in protocols and run.last.is_file():
                yield result["seed"], run.last
