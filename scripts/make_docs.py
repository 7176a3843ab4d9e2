"""Write the generated parts of the documents from the registry of meta-layers and the fields of a result.

    python scripts/make_docs.py [--check]

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`: the table of layers in README.md and
docs/layers/index.md, the head of every layer's page, and the fields of result.json in docs/architecture.md. The rest of these
files is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from gcp_repro.metalayers import META_LAYERS, MetaLayerEntry
from gcp_repro.runs import FIELDS

ROOT = Path(__file__).parents[1]
LAYERS = ROOT / "docs" / "layers"
PART = re.compile(r"(<!-- generated: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def yaml_value(value: object) -> str:
    """A default as one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def layer_table(link: str) -> str:
    """Markdown table of all layers; `link` leads to the folder of their pages."""
    rows = [
        f"| [`{entry.name}`]({link}{entry.name}.md) | {entry.family} | {entry.description} | {entry.source} |"
        for entry in META_LAYERS.values()
    ]
    return "\n".join(["| layer | family | what it computes | source |", "| --- | --- | --- | --- |", *rows]) + "\n"


def layer_head(entry: MetaLayerEntry) -> str:
    """Title and facts of one layer's page."""
    options = ", ".join(f"`{name}={yaml_value(value)}`" for name, value in entry.defaults.items())
    fixed = ", ".join(f"`{name}={yaml_value(value)}`" for name, value in entry.fixed.items())
    lines = [
        f"# {entry.name}",
        "",
        f"{entry.description[0].upper()}{entry.description[1:]}.",
        "",
        f"- Family: {entry.family}",
        f"- Source: {entry.source}",
        f"- Class: `{entry.factory.__module__}.{entry.factory.__name__}`" + (f" with {fixed}" if fixed else ""),
        f"- Options and defaults: {options or 'none'}",
    ]
    return "\n".join(lines) + "\n"


def result_table() -> str:
    """Markdown table of the fields of `result.json`."""
    rows = [
        f"| `{field.name}` | {field.kind} | {field.meaning} | {', '.join(field.needed)} | {'yes' if field.cell else ''} |"
        for field in FIELDS
    ]
    return "\n".join(["| field | kind | meaning | needed | cell |", "| --- | --- | --- | --- | --- |", *rows]) + "\n"


def generated_parts() -> dict[Path, dict[str, str]]:
    """Content of every generated part, by file and name."""
    pages = {LAYERS / f"{entry.name}.md": {"head": layer_head(entry)} for entry in META_LAYERS.values()}
    return {
        ROOT / "README.md": {"layers": layer_table("docs/layers/")},
        LAYERS / "index.md": {"layers": layer_table("")},
        ROOT / "docs" / "architecture.md": {"results": result_table()},
        **pages,
    }


def render(text: str, parts: dict[str, str]) -> str:
    """Replace the generated parts of `text`.

    Raises:
        ValueError: `text` lacks one of the parts, or has one of another name.
    """
    found = [match["name"] for match in PART.finditer(text)]
    if sorted(found) != sorted(parts):
        wanted = ", ".join(f"<!-- generated: {name} --> ... <!-- end -->" for name in parts)
        raise ValueError(f"needs exactly the generated part {wanted}; has {found or 'none'}")
    return PART.sub(lambda match: match[1] + parts[match["name"]] + match[3], text)


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a part is missing or out of date")
    check = parser.parse_args().check
    faults = []
    for path, parts in generated_parts().items():
        name = path.relative_to(ROOT)
        if not path.exists():
            faults.append(f"{name} does not exist: write it, see docs/adding_a_layer.md")
            continue
        text = path.read_text(encoding="utf-8")
        try:
            current = render(text, parts)
        except ValueError as error:
            faults.append(f"{name} {error}")
            continue
        if check and current != text:
            faults.append(f"{name} is out of date: run `make docs`")
        elif current != text:
            path.write_text(current, encoding="utf-8")
            print(f"wrote {name}")
    print("\n".join(faults), file=sys.stderr, end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
