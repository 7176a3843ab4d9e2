"""Looking at runs must not cost the import of torch."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "pytorch_lightning", "pandas", "numpy")


@pytest.mark.parametrize("module", ["gcp_repro.runs", "gcp_repro.runs.outcome", "gcp_repro.runs.states", "gcp_repro.cli.train"])
def test_imports_are_light(module):
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
