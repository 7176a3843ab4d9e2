"""Meta-layers: modules that turn features into one vector per image. They hold options, no parameters."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gcp_repro.errors import OptionError
from gcp_repro.linalg.autograd import Operator, apply_operator, without_autocast
from gcp_repro.linalg.covariance import as_positions, upper_triangle
from gcp_repro.linalg.functions import SPECTRAL_FUNCTIONS, SpectralFunction, spectral_function
from gcp_repro.linalg.gradient_rules import GRADIENT_RULES, GradientRule, gradient_rule
from gcp_repro.linalg.newton_schulz import NewtonSchulzPooling
from gcp_repro.linalg.precision import widen
from gcp_repro.linalg.products import ProductsPooling
from gcp_repro.linalg.published import AuthorsPooling
from gcp_repro.linalg.selection import fastest
from gcp_repro.linalg.spectral import PublishedPooling, SpectralPooling

__all__ = ["BilinearPooling", "CompactBilinearPooling", "CovariancePooling", "GlobalAveragePooling", "MetaLayer"]

DTYPES = {"float64": torch.float64, "float32": torch.float32}
ROUTES = ("auto", "gram", "dense")
SOLVERS = ("auto", "device", "host", "products")
ON_NONFINITE = ("raise", "propagate")


def _choice(option: str, value: object, choices: Mapping[str, Any] | tuple[str, ...]) -> None:
    if value not in choices:
        raise OptionError(f"{option} must be one of {', '.join(choices)}; got {value!r}")


class MetaLayer(nn.Module):
    """Base class: features `(B, C, H, W)` or `(B, C, N)` to `(B, output_dim(C))`, in the dtype of the features."""

    @abstractmethod
    def output_dim(self, channels: int) -> int:
        """Length of the output vector for so many channels."""

    @abstractmethod
    def pool(self, features: Tensor) -> Tensor:
        """Pool `(B, C, N)` to `(B, D)`."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool features.

        Raises:
            ShapeError: Not `(B, C, H, W)` or `(B, C, N)`, or not a floating dtype.
            NonFiniteError: NaN or infinity in the features, if the layer decomposes a matrix and `on_nonfinite="raise"`.
        """
        return self.pool(as_positions(features))


class GlobalAveragePooling(MetaLayer):
    """Mean over positions, `D = C`: the first-order pooling that the others replace."""

    def output_dim(self, channels: int) -> int:
        return channels

    def pool(self, features: Tensor) -> Tensor:
        return features.mean(-1)


class CovariancePooling(MetaLayer):
    """Upper triangle of a function of the covariance: any forward function with any gradient table.

    Args:
        forward: A name in `linalg.SPECTRAL_FUNCTIONS`, or a `SpectralFunction`.
        gradient: A name in `linalg.GRADIENT_RULES`, or a `GradientRule`; `"exact"` is the derivative of `forward`.
        dtype: `"float64"` or `"float32"`, of the spectral part, whatever the features' dtype and autocast say.
        route: `"gram"` is rank-aware and decomposes the smaller of `X^T X` and `X X^T`; `"dense"` is the `C x C`
            computation, for the difference quotients in the published order with the null space's noise; `"auto"` is
            `"gram"` where the function allows it.
        solver: `"device"` decomposes where the features are, `"host"` on the CPU, `"products"` uses Newton-Schulz
            iterations instead of a decomposition: for `isqrt_cov`, on route `dense` in the published order, and on
            route `gram` for the root with its exact gradient too. `"auto"` is `"device"` on the CPU; elsewhere it
            measures those that apply, once for each shape, and takes the fastest.
        on_nonfinite: `"raise"`, or `"propagate"`: images with NaN or infinite features, or ones whose squares overflow, get
            NaN as output.
        moment: `"covariance"`; `"second_moment"` without subtracting the mean; `"gaussian"`, the second moment of the
            features with a constant 1 appended, which is the embedding `[[S + m m^T, m], [m^T, 1]]` of a Gaussian of
            mean `m`, covariance `S`.
        top_n: Keep only the largest eigenvalues: their number, or a share of the channels in (0, 1).
        signed_root: End with the signed square root of every entry and division by the l2 norm.
        float32_centering: Dense route only: the arithmetic of the public code, whose centring matrix is rounded to float32. In
            float64 the SVD layers and `isqrt_cov` then give DifferentiableSVD's values to the last bit, in float32
            `isqrt_cov` gives those of fast-MPN-COV.
        **options: Options of the forward function and of the gradient rule (`num_iterations`, `degree`,
            `max_gradient`, `exponent`, ...). An option that both have goes to both.
    """

    def __init__(
        self,
        forward: str | SpectralFunction = "sqrt",
        gradient: str | GradientRule = "exact",
        *,
        dtype: str = "float64",
        route: str = "auto",
        solver: str = "auto",
        on_nonfinite: str = "raise",
        moment: str = "covariance",
        top_n: int | float | None = None,
        signed_root: bool = False,
        float32_centering: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        _choice("dtype", dtype, DTYPES)
        _choice("route", route, ROUTES)
        _choice("solver", solver, SOLVERS)
        _choice("on_nonfinite", on_nonfinite, ON_NONFINITE)
        _choice("moment", moment, ("covariance", "second_moment", "gaussian"))
        if top_n is not None and top_n <= 0:
            raise OptionError(f"top_n must be positive: a number of eigenvalues or a share of the channels below 1; got {top_n}")
        if route == "dense" and moment != "covariance":
            raise OptionError(f"route='dense' computes covariances only; got moment={moment!r}: use route='gram' or 'auto'")
        self.spectral_function, self.gradient = forward, gradient
        self.dtype, self.route, self.on_nonfinite, self.moment = dtype, route, on_nonfinite, moment
        self.top_n, self.signed_root, self.float32_centering = top_n, signed_root, float32_centering
        self.options, self.solver = dict(options), solver
        self.operators(channels=2)  # bad names and options are refused now

    def extra_repr(self) -> str:
        forward, gradient = (getattr(part, "name", part) for part in (self.spectral_function, self.gradient))
        options = "".join(f", {name}={value}" for name, value in self.options.items())
        return f"forward={forward}, gradient={gradient}, dtype={self.dtype}, route={self.route}{options}"

    def output_dim(self, channels: int) -> int:
        size = channels + (self.moment == "gaussian")
        return size * (size + 1) // 2

    @property
    def approximates_root(self) -> bool:
        """Whether the value is the square root of the covariance, or an approximation of it."""
        root = self.spectral_function in ("sqrt", "newton_schulz", "pade_root", "taylor_root")
        half = self.spectral_function == "power" and self.options.get("exponent") == 0.5
        return (root or half) and self.moment == "covariance" and not self.signed_root

    def operators(self, channels: int) -> list[Operator]:
        """The operators of `gcp_repro.linalg` that compute this layer for so many channels.

        One, or the candidates of `solver="auto"`, the one with a decomposition where the features are first.

        Raises:
            OptionError: `solver="products"` for a function or route that needs a decomposition, or `float32_centering` for a
                layer that the public code does not have.
        """
        find = _published_candidates if self.float32_centering else _candidates
        candidates = find(self.operator(channels))
        if not candidates:
            raise OptionError(
                "float32_centering is the arithmetic of the public code: on route='dense', of layers by difference quotients, "
                f"svd_newton and isqrt_cov; got {self.extra_repr()}: leave float32_centering out"
            )
        if self.solver != "auto" and self.solver not in candidates:
            raise OptionError(
                "solver='products' computes isqrt_cov, and on route gram the root with its exact gradient; the others decompose; "
                f"got solver={self.solver!r} for {self.extra_repr()}: use solver={' or '.join(map(repr, candidates))}"
            )
        return list(candidates.values()) if self.solver == "auto" else [candidates[self.solver]]

    def operator(self, channels: int) -> SpectralPooling | PublishedPooling:
        """The operator with a decomposition where the features are."""
        return _operator(
            self.spectral_function, self.gradient, tuple(sorted(self.options.items())), self.dtype, self.route,
            self.moment, self._kept(channels), self.float32_centering,
        )  # fmt: skip

    def _kept(self, channels: int) -> int | None:
        if self.top_n is None or self.top_n >= 1:
            return None if self.top_n is None else int(self.top_n)
        return max(1, round(self.top_n * channels))

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def pool(self, features: Tensor) -> Tensor:
        if self.moment == "gaussian":
            features = torch.cat([features, torch.ones_like(features[:, :1])], 1)
        valid = None
        if self.on_nonfinite == "propagate":
            valid = features.to(DTYPES[self.dtype]).square().sum((-1, -2)).isfinite()
            features = torch.where(valid[:, None, None], features, 0.0)
        candidates = self.operators(features.shape[1])
        operator = candidates[0] if features.device.type in ("cpu", "meta") else fastest(candidates, features)
        if self.signed_root:
            pooled = signed_root_and_normalise(apply_operator(operator, widen(features, torch.float64))).to(features.dtype)
        else:
            pooled = apply_operator(operator, features)
        return pooled if valid is None else torch.where(valid[:, None], pooled, torch.nan)


@functools.lru_cache(maxsize=256)
def _operator(
    forward: str | SpectralFunction, gradient: str | GradientRule, options: tuple[tuple[str, Any], ...], dtype: str, route: str,
    moment: str, top_n: int | None, float32_centering: bool,
) -> SpectralPooling | PublishedPooling:  # fmt: skip
    given = dict(options)
    for_function = _accepted(SPECTRAL_FUNCTIONS, forward, given)
    for_gradient = _accepted(GRADIENT_RULES, gradient, given)
    unused = [name for name in given if name not in for_function and name not in for_gradient]
    if unused:
        raise OptionError(f"neither forward={forward!r} nor gradient={gradient!r} has an option {', '.join(map(repr, unused))}")
    function = spectral_function(forward, **for_function)
    rule = gradient_rule(gradient, **for_gradient)
    spectral_dtype = DTYPES[dtype]
    if route != "dense":
        return SpectralPooling(function, rule, spectral_dtype, moment == "covariance", top_n)
    if gradient == "exact" or (function.name == "sqrt" and gradient == "lyapunov"):
        return SpectralPooling(function, rule, spectral_dtype, top_n=top_n, full=True)
    pooling = AuthorsPooling if float32_centering else PublishedPooling
    return pooling(function, rule, spectral_dtype, top_n)


def _candidates(operator: SpectralPooling | PublishedPooling) -> dict[str, Operator]:
    """The operators of a layer, by solver."""
    candidates: dict[str, Operator] = {"device": operator, "host": dataclasses.replace(operator, on_host=True)}
    products = _products(operator)
    return candidates if products is None else {**candidates, "products": products}


def _published_candidates(operator: SpectralPooling | PublishedPooling) -> dict[str, Operator]:
    """Those of them that the public code has: SVD in the published order, and Newton-Schulz iterations on the full matrix."""
    if isinstance(operator, AuthorsPooling):
        return _candidates(operator)
    products = _products(operator)
    if isinstance(products, NewtonSchulzPooling):
        return {"products": dataclasses.replace(products, float32_centering=True)}
    return {}


def _products(operator: SpectralPooling | PublishedPooling) -> Operator | None:
    """The same function by products alone, if there is one."""
    if not isinstance(operator, SpectralPooling) or not operator.centered or operator.top_n is not None:
        return None
    name, _, steps = operator.function.name.removesuffix(")").partition("(")
    if name == "newton_schulz" and operator.rule.name == "exact":
        return (NewtonSchulzPooling if operator.full else ProductsPooling)(int(steps), operator.dtype)
    if name == "sqrt" and operator.rule.name in ("exact", "lyapunov") and not operator.full:
        return ProductsPooling(None, operator.dtype)
    return None


def _accepted(factories: Mapping[str, Callable[..., Any]], name: object, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `options` that the factory `name` takes.

    None for a callable that was passed in, all rejected names raise later.
    """
    factory = factories.get(name) if isinstance(name, str) else None
    if factory is None:
        return {}
    parameters = inspect.signature(factory).parameters
    return {key: value for key, value in options.items() if key in parameters}


