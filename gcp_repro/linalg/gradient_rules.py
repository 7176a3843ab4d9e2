"""Gradient rules: the table that turns the upstream gradient into the gradient of a spectral function.

A rule of the paper replaces one thing only, the quotient `k = 1 / (l_i - l_j)` of a larger and a smaller eigenvalue (its
matrix K, eq. 5). Such a rule is a function of a few lines, `k(larger, smaller)`, in `DIFFERENCE_QUOTIENTS`; the table is then
`(f_i - f_j) k_ij` off the diagonal and `f'(l_i)` on it. The other rules are whole tables: those of another spectral function
(`lyapunov` is the exact table of the root, `newton_schulz` that of the iteration's polynomial).

To add a rule: write the quotient, add it to `DIFFERENCE_QUOTIENTS`, and see `docs/adding_a_rule.md` for the layer's row.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.linalg import functions
from gcp_repro.linalg.covariance import fill_diagonal, from_upper_triangle, upper_pairs
from gcp_repro.linalg.functions import GradientTable, SpectralFunction
from gcp_repro.linalg.pade import pade_approximant

__all__ = ["DIFFERENCE_QUOTIENTS", "GRADIENT_RULES", "GradientRule", "gradient_rule", "replace_overflow", "skew_quotients"]


def svd(larger: Tensor, smaller: Tensor) -> Tensor:
    """`1 / (l_i - l_j)`: the ordinary gradient of the eigendecomposition (eq. 5); unbounded."""
    return (larger - smaller).reciprocal()


def trunc(larger: Tensor, smaller: Tensor, *, max_gradient: float = 1e10) -> Tensor:
    """`min(1 / (l_i - l_j), T)` (eq. 12); bound `T = max_gradient`."""
    return svd(larger, smaller).clamp(max=max_gradient)


def taylor(larger: Tensor, smaller: Tensor, *, degree: int = 100) -> Tensor:
    """`(1 + x + ... + x^K) / l_i` with `x = l_j / l_i` (eqs. 14 to 16, after Wang et al. 2019); bound `(K + 1) / l_i`."""
    return geometric_sum(smaller / larger, degree).div_(larger)


def geometric_sum(x: Tensor, degree: int) -> Tensor:
    """`1 + x + ... + x^degree` in about `2 log2(degree)` multiplications: `T_{2m+1} = T_m (1 + x^{m+1})`, `T_{k+1} = 1 + x T_k`.

    Example:
        >>> geometric_sum(torch.tensor(2.0), 6).item()
        127.0
    """
    total, power = torch.ones_like(x), x  # T_0 and x^(0 + 1)
    for bit in bin(degree + 1)[3:]:  # degree + 1 terms, from the second binary digit on
        total = total.addcmul(total, power)
        power = power * power
        if bit == "1":
            total.mul_(x).add_(1.0)
            power = power * x
    return total


def pade(larger: Tensor, smaller: Tensor, *, degree: int = 100) -> Tensor:
    """`P(x) / Q(x) / l_i` with the diagonal Pade approximant that matches `degree` Taylor terms (eq. 21).

    Not bounded: the denominator is zero at `x = 1` to rounding. The paper states `6.48e20 / l_i` (see docs/paper_notes.md).
    """
    return pade_approximant(smaller / larger, degree) / larger


DIFFERENCE_QUOTIENTS: dict[str, Callable[..., Tensor]] = {"svd": svd, "trunc": trunc, "taylor": taylor, "pade": pade}
"""The rules that replace `1 / (l_i - l_j)`, by name; each maps `(larger, smaller)` eigenvalues to positive quotients."""


@dataclass(frozen=True)
class GradientRule:
    """A way to fill the gradient table of any spectral function.

    Attributes:
        name: As used in options and tables.
        table: Maps eigenvalues `(b, n)`, ascending and >= 0, their images `(b, n)` and the function to a `GradientTable`.
        quotient: `k(larger, smaller)` for the rules that are made of one, else `None`.
    """

    name: str
    table: Callable[[Tensor, Tensor, SpectralFunction], GradientTable]
    quotient: Callable[[Tensor, Tensor], Tensor] | None = None


def replace_overflow(values: Tensor) -> Tensor:
    """Replace infinite and undefined entries of `(b, n)` by the row's largest finite one, or 0 without any, as published."""
    finite = values.isfinite()
    if bool(finite.all()):
        return values
    largest = torch.where(finite, values, 0.0).amax(-1, keepdim=True)
    return torch.where(finite, values, largest)


