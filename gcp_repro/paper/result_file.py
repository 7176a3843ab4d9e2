"""Whether the content of a `result.json` is a result of ours: what the tables rely on is there and of the right kind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["objection"]

SCHEMA = 1
REQUIRED = {
    "finished": ("experiment", "meta_layer", "protocol", "seed"),
    "diverged": ("experiment", "meta_layer", "protocol", "seed"),
    "imported": ("experiment", "meta_layer", "imported_file", "imported_architecture", "imported_meta_layer"),
}
"""Entries that must have a value, by status."""
TEXTS = (
    "experiment", "data", "backbone", "meta_layer", "meta_layer_options", "dtype", "route", "protocol", "imported_file",
    "imported_architecture", "imported_meta_layer",
)  # fmt: skip
PROTOCOLS = ("standalone", "hybrid")


def objection(content: Any) -> str | None:
    """Why the content of a result file is not a result of ours; `None` if it is.

    Example:
        >>> objection({"schema": 1, "status": "running"})
        "needs status finished, diverged or imported; got 'running'"
    """
    if not isinstance(content, Mapping):
        return f"needs an object; got {type(content).__name__}"
    return next(_objections(content), None)


def _objections(content: Mapping[str, Any]) -> Iterator[str]:
    if content.get("schema") != SCHEMA:
        yield f"needs schema {SCHEMA}; got {content.get('schema')!r}: written by another program or version"
    status, versions = content.get("status"), content.get("versions", {})
    if not (isinstance(status, str) and status in REQUIRED):
        yield f"needs status finished, diverged or imported; got {status!r}"
        return
    missing = [name for name in REQUIRED[status] if content.get(name) is None]
    if missing:
        yield f"lacks {', '.join(missing)}"
    if not isinstance(versions, Mapping):
        yield f"needs an object in versions; got {versions!r}"
        return
    for name, value in (*content.items(), *versions.items()):
        if name != "versions" and isinstance(value, Mapping | list):
            yield f"needs single values; got {value!r} in {name}"
    for name in TEXTS:
        if not isinstance(content.get(name, ""), str | None):
            yield f"needs a text in {name}; got {content[name]!r}"
    protocol, seed, error = (content.get(name) for name in ("protocol", "seed", "final_top1_error"))
    if status != "imported" and protocol not in PROTOCOLS:
        yield f"needs protocol {' or '.join(PROTOCOLS)}; got {protocol!r}"
    if status != "imported" and (type(seed) is not int or not 0 <= seed < 2**63):
        yield f"needs a whole number as seed; got {seed!r}"
    if status != "diverged" and not (isinstance(error, int | float) and math.isfinite(error)):
        yield f"needs a final_top1_error when {status}; got {error!r}"
