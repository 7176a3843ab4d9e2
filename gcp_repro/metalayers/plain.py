"""Covariance pooling by torch's own operators alone, for programs that know no others: the values, not the layers' gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gcp_repro.errors import OptionError
from gcp_repro.linalg.covariance import upper_triangle
from gcp_repro.linalg.feature_layout import as_positions
from gcp_repro.linalg.functions import TAYLOR_ROOT
from gcp_repro.linalg.matrices import divisor, identity_like, newton_schulz_iteration, trace
from gcp_repro.linalg.pooling import DTYPES, PoolingSpec
from gcp_repro.linalg.recomputed import StepPooling
from gcp_repro.metalayers.finish import Finish

__all__ = ["PlainCovariancePooling", "PlainHeads", "PlainMatrixPooling"]


class PlainCovariancePooling(nn.Module):
    """The value of a `CovariancePooling` by products of matrices, for features of one shape but any batch.

    Args:
        name: Of the layer, for the message.
        spec: What it computes; the rule and the solver do not matter.
        finish: What is done to its upper triangle.
        layout: Of the features.

    Raises:
        OptionError: The function needs a decomposition.
    """

    def __init__(self, name: str, spec: PoolingSpec, finish: Finish, layout: str = "auto") -> None:
        super().__init__()
        self.spec, self.finish, self.layout = spec, finish, layout
        if spec.function.kind not in FUNCTIONS or spec.top_n is not None:
            raise OptionError(
                f"an ONNX file needs layers made of matrix products; got {name}, forward={spec.function}, top_n={spec.top_n}, "
                "which decomposes matrices: put isqrt_cov in its place, whose value approaches the root with num_iterations, or "
                "use torch.export, where the layer stays one operator"
            )

    def forward(self, features: Tensor) -> Tensor:
        """Pool features."""
        x = as_positions(features, self.layout).to(DTYPES[self.spec.dtype])
        if self.spec.moment == "gaussian":
            x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        if self.spec.moment == "covariance":
            x = x - x.mean(-1, keepdim=True)
        matrix = x @ x.mT / x.shape[-1]  # exporters round other constants to float32
        pooled = upper_triangle(FUNCTIONS[str(self.spec.function.kind)](matrix, **self.spec.function.options))
        return self.finish(pooled, features.dtype)


class PlainMatrixPooling(nn.Module):
    """The value of a `MatrixPooling`.

    Args:
        name: Of the layer, for the message.
        operator: What it computes.
        finish: What is done to its upper triangle.
        layout: Of the features.

    Raises:
        OptionError: The step needs more than products of matrices.
    """

    def __init__(self, name: str, operator: StepPooling, finish: Finish, layout: str = "auto") -> None:
        super().__init__()
        self.operator, self.finish, self.layout = operator, finish, layout
        if not operator.step.is_products:
            raise OptionError(
                f"an ONNX file needs layers made of matrix products; got {name}, step={operator.step}, which factorises "
                "matrices: put isqrt_cov in its place, or use torch.export, where the layer stays one operator"
            )

    def forward(self, features: Tensor) -> Tensor:
        """Pool features."""
        x = as_positions(features, self.layout).to(self.operator.dtype)
        return self.finish(self.operator.pool(x), features.dtype)


class PlainHeads(nn.Module):
    """The value of a `MultiHeadPooling` with the given layer, which takes features `(B, C, N)`."""

    def __init__(self, layer: nn.Module, heads: int, layout: str = "auto") -> None:
        super().__init__()
        self.layer, self.heads, self.layout = layer, heads, layout

    def forward(self, features: Tensor) -> Tensor:
        """Pool features."""
        x = as_positions(features, self.layout)
        pooled: Tensor = self.layer(x.reshape(-1, x.shape[1] // self.heads, x.shape[2]))
        return pooled.reshape(-1, self.heads * pooled.shape[1])


def _newton_schulz(matrix: Tensor, num_iterations: int) -> Tensor:
    """`Y_K sqrt(trace)` of `(B, n, n)`."""
    size = trace(matrix)
    return newton_schulz_iteration(matrix / divisor(size), num_iterations)[0] * size.sqrt()


def _taylor_root(matrix: Tensor) -> Tensor:
    """`sqrt(norm) sum_k c_k (I - P / norm)^k` with the Frobenius norm, by Horner's scheme."""
    norm = matrix.square().sum((-2, -1), keepdim=True).sqrt()
    identity = identity_like(matrix)
    complement = identity - matrix / divisor(norm)
    total = TAYLOR_ROOT[-1] * identity
    for coefficient in reversed(TAYLOR_ROOT[:-1]):
        total = total @ complement + coefficient * identity
    return total * norm.sqrt()


FUNCTIONS: dict[str, Callable[..., Tensor]] = {"newton_schulz": _newton_schulz, "taylor_root": _taylor_root}
"""Of symmetric `(B, n, n)`, with the options of the spectral function of the same name."""
