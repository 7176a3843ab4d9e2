import pytest
import torch

from gcp_repro.errors import DataError, OptionError, UnknownNameError
from gcp_repro.training.run import train
from gcp_repro.weights import export_weights, import_weights
from tests.weights.foreign import foreign_alexnet, foreign_resnet, named_resnet


def imported(network, architecture, folder, *overrides):
    torch.save(network.state_dict(), folder / "weights.pth")
    import_weights(folder / "weights.pth", architecture, "svd_pade", overrides=overrides).write_run(folder / "run")
    return folder / "run"


def assert_same(state, other):
    assert set(state) == set(other)
    for name, value in state.items():
        assert torch.equal(value, other[name]), name


def test_the_code_bases_load_what_is_written(tmp_path):
    """Out of our names into a network with theirs, which refuses names that it does not know."""
    network = foreign_alexnet()
    run = imported(network, "alexnet", tmp_path, "model.hidden_dims=[6,6]")
    export_weights(run, "alexnet", tmp_path / "out" / "alexnet.pth")
    fresh = foreign_alexnet()
    fresh.load_state_dict(torch.load(tmp_path / "out" / "alexnet.pth", weights_only=True))
    assert_same(fresh.state_dict(), network.state_dict())


@pytest.mark.parametrize(("make", "layout"), [(foreign_resnet, None), (named_resnet, "named")])
def test_layouts_of_resnets(tmp_path, make, layout):
    run = imported(make(), "resnet50", tmp_path)
    exported = export_weights(run / "checkpoints" / "last.ckpt", "resnet50", tmp_path / "out.pth", layout)
    assert_same(exported, torch.load(tmp_path / "weights.pth", weights_only=True))


def test_another_network_is_refused_before_anything_is_written(compose_tiny, tmp_path):
    config = compose_tiny("trainer.max_epochs=1")
    train(config)
    with pytest.raises(DataError, match=r"every tensor must fit the network; .*last\.ckpt and alexnet with isqrt_cov"):
        export_weights(config.paths.run_dir, "alexnet", tmp_path / "out.pth")
    with pytest.raises(
        DataError, match=r"network of the architecture 'resnet18'; .* tensors have no place there \(backbone.features"
    ):
        export_weights(config.paths.run_dir, "resnet18", tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


def test_wrong_arguments(tmp_path):
    with pytest.raises(DataError, match=r"needs a run directory .* there is no .*none: name one of gcp-train"):
        export_weights(tmp_path / "none", "alexnet", tmp_path / "out.pth")
    with pytest.raises(UnknownNameError, match=r"no layout of alexnet 'named'; .*known: finetuned, sequential"):
        export_weights(tmp_path, "alexnet", tmp_path / "out.pth", "named")
    (tmp_path / "out.pth").touch()
    with pytest.raises(OptionError, match=r"needs a new file; .*out\.pth exists: choose another --output"):
        export_weights(tmp_path, "alexnet", tmp_path / "out.pth")
