"""Packages with entry points of this package's, as pip leaves them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path


def install(folder: Path, name: str, value: str, code: str) -> None:
    """A module with one entry point."""
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[gcp_repro.plugins]\n{name} = {value}\n")


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that sees what is installed in the folder."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
