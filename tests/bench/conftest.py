"""A package with the names of the peer's, a few lines of our own that need `.cuda()` and an undefined name as the peer's do."""

import pytest

LAYER = """
import torch
from mpmath import mp

mp.dps = 20
ON_DEVICE = torch.ones(1).cuda()


class {name}(torch.nn.Module):
    def __init__(self, {arguments}input_dim=2048, dimension_reduction=None):
        super().__init__()
        {extra}
        self.eye = torch.eye(input_dim).cuda()
        self.cuda()

    def forward(self, x):
        x = x.flatten(2).double()
        x = x - x.mean(-1, keepdim=True)
        l, u = torch.linalg.eigh((x @ x.mT / x.shape[-1]).cuda() + 0 * self.eye)
        {keep}
        root = (u * l.clamp(min=1e-300).sqrt().unsqueeze(-2)) @ u.mT
        rows, columns = torch.triu_indices(x.shape[1], x.shape[1])
        return {factor} * root[:, rows, columns].float().unsqueeze(-1)
"""


@pytest.fixture
def make_peer(tmp_path):
    """Write a clone; `factor` scales its outputs, `names` are its classes."""

    def make(names=("SVD_Pade", "SVD_Original", "SVD_TopN", "MPNCOV"), factor=1.0):
        folder = tmp_path / "clone" / "src" / "representation"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("".join(f"from .{name} import {name}\n" for name in names))
        for name in names:
            (folder / f"{name}.py").write_text(
                LAYER.format(
                    name=name,
                    factor=factor,
                    arguments="iterNum=3, " if name == "MPNCOV" else "",
                    extra="self.scaling = feature_scaling()" if name == "MPNCOV" else "",
                    keep="l = torch.cat([0 * l[:, :50], l[:, 50:]], 1)" if name == "SVD_TopN" else "",
                )
            )
        return tmp_path / "clone"

    return make
