from pathlib import Path

import pytest
import torch

from gcp_repro.errors import ProtocolError
from gcp_repro.training.build import build_experiment
from gcp_repro.training.protocol.hybrid import HybridSwap
from gcp_repro.training.run import train


def build(compose_tiny, *overrides):
    return build_experiment(compose_tiny("protocol=hybrid", *overrides))


def test_the_stage_depends_on_the_epoch_alone(compose_tiny):
    experiment = build(compose_tiny, "meta_layer=svd_pade")
    module, swap = experiment.module, experiment.swap
    final = module.network.meta_layer
    for epoch, name in ((0, "isqrt_cov"), (1, "isqrt_cov"), (2, "svd_pade"), (3, "svd_pade"), (1, "isqrt_cov"), (2, "svd_pade")):
        swap.set_stage(module, epoch)
        swap.set_stage(module, epoch)
        assert module.meta_layer_name == name
        assert (module.network.meta_layer is final) == (name == "svd_pade")


def test_newton_schulz_takes_dtype_and_route_of_the_configured_layer(compose_tiny):
    config = compose_tiny("protocol=hybrid", "meta_layer=svd_pade", "meta_layer.dtype=float32", "meta_layer.route=dense")
    assert (config.protocol.initial.dtype, config.protocol.initial.route) == ("float32", "dense")


def test_added_warmup_lengthens_the_run(compose_tiny):
    experiment = build(compose_tiny, "meta_layer=svd_pade", "protocol.placement=added", "protocol.warmup_epochs=2")
    assert experiment.swap.swap_epoch == 3
    assert (experiment.schedule.epochs, experiment.schedule.milestones) == (6, (2, 5))
    assert experiment.module.schedule == experiment.schedule


def test_the_swap_is_logged(compose_tiny, caplog):
    with caplog.at_level("INFO"):
        result = train(compose_tiny("protocol=hybrid", "meta_layer=svd_lyapunov"))["result"]
    assert "isqrt_cov gives way to svd_lyapunov at epoch 2" in caplog.text
    assert (result["protocol"], result["swap_epoch"], result["warmup_epochs"]) == ("hybrid", 2, 1)


def test_swapping_newton_schulz_for_itself_changes_nothing(compose_tiny, caplog, weights):
    hybrid = compose_tiny("protocol=hybrid", "meta_layer=isqrt_cov")
    standalone = compose_tiny("protocol=standalone", "meta_layer=isqrt_cov")
    with caplog.at_level("INFO"):
        train(hybrid)
    assert "the swap of epoch 2 changes nothing, both layers are the same isqrt_cov" in caplog.text
    train(standalone)
    for name, value in weights(Path(standalone.paths.run_dir)).items():
        assert torch.equal(value, weights(Path(hybrid.paths.run_dir))[name]), name


@pytest.mark.parametrize("layer", ["gap", "bcnn", "cbp", "deep_o2p", "g2denet"])
def test_layers_that_are_no_root_of_the_covariance_are_refused(compose_tiny, layer):
    with pytest.raises(ProtocolError, match=rf"go on from 'isqrt_cov'.*got '{layer}': set protocol=standalone"):
        build(compose_tiny, f"meta_layer={layer}")


def test_refusal_comes_before_anything_is_written(compose_tiny):
    config = compose_tiny("protocol=hybrid", "meta_layer=svd_pade", "schedule.milestones=[]")
    with pytest.raises(ProtocolError, match="needs a decay of the learning rate"):
        train(config)
    assert not Path(config.paths.run_dir).exists()


def test_layers_with_parameters_are_refused():
    with pytest.raises(ProtocolError, match="without parameters; 'learned' has some"):
        HybridSwap(torch.nn.Identity(), torch.nn.Linear(2, 2), initial_name="isqrt_cov", final_name="learned", swap_epoch=1)
