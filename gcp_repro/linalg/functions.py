"""Spectral functions: what is done to the eigenvalues, and the exact table of divided differences.

For `P = U diag(l) U^T` and a scalar function `f`, `f(P) = U diag(f(l)) U^T`, and the derivative of `f(P)` in the eigenbasis
is the Hadamard product with the table of divided differences (Daleckii-Krein),

    f[l_i, l_j] = (f(l_i) - f(l_j)) / (l_i - l_j),    f[l, l] = f'(l).

Every table here is evaluated in a form in which nothing is lost to cancellation: no difference of two nearly equal
numbers is divided by another, so repeated eigenvalues need no special case.

At a zero eigenvalue functions such as the root have no derivative. There the tables hold what is right for matrices of
constant rank (pairs of a zero and a positive eigenvalue), and 0 for pairs of zeros: the minimum-norm choice.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from gcp_repro.linalg.machinery.options import AtLeast, Finite, Not
from gcp_repro.linalg.spectral_function import SPECTRAL_FUNCTIONS, GradientTable, SpectralFunction

__all__ = [
    "logarithm",
    "newton_schulz",
    "pade_root",
    "power",
    "scaling_eigen_branch",
    "sqrt",
    "taylor_root",
]


def _pairs(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.unsqueeze(-1), values.unsqueeze(-2)


def _safe_reciprocal(values: Tensor) -> Tensor:
    """`1 / values`, and 0 where `values` is 0 or so small that it would overflow."""
    return values.masked_fill(values < torch.finfo(values.dtype).tiny, torch.inf).reciprocal_()


def _log_ratio(larger: Tensor, smaller: Tensor) -> Tensor:
    """`log(larger / smaller)`, accurate however close or far apart the two positive numbers are."""
    logarithm = torch.log1p((larger - smaller) / smaller)
    return torch.where(logarithm.isfinite(), logarithm, larger.log() - smaller.log())


@SPECTRAL_FUNCTIONS.factory("sqrt", built_in=True)
def sqrt() -> SpectralFunction:
    """The square root.

    The table is `1 / (sqrt(l_i) + sqrt(l_j))`, which also solves the Lyapunov equation `Q dP + dP Q = G`.

    Bound of the table: `1 / (2 sqrt(l_min))` over the positive eigenvalues, and `1 / sqrt(l_min)` against a null space.
    """

    def gradient(eigenvalues: Tensor) -> GradientTable:
        rows, columns = _pairs(eigenvalues.sqrt())
        return GradientTable(_safe_reciprocal(rows + columns))

    return SpectralFunction("sqrt", torch.sqrt, gradient, approximates_root=True)


@SPECTRAL_FUNCTIONS.factory("power", built_in=True)
def power(exponent: Annotated[float, Finite(), Not(0)]) -> SpectralFunction:
    """Power `l^exponent`, `exponent` any non-zero real number; 0 is mapped to 0 (so `-0.5` is the root of the pseudo-inverse).

    With `r = log(l_i / l_j) >= 0`, the table is `l_i^(p-1) (1 - e^(-p r)) / (1 - e^(-r))`, and for negative `p`
    `-l_j^p / l_i (1 - e^(p r)) / (1 - e^(-r))`: neither overflows before the entry itself does.
    """
    if exponent == 0.5:
        return sqrt()

    def value(eigenvalues: Tensor) -> Tensor:
        positive = eigenvalues > 0
        return torch.where(positive, torch.where(positive, eigenvalues, 1.0).pow(exponent), 0.0)

    def gradient(eigenvalues: Tensor) -> GradientTable:
        rows, columns = _pairs(eigenvalues)
        larger, smaller = torch.maximum(rows, columns), torch.minimum(rows, columns)
        one, both = larger > 0, smaller > 0
        a = torch.where(one, larger, 1.0)
        b = torch.where(both, smaller, a)
        r = _log_ratio(a, b)
        share = torch.where(r == 0, abs(exponent), torch.expm1(-abs(exponent) * r) / torch.expm1(torch.where(r == 0, -1.0, -r)))
        interior = share * a.pow(exponent - 1) if exponent > 0 else -share * b.pow(exponent) / a
        of_zeros = 1.0 if exponent == 1 else 0.0
        return GradientTable(torch.where(both, interior, torch.where(one, a.pow(exponent - 1), of_zeros)))

    return SpectralFunction("power", value, gradient)


@SPECTRAL_FUNCTIONS.factory("log", built_in=True)
def logarithm(epsilon: Annotated[float, AtLeast(0), Finite()] = 1e-3) -> SpectralFunction:
    """Logarithm `log(l + epsilon)`, as in DeepO2P (Ionescu et al., ICCV 2015); `epsilon` > 0 makes singular matrices legal.

    With `a = l_i + epsilon` and `b = l_j + epsilon`, the table is `log1p((a - b) / b) / (a - b)`; bound `1 / epsilon`.
    With `epsilon = 0` the logarithm is that on the range: 0 is mapped to 0, a pair of `l` and 0 has `log(l) / l`, two zeros 0.
    """

    def value(eigenvalues: Tensor) -> Tensor:
        shifted = eigenvalues + epsilon
        return torch.where(shifted > 0, torch.where(shifted > 0, shifted, 1.0).log(), 0.0)

    def gradient(eigenvalues: Tensor) -> GradientTable:
        rows, columns = _pairs(eigenvalues + epsilon)
        larger, smaller = torch.maximum(rows, columns), torch.minimum(rows, columns)
        one, both = larger > 0, smaller > 0
        larger = torch.where(one, larger, 1.0)
        smaller = torch.where(both, smaller, larger)
        difference = larger - smaller
        same = difference == 0
        quotient = _log_ratio(larger, smaller) / torch.where(same, 1.0, difference)
        interior = torch.where(same, smaller.reciprocal(), quotient)
        return GradientTable(torch.where(both, interior, torch.where(one, larger.log() / larger, 0.0)))

    return SpectralFunction("log", value, gradient)


@SPECTRAL_FUNCTIONS.factory("newton_schulz", built_in=True)
def newton_schulz(num_iterations: Annotated[int, AtLeast(1)] = 5) -> SpectralFunction:
    """What the trace-normalised Newton-Schulz iteration does to each eigenvalue (eqs. 7 to 9 of the paper).

    With `s = sqrt(l / trace)`, `x_0 = s` and `x_{k+1} = x_k (3 - x_k^2) / 2`, the iterates are `Y_k = s x_k` and
    `Z_k = x_k / s`, and the value after `num_iterations` = K steps is `sqrt(trace) s x_K`. Divided differences follow by
    the product rule, `x_{k+1}[a, b] = x_k[a, b] (3 - (x_a^2 + x_a x_b + x_b^2)) / 2`, with no division by a difference
    anywhere. Bound: `(3/2)^K`.

    Source: Li et al., CVPR 2018 (iSQRT-COV); the scalar form is derived in `docs/mathematics.md`.
    """

    def normalised(eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
        trace = eigenvalues.sum(-1, keepdim=True)
        return trace, (eigenvalues * _safe_reciprocal(trace)).sqrt()

    def value(eigenvalues: Tensor) -> Tensor:
        trace, s = normalised(eigenvalues)
        x = s
        for _ in range(num_iterations):
            x = x * (3 - x * x) / 2
        return trace.sqrt() * s * x

    def gradient(eigenvalues: Tensor) -> GradientTable:
        trace, s = normalised(eigenvalues)
        x, z = s, torch.ones_like(s)  # z = x / s, also where s = 0
        slope: Tensor | None = None  # x[a, b] as a function of s
        for _ in range(num_iterations):
            square = x * x
            step = 1.5 - 0.5 * square
            left = torch.stack([square, x, torch.ones_like(x)], -1)
            right = torch.stack([torch.full_like(x, -0.5), -0.5 * x, step], -2)
            factor = left @ right  # (3 - (x_a^2 + x_a x_b + x_b^2)) / 2 in one pass
            slope = factor if slope is None else slope.mul_(factor)
            x, z = x * step, z * step
        assert slope is not None
        # (s x)[a, b] / (s_a + s_b) = (s_a x[a, b] + s_b z_b) / (s_a + s_b), a mean of x[a, b] and z_b
        rows, columns = _pairs(s)
        weight = rows * _safe_reciprocal(rows + columns)
        z_columns = z.unsqueeze(-2)
        table = slope.sub_(z_columns).mul_(weight).add_(z_columns)
        scale = _safe_reciprocal(trace.sqrt())
        value_hat = s * x
        weights = scale * (0.5 * value_hat - table.diagonal(dim1=-2, dim2=-1) * s * s)
        return GradientTable(table.mul_(scale.unsqueeze(-1)), weights, torch.ones_like(s))

    return SpectralFunction("newton_schulz", value, gradient, approximates_root=True)


TAYLOR_ROOT = (1.0, -0.5, -0.125, -0.0625, -0.0390625, -0.02734375, -0.0205078125, -0.01611328125,
                -0.013092041015625, -0.0109100341796875, -0.009273529052734375)  # fmt: skip
_PADE_ROOT = (
    (1.0, -2.75, 2.75, -1.203125, 0.21484375, -0.0107421875),
    (1.0, -2.25, 1.75, -0.546875, 0.05859375, -0.0009765625),
)


@SPECTRAL_FUNCTIONS.factory("taylor_root", built_in=True)
def taylor_root() -> SpectralFunction:
    """Root by the Taylor polynomial of `(1 - z)^(1/2)` of degree 10, `z = 1 - l / ||P||_F` (MTP, Song et al., ICLR 2022)."""
    return _root_of_complement("taylor_root", TAYLOR_ROOT, (1.0,))


@SPECTRAL_FUNCTIONS.factory("pade_root", built_in=True)
def pade_root() -> SpectralFunction:
    """Root by the [5/5] Pade approximant of `(1 - z)^(1/2)`, `z = 1 - l / ||P||_F` (MPA, Song et al., ICLR 2022)."""
    return _root_of_complement("pade_root", *_PADE_ROOT)


def _root_of_complement(name: str, numerator: tuple[float, ...], denominator: tuple[float, ...]) -> SpectralFunction:
    """`sqrt(norm) p(z) / q(z)` with `z = 1 - l / norm` and the Frobenius norm of the matrix.

    Divided differences of the polynomials come out of Horner's scheme, `h <- h z_b + p(z_a)`, and those of the quotient from
    `(p / q)[a, b] = (p[a, b] - (p / q)(b) q[a, b]) / q(a)`.
    """

    def complement(eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
        largest = eigenvalues.amax(-1, keepdim=True)  # squares of the shares of it do not overflow
        norm = (eigenvalues * _safe_reciprocal(largest)).square().sum(-1, keepdim=True).sqrt() * largest
        return norm, 1 - eigenvalues * _safe_reciprocal(norm)

    def horner(coefficients: tuple[float, ...], z: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = _pairs(z)
        polynomial = torch.full_like(z, coefficients[-1])
        difference = torch.zeros_like(rows * columns)
        for coefficient in reversed(coefficients[:-1]):
            difference = difference * columns + polynomial.unsqueeze(-1)
            polynomial = polynomial * z + coefficient
        return polynomial, difference

    def value(eigenvalues: Tensor) -> Tensor:
        norm, z = complement(eigenvalues)
        return norm.sqrt() * horner(numerator, z)[0] / horner(denominator, z)[0]

    def gradient(eigenvalues: Tensor) -> GradientTable:
        norm, z = complement(eigenvalues)
        (p, dp), (q, dq) = horner(numerator, z), horner(denominator, z)
        quotient = p / q
        slope = -(dp - quotient.unsqueeze(-2) * dq) / q.unsqueeze(-1)  # with respect to l / norm
        scale = _safe_reciprocal(norm.sqrt())
        hat = eigenvalues * _safe_reciprocal(norm)
        weights = scale * (0.5 * quotient - slope.diagonal(dim1=-2, dim2=-1) * hat)
        return GradientTable(slope * scale.unsqueeze(-1), weights, hat)

    return SpectralFunction(name, value, gradient, approximates_root=True)


@SPECTRAL_FUNCTIONS.factory("scaling_eigen_branch", built_in=True)
def scaling_eigen_branch() -> SpectralFunction:
    """`Q + ||Q S||_F Q` with `Q = P^(1/2)` and `S = exp(-P)`, which raises small eigenvalues (SEB, Song et al., T-PAMI 2022).

    In eigenvalues: `sqrt(l) (1 + nu)` with `nu^2 = sum(l exp(-2 l))`. The gradient is exact, also through `nu`.
    """
    root = sqrt()

    def branch(eigenvalues: Tensor) -> tuple[Tensor, Tensor]:
        decay = torch.exp(-2 * eigenvalues)
        return decay, (eigenvalues * decay).sum(-1, keepdim=True).sqrt()

    def value(eigenvalues: Tensor) -> Tensor:
        return eigenvalues.sqrt() * (1 + branch(eigenvalues)[1])

    def gradient(eigenvalues: Tensor) -> GradientTable:
        decay, norm = branch(eigenvalues)
        direction = decay * (0.5 - eigenvalues) * _safe_reciprocal(norm)
        return GradientTable(root.gradient(eigenvalues).table * (1 + norm).unsqueeze(-1), eigenvalues.sqrt(), direction)

    return SpectralFunction("scaling_eigen_branch", value, gradient)
