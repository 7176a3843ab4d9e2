"""Run the numerical tests as other x86-64 machines compute: with other vector units, kernels of libraries, numbers of threads.

    python scripts/portable_tests.py [MACHINE ...] [-- ARGUMENTS OF PYTEST]

Without a name all machines run. Those whose instructions this CPU lacks are left out. Each has a process of its own, because
libraries choose their kernels when they are loaded. A summary ends the run; the exit code is 0 if all passed. The digest in it is
that of a few results to the last bit: machines with the same digest compute alike.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
NUMERICAL = (
    "tests/linalg", "tests/metalayers", "tests/models/test_classifier.py", "tests/bench/test_limit.py",
    "tests/bench/test_peer.py", "tests/data/test_base.py", "tests/data/test_transforms.py", "tests/data/test_textures.py",
    "tests/paper/analytic/test_approximation.py", "tests/paper/analytic/test_bounds.py", "tests/paper/store/test_statistics.py",
    "tests/training/diagnostics/test_diagnostic.py", "tests/training/diagnostics/test_gradient_accuracy.py",
    "tests/training/protocol/test_hybrid.py",
    "tests/training/module/test_gcp_module.py", "tests/training/test_resume.py", "tests/training/test_several_processes.py",
    "tests/training/diagnostics/test_smoothness.py", "tests/training/diagnostics/test_spectrum.py",
    "tests/weights/test_importing.py::test_scores_are_those_of_the_foreign_network",
    "tests/weights/test_importing.py::test_arithmetics_differ_by_their_rounding",
    "tests/test_docs.py::test_code_runs", "gcp_repro/linalg", "gcp_repro/metalayers", "gcp_repro/data",
)  # fmt: skip
"""Tests whose outcome could depend on rounding."""

PROBE = """
import hashlib, numpy as np, torch
x = np.random.default_rng(0).normal(size=(200, 200))
t = torch.from_numpy(x)
f = t.float()
results = [x @ x, np.exp(x), np.linalg.eigvalsh(x @ x.T), t @ t, f @ f, torch.linalg.eigvalsh(t @ t.T)]
results += [torch.tanh(t), torch.addcmul(t, t, t), torch.nn.functional.conv2d(f[None, None], f[None, None, :5, :5])]
digest = hashlib.sha256(b"".join(np.asarray(result).tobytes() for result in results)).hexdigest()
print(torch.backends.cpu.get_cpu_capability().lower(), digest[:8])
"""


@dataclass(frozen=True)
class Machine:
    """What makes libraries compute as on another machine.

    Attributes:
        needs: Instructions that the CPU has to have.
        threads: Of torch, MKL and OpenBLAS.
        capability: torch's own kernels; None leaves all libraries their choice.
        mkl, onednn, openblas: Kernels of the libraries. MKL keeps to its choice on CPUs that are not Intel's, but for COMPATIBLE.
        numpy_without: Beginnings of the names of numpy's vector extensions that are switched off.
    """

    needs: tuple[str, ...] = ()
    threads: int = 1
    capability: str | None = None
    mkl: str = ""
    onednn: str = ""
    openblas: str = ""
    numpy_without: tuple[str, ...] = ()

    def environment(self, extensions: Sequence[str]) -> dict[str, str]:
        """Variables that the libraries read when they are loaded; `extensions` are those that numpy found on this CPU."""
        threads = {"OMP_NUM_THREADS": str(self.threads), "OPENBLAS_NUM_THREADS": str(self.threads)}
        if self.capability is None:
            return threads
        disabled = [name for name in extensions if name.startswith(self.numpy_without)]
        return threads | {
            "ATEN_CPU_CAPABILITY": self.capability, "MKL_CBWR": self.mkl, "ONEDNN_MAX_CPU_ISA": self.onednn,
            "OPENBLAS_CORETYPE": self.openblas, "NPY_DISABLE_CPU_FEATURES": " ".join(disabled),
        }  # fmt: skip


MACHINES = {
    "sse": Machine((), 1, "default", "COMPATIBLE", "SSE41", "Nehalem", ("AVX", "FMA", "X86_V3", "X86_V4")),
    "avx2": Machine(("avx2", "fma"), 2, "avx2", "AVX2", "AVX2", "Haswell", ("AVX512", "X86_V4")),
    "avx512": Machine(("avx512f", "avx512dq", "avx512bw", "avx512vl"), 1, "avx512", "AVX512", "AVX512_CORE", "SkylakeX"),
    "one-thread": Machine(threads=1),
    "two-threads": Machine(threads=2),
}


def cpu_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Instructions of this CPU, as Linux names them."""
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def choose(names: Sequence[str], flags: set[str]) -> dict[str, str]:
    """The machines asked for, or all of them, each with what it needs and this CPU lacks.

    Raises:
        SystemExit: An unknown machine, or none that this CPU can stand in for.
    """
    for name in names:
        if name not in MACHINES:
            raise SystemExit(
                f"test-portable needs machines among {', '.join(MACHINES)}; got {name!r}: name one of these, or none"
            )
    lacking = {name: " ".join(flag for flag in MACHINES[name].needs if flag not in flags) for name in names or MACHINES}
    if all(lacking.values()):
        raise SystemExit(f"test-portable: {', '.join(lacking)} need instructions that this CPU lacks: name another, as sse")
    return lacking


def run(name: str, arguments: Sequence[str]) -> tuple[str, ...]:
    """Run the tests as on a machine; the row of the summary, whose last cell is empty where all passed."""
    machine = MACHINES[name]
    extensions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    environment = {**os.environ, **machine.environment(extensions)}
    probe = subprocess.run([sys.executable, "-c", PROBE], env=environment, text=True, capture_output=True, check=False)
    if probe.returncode:
        return name, "", "", "", f"torch does not start: {probe.stderr.strip().splitlines()[-1]}"
    capability, digest = probe.stdout.split()
    if machine.capability not in (None, capability):
        return name, capability, digest, "", f"torch computes with {capability}"
    start = time.monotonic()
    code = subprocess.run(
        [sys.executable, "-m", "pytest", *NUMERICAL, *arguments], env=environment, cwd=ROOT, check=False
    ).returncode
    return name, capability, digest, f"{time.monotonic() - start:.0f}", "" if code == 0 else f"pytest ends with {code}"


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    own, passed_on = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machines", nargs="*", metavar="MACHINE", help=", ".join(MACHINES))
    table = Table("machine", "torch's kernels", "threads", "digest", "seconds", "tests")
    failed = 0
    for name, lacking in choose(parser.parse_args(own).machines, cpu_flags()).items():
        if lacking:
            table.add_row(name, "", "", "", "", f"left out: this CPU lacks {lacking}")
            continue
        Console().rule(name)
        *cells, problem = run(name, passed_on)
        failed += bool(problem)
        table.add_row(*cells[:2], str(MACHINES[name].threads), *cells[2:], problem or "passed")
    Console(width=max(120, Console().width)).print(table)  # a log is no terminal, and has 80 columns
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
