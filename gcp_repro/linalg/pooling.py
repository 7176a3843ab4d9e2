"""What a covariance pooling computes, said once, and the operators that compute it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from gcp_repro.errors import OptionError
from gcp_repro.linalg.authors import AuthorsNewtonSchulz, AuthorsPooling
from gcp_repro.linalg.decomposition import Kept, number_kept
from gcp_repro.linalg.gradient_rules import GradientRule
from gcp_repro.linalg.machinery.operator import Operator
from gcp_repro.linalg.machinery.options import check_options
from gcp_repro.linalg.machinery.recipe import Recipe
from gcp_repro.linalg.newton_schulz import NewtonSchulzPooling
from gcp_repro.linalg.products import NewtonSchulzProducts, ProductsPooling
from gcp_repro.linalg.published import PublishedPooling
from gcp_repro.linalg.root_by_products import RootByProducts
from gcp_repro.linalg.spectral import SpectralPooling
from gcp_repro.linalg.spectral_function import SpectralFunction

__all__ = ["DTYPES", "PoolingSpec", "operator_for", "operators_for", "solver_for"]

DTYPES = {"float64": torch.float64, "float32": torch.float32, "mixed": torch.float64}
"""Of the decomposition."""


@dataclass(frozen=True)
class PoolingSpec(Recipe):
    """Upper triangle of a function of the covariance of features, and how its gradient is formed.

    Attributes:
        function: What is done to the eigenvalues.
        rule: How the gradient table is filled.
        dtype: Of the computation, whatever that of the features; `"mixed"` decomposes in float64 and forms the products that
            have no part in that, and what they need in the backward, in float32.
        accuracy: `"high"` decomposes the features themselves instead of a Gram matrix, which squares the condition number.
        route: `"gram"` is rank-aware and decomposes the smaller of `X^T X` and `X X^T`; `"dense"` is the `C x C` computation,
            for the difference quotients in the published order with the null space's noise; `"auto"` is `"gram"`.
        solver: `"device"` decomposes where the features are, `"host"` on the CPU, `"products"` uses Newton-Schulz iterations
            instead of a decomposition: for the function `newton_schulz` with its exact gradient, on route `dense` in the
            published order, and on route `gram` for the root with its exact gradient too. `"auto"` is one of them.
        moment: `"covariance"`; `"second_moment"` without subtracting the mean; `"gaussian"`, the second moment of the
            features with a constant 1 appended, which is the embedding `[[S + m m^T, m], [m^T, 1]]` of a Gaussian of
            mean `m`, covariance `S`.
        top_n: Keep only the largest eigenvalues: their number, or a share of the channels in (0, 1).
        float32_centering: Dense route only: the arithmetic of the public code, whose centring matrix is rounded to float32. In
            float64 the SVD layers and `isqrt_cov` then give DifferentiableSVD's values to the last bit, in float32
            `isqrt_cov` gives those of fast-MPN-COV.

    Raises:
        OptionError: A value of the wrong kind or out of range, or values that contradict each other.
    """

    function: SpectralFunction
    rule: GradientRule
    dtype: Literal["float64", "float32", "mixed"] = "float64"
    accuracy: Literal["standard", "high"] = "standard"
    route: Literal["auto", "gram", "dense"] = "auto"
    solver: Literal["auto", "device", "host", "products"] = "auto"
    moment: Literal["covariance", "second_moment", "gaussian"] = "covariance"
    top_n: Kept = None
    float32_centering: bool = False

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        for name, value in check_options(str(self), type(self), given).items():
            object.__setattr__(self, name, value)  # in the type that the annotation names
        if self.route == "dense" and self.moment != "covariance":
            raise OptionError(
                f"route='dense' computes covariances only; got moment={self.moment!r}: use route='gram' or route='auto'"
            )
        if self.dtype == "mixed" or self.accuracy == "high":
            self._refuse_other_ways("dtype='mixed'" if self.dtype == "mixed" else "accuracy='high'")
        operators_for(self, channels=2)  # combinations that nothing computes are refused here
        _ = self.text  # written now: a compiler that traces a layer reads it

    def operator_for(self, x: Tensor) -> Operator:
        channels = x.shape[-2] - int(self.moment == "gaussian")  # torch before 2.12 cannot take a bool from a symbolic size
        return operator_for(self, int(channels) if isinstance(self.top_n, float) else 0, x.device)

    def _refuse_other_ways(self, option: str) -> None:
        if self.route == "dense":
            raise OptionError(
                f"{option} needs the rank-aware decomposition of route='gram'; got route='dense', the published order of "
                f"operations in one precision, for forward={self.function}: use route='auto', or dtype='float64' and "
                "accuracy='standard'"
            )
        if self.solver == "products":
            raise OptionError(
                f"{option} needs a decomposition; got solver='products', which has none: use solver='auto', or dtype='float64' "
                "and accuracy='standard'"
            )

    def __str__(self) -> str:
        accuracy = "" if self.accuracy == "standard" else f", accuracy={self.accuracy}"
        return f"forward={self.function}, gradient={self.rule}, dtype={self.dtype}{accuracy}, route={self.route}"


@functools.lru_cache(maxsize=512)
def operators_for(spec: PoolingSpec, channels: int) -> Mapping[str, Operator]:
    """The operators that compute `spec` for features of so many channels, by solver.

    One, or for `solver="auto"` all that apply, the one with a decomposition where the features are first.

    Raises:
        OptionError: `solver="products"` for a function or route that needs a decomposition, or `float32_centering` for a
            layer that the public code does not have.
    """
    operators = _in_published_arithmetic(spec, channels) if spec.float32_centering else _all_operators(spec, channels)
    if not operators:
        raise OptionError(
            "float32_centering is the arithmetic of the public code: on route='dense', of layers by difference quotients, "
            f"svd_newton and isqrt_cov; got {spec}: leave float32_centering out"
        )
    if spec.solver == "auto":
        return operators
    if spec.solver not in operators:
        raise OptionError(
            "solver='products' computes isqrt_cov, and on route gram the root with its exact gradient; the others decompose; "
            f"got solver={spec.solver!r} for {spec}: use solver={' or '.join(map(repr, operators))}"
        )
    return {spec.solver: operators[spec.solver]}


def operator_for(spec: PoolingSpec, channels: int, device: torch.device | str = "cpu") -> Operator:
    """The operator that computes `spec` for features of so many channels on a device.

    For `solver="auto"` that follows from the device: on the CPU the decomposition; off it products of matrices for a fixed
    number of steps, else a decomposition where the features are, or on the CPU where the device would take one matrix after
    another. In training, measurements of the machine may say otherwise (`gcp_repro.linalg.solvers`).

    Args:
        spec: What to compute.
        channels: Of the features, without the constant of `moment="gaussian"`.
        device: Where the features are.
    """
    return operators_for(spec, channels)[solver_for(spec, device)]


def solver_for(spec: PoolingSpec, device: torch.device | str = "cpu") -> str:
    """The solver that a spec has on a device; for `"auto"` by the rule that `operator_for` states."""
    solvers = operators_for(spec, 2)
    if len(solvers) == 1 or torch.device(device).type in ("cpu", "meta"):
        return next(iter(solvers))
    if spec.function.kind == "newton_schulz" and "products" in solvers:
        return "products"
    by_svd = spec.accuracy == "high" or spec.float32_centering  # of whose matrices a GPU takes one after another
    return "host" if by_svd else "device"


def _all_operators(spec: PoolingSpec, channels: int) -> dict[str, Operator]:
    decomposing = _decomposing(spec, channels)
    products = _products(spec)
    return {
        "device": decomposing,
        "host": replace(decomposing, on_host=True),
        **({} if products is None else {"products": products}),
    }


def _decomposing(spec: PoolingSpec, channels: int) -> SpectralPooling | PublishedPooling:
    """The operator with an eigendecomposition."""
    dtype, top_n = DTYPES[spec.dtype], number_kept(spec.top_n, channels)
    if spec.route != "dense":
        products = torch.float32 if spec.dtype == "mixed" else None
        return SpectralPooling(
            spec.function,
            spec.rule,
            dtype,
            spec.moment == "covariance",
            top_n,
            product_dtype=products,
            direct=spec.accuracy == "high",
        )
    if spec.rule.is_exact_for(spec.function):
        return SpectralPooling(spec.function, spec.rule, dtype, top_n=top_n, full=True)
    return PublishedPooling(spec.function, spec.rule, dtype, top_n)


def _products(spec: PoolingSpec) -> NewtonSchulzPooling | ProductsPooling | None:
    """The same function by products of matrices alone, if there is a way."""
    if spec.moment != "covariance" or spec.top_n is not None or not spec.rule.is_exact_for(spec.function):
        return None
    if spec.dtype == "mixed" or spec.accuracy == "high":
        return None
    dtype = DTYPES[spec.dtype]
    if spec.function.kind == "newton_schulz":
        steps = spec.function.options["num_iterations"]
        return NewtonSchulzPooling(steps, dtype) if spec.route == "dense" else NewtonSchulzProducts(steps, dtype)
    return RootByProducts(dtype) if spec.function.is_root and spec.route != "dense" else None


def _in_published_arithmetic(spec: PoolingSpec, channels: int) -> dict[str, Operator]:
    """What the public code has: SVD in the published order, and Newton-Schulz iterations on the full matrix."""
    decomposing, products = _decomposing(spec, channels), _products(spec)
    if isinstance(decomposing, PublishedPooling):
        operator = AuthorsPooling(spec.function, spec.rule, decomposing.dtype, decomposing.top_n)
        return {"device": operator, "host": replace(operator, on_host=True)}
    if isinstance(products, NewtonSchulzPooling):
        return {"products": AuthorsNewtonSchulz(products.num_iterations, products.dtype)}
    return {}
