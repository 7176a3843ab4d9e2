"""Options are checked where they are given, by the annotations of the function that takes them.

`degree: Annotated[int, AtLeast(1)]` says the kind and the range of an option once: for the check, for the error text, and for
whoever reads the signature. Kinds are `int`, `float`, `bool`, `str`, `Literal[...]`, lists of these,
mappings, and unions of these with `None`.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import operator
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from gcp_repro.errors import OptionError, nearest_names

__all__ = [
    "Above",
    "AtLeast",
    "AtMost",
    "Below",
    "Finite",
    "Not",
    "OneOf",
    "check_option",
    "check_options",
    "checked",
    "in_words",
    "options_of",
]

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Compared:
    """Numbers that compare in one way with a bound: subclasses say in which, and how that reads."""

    bound: float
    words: ClassVar[str]
    holds: ClassVar[Callable[[Any, float], bool]]

    def __str__(self) -> str:
        return f"{self.words} {self.bound:g}"

    def __call__(self, value: Any) -> bool:
        return bool(type(self).holds(value, self.bound))


class AtLeast(Compared):
    """Numbers from the bound on."""

    words, holds = ">=", operator.ge


class AtMost(Compared):
    """Numbers up to the bound."""

    words, holds = "<=", operator.le


class Above(Compared):
    """Numbers beyond the bound."""

    words, holds = ">", operator.gt


class Below(Compared):
    """Numbers before the bound."""

    words, holds = "<", operator.lt


class Not(Compared):
    """All numbers but one."""

    words, holds = "other than", operator.ne


@dataclass(frozen=True)
class Finite:
    """Numbers that are not infinite; those of other ranges may be."""

    def __str__(self) -> str:
        return "that is finite"

    def __call__(self, value: Any) -> bool:
        return math.isfinite(value)


@dataclass(frozen=True)
class OneOf:
    """Members of a collection that is only known when the option is given.

    Args:
        known: Returns it.
        hint: How to have more of them.
    """

    known: Callable[[], Any]
    hint: str = ""

    def __str__(self) -> str:
        return f"among {', '.join(map(str, self.known()))}" + (f" ({self.hint})" if self.hint else "")

    def __call__(self, value: Any) -> bool:
        return value in self.known()


def check_options(owner: str, function: Callable[..., Any], options: Mapping[str, Any], skip: int = 0) -> dict[str, Any]:
    """All options of `function`, those given and the defaults, each of the kind and range that it is annotated with.

    Integers given for floats become floats, and numbers of numpy those of Python. Options without an annotation of the kinds
    above are not looked at.

    Args:
        owner: Who takes the options, as in "gradient rule 'taylor'".
        function: With annotations.
        options: By name.
        skip: See `options_of`.

    Raises:
        OptionError: An option that the function does not have, or lacks, or that has a value of another kind or out of range.

    Example:
        >>> def taylor(larger, smaller, degree: Annotated[int, AtLeast(1)] = 100): ...
        >>> check_options("taylor", taylor, {"degree": 3}, skip=2)
        {'degree': 3}
    """
    known = options_of(function, skip)
    for name in options:
        if name not in known:
            nearest = nearest_names(name, known)
            hint = f"; nearest: {', '.join(map(repr, nearest))}" if nearest else ""
            raise OptionError(f"{owner} has no option {name!r}{hint}; it has: {', '.join(known) or 'none'}")
    missing = [name for name, option in known.items() if option.default is option.empty and name not in options]
    if missing:
        raise OptionError(f"{owner} needs the option {missing[0]!r}; got {', '.join(options) or 'none'}: give it a value")
    return {
        name: _checked(owner, name, options[name], option) if name in options else option.default
        for name, option in known.items()
    }


def options_of(function: Callable[..., Any], skip: int = 0) -> dict[str, inspect.Parameter]:
    """The parameters that can be given by name, with their annotations resolved.

    Args:
        function: Or a class.
        skip: Leading parameters that are no options, as the eigenvalues of a quotient.
    """
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    hints = _hints(function)
    return {
        p.name: p.replace(annotation=hints.get(p.name, p.annotation))
        for p in parameters
        if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD) and p.name != "self"
    }


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function, or an `__init__`, so that its annotated arguments are checked when it is called."""
    signature, options = inspect.signature(function), options_of(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        owner = type(args[0]).__name__ if "self" in bound.arguments else function.__name__
        for name, value in bound.arguments.items():
            if name in options:
                bound.arguments[name] = _checked(owner, name, value, options[name])
        return function(*bound.args, **bound.kwargs)

    return call


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = function.__init__ if inspect.isclass(function) else function
    try:
        return get_type_hints(inspect.unwrap(target), include_extras=True)
    except (NameError, TypeError):  # of a user's module, with names for type checkers alone
        return {}


def check_option(owner: str, name: str, value: Any, annotation: Any, hint: str = "") -> Any:
    """The value in the type that the annotation names.

    Args:
        owner: Who takes the option.
        name: Of the option.
        value: As given.
        annotation: Its kind and range.
        hint: What to do about a wrong one.

    Raises:
        OptionError: It is of another kind or out of range.

    Example:
        >>> check_option("matrix_sqrt", "top_n", 3, Annotated[int, AtLeast(1)])
        3
    """
    fits, converted = _fit(value, annotation)
    if not fits:
        raise OptionError(f"{name} must be {in_words(annotation)}; got {value!r} for {owner}{hint and f': {hint}'}")
    return converted


def _checked(owner: str, name: str, value: Any, option: inspect.Parameter) -> Any:
    hint = "" if option.default is option.empty else f"leave it out for {option.default!r}, the default"
    return check_option(owner, name, value, option.annotation, hint)


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string", dict: "a mapping", type(None): "null"}


def _fit(value: Any, annotation: Any) -> tuple[bool, Any]:
    """Whether the value is of the annotated kind and range, and the value in its own type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        kind, *ranges = get_args(annotation)
        fits, converted = _fit(value, kind)
        return fits and all(within(converted) for within in ranges if callable(within)), converted
    if origin is Literal:
        return any(value == member and type(value) is type(member) for member in get_args(annotation)), value
    if origin in (Union, types.UnionType):
        for member in get_args(annotation):
            fits, converted = _fit(value, member)
            if fits:
                return True, converted
        return False, value
    if origin is list:
        parts = [_fit(entry, get_args(annotation)[0]) for entry in value] if isinstance(value, list) else [(False, value)]
        return all(fits for fits, _ in parts), [entry for _, entry in parts]
    if annotation is int:
        fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        return fits, int(value) if fits else value
    if annotation is float:
        fits = isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)
        return fits, float(value) if fits else value
    if annotation in (bool, str, dict, type(None)):
        return isinstance(value, annotation), value
    return True, value


def in_words(annotation: Any) -> str:
    """What an annotated option may be.

    Example:
        >>> in_words(Annotated[int, AtLeast(1)])
        'a whole number >= 1'
    """
    origin = get_origin(annotation)
    if origin is Annotated:
        kind, *ranges = get_args(annotation)
        return f"{in_words(kind)} {' and '.join(map(str, ranges))}"
    if origin is Literal:
        return f"one of {', '.join(map(str, get_args(annotation)))}"
    if origin in (Union, types.UnionType):
        return ", or ".join(in_words(member) for member in get_args(annotation))
    if origin is list:
        return f"a list, each entry {in_words(get_args(annotation)[0])}"
    return _KINDS.get(annotation, getattr(annotation, "__name__", str(annotation)))
