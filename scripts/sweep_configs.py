"""The configurations of the groups `row` and `sweep` that follow from the plan of the paper's runs."""

from __future__ import annotations

from collections.abc import Iterator

from gcp_repro.paper.plan import BENCHMARKS, Benchmark, sweep_commands

ROW = """# @package _global_
# {words}
defaults:
  - override /meta_layer: {layer}
  - override /protocol: {protocol}
"""
SWEEP = """# @package _global_
# All rows of {table}: {command}
hydra:
  mode: MULTIRUN
  sweeper:
    params:
"""


def configurations() -> dict[str, str]:
    """Text of every file, by its place below `configs`."""
    rows = {
        name for benchmark in BENCHMARKS for name in (*benchmark.standalone, *(f"{layer}_hybrid" for layer in benchmark.hybrid))
    }
    return {
        **{f"row/{name}.yaml": _row(name) for name in sorted(rows)},
        **{f"sweep/{benchmark.sweep}.yaml": _sweep(benchmark) for benchmark in BENCHMARKS},
    }


def _row(name: str) -> str:
    layer, hybrid = name.removesuffix("_hybrid"), name.endswith("_hybrid")
    if layer == "gap":
        return ROW.format(words="Average pooling: the vanilla rows of Table 3.", layer=layer, protocol="standalone")
    words = f"Newton-Schulz first, then {layer}" if hybrid else f"{layer} from the first epoch on"
    text = ROW.format(words=f"{words}, on the published route.", layer=layer, protocol="hybrid" if hybrid else "standalone")
    return f"{text}\nmeta_layer: {{route: dense}}\n"


def _sweep(benchmark: Benchmark) -> str:
    table = f"Table {benchmark.table}" if benchmark.table.isdigit() else benchmark.table
    return SWEEP.format(table=table, command=sweep_commands()[benchmark.sweep]) + "".join(_choices(benchmark))


def _choices(benchmark: Benchmark) -> Iterator[str]:
    for key, values in benchmark.choices.items():
        yield f"      {key}: {','.join(map(str, values))}\n"
