import json

import pytest

from gcp_repro.errors import DataError
from gcp_repro.runs.schema import SCHEMA
from gcp_repro.training.protocol.matching_run import MatchingRun


def write(root, name, **changes):
    folder = root / "resnet50_imagenet" / name
    (folder / "checkpoints").mkdir(parents=True)
    result = {
        "schema": SCHEMA, "status": "finished", "experiment": "resnet50_imagenet", "meta_layer": "svd_pade", "dtype": "float64",
        "route": "dense", "protocol": "hybrid", "seed": 0, "setting": {}, "planned_epochs": 60, "final_top1_error": 23.0,
        "config_hash": "01234567",
    } | changes  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result))
    path = folder / "checkpoints" / "last.ckpt"
    path.write_bytes(b"")
    return path


def wanted(root, **changes):
    options = {"meta_layer": "svd_pade", "dtype": "float64", "route": "dense", "seed": 0} | changes
    return MatchingRun(str(root), "resnet50_imagenet", **options)


def test_only_the_same_layer_precision_route_and_protocol_match(tmp_path):
    for number, change in enumerate(
        ({"meta_layer": "svd_trunc"}, {"dtype": "float32"}, {"route": "gram"}, {"protocol": "standalone"}, {"status": "diverged"})
    ):
        write(tmp_path, f"other{number}", **change)
    assert wanted(tmp_path, optional=True).checkpoint() is None
    right = write(tmp_path, "right")
    assert wanted(tmp_path).checkpoint() == right


def test_the_same_seed_comes_first_then_the_lowest(tmp_path):
    two, one = write(tmp_path, "a", seed=2), write(tmp_path, "b", seed=1)
    assert wanted(tmp_path, seed=2).checkpoint() == two
    assert wanted(tmp_path, seed=5).checkpoint() == one


def test_standalone_newton_schulz_serves_as_its_hybrid(tmp_path):
    path = write(tmp_path, "a", meta_layer="isqrt_cov", protocol="standalone")
    assert wanted(tmp_path, meta_layer="isqrt_cov").checkpoint() == path


def test_half_a_result_is_passed_over(tmp_path):
    path = write(tmp_path, "a")
    (path.parents[1] / "result.json").write_text('{"status": "fin')
    assert wanted(tmp_path, optional=True).checkpoint() is None


def test_absence_is_explained_with_the_command(tmp_path):
    with pytest.raises(DataError, match="fine-tuning svd_pade starts from a finished run of resnet50_imagenet") as error:
        wanted(tmp_path).checkpoint()
    command = "train it with gcp-train experiment=resnet50_imagenet meta_layer=svd_pade meta_layer.dtype=float64"
    assert command in str(error.value)
    assert "meta_layer.route=dense protocol=hybrid seed=0" in str(error.value)
    with pytest.raises(DataError, match="protocol=standalone seed=0"):
        wanted(tmp_path, meta_layer="isqrt_cov").checkpoint()


@pytest.mark.parametrize("layer", ["svd_pade", "gap"])
def test_fine_tuning_experiments_look_for_it(compose_train, layer):
    run = compose_train("experiment=resnet50_birds", f"meta_layer={layer}", "callbacks=none").callbacks.initial_weights.run
    assert (run.experiment, run.meta_layer, run.optional) == ("resnet50_imagenet", layer, False)
    assert run.route == ("auto" if layer == "svd_pade" else None)
    assert compose_train("experiment=resnet50_birds", "debug=tiny").callbacks.initial_weights.run.optional
