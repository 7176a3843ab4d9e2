"""What MkDocs calls: lays out the pages of the site, and completes its navigation."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from gcp_repro.metalayers import META_LAYERS
from scripts.website import reference, tutorials

ROOT = Path(__file__).parents[2]
SERVED = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CITATION.cff",
    "Dockerfile",
    "LICENSE",
    "docs",
    "results",
)
"""Where they stand in the repository, so that links between them hold."""


def on_config(config: Any) -> Any:
    """Put pages that are there and pages that are made into one folder."""
    pages = Path(tempfile.mkdtemp(prefix="gcp_repro-site-"))
    for name in SERVED:
        (pages / name).symlink_to(ROOT / name)
    (pages / "site.css").symlink_to(ROOT / "scripts" / "website" / "site.css")
    tutorials.write_pages(pages / "tutorials")
    reference.write_pages(pages / "reference")
    config.docs_dir = str(pages)
    config.nav = [_with_folders(entry, pages) for entry in config.nav]
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Leave out what is there for the tests: marks of generated parts, and what is to be done with a block of code."""
    markdown = re.sub(r"^<!--.*?-->\n", "", markdown, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^( *```python) (?:runnable|after-edit)$", r"\1", markdown, flags=re.MULTILINE)


def on_post_build(config: Any) -> None:
    """Remove the folder of pages."""
    shutil.rmtree(config.docs_dir)


def _with_folders(entry: Any, pages: Path) -> Any:
    """An entry of the navigation, with the pages of a folder where it names one."""
    if isinstance(entry, dict):
        return {title: _with_folders(value, pages) for title, value in entry.items()}
    if isinstance(entry, list):
        return [_with_folders(value, pages) for value in entry]
    if not entry.endswith("/"):
        return entry
    names = [path.stem for path in (pages / entry).glob("*.md") if path.stem != "index"]
    order = {name: number for number, name in enumerate([*META_LAYERS, *tutorials.ORDER])}
    return [f"{entry}index.md", *(f"{entry}{name}.md" for name in sorted(names, key=lambda name: (order.get(name, 0), name)))]
