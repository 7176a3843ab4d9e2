"""The comparison with the authors' code, run on stand-ins for their clones."""

import sys

import pytest
import torch
from torch import nn

from gcp_repro.errors import DataError
from scripts import compare_layers

POWERS = """
import torch
from gcp_repro.linalg import upper_triangle
from gcp_repro.metalayers import build_meta_layer


class MPNCOV(torch.nn.Module):
    def __init__(self, iterNum, input_dim, transformed_mode):
        super().__init__()
        self.root = build_meta_layer("isqrt_cov", num_iterations=iterNum, layout="nchw").cuda()
        self.shift = FACTOR * (transformed_mode == "PowTMLR") * upper_triangle(torch.eye(input_dim))
        self.scale = 1 if transformed_mode == "PowEMLR" else 2

    def forward(self, x):
        return (self.scale * (self.root(x) - self.shift)).unsqueeze(-1)
"""
CHOLESKY = """
import torch
from gcp_repro.linalg import upper_triangle


class LCMCOV(torch.nn.Module):
    def __init__(self, input_dim):
        super().__init__()

    def forward(self, x):
        x = x.flatten(2).double()
        x = x - x.mean(-1, keepdim=True)
        factor = torch.linalg.cholesky(x @ x.mT / x.shape[-1] + 1e-6 * torch.eye(x.shape[1], dtype=x.dtype))
        matrix = factor.tril(-1) + torch.diag_embed(factor.diagonal(dim1=-2, dim2=-1).log())
        return upper_triangle(matrix + matrix.mT).float()
"""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """What the script prints for a stand-in whose Pow-TMLR takes `factor` of the identity away."""

    def print_of(factor):
        folder = tmp_path / str(factor) / "src" / "representation"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("raise RuntimeError('not to be run')")
        (folder / "MPNCOV.py").write_text(POWERS.replace("FACTOR", str(factor)))
        (folder / "LCMCOV.py").write_text(CHOLESKY)
        monkeypatch.setattr(sys, "argv", ["compare_layers.py", "--riemgcp", str(tmp_path / str(factor))])
        for owner in (torch.Tensor, nn.Module):  # put back what the script replaces
            monkeypatch.setattr(owner, "cuda", owner.cuda)
        threads = torch.get_num_threads()
        try:
            assert compare_layers.main() == 0
        finally:
            torch.set_num_threads(threads)
        lines = capsys.readouterr().out.splitlines()[2:]
        return {line.split("|")[1].strip(): [float(cell) for cell in line.split("|")[2:-1]] for line in lines}

    return print_of


def test_equal_layers_differ_by_rounding_and_others_by_more(run):
    equal = run(1.0)
    assert [name.partition(": ")[2] for name in equal] == ["isqrt_cov", "scale_pow_emlr", "pow_tmlr", "log_cholesky"]
    assert max(max(cells) for cells in equal.values()) < 1e-5
    value, gradient, *_ = run(0.9)["RiemGCP PowTMLR: pow_tmlr"]
    assert value > 0.01
    assert gradient < 1e-5  # the identity has none


def test_a_clone_without_the_module_is_named(tmp_path):
    with pytest.raises(DataError, match=r"a comparison needs a clone with representation/SICE.py; .* pass the top folder"):
        next(compare_layers.isice(tmp_path))


def test_a_clone_is_needed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compare_layers.py"])
    with pytest.raises(SystemExit):
        compare_layers.main()
    assert "needs at least one clone: --riemgcp, --dropcov" in capsys.readouterr().err


def test_each_function_is_evaluated_once():
    calls = []

    def doubled(x):
        calls.append(x.shape)
        return 2 * x

    comparison = compare_layers.Comparison("doubled", doubled, doubled)
    assert compare_layers.difference(comparison, torch.ones(2, 3, 4, 4)) == (0.0, 0.0)
    assert len(calls) == 2
