"""Options are of the kind and range that they are annotated with, or are refused in words."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
import pytest

from gcp_repro.errors import OptionError
from gcp_repro.linalg import GRADIENT_RULES, SPECTRAL_FUNCTIONS, gradient_rule, matrix_sqrt, spectral_function
from gcp_repro.linalg.machinery.options import (
    Above,
    AtLeast,
    AtMost,
    Below,
    Finite,
    Not,
    OneOf,
    check_option,
    check_options,
    checked,
    options_of,
)
from gcp_repro.linalg.matrix_steps import MATRIX_STEPS

NAN, INFINITY = float("nan"), float("inf")
SHARE = Annotated[int, AtLeast(1)] | Annotated[float, Above(0), Below(1)] | None


@pytest.mark.parametrize(
    ("annotation", "accepted"),
    [
        (int, [(3, 3), (np.int64(3), 3)]),
        (float, [(3, 3.0), (np.float32(0.5), 0.5), (INFINITY, INFINITY)]),
        (bool, [(True, True)]),
        (Literal["a", "b"], [("a", "a")]),
        (SHARE, [(1, 1), (200, 200), (0.999, 0.999), (None, None)]),
        (Annotated[float, Finite(), Not(0)], [(-2, -2.0)]),
        (Annotated[int, OneOf(lambda: (50, 100))], [(50, 50)]),
        (list[float] | dict, [([1, 0.5], [1.0, 0.5]), ([], []), ({"a": 1}, {"a": 1})]),
        (bytes, [("of a kind that is not looked at", "of a kind that is not looked at")]),
    ],
)
def test_values_come_in_the_type_of_the_annotation(annotation, accepted):
    for given, expected in accepted:
        value = check_option("layer", "option", given, annotation)
        assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("annotation", "words", "refused"),
    [
        (int, "a whole number", [5.0, True, "5", [100], None, NAN]),
        (Annotated[int, AtLeast(1)], "a whole number >= 1", [0, -3]),
        (Annotated[float, Above(0)], "a number > 0", [0, NAN, -INFINITY, "1e10", True]),
        (Annotated[float, AtLeast(0), Finite()], "a number >= 0 and that is finite", [INFINITY, -1e-300]),
        (bool, "true or false", [1, "true"]),
        (list[float], "a list, each entry a number", [["x"], 1.0, None]),
        (dict, "a mapping", [[], "x"]),
        (Annotated[int, AtLeast(0), AtMost(9)], "a whole number >= 0 and <= 9", [-1, 10]),
        (Literal["a", "b"], "one of a, b", ["c", None, 1]),
        (SHARE, "a whole number >= 1, or a number > 0 and < 1, or null", [1.0, 0, -1, 200.0, True]),
        (Annotated[int, OneOf(lambda: (50, 100), "or make more")], r"a whole number among 50, 100 \(or make more\)", [80]),
    ],
)
def test_other_values_are_refused(annotation, words, refused):
    for value in refused:
        with pytest.raises(OptionError, match=rf"^option must be {words}; got .* for layer: leave it$"):
            check_option("layer", "option", value, annotation, "leave it")


def test_names_and_defaults():
    def factory(degree: Annotated[int, AtLeast(0)], *, floor: float = 0.5, **others):
        return degree

    assert check_options("rule", factory, {"degree": 3}) == {"degree": 3, "floor": 0.5}
    assert list(options_of(factory, skip=1)) == ["floor"]
    with pytest.raises(OptionError, match="rule has no option 'degre'; nearest: 'degree'; it has: degree, floor"):
        check_options("rule", factory, {"degre": 3})
    with pytest.raises(OptionError, match="rule needs the option 'degree'; got floor: give it a value"):
        check_options("rule", factory, {"floor": 3})
    with pytest.raises(OptionError, match=r"floor must be a number; got 'x' for rule: leave it out for 0.5, the default"):
        check_options("rule", factory, {"degree": 3, "floor": "x"})


def test_checked_functions_and_constructors():
    class Layer:
        @checked
        def __init__(self, size: Annotated[int, AtLeast(1)] = 1) -> None:
            self.size = size

    assert Layer(np.int32(4)).size == 4
    assert options_of(Layer)["size"].annotation == Annotated[int, AtLeast(1)]
    with pytest.raises(OptionError, match="size must be a whole number >= 1; got 0 for Layer"):
        Layer(size=0)


@pytest.mark.parametrize(
    ("make", "name", "options"),
    [
        (gradient_rule, "taylor", {"degree": -3}),
        (gradient_rule, "taylor", {"degree": [100]}),
        (gradient_rule, "pade", {"degree": 80}),
        (gradient_rule, "trunc", {"max_gradient": NAN}),
        (gradient_rule, "trunc", {"max_gradient": 0}),
        (gradient_rule, "newton_schulz", {"num_iterations": -1}),
        (gradient_rule, "power_iteration", {"num_iterations": 0}),
        (gradient_rule, "power_iteration", {"deflate": "no"}),
        (gradient_rule, "lyapunov_iteration", {"num_iterations": 5.0}),
        (spectral_function, "newton_schulz", {"num_iterations": 5.0}),
        (spectral_function, "newton_schulz", {"num_iterations": True}),
        (spectral_function, "log", {"epsilon": -1e-3}),
        (spectral_function, "log", {"epsilon": INFINITY}),
        (spectral_function, "power", {"exponent": 0}),
        (spectral_function, "power", {"exponent": NAN}),
        (spectral_function, "power", {}),
    ],
)
def test_options_of_functions_and_rules_are_checked_where_they_are_given(make, name, options):
    with pytest.raises(OptionError, match=next(iter(options), "exponent")):
        make(name, **options)


@pytest.mark.parametrize(
    ("parts", "name", "smallest"),
    [
        (GRADIENT_RULES, "taylor", {"degree": 0}),
        (GRADIENT_RULES, "newton_schulz", {"num_iterations": 1}),
        (GRADIENT_RULES, "power_iteration", {"num_iterations": 1}),
        (GRADIENT_RULES, "lyapunov_iteration", {"num_iterations": 1}),
        (SPECTRAL_FUNCTIONS, "newton_schulz", {"num_iterations": 1}),
        (SPECTRAL_FUNCTIONS, "log", {"epsilon": 0}),
        (MATRIX_STEPS, "svpn", {"num_values": 1, "num_iterations": 1}),
        (MATRIX_STEPS, "rank1_update", {"num_iterations": 0, "seed": 0}),
        (MATRIX_STEPS, "isice", {"sparsity": 0, "num_iterations": 2, "inverse_iterations": 1}),
    ],
)
def test_the_smallest_values_are_taken_and_one_less_is_not(parts, name, smallest):
    assert parts.resolve(name, **smallest).options.items() >= smallest.items()
    for option, value in smallest.items():
        with pytest.raises(OptionError, match=rf"{option} must be a .*>= {value}"):
            parts.resolve(name, **{**smallest, option: value - 1})


@pytest.mark.parametrize(
    ("parts", "name", "defaults"),
    [
        (SPECTRAL_FUNCTIONS, "log", {"epsilon": 1e-3}),
        (SPECTRAL_FUNCTIONS, "newton_schulz", {"num_iterations": 5}),
        (GRADIENT_RULES, "trunc", {"max_gradient": 1e10}),
        (GRADIENT_RULES, "taylor", {"degree": 100}),
        (GRADIENT_RULES, "pade", {"degree": 100}),
        (GRADIENT_RULES, "newton_schulz", {"num_iterations": 10}),
        (GRADIENT_RULES, "power_iteration", {"num_iterations": 19, "deflate": True}),
        (GRADIENT_RULES, "lyapunov_iteration", {"num_iterations": 8}),
        (MATRIX_STEPS, "svpn", {"exponent": 0.5, "num_values": 1, "num_iterations": 1}),
        (MATRIX_STEPS, "rank1_update", {"eta": 1.0, "num_iterations": 2, "seed": 0}),
        (MATRIX_STEPS, "isice", {"sparsity": 0.01, "step_size": 1.0, "num_iterations": 5, "inverse_iterations": 7}),
        (MATRIX_STEPS, "log_cholesky", {"epsilon": 1e-6}),
    ],
)
def test_defaults_are_those_of_the_sources(parts, name, defaults):
    """Layers name theirs themselves."""
    assert parts.resolve(name).options == defaults


@pytest.mark.parametrize("top_n", [0, -1, 1.0, 3.0, NAN, True, "3"])
def test_number_of_eigenvalues_kept(top_n):
    import torch

    with pytest.raises(OptionError, match=r"top_n must be .* for matrix_sqrt: leave it out to keep all eigenvalues"):
        matrix_sqrt(torch.eye(3), top_n=top_n)
