"""Packages import what their docstrings allow; the layers need torch and numpy alone."""

import subprocess
import sys

import pytest

from gcp_repro.metalayers import META_LAYERS
from scripts.import_rules import ROOT, broken, rules

RULES = rules()


def test_every_package_says_what_it_imports():
    entries = [path for path in (ROOT / "gcp_repro").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert {path.stem for path in entries} - {"__init__"} == {name for name in RULES if "." not in name}


def test_rules_name_packages_that_have_rules():
    for rule in RULES.values():
        assert set(rule.ours or ()) <= set(RULES), rule


@pytest.mark.parametrize("name", [name for name in RULES if "." not in name])
def test_a_package_imports_what_it_says(name):
    path = RULES[name].path
    faults = [fault for file in (path.rglob("*.py") if path.is_dir() else [path]) for fault in broken(file, RULES)]
    assert not faults, "\n".join(faults)


def _said_by(script):
    path = ROOT / "tests" / "fakes" / script
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_layers_need_torch_and_numpy_alone():
    said = _said_by("torch_and_numpy_alone.py")
    assert said == [str(len(META_LAYERS))], "layers that were built, then modules that should not be there"


def test_nothing_needs_what_windows_lacks():
    assert int(_said_by("nothing_forks.py")[-1]) > 150, "modules that were imported"
