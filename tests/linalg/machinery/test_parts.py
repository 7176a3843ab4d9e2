"""A function or rule is what it was made as, whether it is given as a name or as an object, and by nothing but that."""

from __future__ import annotations

import copy
import pickle
from typing import Annotated

import pytest
import torch

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.linalg import (
    DIFFERENCE_QUOTIENTS,
    GRADIENT_RULES,
    SPECTRAL_FUNCTIONS,
    GradientRule,
    SpectralFunction,
    gradient_rule,
    matrix_sqrt,
    register_function,
    register_rule,
    spectral_function,
)
from gcp_repro.linalg.functions import sqrt
from gcp_repro.linalg.machinery.options import AtLeast
from gcp_repro.linalg.spectral_function import GradientTable


def seven(eigenvalues):
    return torch.full_like(eigenvalues, 7.0)


def no_gradient(eigenvalues):
    return GradientTable(torch.zeros(*eigenvalues.shape, eigenvalues.shape[-1], dtype=eigenvalues.dtype))


@pytest.fixture
def registered():
    """Names to register under, which are forgotten again."""
    names = []
    yield lambda name: names.append(name) or name
    for registry in (SPECTRAL_FUNCTIONS, GRADIENT_RULES, DIFFERENCE_QUOTIENTS):
        for name in names:
            if name in registry:
                registry.remove(name)


@pytest.mark.parametrize("name", GRADIENT_RULES)
def test_rules_are_equal_by_name_and_options(name):
    rule = gradient_rule(name)
    assert rule == GRADIENT_RULES[name]() == gradient_rule({"name": name})
    assert hash(rule) == hash(gradient_rule(name))
    assert {rule.kind, gradient_rule(rule).kind} == {name}
    for twin in (pickle.loads(pickle.dumps(rule)), copy.deepcopy(rule)):
        assert twin == rule
    assert rule not in [gradient_rule(other) for other in GRADIENT_RULES if other != name]


def test_a_factory_that_makes_something_else(registered):
    register_function(registered("wrong"), lambda: 3)
    with pytest.raises(OptionError, match="the factory of spectral function 'wrong' must return one; got int: let it"):
        spectral_function("wrong")


@pytest.mark.parametrize("name", SPECTRAL_FUNCTIONS)
def test_functions_can_be_pickled(name):
    options = {"exponent": 0.3} if name == "power" else {}
    function = spectral_function(name, **options)
    twin = pickle.loads(pickle.dumps(function))
    assert twin == function
    eigenvalues = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    assert torch.equal(twin.value(eigenvalues), function.value(eigenvalues))


def test_options_tell_parts_apart():
    assert spectral_function("newton_schulz", num_iterations=5) == spectral_function("newton_schulz")
    assert spectral_function("newton_schulz", num_iterations=6) != spectral_function("newton_schulz")
    assert str(spectral_function({"name": "newton_schulz"}, num_iterations=6)) == "newton_schulz(num_iterations=6)"
    assert spectral_function("power", exponent=0.5) == spectral_function("sqrt") == sqrt()
    assert gradient_rule("taylor", degree=3).options == {"degree": 3}


def test_a_part_of_ones_own_is_not_the_one_whose_name_it_bears():
    own = SpectralFunction("sqrt", seven, no_gradient)
    assert own != sqrt()
    assert own == SpectralFunction("sqrt", seven, no_gradient) == pickle.loads(pickle.dumps(own))
    assert (own.kind, own.is_root, dict(own.options)) == (None, False, {})
    assert not gradient_rule("lyapunov").is_exact_for(own)
    assert not GradientRule("exact", lambda eigenvalues, images, function: no_gradient(eigenvalues)).is_exact_for(own)


def test_which_rules_are_exact():
    """`lyapunov` is the exact table of the root, `newton_schulz` that of as many steps."""
    for function, rule, exact in [
        ("sqrt", "exact", True), ("sqrt", "lyapunov", True), ("log", "exact", True), ("log", "lyapunov", False),
        ("newton_schulz", {"name": "newton_schulz", "num_iterations": 5}, True), ("newton_schulz", "newton_schulz", False),
        ("sqrt", "svd", False), ("sqrt", "lyapunov_iteration", False),
    ]:  # fmt: skip
        assert gradient_rule(rule).is_exact_for(spectral_function(function)) is exact, (function, rule)


