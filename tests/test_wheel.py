"""The wheel holds the package and nothing else, and its description is right."""

import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import gcp_repro

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy: in place, setuptools would add what it left in `build` earlier."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("gcp_repro", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "local"))
    command = [
        "pip",
        "wheel",
        "--quiet",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        str(source),
    ]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def _files(folder):
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and "local" not in path.parts
    }


def test_contents(wheel):
    expected = _files("gcp_repro") | {f"gcp_repro/{name}" for name in _files("configs")}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_description(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        description = message_from_bytes(archive.read(name))
    assert description["Version"] == gcp_repro.__version__
    assert "What has been measured" in description.get_payload()
    named = {extra for text in _texts() for extras in re.findall(r"gcp_repro\[([\w,-]+)\]", text) for extra in extras.split(",")}
    assert named - set(description.get_all("Provides-Extra")) == set(), "extras that messages or documents name"


def _texts():
    paths = [
        path
        for folder in ("gcp_repro", "configs", "docs")
        for path in (ROOT / folder).rglob("*.*")
        if path.suffix in {".py", ".yaml", ".md"}
    ]
    return [path.read_text(encoding="utf-8") for path in paths]


def test_twine_has_no_complaint(wheel):
    pytest.importorskip("twine")
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", str(wheel)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_names_nothing_of_the_checkout():
    """Whoever installed the wheel has no scripts, no Makefile and no source to install from."""
    for path in (ROOT / "gcp_repro").rglob("*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"python scripts/|`?make (reproduce|test|docs)|pip install (-e|--editable|\.)", line), (
                f"{path}: {line}"
            )
