"""Documents are true: what they name exists, what they show runs, what is generated is current."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_module

from gcp_repro.metalayers import META_LAYERS
from gcp_repro.registry import REGISTRIES
from tests.fakes.launch_plugins import is_installed

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "configs"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^ *```([^\n]*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
CONSOLE_COMMANDS = dict(re.findall(r'^(gcp-\w+) = "([\w.:]+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
MADE_BY_READERS = {"docs/adding_a_dataset.md": "flowers", "docs/adding_a_diagnostic.md": "trace"}
"""Files whose making a page explains, and commands on them, by a part of their names."""
COMMON_OPTIONS = {"dtype", "accuracy", "route", "solver", "on_nonfinite", "float32_centering"}


def _id(path):
    return str(path.relative_to(ROOT))


every_page = pytest.mark.parametrize("page", PAGES, ids=_id)


def _blocks(text: str, *languages: str) -> Iterator[tuple[str, int]]:
    """Fenced blocks with one of the info strings, each with the number of its first line."""
    for match in FENCE.finditer(text):
        if match[1].strip() in languages:
            yield match[2], text[: match.start()].count("\n") + 2


def _prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def _spans(page: Path) -> list[str]:
    """What stands between single backquotes."""
    return re.findall(r"`([^`\n]+)`", _prose(page))


# What pages name


@every_page
def test_linked_files_and_headings_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, heading = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{_id(page)} links to {target}, which does not exist"
        if heading:
            assert heading in _anchors(file), f"{_id(page)} links to {target}; headings there: {_anchors(file)}"


def _anchors(page: Path) -> list[str]:
    """Names that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


@every_page
def test_named_files_exist(page):
    """Paths from the root of the repository, unless they hold a placeholder in capitals."""
    example = MADE_BY_READERS.get(_id(page), r"[A-Z]{3,}")
    for span in _spans(page):
        if re.fullmatch(r"(gcp_repro|configs|docs|scripts|tests)/[\w./-]*", span) and not re.search(example, span):
            assert (ROOT / span).exists(), f"{_id(page)} names {span}, which does not exist"


def test_the_index_lists_every_page():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index, f"docs/index.md does not list {page.name}"


@every_page
def test_named_objects_exist(page):
    for span in _spans(page):
        if re.fullmatch(r"gcp_repro(\.\w+)+", span):
            _import(span)


def _import(dotted: str) -> None:
    for depth in range(dotted.count(".") + 1):
        module, *attributes = dotted.rsplit(".", depth)
        try:
            value = importlib.import_module(module)
        except ModuleNotFoundError:
            continue
        for attribute in attributes:
            value = getattr(value, attribute)
        return


@every_page
def test_named_choices_exist(page):
    """Spans such as `meta_layer=svd_pade` name a file of `configs/`."""
    for span in _spans(page):
        for group, choices in re.findall(r"(?<![\w.+/])(\w+)=([\w,]+)(?![\w.])", span):
            if (CONFIGS / group).is_dir() and not re.fullmatch(r"[a-z]?[A-Z]+", choices):
                for choice in choices.split(","):
                    assert choice == "name" or _is_choice(group, choice), f"{_id(page)}: no {choice} in configs/{group}"


def _is_choice(group: str, choice: str) -> bool:
    return choice == "null" or (CONFIGS / group / f"{choice}.yaml").exists()


# Commands that pages show


def _commands() -> list:
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [line for block, _ in _blocks(text, "sh", "bash", "console") for line in block.replace("\\\n", " ").splitlines()]
        indented = re.findall(r"^    (\S.*)$", FENCE.sub("", text).replace("\\\n", " "), re.MULTILINE)
        lines += [line for line in (*_spans(page), *indented) if re.match(r"(gcp-\w+|make|python scripts/\S+)( |$)", line)]
        for line in lines:
            words = shlex.split(line.removeprefix("$ "), comments=True)
            while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # variables of the environment
                words = words[1:]
            if words and MADE_BY_READERS.get(_id(page), "\n") not in line:
                found.append(pytest.param(words, id=f"{_id(page)}: {' '.join(words)}"))
    return found


