import pytest
import torch
from omegaconf import OmegaConf

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.metalayers import CovariancePooling, build_meta_layer
from gcp_repro.runs import RunDirectory
from gcp_repro.training.hardware import PRECISIONS, check_hardware
from gcp_repro.training.run import train

DTYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "64-true": torch.float64, "bf16-true": torch.bfloat16}


@pytest.mark.parametrize("precision", DTYPES)
def test_the_layer_computes_in_its_own_dtype_whatever_the_precision_of_the_network(compose_tiny, monkeypatch, precision):
    """It sees features in the network's precision, and its output is that of float64 rounded to it; diagnostics do, too."""
    seen = []
    pool = CovariancePooling.pool

    def recorded(self, features):
        output = pool(self, features)
        if self.training and self.name == "svd_pade":
            seen.append((features.detach(), output.detach()))
        return output

    monkeypatch.setattr(CovariancePooling, "pool", recorded)
    config = compose_tiny("meta_layer=svd_pade", f"trainer.precision={precision}", "callbacks=default")
    result = train(config)["result"]
    assert (result["status"], result["precision"]) == ("finished", precision)
    layer = build_meta_layer("svd_pade").eval()
    for features, output in seen:
        assert (features.dtype, output.dtype) == (DTYPES[precision], DTYPES[precision])
        assert torch.equal(output, layer(features.double()).to(output.dtype))
    header = RunDirectory(config.paths.run_dir).metrics.read_text().splitlines()[0]
    assert "diagnostics/beta_smoothness" in header
    assert "diagnostics/gradient_error" in header


def test_losses_and_errors_of_half_precision_are_not_rounded_to_it(compose_tiny):
    result = train(compose_tiny("trainer.precision=bf16-true", "data.eval_batch_size=61"))["result"]
    for name in ("final_loss", "final_top1_error"):
        assert torch.tensor(result[name], dtype=torch.float64).to(torch.bfloat16).item() != result[name]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "bf16"}, "has one name for each; got bf16: write trainer.precision=bf16-mixed"),
        ({"precision": 32}, "got 32: write trainer.precision=32-true"),
        ({"precision": "16-mixed"}, "needs a GPU, .*; got a CPU: use trainer.precision=bf16-mixed"),
        ({"sync_batchnorm": True}, "trainer.sync_batchnorm needs GPUs, .*; got a CPU: leave it false"),
        (
            {"strategy": "fsdp", "precision": "64-true"},
            "fsdp needs a precision without .*; got 64-true: use trainer.precision=bf16",
        ),
        ({"strategy": "ddp_spawn"}, "needs one that starts a command per process; got 'ddp_spawn'"),
    ],
)
def test_what_a_cpu_cannot_do_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        check_hardware(OmegaConf.create({"accelerator": "cpu", **options}))


def test_what_a_gpu_can_do_is_not():
    for precision in PRECISIONS:
        check_hardware(OmegaConf.create({"accelerator": "gpu", "precision": precision, "sync_batchnorm": True}))
    with pytest.raises(UnknownNameError, match="no precision of the trainer 'fp8'; known: 16-mixed, 16-true, 32-true"):
        check_hardware(OmegaConf.create({"accelerator": "gpu", "precision": "fp8"}))


@pytest.mark.parametrize("layer", ["isqrt_cov", "svd_pade"])
def test_every_operator_of_a_run_has_a_deterministic_kernel(compose_tiny, layer):
    """With `deterministic=true` torch raises where there is none; numbers are those without it."""
    options = [f"meta_layer={layer}", "callbacks=default", "trainer.max_epochs=1"]
    plain = train(compose_tiny(*options, runs="plain"))["result"]
    try:
        result = train(compose_tiny(*options, "trainer.deterministic=true"))["result"]
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert result["final_loss"] == plain["final_loss"]


def test_averaged_weights_cannot_be_spread(compose_tiny):
    with pytest.raises(
        OptionError, match=r"averages of the weights need them whole on every process; got trainer\.strategy=fsdp"
    ):
        train(compose_tiny("callbacks=ema", "trainer.strategy=fsdp"))


def test_refused_before_anything_is_written(compose_tiny, tmp_path):
    with pytest.raises(OptionError, match="16-mixed needs a GPU"):
        train(compose_tiny("trainer.precision=16-mixed"))
    assert not (tmp_path / "runs").exists()
