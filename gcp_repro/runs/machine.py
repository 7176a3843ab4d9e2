"""What belongs to a machine and to no run: its processor's name, and the file of its solvers' speeds."""

from __future__ import annotations

import os
import platform
from pathlib import Path

__all__ = ["SOLVERS_VARIABLE", "cpu_name", "solver_file"]

SOLVERS_VARIABLE = "GCP_SOLVERS"
"""Environment variable: another file for the speeds; empty for none."""


def cpu_name() -> str:
    """As the processor calls itself, or the architecture where that cannot be found out."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def solver_file() -> Path | None:
    """`$GCP_SOLVERS`, or `gcp_repro/solvers.csv` in the user's cache; None where the variable is empty.

    `gcp-bench tune` writes it, and every training on a machine of the same processor or GPU goes by it.
    """
    named = os.environ.get(SOLVERS_VARIABLE)
    if named is not None:
        return Path(named) if named else None
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "gcp_repro" / "solvers.csv"
