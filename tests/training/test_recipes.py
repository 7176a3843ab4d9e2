"""What practitioners add to a training: AdamW, a cosine after a rise, label smoothing, an average of the weights."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from gcp_repro.errors import OptionError
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.training.evaluate import evaluate
from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.module.metrics import TopKError
from gcp_repro.training.run import train
from gcp_repro.training.schedule.schedule import Schedule
from tests.training.test_resume import stop_at

RECIPE = [
    "optimizer=adamw", "optimizer.lr=1e-3", "schedule.shape=cosine", "schedule.milestones=[]", "schedule.rising_epochs=1",
    "label_smoothing=0.1", "callbacks=ema", "callbacks.ema.decay=0.8",
]  # fmt: skip


def test_a_run_with_all_of_it_resumes_exactly(compose_tiny, monkeypatch, read_rows, weights):
    whole, stopped = compose_tiny(*RECIPE, runs="whole"), compose_tiny(*RECIPE)
    train(whole)
    with monkeypatch.context() as patch:
        stop_at(patch, 2, 1)
        with pytest.raises(TrainingInterrupted):
            train(stopped)
    train(stopped)
    expected, found = (Path(config.paths.run_dir) for config in (whole, stopped))
    assert read_rows(found / "metrics.csv") == read_rows(expected / "metrics.csv")
    assert all(torch.equal(value, weights(expected)[name]) for name, value in weights(found).items())
    last = torch.load(found / "checkpoints" / "last.ckpt", weights_only=True)
    average, current = last["state_dict"], last["current_model_state"]
    assert any(not torch.equal(average[name], current[name]) for name in current)
    row = read_rows(found / "metrics.csv")[-1]
    assert evaluate(found / "checkpoints" / "last.ckpt", accelerator="cpu")["val/loss"] == pytest.approx(float(row["val/loss"]))


class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.classifier, self.meta_layer = torch.nn.Linear(2, 3), torch.nn.Identity()

    def forward(self, images):
        return self.classifier(images)


def test_label_smoothing_is_in_the_loss_that_is_minimised_alone():
    module = GCPModule(Network(), torch.optim.SGD, Schedule(1), label_smoothing=0.2)
    batch = torch.eye(2), torch.tensor([0, 2])
    logits = module(batch[0])
    plain = cross_entropy(logits, batch[1])
    uniform = -logits.log_softmax(1).mean()
    torch.testing.assert_close(module._outcome(batch).loss, 0.8 * plain + 0.2 * uniform)
    torch.testing.assert_close(module.eval()._outcome(batch).loss, plain)
    with pytest.raises(OptionError, match="label_smoothing needs a share from 0 to below 1; got 1"):
        GCPModule(Network(), torch.optim.SGD, Schedule(1), label_smoothing=1)


def test_errors_of_mixed_images_count_the_larger_part():
    metric = TopKError(1)
    metric.update(torch.eye(3), torch.tensor([[0.7, 0.3, 0], [0.6, 0.4, 0], [0, 0, 1.0]]))
    assert metric.compute() == pytest.approx(100 / 3)
