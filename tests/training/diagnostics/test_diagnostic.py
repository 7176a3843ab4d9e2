from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gcp_repro.errors import OptionError
from gcp_repro.training.diagnostics import diagnostic
from gcp_repro.training.diagnostics.diagnostic import epoch_means
from gcp_repro.training.diagnostics.spectrum import ConditionNumber
from gcp_repro.training.run import train


def test_training_goes_on_bit_for_bit(compose_tiny, weights, read_rows):
    options = ["meta_layer=svd_pade", "model.hidden_dims=[6]"]
    without = compose_tiny(*options, runs="without")
    measured = compose_tiny(
        *options, "callbacks=all", "callbacks.condition_number.every_n_steps=1", "callbacks.beta_smoothness.every_n_steps=1"
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
        for name in ("beta_smoothness", "parameter_smoothness", "largest_quotient", "eigenvalue_ratio", "gradient_norm"):
            assert float(row[f"diagnostics/{name}"]) > 0


def test_a_diagnostic_may_draw_and_sees_the_network_in_evaluation_mode(compose_tiny, monkeypatch, generator_states):
    seen, short = [], ["schedule.epochs=1", "schedule.milestones=[]"]

    def measure(self, network, sample, rate):
        seen.append((network.training, torch.is_grad_enabled()))
        torch.rand(3)
        return {}

    monkeypatch.setattr(ConditionNumber, "measure", measure)
    train(compose_tiny(*short, runs="without"))
    without = generator_states()
    train(compose_tiny("callbacks=condition_number", *short))
    assert seen == [(False, True)]
    assert generator_states() == without


@pytest.mark.parametrize(("every", "measurements"), [(1, 4), (3, 2), (50, 1)])
def test_how_often_is_measured(compose_tiny, monkeypatch, every, measurements):
    calls = []
    monkeypatch.setattr(
        ConditionNumber, "measure", lambda self, network, sample, rate: calls.append((sample.features.shape, rate)) or {}
    )
    config = compose_tiny(
        "callbacks=condition_number",
        f"callbacks.condition_number.every_n_steps={every}",
        "schedule.epochs=1",
        "schedule.milestones=[]",
    )
    train(config)
    assert calls == [(torch.Size([4, 8, 64, 1]), 0.1)] * measurements


def test_averages_are_those_of_the_epoch(compose_tiny, monkeypatch, read_rows):
    values = iter([1.0, 2.0, 4.0, 5.0])
    monkeypatch.setattr(ConditionNumber, "measure", lambda *_: {"condition_number": next(values)})
    config = compose_tiny(
        "callbacks=condition_number", "callbacks.condition_number.every_n_steps=1", "schedule.epochs=1", "schedule.milestones=[]"
    )
    train(config)
    (row,) = read_rows(Path(config.paths.run_dir) / "metrics.csv")
    assert float(row["diagnostics/condition_number"]) == 3.0


def test_options_out_of_range_are_refused():
    with pytest.raises(OptionError, match=r"every_n_steps .* at least 1; got 0: change callbacks\.condition_number"):
        ConditionNumber(every_n_steps=0)


def measured(**values):
    callback = ConditionNumber()
    for name, numbers in values.items():
        for number in numbers:
            callback._add(name, number)
    return callback


def test_means_are_over_all_processes_even_if_one_lacks_a_value(monkeypatch):
    here, there = measured(rank=[1.0, 2.0], norm=[5.0]), measured(rank=[6.0])

    monkeypatch.setattr(diagnostic, "gathered", lambda own: [own, [there.sums]])
    assert epoch_means(SimpleNamespace(callbacks=[here])) == {"diagnostics/norm": 5.0, "diagnostics/rank": 3.0}


def test_an_epoch_stopped_half_way_keeps_its_measurements():
    resumed = ConditionNumber()
    resumed.load_state_dict(measured(rank=[1.0, 2.0]).state_dict())
    resumed._add("rank", 6.0)
    assert epoch_means(SimpleNamespace(callbacks=[resumed])) == {"diagnostics/rank": 3.0}
    resumed.on_train_epoch_start(None, None)
    assert epoch_means(SimpleNamespace(callbacks=[resumed])) == {}
