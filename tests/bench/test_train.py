"""The parts of a step, against a clock that the parts themselves move on, and against torch's profiler."""

import csv
import re

import pytest
import torch
from pytorch_lightning import Callback, LightningDataModule

from gcp_repro.bench import step_clock, train
from gcp_repro.bench.step_clock import PARTS
from gcp_repro.bench.train import StepTimes, _configs, _median, measure
from gcp_repro.cli.bench import main
from gcp_repro.data import DigitsDataModule
from gcp_repro.errors import OptionError
from gcp_repro.metalayers import CovariancePooling
from gcp_repro.training.diagnostics.smoothness import BetaSmoothness
from gcp_repro.training.module.gcp_module import GCPModule
from tests.conftest import TINY


class Clock:
    """Time that passes only where the test lets it."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def passing(self, seconds, function):
        def timed(*arguments, **options):
            result = function(*arguments, **options)
            self.now += seconds
            return result

        return timed


class Slow(torch.autograd.Function):
    """The identity, whose gradient takes time."""

    @staticmethod
    def forward(ctx, x, clock, seconds):
        ctx.clock, ctx.seconds = clock, seconds
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.clock.now += ctx.seconds
        return gradient, None, None


def test_each_part_gets_its_time(monkeypatch, tmp_path):
    clock = Clock()
    monkeypatch.setattr(step_clock, "time", clock)
    pool = CovariancePooling.pool
    monkeypatch.setattr(CovariancePooling, "pool", clock.passing(3, lambda self, x: pool(self, Slow.apply(x, clock, 4))))
    monkeypatch.setattr(BetaSmoothness, "measure", clock.passing(5, BetaSmoothness.measure))
    transfer = LightningDataModule.transfer_batch_to_device
    monkeypatch.setattr(DigitsDataModule, "transfer_batch_to_device", clock.passing(2, transfer), raising=False)
    monkeypatch.setattr(GCPModule, "_outcome", clock.passing(7, GCPModule._outcome))
    monkeypatch.setattr(torch.optim.SGD, "step", clock.passing(11, torch.optim.SGD.step))
    options = [*TINY, "callbacks=beta_smoothness", "callbacks.beta_smoothness.every_n_steps=2"]
    (times,) = measure(_configs(options, []), tmp_path, steps=2, warmup=1, repeats=1)
    parts = times.part_seconds
    assert parts["meta-layer"] == 3 + 4
    assert parts["forward"] == 7
    assert parts["diagnostics"] == (5 + 2 * (3 + 4)) / 2  # it goes through the layer twice, in every second step
    assert parts["optimiser"] == 11
    assert parts["transfer"] == 2
    assert sum(parts[part] for part in PARTS) == pytest.approx(times.step_seconds)


def test_the_layers_share_holds_what_the_profiler_sees_of_it(tmp_path):
    (config,) = _configs([*TINY, "meta_layer=svd_pade"], [])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        (times,) = measure([config], tmp_path, steps=2, warmup=1, repeats=1)
    steps = 3  # the profiler sees the warm-up as well

    def seconds(*names):
        return sum(entry.cpu_time_total for entry in profiler.key_averages() if entry.key in names) / 1e6

    layer, convolutions = (
        seconds("gcp_repro::compute", "gcp_repro::backward"),
        seconds("aten::convolution", "aten::convolution_backward"),
    )
    assert layer > 0
    assert convolutions > 0
    counted = {entry.key: entry.count for entry in profiler.key_averages()}
    assert (counted["gcp_repro::compute"], counted["gcp_repro::backward"]) == (steps, steps)
    events = [event for event in profiler.events() if event.name in ("gcp_repro::compute", "gcp_repro::backward")]
    last_two = sorted(events, key=lambda event: event.time_range.start)[2:]
    assert sum(event.time_range.elapsed_us() for event in last_two) / 1e6 <= 2 * times.part_seconds["meta-layer"]


def test_the_command_compares_layers_and_writes_their_rows(tmp_path, capsys):
    output = tmp_path / "steps.csv"
    options = ["--steps", "2", "--warmup", "1", "--repeats", "3", "--output", str(output)]
    main(["train", *TINY, "meta_layer=svd_pade", "protocol=hybrid", *options])
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [row["meta_layer"] for row in rows] == ["svd_pade", "gap", "isqrt_cov"]
    for row in rows:
        parts = [float(row[f"{part.replace('-', '_')}_seconds"]) for part in PARTS]
        assert sum(parts) == pytest.approx(float(row["step_seconds"]), rel=1e-5)  # of numbers with six digits
        assert float(row["images_per_second"]) == pytest.approx(10 / float(row["step_seconds"]), rel=1e-4)
    shown = capsys.readouterr().out
    assert "meta-layer" in shown
    assert str(output) in shown


def test_other_experiments_keep_their_rows_and_the_same_one_gets_new_ones(tmp_path, monkeypatch):
    def measured(configs, folder, **counts):
        name, batch = configs[0].experiment_name, configs[0].data.batch_size
        parts = dict.fromkeys((*PARTS, "checkpoint"), 1.0)
        return [
            StepTimes(name, config.meta_layer.name, "cnn", batch, config.trainer.precision, False, 8.0, parts, 0)
            for config in configs
        ]

    monkeypatch.setattr(train, "measure", measured)
    output = tmp_path / "steps.csv"
    for first, layer, precision in (
        ("digits", "svd_pade", "32-true"), ("digits_few", "svd_pade", "32-true"),
        ("digits", "svd_lyapunov", "bf16-mixed"), ("digits", "svd_taylor", "32-true"),
    ):  # fmt: skip
        overrides = [f"experiment={first}", *TINY[1:], f"meta_layer={layer}", f"trainer.precision={precision}"]
        main(["train", *overrides, "--layers", "gap", "--output", str(output)])
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [(row["experiment"], row["meta_layer"], row["precision"]) for row in rows] == [
        ("digits_few", "svd_pade", "32-true"), ("digits_few", "gap", "32-true"),
        ("digits", "svd_lyapunov", "bf16-mixed"), ("digits", "gap", "bf16-mixed"),
        ("digits", "svd_taylor", "32-true"), ("digits", "gap", "32-true"),
    ]  # fmt: skip


def test_a_file_of_another_kind_is_refused_before_any_work(tmp_path, capsys):
    output = tmp_path / "notes.csv"
    output.write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit, match=r"^[12]$"):
        main(["train", *TINY, "meta_layer=svd_pade", "--steps", "1000", "--output", str(output)])
    columns = "experiment, batch_size, precision, compiled, device, cpu"
    assert re.search(rf"columns {columns}; reading .*notes\.csv gave KeyError", capsys.readouterr().err)
    assert output.read_text() == "a,b\n1,2\n"


def test_the_parts_are_those_of_the_median_round_and_sum_to_its_step():
    def step(data, forward, memory):
        return StepTimes("digits", "gap", "cnn", 10, "32-true", False, data + forward, {"data": data, "forward": forward}, memory)

    found = _median([step(1.0, 8.0, 3), step(6.0, 4.0, 1), step(7.0, 5.0, 2)])  # medians one by one: 6 and 5, of a step of 10
    assert (found.step_seconds, found.part_seconds, found.memory_bytes) == (10.0, {"data": 6.0, "forward": 4.0}, 3)
    found = _median([step(1.0, 8.0, 3), step(6.0, 4.0, 1)])
    assert found.part_seconds == {"data": 1.0, "forward": 8.0}


@pytest.mark.parametrize(("name", "one_pass"), [("images_per_device", 10), ("accumulate_grad_batches", 1)])
def test_several_passes_a_step_are_refused(name, one_pass):
    assert _configs([*TINY, f"trainer.{name}={one_pass}"], [])
    with pytest.raises(OptionError, match=rf"steps of one pass; got trainer\.{name}=5 with data\.batch_size=10: leave it null"):
        _configs([*TINY, f"trainer.{name}=5"], [])


class Counting(Callback):
    """Counts the ends of steps."""

    ends = 0

    def on_train_batch_end(self, *arguments):
        type(self).ends += 1


def test_callbacks_that_are_no_diagnostics_run_as_they_do_in_training(tmp_path, monkeypatch):
    monkeypatch.setattr(Counting, "ends", 0)
    (config,) = _configs(TINY, [])
    config.callbacks = {"counting": {"_target_": f"{__name__}.Counting"}}
    measure([config], tmp_path, steps=2, warmup=1, repeats=1)
    assert Counting.ends == 3


def test_weights_of_another_run_are_left_out(tmp_path):
    (config,) = _configs(TINY, [])
    target = "gcp_repro.training.protocol.initial_weights.InitialWeights"
    config.callbacks = {"initial_weights": {"_target_": target, "checkpoint": str(tmp_path / "none.ckpt")}}
    (times,) = measure([config], tmp_path, steps=2, warmup=1, repeats=1)
    assert times.step_seconds > 0


def test_too_few_batches_and_numbers_below_one_are_refused(tmp_path, capsys):
    (config,) = _configs(TINY, [])
    with pytest.raises(OptionError, match=r"needs 10 batches in an epoch; got 4: lower --steps or data\.batch_size"):
        measure([config], tmp_path, steps=9, warmup=1, repeats=1)
    with pytest.raises(SystemExit, match=r"^[12]$"):
        main(["train", *TINY, "--repeats", "0"])
    assert re.search("--repeats needs at least 1; got 0", capsys.readouterr().err)