def quotients(eigenvalues: Tensor, quotient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`k(larger, smaller)` for all pairs of `(b, n)` ascending eigenvalues, as an upper triangle with 0 on the diagonal."""
    smaller, larger = upper_pairs(eigenvalues)
    # the diagonal is no pair; it must not be anyone's largest entry
    return replace_overflow(fill_diagonal(quotient(larger, smaller), eigenvalues.shape[-1], 0.0))


def skew_quotients(eigenvalues: Tensor, quotient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The skew-symmetric `K` of eq. 5, `(b, n, n)`: `K_ij` approximates `1 / (l_i - l_j)` for ascending eigenvalues."""
    k = from_upper_triangle(quotients(eigenvalues, quotient), eigenvalues.shape[-1])
    return k.tril(-1) - k.triu(1)


def _from_quotient(name: str, quotient: Callable[[Tensor, Tensor], Tensor]) -> GradientRule:
    def table(eigenvalues: Tensor, images: Tensor, function: SpectralFunction) -> GradientTable:
        exact = function.gradient(eigenvalues)
        of_smaller, of_larger = upper_pairs(images)
        products = (of_larger - of_smaller).mul_(quotients(eigenvalues, quotient))
        result = from_upper_triangle(products, eigenvalues.shape[-1])
        result.diagonal(dim1=-2, dim2=-1).copy_(exact.table.diagonal(dim1=-2, dim2=-1))
        return exact._replace(table=result)

    return GradientRule(name, table, quotient)


def _quotient_factory(name: str, quotient: Callable[..., Tensor]) -> Callable[..., GradientRule]:
    @functools.wraps(quotient)  # the options stay visible to inspect.signature
    def factory(**options: Any) -> GradientRule:
        return _from_quotient(name, functools.partial(quotient, **options))

    return factory


def _from_function(name: str, function: SpectralFunction) -> GradientRule:
    return GradientRule(name, lambda eigenvalues, images, forward: function.gradient(eigenvalues))


def _exact() -> GradientRule:
    return GradientRule("exact", lambda eigenvalues, images, forward: forward.gradient(eigenvalues))


def _power_iteration(num_iterations: int = 19, deflate: bool = True) -> GradientRule:
    """Gradient of power iteration started at the eigenvectors, with deflation (Wang et al., NeurIPS 2019; eqs. 13, 32 and 33).

    Writing the chain of deflations out (`docs/mathematics.md`), the eigenvector of the larger eigenvalue of a pair gets the
    Taylor sum `T_K(x) / l_i`, that of the smaller one `-T_{K-1}(x) / l_i`, with `x = l_j / l_i`, `T_K = 1 + x + ... + x^K`.

    With `deflate=False` all eigenvectors are iterated at once, as in the authors' code for the ICCV paper: the projector
    `I - U U^T` is then zero, eigenvalues get no gradient at all, and so nothing reaches the features.
    """

    def table(eigenvalues: Tensor, images: Tensor, function: SpectralFunction) -> GradientTable:
        exact = function.gradient(eigenvalues)
        if not deflate:
            return GradientTable(torch.zeros_like(exact.table))
        rows, columns = eigenvalues.unsqueeze(-1), eigenvalues.unsqueeze(-2)
        larger, smaller = torch.maximum(rows, columns), torch.minimum(rows, columns)
        positive = larger > 0
        divisor = torch.where(positive, larger, 1.0)
        shorter = geometric_sum(smaller / divisor, num_iterations - 1) / divisor
        longer = shorter * (smaller / divisor) + 1 / divisor
        f_rows, f_columns = images.unsqueeze(-1), images.unsqueeze(-2)
        f_larger, f_smaller = torch.where(rows >= columns, f_rows, f_columns), torch.where(rows >= columns, f_columns, f_rows)
        result = torch.where(positive, f_larger * longer - f_smaller * shorter, 0.0)
        result.diagonal(dim1=-2, dim2=-1).copy_(exact.table.diagonal(dim1=-2, dim2=-1))
        return exact._replace(table=result)

    return GradientRule("power_iteration", table)


def _lyapunov_iteration(num_iterations: int = 8) -> GradientRule:
    """Solve `Q dP + dP Q = G` by `num_iterations` coupled sign iterations (Song et al., ICLR 2022, eqs. 14 to 16).

    In the eigenbasis of `Q` with `b = f / ||f||`, every step multiplies by
    `(3 - b_i^2 + b_i b_j - b_j^2) / 2` and sets `b <- b (3 - b^2) / 2`.
    """

    def table(eigenvalues: Tensor, images: Tensor, function: SpectralFunction) -> GradientTable:
        norm = images.square().sum(-1, keepdim=True).sqrt()
        inverse = torch.where(norm > 0, norm, torch.inf).reciprocal()
        b = images * inverse
        product = (0.5 * inverse).unsqueeze(-1).expand(*b.shape, b.shape[-1])
        for _ in range(num_iterations):
            rows, columns = b.unsqueeze(-1), b.unsqueeze(-2)
            product = product * (3 - rows * rows + rows * columns - columns * columns) / 2
            b = b * (3 - b * b) / 2
        return GradientTable(product)

    return GradientRule("lyapunov_iteration", table)


GRADIENT_RULES: dict[str, Callable[..., GradientRule]] = {
    "exact": _exact,
    "lyapunov": lambda: _from_function("lyapunov", functions.sqrt()),
    "newton_schulz": lambda num_iterations=10: _from_function("newton_schulz", functions.newton_schulz(num_iterations)),
    "lyapunov_iteration": _lyapunov_iteration,
    "power_iteration": _power_iteration,
    **{name: _quotient_factory(name, quotient) for name, quotient in DIFFERENCE_QUOTIENTS.items()},
}
"""Factories of the gradient rules by name; options are those of the quotient or the function."""


def gradient_rule(name: str | GradientRule, **options: Any) -> GradientRule:
    """Look up a rule by name and set its options, or pass a `GradientRule` through.

    Args:
        name: A name in `GRADIENT_RULES`, or a rule of your own.
        **options: `degree` (taylor, pade), `max_gradient` (trunc), `num_iterations` (newton_schulz, lyapunov_iteration).

    Raises:
        UnknownNameError: No such rule. "no gradient rule 'pad'; nearest: 'pade'; known: ..."
        OptionError: An option that the rule does not have.

    Example:
        >>> import torch
        >>> rule = gradient_rule("taylor", degree=2)
        >>> rule.quotient(torch.tensor(2.0), torch.tensor(1.0)).item()  # (1 + 1/2 + 1/4) / 2
        0.875
    """
    if isinstance(name, GradientRule):
        return name
    if name not in GRADIENT_RULES:
        raise UnknownNameError("gradient rule", name, GRADIENT_RULES)
    try:
        rule = GRADIENT_RULES[name](**options)
        if rule.quotient is not None:
            rule.quotient(torch.tensor(2.0), torch.tensor(1.0))  # options of a quotient are seen when it is called
        return rule
    except TypeError as error:
        raise OptionError(f"gradient rule {name!r} does not take these options: {options} ({error})") from error
