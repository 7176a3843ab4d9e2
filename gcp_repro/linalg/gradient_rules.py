"""Gradient rules: the table that turns the upstream gradient into the gradient of a spectral function.

A rule of the paper replaces one thing only, the quotient `k = 1 / (l_i - l_j)` of a larger and a smaller eigenvalue (its
matrix K, eq. 5): those are the functions in `quotients.py`. The table is then `(f_i - f_j) k_ij` off the diagonal and `f'(l_i)`
on it. The other rules are whole tables: those of another spectral function (`lyapunov` is the exact table of the root,
`newton_schulz` that of the iteration's polynomial), or of an iteration.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from gcp_repro.errors import OptionError
from gcp_repro.linalg import functions
from gcp_repro.linalg.covariance import fill_diagonal, from_upper_triangle, upper_pairs
from gcp_repro.linalg.machinery.finite import all_finite
from gcp_repro.linalg.machinery.options import AtLeast, options_of
from gcp_repro.linalg.machinery.parts import Part, Parts
from gcp_repro.linalg.quotients import DIFFERENCE_QUOTIENTS, geometric_sum
from gcp_repro.linalg.spectral_function import SPECTRAL_FUNCTIONS, GradientTable, SpectralFunction

__all__ = [
    "GRADIENT_RULES",
    "GradientRule",
    "gradient_rule",
    "register_rule",
    "replace_overflow",
    "skew_quotients",
]


@dataclass(frozen=True, eq=False)
class GradientRule(Part):
    """A way to fill the gradient table of any spectral function.

    Attributes:
        name: As used in tables and messages; it says nothing about what the rule is.
        table: Maps eigenvalues `(b, n)`, ascending and >= 0, their images `(b, n)` and the function to a `GradientTable`.
        quotient: `k(larger, smaller)` for the rules that are made of one, else `None`.
        of: For a rule that is the exact table of one spectral function, whatever the forward function: that function.
    """

    table: Callable[[Tensor, Tensor, SpectralFunction], GradientTable]
    quotient: Callable[[Tensor, Tensor], Tensor] | None = None
    of: SpectralFunction | None = None

    def is_exact_for(self, function: SpectralFunction) -> bool:
        """Whether the table is the derivative of `function`."""
        return self.kind == "exact" or self.of == function


def check_parts(function: SpectralFunction, rule: GradientRule) -> None:
    """Try a function and a rule on a spectrum, unless both come with this package.

    Raises:
        OptionError: What they make of it has another form than it must have.
    """
    if function.kind in SPECTRAL_FUNCTIONS.built_in and rule.kind in GRADIENT_RULES.built_in:
        return
    spectrum = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64, device="cpu")
    if type(spectrum) is not Tensor:  # under a mode without data there is nothing to look at
        return
    images = function.value(spectrum)
    _check_form(f"the value of function {function}", images, "a tensor of their shape", (1, 3))
    _check_form(f"the gradient of function {function}", function.gradient(spectrum), "a GradientTable of all pairs", (1, 3, 3))
    _check_form(f"the table of rule {rule}", rule.table(spectrum, images, function), "a GradientTable of all pairs", (1, 3, 3))


def _check_form(what: str, made: Any, needed: str, shape: tuple[int, ...]) -> None:
    right_kind = isinstance(made, GradientTable if len(shape) == 3 else Tensor)
    found = getattr(made.table if right_kind and len(shape) == 3 else made, "shape", None)
    if not right_kind or found != shape:
        came = type(made).__name__ if found is None else f"{type(made).__name__} of {tuple(found)}"
        raise OptionError(f"for eigenvalues (1, 3) {what} must be {needed}, {shape}; got {came}: see docs/adding_a_layer.md")


GRADIENT_RULES: Parts[GradientRule] = Parts("gradient rule")
"""Factories of the gradient rules by name; options are those of the quotient or the function."""


def register_rule(
    name: str,
    factory: Callable[..., GradientRule] | None = None,
    *,
    quotient: Callable[..., Tensor] | None = None,
    replace: bool = False,
) -> Callable[..., GradientRule]:
    """Give a gradient rule a name that layers, configurations and tables know.

    Args:
        name: As in `gradient=...`.
        factory: Returns the rule; its arguments are the options, which are checked against their annotations
            (`Annotated[int, AtLeast(1)]`, see `gcp_repro.linalg.machinery.options`).
        quotient: Instead of a factory `k(larger, smaller, **options)`, which takes the place of `1 / (l_i - l_j)`. It takes the
            eigenvalues of all pairs, in any shape.
        replace: Whether it may take the place of another that was added.

    Returns:
        The factory, whose rules know their name and options.

    Raises:
        OptionError: The name is taken, or not one that configurations can hold; or not one of factory and quotient is given.
    """
    if (factory is None) == (quotient is None):
        raise OptionError(f"a gradient rule is made by a factory or of a quotient; got both or none for {name!r}: give one")
    if quotient is None:
        assert factory is not None
        rule = GRADIENT_RULES.register(name, factory, replace=replace)  # refuses the name first
        if name in DIFFERENCE_QUOTIENTS:
            DIFFERENCE_QUOTIENTS.remove(name)
        return rule
    rule = GRADIENT_RULES.register(name, _quotient_factory(name, quotient), replace=replace)
    DIFFERENCE_QUOTIENTS.add(name, quotient, replace=replace)
    return rule


def replace_overflow(values: Tensor) -> Tensor:
    """Replace infinite and undefined entries of `(b, n)` by the row's largest finite one, or 0 without any, as published."""
    if all_finite(values):
        return values
    finite = values.isfinite()
    largest = torch.where(finite, values, 0.0).amax(-1, keepdim=True)
    return torch.where(finite, values, largest)


