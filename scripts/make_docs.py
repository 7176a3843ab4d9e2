"""Write what follows from the code: configurations of layers, rows and sweeps, tables of layers, packages, results and statuses.

    python scripts/make_docs.py [--check]

`configs/meta_layer/NAME.yaml` is generated whole, and so are the rows and sweeps of the paper's tables, from their plan. In
documents a generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`: the table of layers in README.md and
docs/layers/index.md, the head of every layer's page, the packages, their sizes and the fields of result.json in
docs/architecture.md, exit statuses in docs/runs.md, what the rows of results/embedded say in README.md and docs/findings.md,
and tables of the other rows in results on the pages that speak of them. The rest of these files is written by hand.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from count_lines import size_table
from embedded_docs import embedded_settings, findings_part, readme_part
from import_rules import ROOT, rules
from measured_docs import (
    gpu_decoding_table,
    gpu_decompositions_table,
    gpu_layers_table,
    gpu_peers_table,
    gpu_steps_table,
    growth_table,
    kept_table,
    later_table,
    limits_table,
    peers_table,
    precision_table,
    speed_sentences,
    steps_table,
)
from sweep_configs import configurations

from gcp_repro.linalg import GRADIENT_RULES, SPECTRAL_FUNCTIONS, PoolingSpec
from gcp_repro.linalg.machinery.options import in_words, options_of
from gcp_repro.linalg.matrix_steps import MATRIX_STEPS
from gcp_repro.metalayers import META_LAYERS, CovariancePooling, MetaLayerEntry
from gcp_repro.metalayers.prepared import PreparedPooling
from gcp_repro.runs import FIELDS
from gcp_repro.runs.exit_codes import MEANINGS

LAYERS = ROOT / "docs" / "layers"
EXPLANATIONS = {  # of options that need more than their values, which take the place of {}
    "accuracy": "{}: high decomposes the features instead of a Gram matrix",
    "solver": "{}: where and how matrices are decomposed",
    "float32_centering": "{}: true, on route dense, is the arithmetic of the public code to the last bit",
    "heads": "a whole number >= 1: groups of channels that are pooled apart",
    "forward": "name of a function, or a mapping of name and options",
    "gradient": "name of a rule, or a mapping of name and options",
}
PART = re.compile(r"(<!-- generated: (?P<name>[a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def yaml_value(value: object) -> str:
    """A default as one writes it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def option_words(entry: MetaLayerEntry, name: str) -> str:
    """What an option of a layer may be, from the annotation in the function, rule or class that takes it."""
    takers = [entry.factory, PoolingSpec, CovariancePooling, PreparedPooling]
    for registry, part in ((SPECTRAL_FUNCTIONS, "forward"), (GRADIENT_RULES, "gradient"), (MATRIX_STEPS, "step")):
        takers += [registry[entry.fixed[part]]] if part in entry.fixed else []
    annotations = [options_of(taker)[name].annotation for taker in takers if name in options_of(taker)]
    return in_words(annotations[0]) if annotations else ""


def layer_config(entry: MetaLayerEntry) -> str:
    """The configuration file of a layer."""
    lines = [
        f"# {entry.description[0].upper()}{entry.description[1:]} ({entry.source}).",
        "_target_: gcp_repro.metalayers.build_meta_layer",
        f"name: {entry.name}",
    ]
    for name, value in entry.defaults.items():
        written = f"{value:.1e}" if isinstance(value, float) and not 1e-4 <= value < 1e6 else yaml_value(value)
        words = EXPLANATIONS.get(name, "{}").format(option_words(entry, name))
        lines.append(f"{name}: {written}".ljust(22) + f" # {words}" if words else f"{name}: {written}")
    return "\n".join(lines) + "\n"


def layer_table(link: str) -> str:
    """Markdown table of all layers; `link` leads to the folder of their pages."""
    rows = [
        f"| [`{entry.name}`]({link}{entry.name}.md) | {entry.family} | {entry.description} | {entry.source} |"
        for entry in META_LAYERS.built_in.values()
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


def status_table() -> str:
    """Markdown table of exit statuses."""
    rows = [f"| {code} | {meaning} |" for code, meaning in sorted(MEANINGS.items())]
    return "\n".join(["| status | meaning |", "| --- | --- |", *rows]) + "\n"


def package_table() -> str:
    """Markdown table of the packages, each below those that it builds on."""
    head = ("place", "what it is", "imports, with what they import", "of others")
    rows = [head, ("---",) * 4]
    for rule in rules().values():
        purpose = rule.purpose[0].lower() + rule.purpose[1:].rstrip(".")
        rows.append((f"`{rule.path.relative_to(ROOT).as_posix()}`", purpose, _listed(rule.ours), _listed(rule.others)))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _listed(names: tuple[str, ...] | None) -> str:
    return "any" if names is None else ", ".join(f"`{name}`" for name in names) or "none"


def generated_parts() -> dict[Path, dict[str, str]]:
    """Content of every generated part, by file and name."""
    embedded = embedded_settings(ROOT / "results" / "embedded")
    pages = {LAYERS / f"{entry.name}.md": {"head": layer_head(entry)} for entry in META_LAYERS.built_in.values()}
    return {
        ROOT / "README.md": {
            "layers": layer_table("docs/layers/"),
            "measured": readme_part(embedded),
            "speed": speed_sentences(),
        },
        ROOT / "docs" / "findings.md": {"embedded": findings_part(embedded)},
        LAYERS / "index.md": {"layers": layer_table("")},
        ROOT / "docs" / "architecture.md": {"packages": package_table(), "results": result_table(), "sizes": size_table()},
        ROOT / "docs" / "performance.md": {
            "peers": peers_table(),
            "limits": limits_table(),
            "precision": precision_table(),
            "later": later_table(),
            "layers": gpu_layers_table(),
            "gpupeers": gpu_peers_table(),
            "decompositions": gpu_decompositions_table(),
            "kept": kept_table(),
        },
        ROOT / "docs" / "reading_images.md": {"decoding": gpu_decoding_table()},
        ROOT / "docs" / "training_cost.md": {"steps": steps_table(), "gpusteps": gpu_steps_table(), "growth": growth_table()},
        ROOT / "docs" / "runs.md": {"statuses": status_table()},
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


def write_configs(check: bool) -> Iterator[str]:
    """Write the configurations of layers, rows and sweeps; yields what is out of date if they are only to be checked."""
    layers = {f"meta_layer/{entry.name}.yaml": layer_config(entry) for entry in META_LAYERS.built_in.values()}
    for name, text in {**layers, **configurations()}.items():
        path = ROOT / "configs" / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if check:
            yield f"{path.relative_to(ROOT)} is out of date: run `make docs`"
        else:
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")


def left_over() -> Iterator[str]:
    """What was generated for layers that are gone, and pages about them."""
    configs = [
        path for path in (ROOT / "configs" / "meta_layer").glob("*.yaml") if "\nname: " in path.read_text(encoding="utf-8")
    ]
    pages = [path for path in LAYERS.glob("*.md") if path.stem != "index"]
    for path in sorted({*configs, *pages}):
        if path.stem not in META_LAYERS.built_in:
            yield f"{path.relative_to(ROOT)} is of no layer in the registry: delete it"


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a part is missing or out of date")
    check = parser.parse_args().check
    faults = [*write_configs(check), *left_over()]
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
