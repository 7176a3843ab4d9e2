"""Recipes: what is computed, as an object of Python and as a string that fits into a graph of torch.

    PoolingSpec(function=sqrt(), rule=taylor(degree=20), route='dense')

A compiled or exported graph holds the string, and the operators of `ops.py` read it back, in the same process or in another one.
Functions and rules are in it by their registered names. One that a user put together without registering it is known in its own
process alone, by a word made up for it.
"""

from __future__ import annotations

import ast
import functools
from abc import ABC, abstractmethod
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.parts import OWN_PARTS, Part, make_part
from gcp_repro.registry import number_of_changes

if TYPE_CHECKING:
    from gcp_repro.linalg.machinery.operator import Operator

__all__ = ["Recipe", "read_recipe"]

KINDS = {"function": "spectral function", "rule": "gradient rule", "step": "matrix step"}
"""Of the parts of a recipe, as their registries call them, by the field that holds them."""

_classes: dict[str, type[Recipe]] = {}


class Recipe(ABC):
    """Base class of frozen dataclasses whose fields are functions, rules, dtypes and plain values."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        _classes[cls.__name__] = cls

    @functools.cached_property
    def text(self) -> str:
        """The recipe as a string; values that are the defaults are left out."""
        own = {field.name: (getattr(self, field.name), field.default) for field in fields(self)}  # type: ignore[arg-type]
        written = [
            f"{name}={_written(value)}" for name, (value, default) in own.items() if default is MISSING or value != default
        ]
        return f"{type(self).__name__}({', '.join(written)})"

    @abstractmethod
    def operator_for(self, x: Tensor) -> Operator:
        """The operator that computes it for `(..., rows, columns)`; only shape, dtype and device are looked at."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by the fields: the string may hold words of this process."""
        return _remade, (type(self), {field.name: getattr(self, field.name) for field in fields(self)})  # type: ignore[arg-type]


def read_recipe(text: str) -> Recipe:
    """The recipe that a string stands for.

    Raises:
        OptionError: It is none, or holds the word for a function of another process.
        UnknownNameError: A function or rule is not registered here.
    """
    return _read(text, number_of_changes())


@functools.lru_cache(maxsize=1024)
def _read(text: str, changes: int) -> Recipe:
    """Read again whenever a name has come to stand for something else."""
    try:
        call = ast.parse(text, mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id not in _classes:
        raise OptionError(
            f"an operator needs a recipe of one of {', '.join(sorted(_classes))}; got {text!r}: the graph is of another version "
            "of gcp_repro, so export it again"
        )
    return _classes[call.func.id](**{str(option.arg): _value(str(option.arg), option.value) for option in call.keywords})


def _written(value: Any) -> str:
    return value.text if isinstance(value, Part) else repr(value)  # that of a dtype is "torch.float64"


def _value(name: str, node: ast.expr) -> Any:
    """A part by its name and options, or by the word for it; a dtype; or a plain value."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return make_part(KINDS[name], node.func.id, {str(option.arg): ast.literal_eval(option.value) for option in node.keywords})
    if isinstance(node, ast.Name):
        if node.id not in OWN_PARTS:
            raise OptionError(
                f"a graph that is used in another process needs functions and rules with a name; got {name}={node.id}, an object "
                "of the process that made it: give it a name by register_function or register_rule, and export again"
            )
        return OWN_PARTS[node.id]
    return getattr(torch, node.attr) if isinstance(node, ast.Attribute) else ast.literal_eval(node)


def _remade(recipe: type[Recipe], values: dict[str, Any]) -> Recipe:
    return recipe(**values)
