import math

import pytest
import torch
from torch import nn

from gcp_repro.errors import NonFiniteError
from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.module.metrics import TopKError
from gcp_repro.training.run import train
from gcp_repro.training.schedule.schedule import Schedule


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(3, 3)
        self.meta_layer = nn.Identity()
        self.classifier = nn.Linear(3, 2)

    def forward(self, x):
        return self.classifier(self.meta_layer(self.backbone(x)))


def make_module(**options):
    return GCPModule(Network(), lambda groups: torch.optim.SGD(groups, lr=0.5), Schedule(6, (2, 4), 0.1), **options)


def test_errors_are_percentages_of_all_samples():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0, -2.0]]).repeat(3, 1)
    top1, top5 = TopKError(1), TopKError(5)
    for metric in (top1, top5):
        metric.update(logits, torch.tensor([0, 4, 5]))
        metric.update(logits[:1], torch.tensor([5]))
    assert top1.compute().item() == pytest.approx(75.0)
    assert top5.compute().item() == pytest.approx(50.0)


@pytest.mark.parametrize("classes", [2, 5])
def test_nothing_is_missed_among_five_classes_or_fewer(classes):
    metric = TopKError(5)
    metric.update(torch.randn(7, classes), torch.randint(classes, (7,)))
    assert metric.compute().item() == 0.0


def test_the_classifier_has_its_own_rate_and_both_decay():
    module = make_module(classifier_lr_multiplier=5.0)
    optimizers = module.configure_optimizers()
    optimizer, decay = optimizers["optimizer"], optimizers["lr_scheduler"]["scheduler"]
    assert [group["name"] for group in optimizer.param_groups] == ["network", "classifier"]
    assert {id(p) for p in optimizer.param_groups[1]["params"]} == {id(p) for p in module.network.classifier.parameters()}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(module.network.parameters()))
    rates = []
    for _ in range(6):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        decay.step()
    expected = [[0.5, 2.5]] * 2 + [[0.05, 0.25]] * 2 + [[0.005, 0.025]] * 2
    assert rates == [pytest.approx(pair) for pair in expected]


def test_hyperparameters_are_plain():
    hyperparameters = dict(make_module().hparams)
    assert hyperparameters == {
        "schedule": {"epochs": 6, "milestones": [2, 4], "gamma": 0.1, "shape": "step", "rising_epochs": 0},
        "classifier_lr_multiplier": 1.0,
    }


def test_a_loss_that_is_not_finite_is_refused():
    module = make_module(meta_layer_name="svd_pade")
    with torch.no_grad():
        module.network.classifier.bias.fill_(math.nan)
    with pytest.raises(
        NonFiniteError, match=r"stopped being finite in epoch 0, batch 7, with svd_pade \(logits\): lower optimizer.lr"
    ):
        module.training_step((torch.randn(4, 3), torch.tensor([0, 1, 0, 1])), 7)


def test_metrics_of_an_epoch_match_a_plain_loop(compose_tiny):
    """Also the last batch, of one image, counts with its size."""
    config = compose_tiny("schedule.epochs=1", "schedule.milestones=[]", "meta_layer=gap", "trainer.limit_val_batches=1.0")
    run = train(config)
    module, data = run["experiment"].module.eval(), run["experiment"].datamodule
    images, labels = zip(*data.val_dataloader(), strict=True)
    labels = torch.cat(labels)
    with torch.no_grad():
        logits = torch.cat([module(data.on_after_batch_transfer((batch, None), 0)[0]) for batch in images])
    result = run["result"]
    assert result["final_top1_error"] == pytest.approx(100 * (logits.argmax(1) != labels).float().mean().item(), rel=1e-5)
    in_top5 = (logits.argsort(descending=True)[:, :5] == labels[:, None]).any(1)
    assert result["final_top5_error"] == pytest.approx(100 * (~in_top5).float().mean().item(), rel=1e-5)
    assert result["final_loss"] == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)


def test_gradients_are_clipped(compose_tiny, monkeypatch):
    norms = []

    def on_before_optimizer_step(self, optimizer):
        gradients = [parameter.grad.flatten() for parameter in self.parameters() if parameter.grad is not None]
        norms.append(torch.cat(gradients).norm().item())

    original = GCPModule.optimizer_step

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        original(self, epoch, batch_idx, optimizer, optimizer_closure)
        on_before_optimizer_step(self, optimizer)

    monkeypatch.setattr(GCPModule, "optimizer_step", optimizer_step)
    train(compose_tiny("gradient_clip_norm=0.01", "schedule.epochs=1", "schedule.milestones=[]"))
    assert len(norms) == 4
    assert max(norms) == pytest.approx(0.01, rel=1e-3)
