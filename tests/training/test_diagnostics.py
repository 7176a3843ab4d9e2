from pathlib import Path

import pytest
import torch
from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.training.diagnostics import BetaSmoothness, ConditionNumber, condition_numbers, effective_smoothness
from gcp_repro.training.run import train


def orthogonal_features(*deviations):
    """Three centred, orthogonal channels over four positions, with the given standard deviations."""
    signs = torch.tensor([[1.0, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    return (torch.tensor(deviations)[:, None] * signs[: len(deviations)])[None]


def test_condition_number_of_full_rank():
    full, rank_aware = condition_numbers(orthogonal_features(4.0, 0.5, 1.0))
    assert full.tolist() == pytest.approx([64.0])
    assert rank_aware.tolist() == pytest.approx([64.0])


def test_condition_number_of_deficient_rank_is_that_of_the_floor():
    features = orthogonal_features(3.0, 1.5, 0.0)[:, :, :4] + 7.0
    full, rank_aware = condition_numbers(torch.cat([features, features[:, :1] * 0], dim=1))  # 4 channels, N - 1 = 3
    assert full.tolist() == pytest.approx([9 / 2.2e-16])
    assert rank_aware.tolist() == pytest.approx([9 / 2.2e-16])
    two_positions = torch.tensor([[[1.0, -1.0], [2.0, -2.0], [2.0, -2.0]]])  # rank 1 at most, and it has 1
    full, rank_aware = condition_numbers(two_positions)
    assert full.item() > 1e14
    assert rank_aware.tolist() == pytest.approx([1.0])


def test_smoothness_of_a_quadratic_is_its_curvature():
    curvature = torch.tensor([1.0, 3.0])
    assert effective_smoothness(lambda x: curvature * x, torch.tensor([0.0, 2.0]), [0.1, 1.0, 5.0]) == pytest.approx(3.0)


def test_smoothness_is_the_largest_over_the_steps():
    # g(x) = x^3 at 1: |(1 - eta)^3 - 1| / eta = 1.75 at 0.5, 1.0 at 1, 1.0 at 2
    assert effective_smoothness(lambda x: x**3, torch.tensor([1.0]), [2.0, 0.5, 1.0]) == pytest.approx(1.75)


def test_smoothness_needs_a_gradient():
    assert effective_smoothness(torch.zeros_like, torch.ones(3), [1.0]) is None


def test_smoothness_is_measured_through_layer_and_classifier():
    """Two classes, one feature: the loss is log(1 + exp(-2 w x)) for label 0, g(x) = -2 w s(-2 w x)."""
    network = nn.Module()
    network.meta_layer = nn.Identity()
    network.classifier = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        network.classifier.weight.copy_(torch.tensor([[1.5], [-1.5]]))

    def g(x):
        return -3 * torch.sigmoid(torch.tensor(-3 * x)).item()

    x, rate = 0.2, 0.1
    expected = max(abs(g(x - f * rate * g(x)) - g(x)) / abs(f * rate * g(x)) for f in (0.5, 4.0))
    values = BetaSmoothness(step_factors=[0.5, 4.0]).measure(network, torch.tensor([[x]]), torch.tensor([0]), rate)
    assert values["beta_smoothness"] == pytest.approx(expected, rel=1e-4)
    assert network.classifier.weight.grad is None


def test_training_goes_on_bit_for_bit(compose_tiny, weights, read_rows):
    options = ["meta_layer=svd_pade", "model.hidden_dims=[6]"]
    without = compose_tiny(*options)
    measured = compose_tiny(
        *options, "callbacks=default", "callbacks.condition_number.every_n_steps=1", "callbacks.beta_smoothness.every_n_steps=1"
    )
    train(without)
    state = torch.get_rng_state()
    train(measured)
    assert torch.equal(state, torch.get_rng_state())
    for name, value in weights(Path(without.paths.run_dir)).items():
        assert torch.equal(value, weights(Path(measured.paths.run_dir))[name]), name
    plain_rows, rows = (read_rows(Path(config.paths.run_dir) / "metrics.csv") for config in (without, measured))
    for plain, row in zip(plain_rows, rows, strict=True):
        assert {key: value for key, value in row.items() if not key.startswith("diagnostics/")} == plain
        assert float(row["diagnostics/condition_number"]) >= float(row["diagnostics/condition_number_rank"]) > 1
        assert float(row["diagnostics/beta_smoothness"]) > 0


@pytest.mark.parametrize(("every", "measurements"), [(1, 4), (3, 2), (50, 1)])
def test_how_often_is_measured(compose_tiny, monkeypatch, every, measurements):
    calls = []
    monkeypatch.setattr(
        ConditionNumber, "measure", lambda self, network, features, labels, rate: calls.append((features.shape, rate)) or {}
    )
    config = compose_tiny("callbacks=condition_number", f"callbacks.condition_number.every_n_steps={every}", "schedule.epochs=1")
    train(config)
    assert calls == [(torch.Size([8, 8, 8, 8]), 0.1)] * measurements


def test_averages_are_those_of_the_epoch(compose_tiny, monkeypatch, read_rows):
    values = iter([1.0, 2.0, 4.0, 5.0])
    monkeypatch.setattr(ConditionNumber, "measure", lambda *_: {"condition_number": next(values)})
    config = compose_tiny("callbacks=condition_number", "callbacks.condition_number.every_n_steps=1", "schedule.epochs=1")
    train(config)
    (row,) = read_rows(Path(config.paths.run_dir) / "metrics.csv")
    assert float(row["diagnostics/condition_number"]) == 3.0


def test_options_out_of_range_are_refused():
    with pytest.raises(OptionError, match=r"every_n_steps .* at least 1; got 0: change callbacks\.condition_number"):
        ConditionNumber(every_n_steps=0)
    with pytest.raises(OptionError, match=r"step_factors of beta_smoothness need positive numbers; got \[0.0\]"):
        BetaSmoothness(step_factors=[0.0])
