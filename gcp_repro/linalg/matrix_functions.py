"""Differentiable functions of symmetric positive semi-definite matrices: root, inverse root, power, logarithm.

Each takes batches of any leading dimensions, on any device, and has the exact gradient by default: bounded and right for
repeated eigenvalues, where the gradients of `torch.linalg.eigh` and `torch.linalg.svd` are NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gcp_repro.errors import ShapeError
from gcp_repro.linalg.decomposition import Kept
from gcp_repro.linalg.feature_layout import require_dense
from gcp_repro.linalg.gradient_rules import GradientRule, check_parts, gradient_rule
from gcp_repro.linalg.machinery.autograd import DTYPE_NAMES, apply_operator
from gcp_repro.linalg.machinery.parts import part_text
from gcp_repro.linalg.spectral import MatrixFunction
from gcp_repro.linalg.spectral_function import spectral_function

__all__ = ["matrix_inv_sqrt", "matrix_log", "matrix_power", "matrix_sqrt"]


def matrix_sqrt(
    cov: Tensor, gradient: str | Mapping[str, Any] | GradientRule = "lyapunov", *, top_n: Kept = None, **options: Any
) -> Tensor:
    r"""Square root `Q` of positive semi-definite matrices, `Q Q = cov`, with an interchangeable gradient.

    With `cov = U diag(l) U^T` the value is `U diag(sqrt(l)) U^T` whatever the rule (eq. 3). For an upstream gradient with
    symmetric part `G` the gradient is `U (D * (U^T G U)) U^T`, and the rule fills only `D`.

    Args:
        cov: `(..., C, C)`, symmetric positive semi-definite, any floating dtype (float16 and bfloat16 are computed in
            float32), any rank. Only the lower triangle is read.
        gradient: `"lyapunov"` (exact: `D_ij = 1 / (sqrt(l_i) + sqrt(l_j))`), `"svd"`, `"pade"`, `"taylor"`, `"trunc"`, `"topn"`,
            `"newton_schulz"`, `"power_iteration"`, `"lyapunov_iteration"`, another registered name, or a `GradientRule`.
        top_n: Keep only so many eigenvalues, or a share of them in (0, 1), for any rule; `"topn"` is `"svd"` with 200/256 of
            them as the default.
        **options: The rule's own: `degree`, `max_gradient`, `num_iterations`.

    Returns:
        `(..., C, C)`, symmetric, dtype and device of `cov`; scale: units of the features.

    Raises:
        ShapeError: The last two sizes differ. "matrix_sqrt needs (..., C, C); got (8, 256, 196): pass covariance(x)?"
        UnknownNameError: No such rule.
        OptionError: An option that the rule does not have, or a value out of its range.
        NonFiniteError: NaN or infinity in `cov`.
        GCPError: A clearly negative eigenvalue.

    Numerics:
        Eigenvalues below `C * eps * l_max` count as zero. Between a zero and a positive eigenvalue `D = 1 / sqrt(l)`;
        between two zeros the root has no derivative, and `D = 0`: the gradient along matrices of the same rank.
        `"lyapunov"` can be differentiated twice.

    Source:
        Song, Sebe, Wang, ICCV 2021 (arXiv:2105.02498), eqs. 2 to 5 and 11 to 21; `lyapunov`: Daleckii and Krein
        (1965), see `docs/mathematics.md`.

    Example:
        >>> cov = torch.diag(torch.tensor([4.0, 16.0], dtype=torch.float64)).requires_grad_()
        >>> matrix_sqrt(cov).trace().backward()  # d tr(P^1/2) / dP = P^-1/2 / 2
        >>> cov.grad.diagonal().tolist()
        [0.25, 0.125]
    """
    if isinstance(gradient, str) and gradient == "topn":  # torch 2.6 cannot compile the comparison of a rule with a text
        gradient = "svd"
        top_n = -(-200 * cov.shape[-1] // 256) if top_n is None else top_n
    return _apply("matrix_sqrt", cov, "sqrt", {}, gradient, options, top_n)


def matrix_inv_sqrt(cov: Tensor) -> Tensor:
    """Inverse square root of positive definite `(..., C, C)`; that of the pseudo-inverse where the rank is lower. Exact gradient.

    Raises:
        ShapeError: The last two sizes differ.
        NonFiniteError: NaN or infinity in `cov`.

    Example:
        >>> matrix_inv_sqrt(4 * torch.eye(2)).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    return _apply("matrix_inv_sqrt", cov, "power", {"exponent": -0.5}, "exact", {})


def matrix_power(cov: Tensor, exponent: float) -> Tensor:
    """Real power of positive semi-definite `(..., C, C)`; zero eigenvalues stay zero for any exponent. Exact gradient.

    At singular matrices it is the gradient along matrices of the same rank: `D = l^(p-1)` between a positive and a zero
    eigenvalue; between two zeros `D = 0`, and 1 for `p = 1`.

    Args:
        cov: Symmetric positive semi-definite.
        exponent: Any finite number but 0.

    Raises:
        OptionError: `exponent` is 0, infinite or NaN.
        ShapeError: The last two sizes differ.
        NonFiniteError: NaN or infinity in `cov`.
    """
    return _apply("matrix_power", cov, "power", {"exponent": exponent}, "exact", {})


def matrix_log(cov: Tensor, epsilon: float = 0.0) -> Tensor:
    """Logarithm of `cov + epsilon I`, `(..., C, C)`. Exact gradient.

    Args:
        cov: Symmetric, positive definite, or semi-definite with `epsilon` > 0.
        epsilon: Added to every eigenvalue. With 0, eigenvalues that are zero to rounding are left out (mapped to 0), and the
            gradient is the one along matrices of the same rank: `D = log(l) / l` between a positive and a zero eigenvalue.

    Raises:
        OptionError: `epsilon` is negative.
        ShapeError: The last two sizes differ.
        NonFiniteError: NaN or infinity in `cov`.
    """
    return _apply("matrix_log", cov, "log", {"epsilon": epsilon}, "exact", {})


def _apply(
    name: str, cov: Tensor, function: str, of_function: dict[str, Any], rule: Any, of_rule: dict[str, Any], top_n: Any = None
) -> Tensor:
    """The named function of matrices, with the gradient of a rule, each with its options."""
    if not isinstance(cov, Tensor):
        raise ShapeError(f"{name} needs a torch.Tensor; got {type(cov).__name__}: convert it with torch.as_tensor")
    require_dense(cov, f"the matrix of {name}")
    if cov.ndim < 2 or cov.shape[-1] != cov.shape[-2] or cov.shape[-1] == 0 or not cov.is_floating_point():
        raise ShapeError(
            f"{name} needs (..., C, C), floating point; got {cov.dtype} {tuple(cov.shape)}: "
            "pass covariance(x) of features (..., C, N)?"
        )
    dtype = cov.dtype if cov.dtype in (torch.float32, torch.float64) else torch.float32
    if torch.compiler.is_compiling():  # a tracing compiler can write the recipe; torch reads it when it runs the operator
        written = (
            f"function={part_text(function, of_function)}, rule={part_text(rule, of_rule)}, dtype=torch.{DTYPE_NAMES[dtype]}"
        )
        return apply_operator(f"MatrixFunction({written}, top_n={top_n!r})", cov)
    parts = spectral_function(function, **of_function), gradient_rule(rule, **of_rule)
    check_parts(*parts)
    recipe = MatrixFunction(*parts, dtype, top_n)
    return apply_operator(recipe.text, cov)
