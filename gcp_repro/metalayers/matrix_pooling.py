"""Covariances that are normalised by products and factorisations of matrices, entry by entry, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from gcp_repro.linalg.machinery.autograd import apply_operator
from gcp_repro.linalg.machinery.options import checked
from gcp_repro.linalg.matrix_steps import MATRIX_STEPS, MatrixStep
from gcp_repro.linalg.recomputed import StepPooling
from gcp_repro.metalayers.base import MetaLayer
from gcp_repro.metalayers.finish import Finish
from gcp_repro.metalayers.plain import PlainMatrixPooling

__all__ = ["MatrixPooling"]


class MatrixPooling(MetaLayer):
    """Upper triangle of what a step makes of the covariance; with its exact gradient, any number of times.

    Always in float64: entries of a covariance are squares, so float32 would hold those of features between 1e-19 and 1e19 alone,
    and the `epsilon` of log_cholesky would be lost in its rounding.

    Args:
        step: A name in `linalg.matrix_steps.MATRIX_STEPS`, a mapping of `name` and options, or a `MatrixStep`.
        moment: `"covariance"`, or `"second_moment"` without subtracting the mean.
        signed_root: End with the signed square root of every entry and division by the l2 norm.
        **options: Of the step.

    Attributes:
        operator: What is computed.

    Raises:
        UnknownNameError: No such step.
        OptionError: An option is unknown or out of range.
    """

    @checked
    def __init__(
        self,
        step: str | Mapping[str, Any] | MatrixStep = "identity",
        *,
        moment: Literal["covariance", "second_moment"] = "covariance",
        signed_root: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.operator = StepPooling(MATRIX_STEPS.resolve(step, **options), moment)
        self.finish = Finish(signed_root=signed_root)

    def extra_repr(self) -> str:
        return str(self.operator.text)

    def output_dim(self, channels: int) -> int:
        return channels * (channels + 1) // 2

    def in_plain_torch(self, features: Tensor) -> nn.Module:
        return PlainMatrixPooling(self.name, self.operator, self.finish, self.layout)

    def computes(self) -> Mapping[str, Any]:
        operator = self.operator
        return {"step": str(operator.step), "moment": operator.moment, "signed_root": self.finish.signed_root}

    @property
    def statistic(self) -> str:
        return f"{type(self).__name__} by {self.operator.step.name} of {self.operator.moment}{self.finish}"

    def pool(self, features: Tensor) -> Tensor:
        dtype = self.finish.dtype(features.dtype)
        return self.finish(apply_operator(self.operator.text, features, dtype), features.dtype)