def quotients(eigenvalues: Tensor, quotient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """`k(larger, smaller)` for all pairs of `(b, n)` ascending eigenvalues, as an upper triangle with 0 on the diagonal.

    A pair of zeros, whose images do not differ, is given as infinity and 0, which all quotients here map to 0.
    """
    smaller, larger = upper_pairs(eigenvalues, torch.where(eigenvalues > 0, eigenvalues, torch.inf))
    # the diagonal is no pair; it must not be anyone's largest entry
    return replace_overflow(fill_diagonal(quotient(larger, smaller), eigenvalues.shape[-1], 0.0))


def skew_quotients(eigenvalues: Tensor, quotient: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The skew-symmetric `K` of eq. 5, `(b, n, n)`: `K_ij` approximates `1 / (l_i - l_j)` for ascending eigenvalues."""
    k = from_upper_triangle(quotients(eigenvalues, quotient), eigenvalues.shape[-1])
    return k.tril(-1) - k.triu(1)


def _from_quotient(name: str, quotient: Callable[[Tensor, Tensor], Tensor]) -> GradientRule:
    def table(eigenvalues: Tensor, images: Tensor, function: SpectralFunction) -> GradientTable:
        exact = function.gradient(eigenvalues)
        of_smaller, of_larger = upper_pairs(images, images)
        products = (of_larger - of_smaller).mul_(quotients(eigenvalues, quotient))
        result = from_upper_triangle(products, eigenvalues.shape[-1])
        result.diagonal(dim1=-2, dim2=-1).copy_(exact.table.diagonal(dim1=-2, dim2=-1))
        return exact._replace(table=result)

    return GradientRule(name, table, quotient)


def _quotient_factory(name: str, quotient: Callable[..., Tensor]) -> Callable[..., GradientRule]:
    def factory(**options: Any) -> GradientRule:
        return _from_quotient(name, functools.partial(quotient, **options))

    options = options_of(quotient, skip=2).values()  # those of the quotient are those of the rule
    factory.__signature__ = inspect.Signature([option.replace(kind=option.KEYWORD_ONLY) for option in options])  # type: ignore[attr-defined]
    return factory


def _from_function(name: str, function: SpectralFunction) -> GradientRule:
    return GradientRule(name, lambda eigenvalues, images, forward: function.gradient(eigenvalues), of=function)


@GRADIENT_RULES.factory("exact", built_in=True)
def _exact() -> GradientRule:
    """The derivative of the forward function, whichever it is."""
    return GradientRule("exact", lambda eigenvalues, images, forward: forward.gradient(eigenvalues))


@GRADIENT_RULES.factory("lyapunov", built_in=True)
def _lyapunov() -> GradientRule:
    """The exact table of the root."""
    return _from_function("lyapunov", functions.sqrt())


@GRADIENT_RULES.factory("newton_schulz", built_in=True)
def _newton_schulz(num_iterations: Annotated[int, AtLeast(1)] = 10) -> GradientRule:
    """The exact table of the Newton-Schulz iteration."""
    return _from_function("newton_schulz", functions.newton_schulz(num_iterations=num_iterations))


@GRADIENT_RULES.factory("power_iteration", built_in=True)
def _power_iteration(num_iterations: Annotated[int, AtLeast(1)] = 19, deflate: bool = True) -> GradientRule:
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


@GRADIENT_RULES.factory("lyapunov_iteration", built_in=True)
def _lyapunov_iteration(num_iterations: Annotated[int, AtLeast(1)] = 8) -> GradientRule:
    """Solve `Q dP + dP Q = G` by `num_iterations` coupled sign iterations (Song et al., ICLR 2022, eqs. 14 to 16).

    In the eigenbasis of `Q` with `b = f / ||f||`, every step multiplies by
    `(3 - b_i^2 + b_i b_j - b_j^2) / 2` and sets `b <- b (3 - b^2) / 2`.
    """

    def table(eigenvalues: Tensor, images: Tensor, function: SpectralFunction) -> GradientTable:
        norm = images.square().sum(-1, keepdim=True).sqrt()
        inverse = torch.where(norm > 0, norm, torch.inf).reciprocal()
        b = images * inverse
        product = (0.5 * inverse).unsqueeze(-1)
        for _ in range(num_iterations):
            rows, columns = b.unsqueeze(-1), b.unsqueeze(-2)
            product = product * (3 - rows * rows + rows * columns - columns * columns) / 2
            b = b * (3 - b * b) / 2
        return GradientTable(product)

    return GradientRule("lyapunov_iteration", table)


for _name, _quotient in DIFFERENCE_QUOTIENTS.built_in.items():
    GRADIENT_RULES.register(_name, _quotient_factory(_name, _quotient), built_in=True)


def gradient_rule(choice: str | Mapping[str, Any] | GradientRule, **options: Any) -> GradientRule:
    """Look up a rule by name and set its options, or pass a `GradientRule` through.

    Args:
        choice: A name in `GRADIENT_RULES`, a mapping of `name` and options, or a rule of your own.
        **options: `degree` (taylor, pade), `max_gradient` (trunc), `num_iterations` (newton_schulz, lyapunov_iteration).

    Raises:
        UnknownNameError: No such rule. "no gradient rule 'pad'; nearest: 'pade'; known: ..."
        OptionError: An option that the rule does not have, or a value outside its range.

    Example:
        >>> import torch
        >>> rule = gradient_rule("taylor", degree=2)
        >>> rule.quotient(torch.tensor(2.0), torch.tensor(1.0)).item()  # (1 + 1/2 + 1/4) / 2
        0.875
    """
    return GRADIENT_RULES.resolve(choice, **options)