@pytest.mark.parametrize("words", _commands())
def test_commands_exist_with_their_arguments(words, capsys):
    command, *arguments = words
    if command == "make":
        _check_make(arguments)
    elif command == "python" and arguments[0].startswith("scripts/"):
        script = (ROOT / arguments[0]).read_text(encoding="utf-8")
        for option in re.findall(r"--[\w-]+", " ".join(arguments[1:])):
            assert f'"{option}"' in script, f"{arguments[0]} has no option {option}"
    elif command.startswith("gcp-"):
        _check_console(command, arguments, capsys)


def _check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for argument in arguments:
        name = argument.partition("=")[0]
        pattern = rf"\$\({name}\)|\$\(if \$\({name}\)" if "=" in argument else rf"^{name}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"the Makefile has no {argument}"


def _check_console(command: str, arguments: list[str], capsys) -> None:
    module, _, function = CONSOLE_COMMANDS[command].partition(":")
    main = getattr(importlib.import_module(module), function)
    if command in ("gcp-train", "gcp-eval"):
        return _check_overrides(command.removeprefix("gcp-"), arguments)
    subcommand = [] if not arguments or arguments[0].startswith("-") or command == "gcp-tables" else arguments[:1]
    with pytest.raises(SystemExit) as stop:
        main([*subcommand, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for option in arguments:
        assert not option.startswith("--") or option in shown, f"{command} has no option {option}"


def _check_overrides(config: str, arguments: list[str]) -> None:
    overrides = [a for a in arguments if not a.startswith("-") and not a.startswith("hydra/")]
    launch = next((a.removeprefix("launch=") for a in overrides if a.startswith("launch=")), None)
    if not is_installed(launch):
        overrides = [a for a in overrides if not a.startswith(("launch=", "hydra."))]
    choices = [_alternatives(override) for override in overrides]
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        for combination in product(*choices):
            compose(config, list(combination))


def _alternatives(override: str) -> list[str]:
    """The jobs of a sweep that an override stands for; names not yet given to a layer or a path stand for themselves."""
    key, _, values = override.partition("=")
    values = values.replace("damped", "taylor") if key == "meta_layer.gradient" else values
    return [f"{key}={value}" for value in ([values] if re.search(r"[\[{]", values) else values.split(","))]


# Code that pages show


@pytest.mark.parametrize("page", [p for p in PAGES if "```python runnable" in p.read_text(encoding="utf-8")], ids=_id)
def test_code_runs(page):
    """Runnable blocks of a page share their names and run in order."""
    names = {"__name__": page.stem}
    threads = torch.get_num_threads()
    before = {(kind, name) for kind, registry in REGISTRIES.items() for name in registry}
    for block, line in _blocks(page.read_text(encoding="utf-8"), "python runnable"):
        exec(compile("\n" * (line - 1) + block, str(page), "exec"), names)
    torch.set_num_threads(threads)
    for kind, registry in REGISTRIES.items():
        for name in registry:
            if (kind, name) not in before:
                registry.remove(name)


def test_adding_a_rule_works_as_described(tmp_path):
    """Apply the edits of the page to a copy of the package, and run its checks there."""
    page = (ROOT / "docs" / "adding_a_rule.md").read_text(encoding="utf-8")
    shutil.copytree(ROOT / "gcp_repro", tmp_path / "gcp_repro", ignore=shutil.ignore_patterns("__pycache__"))
    for block, _ in _blocks(page, "diff"):
        header, *lines = block.splitlines()
        path = tmp_path / header.removeprefix("--- ")
        before = "\n".join(line[1:] for line in lines if line[0] in " -")
        after = "\n".join(line[1:] for line in lines if line[0] in " +")
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1, f"{header}: the lines to replace are not there once:\n{before}"
        path.write_text(text.replace(before, after), encoding="utf-8")
    script = tmp_path / "check.py"
    code = "".join(block for block, _ in _blocks(page, "python after-edit"))
    script.write_text(f"{code}\nimport gcp_repro\nprint(gcp_repro.__file__)\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)


# Layers


def test_generated_parts_are_current(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["make_docs.py", "--check"])
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))  # as `python scripts/make_docs.py` does
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "make_docs.py"), run_name="__main__")
    assert stop.value.code == 0, capsys.readouterr().err


