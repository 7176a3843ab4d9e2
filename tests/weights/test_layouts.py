import pytest
import torch

from gcp_repro.errors import UnknownNameError
from gcp_repro.weights.layouts import ARCHITECTURES, find_architecture
from tests.weights.foreign import foreign_alexnet, named_resnet

LAYOUTS = [
    pytest.param(layout, id=f"{name}-{layout.name}") for name in ("alexnet", "resnet50") for layout in ARCHITECTURES[name].layouts
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_lead_there_and_back(layout):
    assert len({theirs for theirs, _ in layout.prefixes}) == len({ours for _, ours in layout.prefixes}) == len(layout.prefixes)
    for theirs, ours in layout.prefixes:
        assert layout.to_ours(f"{theirs}weight") == f"{ours}weight"
        assert layout.to_theirs(f"{ours}weight") == f"{theirs}weight"
    assert layout.to_ours("optimizer.weight") is None
    assert layout.to_theirs("meta_layer.weight") is None


def test_every_tensor_of_the_networks_has_a_name():
    with torch.device("meta"):
        names = {"alexnet": foreign_alexnet().state_dict(), "mpncovresnet50": named_resnet().state_dict()}
    for name, layout in (("alexnet", "sequential"), ("mpncovresnet50", "named")):
        (found,) = (known for known in find_architecture(name).layouts if known.name == layout)
        ours = [found.to_ours(tensor) for tensor in names[name]]
        assert None not in ours
        assert len(set(ours)) == len(ours)


def test_unknown_architectures_are_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="no architecture 'resnet51'; nearest: 'resnet50'"):
        find_architecture("resnet51")
