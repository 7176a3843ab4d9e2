"""Covariance pooling: any function of the covariance with any gradient table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from gcp_repro.errors import OptionError
from gcp_repro.linalg.gradient_rules import GRADIENT_RULES, GradientRule, check_parts
from gcp_repro.linalg.machinery.autograd import apply_operator
from gcp_repro.linalg.machinery.options import AtLeast, Finite, Not, checked
from gcp_repro.linalg.pooling import DTYPES, PoolingSpec
from gcp_repro.linalg.solvers import active_solvers
from gcp_repro.linalg.spectral_function import SPECTRAL_FUNCTIONS, SpectralFunction
from gcp_repro.metalayers.base import MetaLayer
from gcp_repro.metalayers.finish import Finish, Scaling
from gcp_repro.metalayers.plain import PlainCovariancePooling

__all__ = ["CovariancePooling", "power_pooling"]

OF_SPEC = tuple(field.name for field in fields(PoolingSpec) if field.name not in ("function", "rule"))
OWN_OPTIONS = (*OF_SPEC, "on_nonfinite", "scaling", "signed_root")


class CovariancePooling(MetaLayer):
    """Upper triangle of a function of the covariance: any forward function with any gradient table.

    Args:
        forward: A name in `linalg.SPECTRAL_FUNCTIONS`, a mapping of `name` and options, or a `SpectralFunction`.
        gradient: A name in `linalg.GRADIENT_RULES`, a mapping of `name` and options, or a `GradientRule`; `"exact"` is the
            derivative of `forward`.
        on_nonfinite: `"raise"`, or `"propagate"`: images with NaN or infinite features, or ones whose squares overflow, get
            NaN as output.
        scaling: What becomes of a matrix power `P^t` of exponent `t`: `"power"` divides it by `t`, and `"tangent"` takes the
            identity away first, `(P^t - I) / t`.
        signed_root: End with the signed square root of every entry and division by the l2 norm.
        **options: Fields of `linalg.PoolingSpec` (`dtype`, `accuracy`, `route`, `solver`, `moment`, `top_n`,
            `float32_centering`), and options of the forward function or of the gradient rule (`num_iterations`, `degree`,
            `max_gradient`, `exponent`, ...). One that both have is given to either in a mapping, as in
            `forward={"name": "newton_schulz", "num_iterations": 5}`.

    Attributes:
        spec: What is computed and how, as `linalg.operator_for` takes it.
        finish: What is done to its result.

    Raises:
        UnknownNameError: No such function or rule.
        OptionError: An option is unknown, out of range, or contradicts another, as a scaling of what is no matrix power.
    """

    @checked
    def __init__(
        self,
        forward: str | Mapping[str, Any] | SpectralFunction = "sqrt",
        gradient: str | Mapping[str, Any] | GradientRule = "exact",
        *,
        on_nonfinite: Literal["raise", "propagate"] = "raise",
        scaling: Scaling = "none",
        signed_root: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        of_spec = {name: options.pop(name) for name in OF_SPEC if name in options}
        of_function, of_rule = _shared_out(forward, gradient, options)
        self.spec = PoolingSpec(
            SPECTRAL_FUNCTIONS.resolve(forward, **of_function), GRADIENT_RULES.resolve(gradient, **of_rule), **of_spec
        )
        check_parts(self.spec.function, self.spec.rule)
        self.on_nonfinite = on_nonfinite
        if scaling != "none" and self.spec.function.exponent is None:
            raise OptionError(
                f"scaling={scaling!r} needs a matrix power or what stands for the root; got forward={self.spec.function}: choose "
                "forward=power, or leave scaling out"
            )
        self.finish = Finish(scaling, self.spec.function.exponent or 1.0, signed_root)

    def extra_repr(self) -> str:
        return str(self.spec)

    def output_dim(self, channels: int) -> int:
        size = channels + (self.spec.moment == "gaussian")
        return size * (size + 1) // 2

    def in_plain_torch(self, features: Tensor) -> nn.Module:
        return PlainCovariancePooling(self.name, self.spec, self.finish, self.layout)

    def computes(self) -> Mapping[str, Any]:
        spec = self.spec
        return {
            "forward": str(spec.function),
            "gradient": str(spec.rule),
            "moment": spec.moment,
            "top_n": spec.top_n,
            "signed_root": self.finish.signed_root,
            **({} if self.finish.scaling == "none" else {"scaling": self.finish.scaling}),
        }

    @property
    def statistic(self) -> str:
        return f"{type(self).__name__} of {self.spec.moment}{self.finish}"

    @property
    def approximates_root(self) -> bool:
        """Whether the value is the square root of the covariance, or stands for it."""
        return self.spec.function.approximates_root and self.spec.moment == "covariance" and self.finish.changes_nothing

    def pool(self, features: Tensor) -> Tensor:
        if self.spec.moment == "gaussian":
            features = torch.cat([features, torch.ones_like(features[:, :1])], 1)
        valid = None
        if self.on_nonfinite == "propagate":
            valid = features.to(DTYPES[self.spec.dtype]).square().sum((-1, -2)).isfinite()
            features = torch.where(valid[:, None, None], features, 0.0)
        recipe = active_solvers().recipe(self.spec, features)
        dtype = self.finish.dtype(features.dtype)
        pooled = self.finish(apply_operator(recipe, features, dtype), features.dtype)
        return pooled if valid is None else torch.where(valid[:, None], pooled, torch.nan)


@checked
def power_pooling(
    scaling: Scaling,
    exponent: Annotated[float, Finite(), Not(0)] = 0.5,
    num_iterations: Annotated[int, AtLeast(1)] | None = None,
    **options: Any,
) -> CovariancePooling:
    """A scaled matrix power of the covariance with its exact gradient.

    Args:
        scaling: See `CovariancePooling`.
        exponent: `t`, of the power.
        num_iterations: Steps of the Newton-Schulz iteration in the place of a power by decomposition; for `exponent=0.5`.
        **options: Further ones of `CovariancePooling`.

    Raises:
        OptionError: A value out of range, or `num_iterations` for an exponent that Newton-Schulz iterations do not have.
    """
    if num_iterations is None:
        return CovariancePooling({"name": "power", "exponent": exponent}, scaling=scaling, **options)
    if exponent != 0.5:
        raise OptionError(
            f"num_iterations of Newton-Schulz steps need exponent=0.5; got exponent={exponent}: leave num_iterations out for the "
            "power by decomposition"
        )
    forward = {"name": "newton_schulz", "num_iterations": num_iterations}
    return CovariancePooling(forward, scaling=scaling, **options)


def _shared_out(forward: Any, gradient: Any, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options of the function, and options of the rule.

    Raises:
        UnknownNameError: No such function or rule.
        OptionError: One that neither has, or both.
    """
    of_function, of_rule = SPECTRAL_FUNCTIONS.options_of(forward), GRADIENT_RULES.options_of(gradient)
    parts = f"forward={forward!s} and gradient={gradient!s}"
    for name, value in options.items():
        if name in of_function & of_rule:
            raise OptionError(
                f"an option belongs to one function or rule; {parts} both have {name!r}: say which, "
                f"as in forward={{'name': {str(forward)!r}, {name!r}: {value!r}}}"
            )
        if name not in of_function | of_rule:
            known = ", ".join([*OWN_OPTIONS, *sorted(of_function | of_rule)])
            raise OptionError(
                f"an option must be one of the layer, its function or its rule; {parts} have no option {name!r}: known: {known}"
            )
    return (
        {name: value for name, value in options.items() if name in of_function},
        {name: value for name, value in options.items() if name in of_rule},
    )
