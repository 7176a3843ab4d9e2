"""Values on a Hydra command line: each of the kind that the configuration has in its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString

from gcp_repro.errors import OptionError

__all__ = ["check_values"]

KINDS: Mapping[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    list: ((list,), "a list, as in [1, 2]"),
}
"""By the type of a default: what may take its place, and that in words. Where the default is a text or null, anything may."""

SAY_IT_THEMSELVES = ("meta_layer.", "protocol.initial.", "trainer.devices", "trainer.deterministic", "compile")
"""Layers check their options with ranges; the others take several kinds, which Lightning and `compile_options` check."""


def check_values(configured: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Refuse a value of another kind than the configured one, before anything starts; in a sweep each of the values.

    Args:
        configured: The configuration without these values, interpolations as they are written.
        arguments: Overrides as on the command line.

    Raises:
        OptionError: "schedule.epochs needs a whole number; got 'ten': 15 is the default"

    Example:
        >>> check_values({"optimizer": {"lr": 0.1}}, ["optimizer.lr=1,fast"])
        Traceback (most recent call last):
        gcp_repro.errors.OptionError: optimizer.lr needs a number; got 'fast': 0.1 is the default
    """
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        key = override.key_or_group
        default: Any = configured
        for part in key.split("."):
            default = default.get(part) if isinstance(default, Mapping) else None
        if type(default) not in KINDS or key.startswith(SAY_IT_THEMSELVES) or override.is_delete():
            continue
        types, words = KINDS[type(default)]
        for value in _values(override):
            fits = isinstance(value, types) and (not isinstance(value, bool) or types == (bool,))
            if value is not None and not fits and not (isinstance(value, str) and "${" in value):
                raise OptionError(f"{key} needs {words}; got {value!r}: {str(default).lower()} is the default")


def _values(override: Override) -> Iterator[Any]:
    """What an override stands for: one value, or those of a sweep."""
    if not override.is_sweep_override():
        yield _plain(override.value())
    elif override.is_discrete_sweep():
        yield from map(_plain, override.sweep_iterator())


def _plain(value: Any) -> Any:
    return value.text if isinstance(value, QuotedString) else value
