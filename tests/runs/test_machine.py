from pathlib import Path

import pytest

from gcp_repro.runs.machine import cpu_name, solver_file


def test_the_processor_has_a_name():
    assert cpu_name().strip()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"GCP_SOLVERS": "/tables/mine.csv"}, Path("/tables/mine.csv")),
        ({"GCP_SOLVERS": ""}, None),
        ({"XDG_CACHE_HOME": "/cache"}, Path("/cache/gcp_repro/solvers.csv")),
        ({"HOME": "/home/somebody"}, Path("/home/somebody/.cache/gcp_repro/solvers.csv")),
    ],
)
def test_where_the_speeds_lie(monkeypatch, environment, expected):
    for name in ("GCP_SOLVERS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert solver_file() == expected
