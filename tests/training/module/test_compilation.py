"""Networks that are compiled part by part, with backends of torch.compile that are quick."""

import csv
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo import lookup_backend, reset
from torch._dynamo.backends import registry

from gcp_repro.cli.values import check_values
from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.training.module.compilation import compile_options, compile_parts, explained_failures
from gcp_repro.training.run import train

LAST_DIGIT = 1e-5  # the same operators in the same order, but for what the decomposition into a graph reorders


@pytest.fixture
def graphs(monkeypatch):
    """What the backend "counted" of torch.compile has compiled: of each graph the text of its operators."""
    compiled = []

    def counted(graph, inputs):
        compiled.append(" ".join(f"{node.target} {node.args}" for node in graph.graph.nodes))
        return lookup_backend("eager")(graph, inputs)

    reset()
    monkeypatch.setitem(registry._BACKENDS, "counted", None)
    monkeypatch.setitem(registry._COMPILER_FNS, "counted", counted)
    yield compiled
    reset()


def metrics_of(config):
    return list(csv.DictReader((Path(config.paths.run_dir) / "metrics.csv").read_text().splitlines()))


def test_the_swap_compiles_the_new_layer_and_nothing_else(graphs, compose_tiny):
    options = ["protocol=hybrid", "meta_layer=svd_pade", "callbacks=beta_smoothness"]
    plain, compiled = compose_tiny(*options, runs="plain"), compose_tiny(*options, "compile={backend: counted}")
    assert plain.paths.run_dir.split("/")[-1] == compiled.paths.run_dir.split("/")[-1]  # one run, however it is computed
    train(plain)
    train(compiled)
    layers = ["newton_schulz" if "newton_schulz" in graph else "pade" for graph in graphs if "gcp_repro.apply" in graph]
    assert layers == ["newton_schulz"] * 2 + ["pade"] * 2  # for training, and without gradients for validation
    swap = next(number for number, graph in enumerate(graphs) if "pade" in graph)
    assert [number for number, graph in enumerate(graphs) if "gcp_repro.apply" not in graph and number > swap] == []
    for row, expected in zip(metrics_of(compiled), metrics_of(plain), strict=True):
        for name in expected.keys() - {"seconds", "meta_layer"}:
            if not name.endswith("time_share") and expected[name]:
                assert float(row[name]) == pytest.approx(float(expected[name]), rel=LAST_DIGIT), name


def test_parts_keep_their_names_and_are_compiled_once():
    network = nn.Sequential(nn.Linear(2, 3), nn.Identity(), nn.Linear(3, 1))
    names = [*network.state_dict()]
    written = [part.forward for part in network]
    compile_parts(network, None)
    assert [part.forward for part in network] == written
    compile_parts(network, {"backend": "eager"})
    first = [part.forward for part in network]
    assert [now == before for now, before in zip(first, written, strict=True)] == [False, True, False]
    compile_parts(network, {"backend": "eager"})
    assert [part.forward for part in network] == first
    assert [*network.state_dict()] == names


def test_the_options_are_those_of_torch():
    assert compile_options(False) is None
    assert compile_options(True) == {}
    assert compile_options({"mode": "max-autotune"}) == {"mode": "max-autotune"}
    with pytest.raises(OptionError, match=r"compile needs true, false or options of torch\.compile; got 'yes'"):
        compile_options("yes")
    with pytest.raises(UnknownNameError, match="no option of compile 'modus'; nearest: 'mode'"):
        compile_options({"modus": "default"})
    with pytest.raises(UnknownNameError, match="no backend of compile 'inducter'; nearest: 'inductor'"):
        compile_options({"backend": "inducter"})


def test_a_machine_that_cannot_compile_is_told_what_to_do(graphs):
    def broken(graph, inputs):
        raise RuntimeError("No working C++ compiler found in /usr/bin\nmore")

    compiled = torch.compile(nn.Linear(2, 2), backend=broken)
    with (
        pytest.raises(OptionError, match=r"got RuntimeError: No working C\+\+ compiler found.*apt install g\+\+"),
        explained_failures({}),
    ):
        compiled(torch.ones(1, 2))


def test_the_command_takes_either_kind():
    check_values({"compile": False}, ["compile=true", "compile={mode: max-autotune}"])
