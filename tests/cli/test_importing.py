"""`gcp-import` as a user types it."""

import pytest
import torch

from gcp_repro.cli.importing import main
from gcp_repro.paper.store.results import gather
from gcp_repro.runs import RunDirectory
from gcp_repro.training.evaluate import evaluate
from tests.weights.foreign import foreign_alexnet

SMALL = ["model.hidden_dims=[6,6]", "data=imagenet", "data.tiny=true", "data.num_workers=0"]


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "model_best.pth.tar"
    torch.save({"epoch": 30, "arch": "alexnet", "state_dict": foreign_alexnet().state_dict(), "best_prec1": 61.5}, path)
    return path


def test_an_imported_run_is_scored_and_exported_again(weights, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = tmp_path / "run"
    main([str(weights), "--architecture", "alexnet", "--meta-layer", "svd_pade", "--output", str(run), *SMALL])
    told = capsys.readouterr().out
    assert "(alexnet, svd_pade, arithmetic DifferentiableSVD, 3 classes, layout sequential, 30 epochs, its own record: " in told
    assert "61.50 % top-1 accuracy)" in told
    assert f"gcp-eval run={run}" in told
    assert [problem.kind for problem in gather([run]).problems] == ["unscored"]
    metrics = evaluate(RunDirectory(run).last, accelerator="cpu")
    assert set(metrics) == {"val/loss", "val/top1_error", "val/top5_error"}
    results = gather([run])
    assert results.problems == ()
    (row,) = results.imported.to_dict("records")
    assert (row["imported_file"], row["imported_meta_layer"], row["data"]) == ("model_best.pth.tar", "svd_pade", "imagenet")
    assert (row["final_top1_error"], row["epochs"]) == (metrics["val/top1_error"], 30)
    main([str(run), "--export", "--architecture", "alexnet", "--output", str(tmp_path / "back.pth")])
    assert f"47 tensors -> {tmp_path / 'back.pth'}" in capsys.readouterr().out
    before, after = torch.load(weights)["state_dict"], torch.load(tmp_path / "back.pth")
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert set(before) == set(after)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--architecture", "vgg16"], "gcp-import: no architecture 'vgg16'; known: alexnet, mpncovresnet101"),
        (["data=bird"], "gcp-import: no data 'bird'; nearest: 'birds'"),
        (["model.hidden=3"], "gcp-import: no option 'model.hidden'; nearest: 'model.hidden_dims'"),
        (["--num-classes", "9", *SMALL], "classifier.4.bias (3,), needs (9,)"),
    ],
)
def test_mistakes_are_explained(weights, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit):
        main([str(weights), *arguments, "--output", str(tmp_path / "run")])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_options_that_do_not_go_together(weights, tmp_path, capsys):
    for arguments, message in (
        (["--export"], "--export needs --architecture"),
        (["--layout", "named"], "--layout is for --export; an import finds it out"),
    ):
        with pytest.raises(SystemExit):
            main([str(weights), *arguments, "--output", str(tmp_path / "run")])
        assert message in capsys.readouterr().err
