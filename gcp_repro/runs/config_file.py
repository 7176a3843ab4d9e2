"""The configuration of a run as it was written down: plain values, read as such, whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from gcp_repro.errors import DataError

__all__ = ["parse_config", "read_config"]

LARGEST_TEXT = 256 * 1024
"""Characters; a run's own configuration has some five thousand."""
MOST_NODES = 20_000
"""Values, keys and containers, with every alias counted as what it stands for."""


def read_config(path: Path) -> DictConfig:
    """The configuration in a run directory.

    Raises:
        DataError: As `parse_config`, or the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"a run needs its configuration; reading {path} gave {error}: correct the path, or restore the file"
        ) from error
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> DictConfig:
    """A configuration that a run has written, or that somebody says a run has written.

    Nothing in it is looked up: what reads like an interpolation, as `${oc.env:HOME}`, is text. Aliases count as what they stand
    for before anything is made of them.

    Args:
        text: YAML.
        source: Where it is from, for the message.

    Raises:
        DataError: It is no YAML, holds other than plain values, is no mapping, or is larger than any configuration of a run.
    """
    if len(text) > LARGEST_TEXT:
        raise _refused(source, f"has {len(text):,} characters, more than {LARGEST_TEXT:,}")
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise _refused(source, "is no mapping of names to values")
        if _size(root, {}) > MOST_NODES:
            raise _refused(source, f"stands for more than {MOST_NODES:,} values, by aliases of aliases")
        for scalar in _scalars(root):
            scalar.value = re.sub(r"(\\*)\$\{", lambda match: 2 * match[1] + r"\${", scalar.value)  # text to OmegaConf
        config = OmegaConf.create(yaml.serialize(root))
    except DataError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _refused(source, f"cannot be read: {type(error).__name__}: {' '.join(str(error).split())}") from error
    assert isinstance(config, DictConfig)
    return config


def _size(node: yaml.Node, sizes: dict[int, int | None]) -> int:
    """Number of nodes below and with `node`, in a graph in which they may be shared."""
    known = sizes.setdefault(id(node), None)
    if known is not None:
        return known
    total = 1
    for child in _children(node):
        if sizes.get(id(child), 0) is None:
            raise ValueError("an alias stands for what it is in")
        total += _size(child, sizes)
    sizes[id(node)] = total
    return total


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _scalars(root: yaml.Node) -> list[yaml.ScalarNode]:
    """Each once, however often it is referred to."""
    found, open_nodes = {id(root): root}, [root]
    while open_nodes:
        for child in _children(open_nodes.pop()):
            if id(child) not in found:
                found[id(child)] = child
                open_nodes.append(child)
    return [node for node in found.values() if isinstance(node, yaml.ScalarNode)]


def _refused(source: str, reason: str) -> DataError:
    return DataError(f"a run's configuration needs to be as gcp-train writes it; {source} {reason}: restore the file")