def signed_root_and_normalise(pooled: Tensor) -> Tensor:
    """`sign(x) sqrt(|x|)`, then division by the l2 norm (B-CNN, Lin et al., ICCV 2015).

    The slope is unbounded at 0: entries below a share of 1.2e-7 of the row's largest are mapped linearly instead, which changes
    the result by at most 9e-5. Rows may be of any scale.

    Args:
        pooled: `(B, D)`, float64; NaN or infinity in a row makes the whole row NaN.
    """
    largest = pooled.detach().abs().amax(1, keepdim=True)
    shares = pooled / torch.where(largest == 0, 1.0, largest)
    rooted = shares / shares.abs().clamp(min=torch.finfo(torch.float32).eps).sqrt()
    return nn.functional.normalize(rooted, dim=1)


class BilinearPooling(MetaLayer):
    """B-CNN: upper triangle of the second moment `X X^T / N`, signed square root, l2 norm (Lin et al., ICCV 2015)."""

    def output_dim(self, channels: int) -> int:
        return channels * (channels + 1) // 2

    def pool(self, features: Tensor) -> Tensor:
        with without_autocast(features):
            wide = widen(features, torch.float64)
            moment = upper_triangle(wide @ wide.mT / features.shape[-1])
            return signed_root_and_normalise(moment).to(features.dtype)


