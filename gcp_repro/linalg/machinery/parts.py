"""What a layer is put together from, a spectral function and a gradient rule, knows its name and its options.

A part made by a registered factory is the same part as any other of this name with these options: it compares equal, can be
pickled by them, and can be recognised, whether it was given as a name or as an object. A part that a user puts together from
functions of his own is equal to itself alone, whatever name he gives it.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from dataclasses import replace as changed
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.options import check_options, options_of
from gcp_repro.registry import REGISTRIES, Registry

__all__ = ["OWN_PARTS", "Origin", "Part", "Parts", "make_part", "part_text"]


@dataclass(frozen=True)
class Origin:
    """Which factory made a part, and with which options.

    Attributes:
        factory: As registered.
        kind: Of what: that of the registry.
        name: That the factory is registered under.
        options: All of them, as pairs of name and value.
    """

    factory: Callable[..., Any]
    kind: str
    name: str
    options: tuple[tuple[str, Any], ...]


@dataclass(frozen=True, eq=False)
class Part:
    """Base of `SpectralFunction` and `GradientRule`.

    Attributes:
        name: As used in tables and messages.
        origin: Set by the registry; None for a part of a user's own.
    """

    name: str
    origin: Origin | None = field(default=None, kw_only=True, repr=False)

    @property
    def kind(self) -> str | None:
        """The name that its factory is registered under; None for a part of a user's own."""
        return self.origin.name if self.origin else None

    @property
    def options(self) -> Mapping[str, Any]:
        """The options that it was made with."""
        return MappingProxyType(dict(self.origin.options) if self.origin else {})

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.name}({options})" if options else self.name

    @functools.cached_property
    def text(self) -> str:
        """The part in a recipe: name and options, or the word that stands for a part of a user's own in this process."""
        if self.origin is not None:
            return part_text(self.origin.name, dict(self.origin.options))
        word = f"own_{uuid.uuid4().hex}"
        OWN_PARTS[word] = self
        return word

    def _identity(self) -> Any:
        return self.origin or (type(self), *(getattr(self, own.name) for own in fields(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Part) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __reduce__(self) -> tuple[Any, ...]:
        if self.origin is None:
            return type(self), tuple(getattr(self, own.name) for own in fields(self) if not own.kw_only)
        return make_part, (self.origin.kind, self.origin.name, dict(self.origin.options))


def part_text(choice: str | Mapping[str, Any] | Part, options: Mapping[str, Any]) -> str:
    """A choice of a part, as `Parts.resolve` takes it, in a recipe; simple enough for compilers that trace it."""
    if isinstance(choice, Part):
        return choice.text
    if not isinstance(choice, str):
        options = {**choice, **options}
        choice = options.pop("name")
    written = ", ".join([f"{name}={value!r}" for name, value in options.items()])
    return f"{choice}({written})".replace("=inf", "=1e999")  # a literal that overflows


OWN_PARTS: WeakValueDictionary[str, Part] = WeakValueDictionary()
"""Parts of users' own by the words that stand for them."""

P = TypeVar("P", bound=Part)


class Parts(Registry[Callable[..., P]], Generic[P]):
    """A registry of factories, and the one place where a choice becomes a part."""

    def factory(
        self, name: str, *, built_in: bool = False, replace: bool = False
    ) -> Callable[[Callable[..., P]], Callable[..., P]]:
        """Decorator that registers a factory under a name; see `register`."""
        return lambda factory: self.register(name, factory, built_in=built_in, replace=replace)

    def register(
        self, name: str, factory: Callable[..., P], *, built_in: bool = False, replace: bool = False
    ) -> Callable[..., P]:
        """Register a factory; its annotated options are checked, and its parts know their name and options.

        Args:
            name: As in configurations.
            factory: Returns a part; all its arguments are options.
            built_in: Whether it comes with this package.
            replace: Whether it may take the place of another.

        Returns:
            The factory to call from now on.

        Raises:
            OptionError: The name is taken, or not one that configurations can hold.
        """

        @functools.wraps(factory)
        def make(**options: Any) -> P:
            complete = check_options(f"{self.kind} {name!r}", factory, options)
            part = factory(**complete)
            if not isinstance(part, Part):
                raise OptionError(
                    f"the factory of {self.kind} {name!r} must return one; got {type(part).__name__}: let it return what it makes"
                )
            origin = Origin(make, self.kind, name, tuple(sorted(complete.items())))
            return part if part.origin else changed(part, origin=origin)

        self.add(name, make, built_in=built_in, replace=replace)
        return make

    def resolve(self, choice: str | Mapping[str, Any] | P, **options: Any) -> P:
        """The part that is meant by a name, by a mapping of a name and options, or by the part itself.

        Args:
            choice: `"power"`, `{"name": "power", "exponent": 0.3}`, or a part.
            **options: Further ones; none for a part.

        Raises:
            UnknownNameError: No such name.
            OptionError: An option is unknown, missing, of the wrong kind or out of range.
        """
        if isinstance(choice, Mapping):
            given = dict(choice)
            return self.resolve(given.pop("name", None), **given, **options)
        if isinstance(choice, Part):
            if options:
                raise OptionError(
                    f"a {self.kind} that is given as an object has its options already; got {', '.join(options)} for {choice}: "
                    "make it with them"
                )
            return choice
        return self.find(choice)(**options)

    def options_of(self, choice: str | Mapping[str, Any] | P) -> set[str]:
        """Names of the options that can still be given to a choice."""
        if isinstance(choice, Part):
            return set()
        if isinstance(choice, Mapping):
            return self.options_of(choice.get("name", "")) - set(choice)
        return set(options_of(self.find(choice)))


def make_part(kind: str, name: str, options: Mapping[str, Any]) -> Part:
    """The part that was made from these, in this process or another one."""
    part: Part = REGISTRIES[kind].find(name)(**options)
    return part
