import ast
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from scripts.website.reference import pages
from scripts.website.tutorials import FOLDER, ORDER

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built as `make site` does, where a warning is an error; the tutorials run."""
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_reference_has_every_public_name(site):
    *_, packed = (site / "objects.inv").read_bytes().split(b"\n", 4)
    listed = {line.split()[0] for line in zlib.decompress(packed).decode().splitlines()}
    public = {name for modules in pages().values() for _, names in modules for name in names}
    assert {"gcp_repro.linalg.covariance.covariance", "gcp_repro.errors.GCPError"} < public
    assert public - listed == set()


def test_public_names_are_defined_one_by_one():
    """`A, B = 1, 2` is no definition to the tool that collects them; this sees it where the tool is not installed."""
    public = [name for modules in pages().values() for _, names in modules for name in names]
    for name in public:
        module, _, own = name.rpartition(".")
        path = ROOT / module.replace(".", "/")
        tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
        defined |= {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            defined |= {target.id for target in targets if isinstance(target, ast.Name)}
        assert own in defined, f"{name} needs an assignment or a definition of its own"


def test_every_tutorial_shows_what_it_prints(site):
    assert {path.stem for path in FOLDER.glob("*.py")} == set(ORDER)
    for name in ORDER:
        page = (site / "tutorials" / f"{name}.html").read_text(encoding="utf-8")
        assert '<span class="filename">prints</span>' in page, name
        assert (site / "tutorials" / f"{name}.py").read_bytes() == (FOLDER / f"{name}.py").read_bytes()


LOADED = re.compile(r"""<(?:script|img|iframe)[^>]* src="https?:|<link[^>]* rel="stylesheet"[^>]* href="https?:""")


def test_nothing_is_loaded_from_elsewhere(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) > 50
    assert [path for path in pages if LOADED.search(path.read_text(encoding="utf-8"))] == []


def test_examples_are_code(site):
    page = (site / "reference" / "linalg.html").read_text(encoding="utf-8")
    assert '<span class="gp">&gt;&gt;&gt; </span>' in page, "what Pygments makes of a doctest"
    assert "<blockquote>" not in page, "what Markdown makes of it"
