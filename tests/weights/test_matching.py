import pytest
import torch

from gcp_repro.errors import DataError
from gcp_repro.weights.layouts import Architecture, Layout
from gcp_repro.weights.matching import detect_layout, fit, rename

LAYOUT = Layout("short", (("fc.", "classifier.0."), ("bn.", "reduce.1.")))
EXPECTED = {
    "classifier.0.weight": torch.zeros(2, 3),
    "reduce.1.bias": torch.zeros(3, dtype=torch.float64),
    "reduce.1.num_batches_tracked": torch.zeros((), dtype=torch.long),
}


def fitted(**changes):
    weights = {"fc.weight": torch.ones(2, 3, dtype=torch.float64), "bn.bias": torch.ones(3), **changes}
    return fit({k: v for k, v in weights.items() if v is not None}, EXPECTED, LAYOUT, where="file against net", hint="look")


def test_tensors_come_under_our_names_in_the_networks_dtype():
    found = fitted()
    assert {name: tensor.dtype for name, tensor in found.items()} == {k: v.dtype for k, v in EXPECTED.items()}
    assert found["classifier.0.weight"].sum() == 6
    assert found["reduce.1.num_batches_tracked"] == 0  # files older than PyTorch 0.4.1 have no such counter


def test_what_comes_is_a_copy():
    own = torch.ones(2, 3)
    found = fitted(**{"fc.weight": own})
    found["classifier.0.weight"].zero_()
    assert own.sum() == 6


def test_everything_that_does_not_fit_is_listed_at_once_under_the_files_names():
    with pytest.raises(DataError) as caught:
        fitted(**{"fc.weight": torch.ones(3, 2), "bn.bias": None, "extra": torch.ones(4)})
    assert str(caught.value) == (
        "every tensor must fit the network; file against net:\n"
        "  missing (1):\n    bn.bias (3,)\n"
        "  unexpected (1):\n    extra (4,)\n"
        "  wrong shape (1):\n    fc.weight (3, 2), needs (2, 3)\n"
        "look"
    )


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.ones(3, dtype=torch.long), "not dense floating point (1):\n    bn.bias (3,), torch.int64"),
        (torch.ones(3).to_sparse(), "not dense floating point (1):\n    bn.bias (3,), torch.float32"),
        (torch.tensor([1.0, float("nan"), 0.0]), "with NaN or infinity (1):\n    bn.bias (3,)"),
    ],
)
def test_tensors_that_hold_no_numbers_are_refused(tensor, words):
    with pytest.raises(DataError) as caught:
        fitted(**{"bn.bias": tensor})
    assert words in str(caught.value)


def test_the_layout_that_knows_most_names_is_taken():
    other = Layout("long", (("classifier.", "classifier.0."),))
    architecture = Architecture("net", (other, LAYOUT))
    assert detect_layout(["fc.weight", "bn.bias", "classifier.weight"], architecture) is LAYOUT
    assert detect_layout(["classifier.weight"], architecture) is other
    assert detect_layout([], architecture) is other


def test_renaming_drops_what_the_layout_does_not_know():
    weights = {"fc.bias": torch.ones(2), "momentum": torch.ones(1)}
    assert list(rename(weights, LAYOUT)) == ["classifier.0.bias"]