def test_an_own_function_by_name(registered):
    def scaled(factor: Annotated[int, AtLeast(1)] = 2):
        return SpectralFunction("scaled", lambda eigenvalues: factor * eigenvalues, no_gradient)

    register_function(registered("scaled"), scaled)
    function = spectral_function("scaled", factor=3)
    assert function.value(torch.ones(1)).item() == 3
    assert pickle.loads(pickle.dumps(function)) == function
    with pytest.raises(OptionError, match="factor must be a whole number >= 1; got 0 for spectral function 'scaled'"):
        spectral_function("scaled", factor=0)
    with pytest.raises(OptionError, match="'scaled' is taken: choose another one, or pass replace=True"):
        register_function("scaled", scaled)
    register_function("scaled", lambda: SpectralFunction("scaled", seven, no_gradient), replace=True)
    assert spectral_function("scaled") != function
    with pytest.raises(OptionError, match="'scaled' is taken: choose another one, or pass replace=True"):
        SPECTRAL_FUNCTIONS.factory("scaled")(scaled)
    assert SPECTRAL_FUNCTIONS.factory("scaled", replace=True)(scaled)(factor=3) == spectral_function("scaled", factor=3)


def test_an_own_quotient_by_name(registered):
    def shifted(larger, smaller, *, shift: Annotated[float, AtLeast(0)] = 1.0):
        return 1 / (larger - smaller + shift)

    register_rule(registered("shifted"), quotient=shifted)
    assert DIFFERENCE_QUOTIENTS["shifted"] is shifted
    assert gradient_rule("shifted", shift=3).quotient(torch.tensor(2.0), torch.tensor(1.0)).item() == 0.25
    with pytest.raises(OptionError, match="shift must be a number >= 0; got -1"):
        gradient_rule("shifted", shift=-1)
    cov = torch.diag(torch.tensor([1.0, 3.0])).requires_grad_()
    matrix_sqrt(cov, "shifted", shift=2.0)[0, 1].backward()
    assert cov.grad is not None
    torch.testing.assert_close(cov.grad[0, 1].item(), (3**0.5 - 1) / 4 / 2)  # half for each of the two entries


def test_an_own_rule_by_name(registered):
    def none(factor: Annotated[int, AtLeast(1)] = 1):
        return GradientRule("none", lambda eigenvalues, images, function: no_gradient(eigenvalues))

    assert register_rule(registered("none"), none)() == gradient_rule("none")
    with pytest.raises(OptionError, match="'none' is taken: choose another one, or pass replace=True"):
        register_rule("none", none)
    with pytest.raises(OptionError, match="'none' is taken"):
        register_rule("none", quotient=lambda larger, smaller: larger)
    assert "none" not in DIFFERENCE_QUOTIENTS
    register_rule("none", quotient=lambda larger, smaller: larger - smaller, replace=True)
    assert gradient_rule("none").quotient(torch.tensor(3.0), torch.tensor(1.0)).item() == 2
    assert gradient_rule("none").name == "none"
    register_rule("none", quotient=lambda larger, smaller: larger, replace=True)
    assert gradient_rule("none").quotient(torch.tensor(3.0), torch.tensor(1.0)).item() == 3
    register_rule("none", none, replace=True)
    assert gradient_rule("none").quotient is None
    assert "none" not in DIFFERENCE_QUOTIENTS


def test_a_rule_is_a_factory_or_a_quotient():
    for given in ({}, {"factory": lambda: None, "quotient": lambda larger, smaller: larger}):
        with pytest.raises(OptionError, match="made by a factory or of a quotient; got both or none for 'x': give one"):
            register_rule("x", **given)


def test_choices_that_mean_nothing():
    with pytest.raises(UnknownNameError, match="no gradient rule 'pad'; nearest: 'pade'; known: exact"):
        gradient_rule({"name": "pad"})
    with pytest.raises(UnknownNameError, match="no spectral function None"):
        spectral_function({"exponent": 2})
    with pytest.raises(OptionError, match="given as an object has its options already; got degree for pade"):
        gradient_rule(gradient_rule("pade"), degree=50)
