"""What can be done to a covariance by products and factorisations instead of a function of its eigenvalues.

A step maps symmetric positive semi-definite `(b, n, n)` to `(b, n, n)` by operators of torch, so that autograd can differentiate
it any number of times. It may use entries and directions, which a spectral function does not see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from gcp_repro.errors import GCPError
from gcp_repro.linalg.machinery.caches import constant_while_tracing, keep_tensors
from gcp_repro.linalg.machinery.options import Above, AtLeast, Finite
from gcp_repro.linalg.machinery.parts import Part, Parts
from gcp_repro.linalg.matrices import divisor, identity_like, newton_schulz_iteration, trace

__all__ = ["MATRIX_STEPS", "MatrixStep", "power_of_largest"]


@dataclass(frozen=True, eq=False)
class MatrixStep(Part):
    """A map of covariances.

    Attributes:
        name: As used in tables and messages.
        apply: Maps `(b, n, n)` to `(b, n, n)`.
        is_products: Whether it is made of sums and products alone, which every program can run.
    """

    apply: Callable[[Tensor], Tensor]
    is_products: bool = True


MATRIX_STEPS: Parts[MatrixStep] = Parts("matrix step")
"""Factories of the steps by name."""


@MATRIX_STEPS.factory("identity", built_in=True)
def identity() -> MatrixStep:
    """The covariance as it is."""
    return MatrixStep("identity", lambda matrix: matrix)


def _unit(vector: Tensor) -> Tensor:
    """`(b, n, 1)` of any scale over its length; 0 for 0, where all derivatives are numbers too."""
    shares = vector / divisor(vector.detach().abs().amax(1, keepdim=True))
    return shares / shares.square().sum(1, keepdim=True).clamp(min=0.25).sqrt()  # the largest share is 1, unless all are 0


def power_of_largest(matrix: Tensor, exponent: float, num_values: int, num_iterations: int) -> Tensor:
    """Singular-value power normalisation of `(b, m, n)`: the largest singular values to a power, the rest scaled alike.

    With triples `(u_i, s_i, v_i)` of power iteration from a vector of ones, one after the other, and `R` what they leave of `M`,
    `sum_i s_i^a u_i v_i^T + R / (s_k^(1 - a) + 1e-5)`.

    Source:
        Xie et al., So-ViT (arXiv:2104.10935).
    """
    tiny = torch.finfo(matrix.dtype).tiny  # a zero matrix has no slope at 0
    powered, rest = matrix.new_zeros(()), matrix
    for _ in range(num_values):
        right = matrix.new_ones(matrix.shape[0], matrix.shape[-1], 1)
        for _ in range(num_iterations):
            left = _unit(rest @ right)
            right = _unit(rest.mT @ left)
        value = (left.mT @ rest @ right).clamp(min=tiny)
        plane = left @ right.mT
        powered, rest = powered + value**exponent * plane, rest - value * plane
    return powered + rest / (value ** (1 - exponent) + 1e-5)


@MATRIX_STEPS.factory("svpn", built_in=True)
def svpn(
    exponent: Annotated[float, Above(0), Finite()] = 0.5,
    num_values: Annotated[int, AtLeast(1)] = 1,
    num_iterations: Annotated[int, AtLeast(1)] = 1,
) -> MatrixStep:
    """Singular-value power normalisation, see `power_of_largest`."""
    return MatrixStep("svpn", lambda matrix: power_of_largest(matrix, exponent, num_values, num_iterations))


@constant_while_tracing
@keep_tensors(maxsize=64)
def _random_vector(seed: int, size: int, device: torch.device) -> Tensor:
    """`(size, 1)`, float64, standard normal; the same on every machine and in every process."""
    return torch.tensor(np.random.default_rng((seed, size)).standard_normal((size, 1)), device=device)


@MATRIX_STEPS.factory("rank1_update", built_in=True)
def rank1_update(
    eta: Annotated[float, Finite()] = 1.0,
    num_iterations: Annotated[int, AtLeast(0)] = 2,
    seed: Annotated[int, AtLeast(0)] = 0,
) -> MatrixStep:
    """`(I - eta v v^T) P (I - eta v v^T)`, `v` the unit vector along `P^K r` with a random `r`, `K = num_iterations`.

    `v` leans towards the eigenvectors of large eigenvalues, which are so made smaller; for `K` towards infinity the largest
    alone, by `(1 - eta)^2`.

    Source:
        Yu, Cai, Li, ECCV 2020 (RUN). There `r` is drawn anew for every image and step; here it follows from `seed`.
    """

    def apply(matrix: Tensor) -> Tensor:
        vector = _random_vector(seed, matrix.shape[-1], matrix.device).to(matrix.dtype).expand(matrix.shape[0], -1, -1)
        vector = _unit(vector)
        for _ in range(num_iterations):
            vector = _unit(matrix @ vector)
        image = matrix @ vector
        inner = vector.mT @ image
        crossed = vector @ image.mT
        updated = matrix - eta * (crossed + crossed.mT) + eta * eta * inner * (vector @ vector.mT)
        noise = 4 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps * trace(matrix.detach())
        return torch.where(updated.detach().abs() <= noise, 0.0, updated)  # of a matrix of rank 1 nothing else may be left

    return MatrixStep("rank1_update", apply)


def _inverse_by_newton_schulz(matrix: Tensor, num_iterations: int) -> Tensor:
    """`Z_K Z_K / trace` with the `Z_K` of eq. 7, which tends to the inverse; bound `2.25^K / trace`."""
    size = divisor(trace(matrix))
    _, z = newton_schulz_iteration(matrix / size, num_iterations)
    return z @ z / size


@MATRIX_STEPS.factory("isice", built_in=True)
def isice(
    sparsity: Annotated[float, AtLeast(0), Finite()] = 0.01,
    step_size: Annotated[float, Above(0), Finite()] = 1.0,
    num_iterations: Annotated[int, AtLeast(2)] = 5,
    inverse_iterations: Annotated[int, AtLeast(1)] = 7,
) -> MatrixStep:
    """Sparse inverse covariance, whose entries are partial correlations up to scale.

    `num_iterations` proximal gradient steps on `<S, C> - log det S + sparsity ||S||_1`, `C = P / trace(P)`, of a size that falls
    linearly from `step_size` to 0, from `S = C^-1`. Positive and negative parts of `S` step and are cut at 0 apart. Inverses are
    those of `inverse_iterations` Newton-Schulz steps, which exist for singular matrices too. The result is divided by the root
    of its trace.

    Source:
        Rahman et al., CVPR 2023 (iSICE), and their code. That adds 1e-10 to all entries and up to 1e-9, at random, to the
        diagonal before an inversion; here nothing is added.
    """

    def apply(matrix: Tensor) -> Tensor:
        target = matrix / divisor(trace(matrix))
        precision = _inverse_by_newton_schulz(target, inverse_iterations)
        for i in range(num_iterations):
            size = step_size * (1 - i / (num_iterations - 1))
            slope = target - _inverse_by_newton_schulz(precision, inverse_iterations)
            positive = (precision.relu() - size * (slope + sparsity)).relu()
            negative = ((-precision).relu() - size * (sparsity - slope)).relu()
            precision = positive - negative
            precision = 0.5 * (precision + precision.mT)
        return precision / divisor(trace(precision)).sqrt()

    return MatrixStep("isice", apply)


@MATRIX_STEPS.factory("log_cholesky", built_in=True)
def log_cholesky(epsilon: Annotated[float, Above(0), Finite()] = 1e-6) -> MatrixStep:
    """`L_0 + L_0^T + 2 log(D)` with `P + epsilon I = L L^T`, `L_0` the strictly lower part of `L` and `D` its diagonal.

    The tangent vector at the identity in the log-Cholesky metric. A singular `P` has none: towards it `log(D)` tends to minus
    infinity, and `epsilon` says where it stops, the diagonal at `log(epsilon)`. An `epsilon` that is lost in the rounding of `P`,
    below `4 n eps trace(P)`, is raised to that, where the factorisation exists.

    Source:
        Lin, SIAM J. Matrix Anal. Appl. 40 (2019); Chen et al., ICLR 2025 (RiemGCP), Cho-TMLR.
    """

    def apply(matrix: Tensor) -> Tensor:
        noise = 4 * matrix.shape[-1] * torch.finfo(matrix.dtype).eps * trace(matrix.detach())
        eye = identity_like(matrix)
        shifted = matrix + noise.clamp(min=epsilon) * eye
        finite = shifted.detach().isfinite().flatten(1).all(1)[:, None, None]
        lower, info = torch.linalg.cholesky_ex(torch.where(finite, shifted, eye))
        if bool((info > 0).any()):
            raise GCPError(
                f"log_cholesky needs covariances that are positive definite with epsilon={epsilon:g} added; got one that is not, "
                f"of trace {float(trace(matrix.detach()).max()):.3g}: take a larger epsilon"
            )
        strict, logarithm = lower.tril(-1), 2 * lower.diagonal(dim1=-2, dim2=-1).log()
        return torch.where(finite, strict + strict.mT + torch.diag_embed(logarithm), torch.nan)

    return MatrixStep("log_cholesky", apply, is_products=False)
