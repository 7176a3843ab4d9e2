import inspect
import pickle

import pytest

from gcp_repro import errors
from gcp_repro.errors import GCPError, UnknownNameError, nearest_names


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name.endswith("Error")])
def test_one_except_clause_catches_every_error(name):
    error = getattr(errors, name)
    assert inspect.getdoc(error)
    assert issubclass(error, GCPError)
    assert issubclass(error, ValueError)


def test_unknown_names_are_answered_with_the_nearest_and_all():
    known = ["svd_taylor", "svd_pade", "gap"]
    assert str(UnknownNameError("layer", "svd_pad", known)) == (
        "no layer 'svd_pad'; nearest: 'svd_pade', 'svd_taylor'; known: gap, svd_pade, svd_taylor"
    )
    assert str(UnknownNameError("layer", 3, known)) == "no layer 3; known: gap, svd_pade, svd_taylor"


def test_unknown_names_cross_between_processes():
    error = UnknownNameError("layer", "gapp", ["gap"])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_nearest_names_are_at_most_three_and_alike():
    known = [f"layer_{letter}" for letter in "abcde"] + ["xyz"]
    assert len(nearest_names("layer_", known)) == 3
    assert nearest_names("xyzz", known) == ["xyz"]
    assert nearest_names("q", known) == []
