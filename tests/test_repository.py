import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import gcp_repro

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a checkout")
def test_no_source_file_is_kept_out_of_the_repository():
    """As a pattern for folders of runs kept out the package of that name."""
    sources = [path for folder in ("gcp_repro", "tests", "scripts") for path in (ROOT / folder).rglob("*.py")]
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", *map(str, sources)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ignored.stdout == ""
    assert ignored.returncode == 1, ignored.stderr  # git's way to say that it ignores none


POSIX_ALONE = {"fcntl", "grp", "pty", "pwd", "resource", "termios"}
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RUN_MAKE = [*WORKFLOWS, ROOT / "Dockerfile", ROOT / ".devcontainer" / "devcontainer.json", ROOT / "CONTRIBUTING.md"]


@pytest.mark.parametrize("path", RUN_MAKE, ids=lambda path: path.name)
def test_targets_of_make_exist(path):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(VENV)", ".venv")
    calls = re.findall(
        r"""(?:^ *|[`"]|run: |RUN |&& )make((?:[ ",]+[a-z.][\w./-]*)+)""", path.read_text(encoding="utf-8"), re.MULTILINE
    )
    targets = {target for call in calls for target in re.findall(r"[\w./-]+", call)}
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"{path.name} calls make {target}"


def test_a_host_checks_every_supported_python():
    matrix = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text())["jobs"]["tests"]["strategy"]["matrix"]
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r"Programming Language :: Python :: (3\.\d+)", project) == matrix["python"]
    assert f'requires-python = ">={matrix["python"][0]}"' in project


def test_files_of_tests_can_be_read_on_every_system():
    """Each imports at its top what there is on Windows too, or skips itself before."""
    for path in (ROOT / "tests").rglob("test_*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        guards = [node.lineno for node in body if isinstance(node, ast.If) and "allow_module_level" in ast.unparse(node)]
        for node in body:
            if isinstance(node, ast.Import) and {alias.name for alias in node.names} & POSIX_ALONE:
                assert min(guards, default=node.lineno) < node.lineno, f"{path.relative_to(ROOT)}: {ast.unparse(node)}"


def test_what_a_host_runs_is_pinned():
    for path in WORKFLOWS:
        for action in re.findall(r"uses: (.+)", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), f"{path.name}: {action}"


def test_the_changelog_knows_the_version():
    """A version in the making has what is unreleased; one that is released has a section with its date."""
    dates = dict(
        re.findall(r"^## \[([\d.]+|Unreleased)\](.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    release, _, development = gcp_repro.__version__.partition(".dev")
    assert next(iter(dates)) == "Unreleased"
    assert (release in dates) == (not development)
    assert all(re.fullmatch(r" - \d{4}-\d{2}-\d{2}", date) for version, date in dates.items() if version != "Unreleased")


def test_forms_ask_for_commands_that_exist():
    scripts = re.findall(r'^(gcp-\w+) = "', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    asked = {
        word for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") for word in re.findall(r"gcp-\w+", path.read_text())
    }
    assert "gcp-status" in asked
    assert asked <= set(scripts)
