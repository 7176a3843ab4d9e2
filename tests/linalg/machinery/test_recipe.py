"""Recipes are read back as what they were, in this process and in others."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.linalg import GRADIENT_RULES, SPECTRAL_FUNCTIONS, GradientRule, PoolingSpec, gradient_rule, spectral_function
from gcp_repro.linalg.machinery.recipe import read_recipe
from gcp_repro.linalg.pooling import operators_for
from gcp_repro.linalg.spectral import MatrixFunction

ROOT, EXACT = spectral_function("sqrt"), gradient_rule("exact")


@pytest.mark.parametrize("rule", GRADIENT_RULES)
@pytest.mark.parametrize("function", SPECTRAL_FUNCTIONS)
def test_recipes_of_specs_and_of_their_operators_are_read_back(function, rule):
    parts = spectral_function(function, **({"exponent": 0.3} if function == "power" else {})), gradient_rule(rule)
    for options in ({}, {"dtype": "float32", "route": "dense", "top_n": 0.5}, {"dtype": "mixed", "accuracy": "high"}):
        spec = PoolingSpec(*parts, **options)
        assert read_recipe(spec.text) == spec
        for operator in operators_for(spec, 8).values():
            assert read_recipe(operator.text) == operator


def test_only_what_differs_from_the_defaults_is_written():
    spec = PoolingSpec(ROOT, gradient_rule("taylor", degree=20), route="dense")
    assert spec.text == "PoolingSpec(function=sqrt(), rule=taylor(degree=20), route='dense')"
    assert MatrixFunction(ROOT, EXACT, torch.float32).text == "MatrixFunction(function=sqrt(), rule=exact(), dtype=torch.float32)"


def test_infinity_is_read_back():
    rule = gradient_rule("trunc", max_gradient=float("inf"))
    assert read_recipe(PoolingSpec(ROOT, rule).text).rule == rule


def test_what_is_no_recipe():
    for text in ("", "PoolingSpec(", "NoSuchRecipe()", "PoolingSpec", "__import__('os')"):
        with pytest.raises(OptionError, match=r"needs a recipe of one of .*PoolingSpec.*; got .* export it again"):
            read_recipe(text)
    with pytest.raises(UnknownNameError, match="no gradient rule 'pad'; nearest: 'pade'"):
        read_recipe("PoolingSpec(function=sqrt(), rule=pad())")


def own_table(eigenvalues, images, function):
    return function.gradient(eigenvalues)


def test_parts_of_ones_own_are_known_by_a_word_in_their_process():
    spec = PoolingSpec(ROOT, GradientRule("mine", own_table))
    assert read_recipe(spec.text).rule is spec.rule
    twin = pickle.loads(pickle.dumps(spec))
    assert read_recipe(twin.text) == twin == spec
    code = f"from gcp_repro.linalg.machinery.recipe import read_recipe; read_recipe({spec.text!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "OptionError: a graph that is used in another process needs functions and rules with a name; got rule=own_" in done.stderr
    )


def test_a_name_that_has_come_to_stand_for_something_else():
    try:
        GRADIENT_RULES.register("mine", lambda: GradientRule("mine", own_table))
        text = "PoolingSpec(function=sqrt(), rule=mine())"
        first = read_recipe(text).rule
        GRADIENT_RULES.register("mine", lambda: GradientRule("mine", own_table, of=ROOT), replace=True)
        assert first.of is None
        assert read_recipe(text).rule.of == ROOT
    finally:
        GRADIENT_RULES.remove("mine")
    with pytest.raises(UnknownNameError, match="no gradient rule 'mine'"):
        read_recipe(text)