class CompactBilinearPooling(MetaLayer):
    """Compact bilinear pooling: an estimate of bilinear pooling in `projection_dim` numbers (Gao et al., CVPR 2016).

    Tensor Sketch: every channel is hashed to a place and a sign, twice; entry `(i, j)` of the second moment is added, with
    the product of the signs, at the sum of the places modulo `projection_dim`. This is the mean over positions of the
    circular convolution of the two sketches, without a Fourier transform per position. The hashes come from a generator of
    the layer's own, seeded by `seed` and the number of channels, so they are the same in every process and touch no global
    random state.

    Args:
        projection_dim: Length of the output.
        seed: Of the hash functions.
    """

    def __init__(self, projection_dim: int = 8192, seed: int = 0) -> None:
        super().__init__()
        if projection_dim < 1:
            raise OptionError(f"projection_dim must be at least 1; got {projection_dim}")
        self.projection_dim, self.seed = projection_dim, seed

    def extra_repr(self) -> str:
        return f"projection_dim={self.projection_dim}, seed={self.seed}"

    def output_dim(self, channels: int) -> int:
        return self.projection_dim

    def hashes(self, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Places `(2, C)` in `[0, projection_dim)` and signs `(2, C)` of the two sketches."""
        places, signs = _hashes(self.seed, channels, self.projection_dim)
        return places.to(device), signs.to(device)

    def pool(self, features: Tensor) -> Tensor:
        with without_autocast(features):
            wide = widen(features, torch.float64)
            places, signs = self.hashes(features.shape[1], features.device)
            moment = (wide @ wide.mT / features.shape[-1]) * (signs[0][:, None] * signs[1])
            target = (places[0][:, None] + places[1]) % self.projection_dim
            empty = wide.new_zeros(wide.shape[0], self.projection_dim)
            estimate = empty.index_add(1, target.flatten(), moment.flatten(1))
            return signed_root_and_normalise(estimate).to(features.dtype)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _hashes(seed: int, channels: int, projection_dim: int) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng((seed, channels))
    places = generator.integers(projection_dim, size=(2, channels))
    signs = generator.choice((-1, 1), size=(2, channels))
    return torch.from_numpy(places), torch.from_numpy(signs)
