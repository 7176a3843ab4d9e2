"""Registries: what a name in a configuration stands for.

They are open to functions, rules and layers of other packages.

A package that is installed beside this one names a module, or a function without arguments, in its entry points:

    [project.entry-points."gcp_repro.plugins"]
    mine = "my_package.pooling"

The module is imported, and the function called, when a name is looked up for the first time. It registers what it has by
`register_function`, `register_rule` and `register_meta_layer`, which may also be called directly.

Imports: `errors`, `locks`; of others nothing.
"""

from __future__ import annotations

import keyword
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.locks import RenewedLock

__all__ = ["PLUGINS", "REGISTRIES", "Registry", "load_plugins", "number_of_changes"]

PLUGINS = "gcp_repro.plugins"
"""Group of entry points."""

REGISTRIES: dict[str, Registry[Any]] = {}
"""All of them, by kind."""

T = TypeVar("T")


_lock = RenewedLock()
_started = False
_changes = 0


def number_of_changes() -> int:
    """How often a name has come to stand for something else: what was made from names before may be outdated."""
    return _changes


def load_plugins() -> None:
    """Load the entry points of the group `gcp_repro.plugins`, once; one that fails is left out with a warning."""
    global _started
    with _lock:
        if not _started:
            _started = True  # first: plugins look names up while they are loaded
            for entry_point in entry_points(group=PLUGINS):
                _load(entry_point)


def _load(entry_point: EntryPoint) -> None:
    try:
        plugin = entry_point.load()
        if entry_point.attr:
            plugin()
    except Exception as error:  # anything can be wrong with someone else's module
        warnings.warn(
            f"the plugin {entry_point.name} = {entry_point.value} could not be loaded, and its names are not known "
            f"({type(error).__name__}: {error}): mend or uninstall it",
            stacklevel=2,
        )


def _count_change() -> None:
    global _changes
    _changes += 1


class Registry(Mapping[str, T], Generic[T]):
    """Entries by name. Reading it loads the plugins first.

    Args:
        kind: What a name stands for, as in "gradient rule".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._built_in: set[str] = set()
        REGISTRIES[kind] = self

    def add(self, name: str, entry: T, *, replace: bool = False, built_in: bool = False) -> None:
        """Enter a name.

        Args:
            name: As configurations will give it.
            entry: What it stands for.
            replace: Whether it may take another's place, as when a cell of a notebook is run again.
            built_in: Whether it comes with this package.

        Raises:
            OptionError: The name is not one word of letters, digits and underscores, a keyword of Python, or taken.
        """
        if not name.isidentifier() or keyword.iskeyword(name):
            raise OptionError(
                f"a {self.kind} needs a name of letters, digits and underscores that is no keyword of Python; got {name!r}: "
                "configurations, graphs and run directories hold it, so choose another one"
            )
        if name in self._entries and (not replace or name in self._built_in):
            hint = "choose another one" if name in self._built_in else "choose another one, or pass replace=True"
            raise OptionError(f"a {self.kind} needs a name of its own; {name!r} is taken: {hint}")
        self._entries[name] = entry
        _count_change()
        if built_in:
            self._built_in.add(name)

    def remove(self, name: str) -> None:
        """Forget an entry that does not come with this package.

        Raises:
            OptionError: There is no such entry.
        """
        if name not in self._entries or name in self._built_in:
            raise OptionError(f"only a {self.kind} that was added can be removed; got {name!r}: leave it where it is")
        del self._entries[name]
        _count_change()

    @property
    def built_in(self) -> Mapping[str, T]:
        """The entries that come with this package."""
        return MappingProxyType({name: entry for name, entry in self._entries.items() if name in self._built_in})

    def find(self, name: object) -> T:
        """The entry of a name.

        Raises:
            UnknownNameError: "no gradient rule 'pad'; nearest: 'pade'; known: ..."
        """
        if not isinstance(name, str) or name not in self:
            raise UnknownNameError(self.kind, name, self)
        return self._entries[name]

    def __getitem__(self, name: str) -> T:
        load_plugins()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        load_plugins()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        load_plugins()
        return len(self._entries)
