"""Paths on a Hydra command line: taken as they are, whatever characters they hold."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

__all__ = ["with_plain_paths"]


def with_plain_paths(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    r"""Quote the values of some options, so that Hydra's grammar sees one text in each.

    Commas, brackets, `=`, spaces, quotes, backslashes and `${` mean something in that grammar; accents are no part of it. Values
    that are quoted already stay as they are.

    Args:
        arguments: As in `sys.argv[1:]`.
        names: Options that take a path.

    Example:
        >>> with_plain_paths(["run=runs/a,b[1]", "accelerator=cpu"], {"run"})
        ["run='runs/a,b[1]'", 'accelerator=cpu']
    """
    return [_quoted(argument) if argument.partition("=")[0] in names else argument for argument in arguments]


def _quoted(argument: str) -> str:
    name, equals, value = argument.partition("=")
    if not equals or value in ("", "null") or re.fullmatch(r"'.*'|\".*\"", value, flags=re.DOTALL):
        return argument
    value = re.sub(r"(\\*)'", lambda match: 2 * match[1] + r"\'", value)  # backslashes count before a quote alone ...
    value = re.sub(r"(\\+)\Z", lambda match: 2 * match[1], value)
    return f"{name}='{value.replace('${', chr(92) + '${')}'"  # ... or before an interpolation