def test_what_is_left_of_a_layer_that_is_gone_is_named(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = runpy.run_path(str(ROOT / "scripts" / "make_docs.py"))
    left_over = script["left_over"]
    assert list(left_over()) == []
    gone = META_LAYERS.find("epn")
    monkeypatch.setitem(
        left_over.__globals__,
        "META_LAYERS",
        SimpleNamespace(built_in={n: e for n, e in META_LAYERS.built_in.items() if e != gone}),
    )
    assert list(left_over()) == [
        f"{place} is of no layer in the registry: delete it" for place in ("configs/meta_layer/epn.yaml", "docs/layers/epn.md")
    ]


def test_common_options_are_explained():
    written = (ROOT / "docs" / "layers" / "index.md").read_text(encoding="utf-8")
    for option in COMMON_OPTIONS:
        assert f"| `{option}` |" in written


@pytest.mark.parametrize("name", META_LAYERS.built_in)
def test_page_explains_the_layers_own_options(name):
    written = (ROOT / "docs" / "layers" / f"{name}.md").read_text(encoding="utf-8").split("<!-- end -->")[1]
    for heading in ("Forward", "Gradient", "Bound", "Cost", "When to use it", "Limits"):
        assert re.search(rf"\*\*.*{heading}.*\*\*", written, re.IGNORECASE) or name == "gap", f"{name}.md lacks {heading}"
    for option in set(META_LAYERS[name].defaults) - COMMON_OPTIONS:
        assert f"`{option}`" in written, f"{name}.md does not explain {option}"


def test_readme_names_the_console_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert CONSOLE_COMMANDS
    for command in CONSOLE_COMMANDS:
        assert command in text


def test_the_readmes_table_has_every_experiment_once():
    _, _, table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| experiment | data | network |\n")
    rows = table.partition("\n\n")[0].splitlines()[1:]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(named) == sorted(path.stem for path in (CONFIGS / "experiment").glob("*.yaml"))


def test_readme_lays_out_every_folder():
    """Those with files of the repository, and the packages in gcp_repro; not what tools keep in hidden ones."""
    listed = re.findall(
        r"^    ([\w/]+/) +\w", (ROOT / "README.md").read_text(encoding="utf-8").split("## Layout")[1], re.MULTILINE
    )
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("no repository")
    files = subprocess.run([git, "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    folders = {file.split("/")[0] for file in files if "/" in file and not file.startswith(".")} - {"gcp_repro"}
    packages = {f"gcp_repro/{path.parent.name}" for path in (ROOT / "gcp_repro").glob("*/__init__.py")}
    assert sorted(listed) == sorted(f"{name}/" for name in folders | packages)


# Make


def test_make_alone_lists_every_target():
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    listed = subprocess.run([make], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets
    for target in targets[1].split():
        assert re.search(rf"^  make {target} +\w", listed, re.MULTILINE)


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, "Python 3.10 or newer is needed; there is no python-not-here on the PATH"),
        ("exit 1", "Python 3.10 or newer is needed; "),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt install python3-venv"),
    ],
    ids=["missing", "too old", "no ensurepip"],
)
def test_make_says_what_to_install(tmp_path, version, words):
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    python = "python-not-here"
    if version is not None:
        python = tmp_path / "python"
        python.write_text(f"#!/bin/sh\n{version}\n")
        python.chmod(0o755)
    done = subprocess.run(
        [make, "test", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert words in done.stderr
