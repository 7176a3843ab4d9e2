"""What each layer computes, written down from its source: one function a layer, in mpmath, with nothing of the package in it.

`VALUES[name](x, **options)` maps features `C x N` to the list of outputs, with the layer's options as keywords. The layer's
gradient is the derivative of that, by central differences; or, for the remedies, what `SLOPES[name](x, dx, **options)` says: the
change of the outputs along `dx` that the layer's gradient stands for.

`floor` is what route `dense` raises smaller eigenvalues to, for the layers of the paper.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mpmath as mp

from tests.linalg.reference import central_difference, moment, newton_schulz, on_eigenvalues, root, spectrum, upper
from tests.metalayers.formula_parts import (
    FUNCTIONS,
    MATRICES,
    QUOTIENTS,
    Vector,
    adjusted,
    by_quotients,
    change_of_rooted,
    frobenius,
    gaussian,
    iterated,
    logarithms,
    ordinary,
    pade,
    rooted,
    roots,
    second_moment,
    taylor,
    truncated,
    with_options,
)
from tests.metalayers.formulas_of_later_work import (
    isice,
    largest_to_power,
    log_cholesky,
    pow_tmlr,
    rank1_update,
    scale_pow_emlr,
    svpn,
)


def slope(name: str, x: mp.matrix, dx: mp.matrix, **options: Any) -> Vector:
    """The change of the outputs of layer `name` along `dx`, according to its gradient."""
    if name in SLOPES:
        return SLOPES[name](x, dx, **options)
    return central_difference(functools.partial(VALUES[name], **options), x, dx)


# The layers.


def gap(x: mp.matrix) -> Vector:
    return [mp.fsum(x[i, :]) / x.cols for i in range(x.rows)]


def square_root(x: mp.matrix, top_n: float | None = None, floor: float = 0, **_: Any) -> Vector:
    """The value of all layers by SVD: eq. 3."""
    return upper(on_eigenvalues(moment(x), lambda ls: roots(adjusted(ls, top_n, floor))))


def isqrt_cov(x: mp.matrix, num_iterations: int = 5) -> Vector:
    return upper(newton_schulz(moment(x), num_iterations))


def power_iteration_slope(
    x: mp.matrix, dx: mp.matrix, num_iterations: int = 19, deflate: bool = True, floor: float = 0
) -> Vector:
    """Power iteration itself, `num_iterations + 1` products from each eigenvector on, on a matrix that moves along `dx`."""
    if not deflate:
        return [mp.mpf(0)] * (x.rows * (x.rows + 1) // 2)
    ls, u = spectrum(moment(x))
    ls = adjusted(ls, floor=floor)
    matrix, direction = u * mp.diag(ls) * u.T, central_difference(moment, x, dx)

    def root_by_iteration(matrix: mp.matrix) -> mp.matrix:
        result = mp.zeros(matrix.rows)
        for i in reversed([i for i, value in enumerate(ls) if value > 0]):
            vector = u[:, i]
            for _ in range(num_iterations + 1):
                vector = matrix * vector
                vector /= frobenius(vector)
            result += mp.sqrt((vector.T * matrix * vector)[0]) * vector * vector.T
            matrix = matrix - matrix * vector * vector.T
        return result

    return upper(central_difference(root_by_iteration, matrix, direction))


def deep_o2p(x: mp.matrix, epsilon: float = 1e-3) -> Vector:
    return upper(on_eigenvalues(second_moment(x), functools.partial(logarithms, epsilon=epsilon)))


def bcnn(x: mp.matrix) -> Vector:
    return rooted(upper(second_moment(x)))


def improved_bcnn(x: mp.matrix, num_iterations: int = 10) -> Vector:
    return rooted(upper(newton_schulz(second_moment(x), num_iterations)))


def improved_bcnn_slope(x: mp.matrix, dx: mp.matrix, num_iterations: int = 10) -> Vector:
    """The derivative of the true root, then that of what follows it at the iteration's value."""
    change = central_difference(lambda x: upper(root(second_moment(x))), x, dx)
    return change_of_rooted(upper(newton_schulz(second_moment(x), num_iterations)), change)


def g2denet(x: mp.matrix) -> Vector:
    return upper(root(gaussian(x)))


def cbp(x: mp.matrix, places: list[list[int]], signs: list[list[int]], projection_dim: int) -> Vector:
    """The mean over positions of the circular convolution of two count sketches, with the given hashes."""
    total = [mp.mpf(0)] * projection_dim
    for n in range(x.cols):
        first, second = ([mp.mpf(0)] * projection_dim for _ in range(2))
        for c in range(x.rows):
            first[places[0][c]] += signs[0][c] * x[c, n]
            second[places[1][c]] += signs[1][c] * x[c, n]
        for i in range(projection_dim):
            for j in range(projection_dim):
                total[(i + j) % projection_dim] += first[i] * second[j] / x.cols
    return rooted(total)


def rational_root(p: mp.matrix, numerator: Vector, denominator: Vector) -> mp.matrix:
    """`sqrt(n) q(Z)^-1 p(Z)` with `n = ||P||_F` and `Z = I - P / n`, coefficients from the constant on."""
    norm = frobenius(p)
    z = mp.eye(p.rows) - p / norm
    over, under = (sum((c * z**k for k, c in enumerate(row)), mp.zeros(p.rows)) for row in (numerator, denominator))
    return mp.sqrt(norm) * mp.inverse(under) * over


def root_of_complement() -> Vector:
    """Taylor coefficients of `(1 - z)^(1/2)`."""
    return mp.taylor(lambda z: mp.sqrt(1 - z), 0, 10)


def matrix_pade(x: mp.matrix) -> mp.matrix:
    return rational_root(moment(x), *mp.pade(root_of_complement(), 5, 5))


def matrix_taylor(x: mp.matrix) -> mp.matrix:
    return rational_root(moment(x), root_of_complement(), [mp.mpf(1)])


def lyapunov_iteration(q: mp.matrix, change: mp.matrix, num_iterations: int) -> mp.matrix:
    """Song et al., ICLR 2022, eqs. 14 to 16, with products of matrices."""
    norm, three = frobenius(q), 3 * mp.eye(q.rows)
    b, c = q / norm, change / norm
    for _ in range(num_iterations):
        b, c = b * (three - b * b) / 2, (c * (three - b * b) - b * b * c + b * c * b) / 2
    return c / 2


def lyapunov_slope(root_of: Callable[[mp.matrix], mp.matrix]) -> Callable[..., Vector]:
    def along(x: mp.matrix, dx: mp.matrix, num_iterations: int = 8) -> Vector:
        return upper(lyapunov_iteration(root_of(x), central_difference(moment, x, dx), num_iterations))

    return along


def seb(x: mp.matrix) -> Vector:
    """`Q + ||Q S||_F Q` with `S = exp(-P)`."""
    p = moment(x)
    q = root(p)
    return upper((1 + frobenius(q * mp.expm(-p))) * q)


def cross_covariance(
    x: mp.matrix,
    heads: int = 1,
    normalization: str = "svpn",
    exponent: float = 0.5,
    num_values: int = 1,
    num_iterations: int = 1,
) -> Vector:
    """So-ViT: of every head the covariances of its first with its second half of channels, row by row."""
    size, outputs = x.rows // heads, []
    for h in range(heads):
        p, half = moment(x[h * size : (h + 1) * size, :]), size // 2
        m = p[:half, half:]
        if normalization == "svpn":
            m = largest_to_power(m, mp.mpf(exponent), num_values, num_iterations)
        values = [m[i, j] for i in range(m.rows) for j in range(m.cols)]
        outputs += rooted(values) if normalization == "epn" else values
    return outputs


def spectral_root(
    x: mp.matrix, forward: str = "sqrt", moment: str = "covariance", top_n: float | None = None, **options: Any
) -> Vector:
    """Any function of the eigenvalues of any of the three matrices, before the signed root."""
    images = with_options(FUNCTIONS[forward], options)
    return upper(on_eigenvalues(MATRICES[moment](x), lambda ls: images(adjusted(ls, top_n))))


def spectral(x: mp.matrix, signed_root: bool = False, scaling: str = "none", exponent: float = 0.5, **options: Any) -> Vector:
    if options.get("forward") == "power":
        options["exponent"] = exponent
    value = spectral_root(x, **options)
    if scaling != "none":
        shift = upper(mp.eye(x.rows)) if scaling == "tangent" else [mp.mpf(0)] * len(value)
        value = [(v - s) / mp.mpf(exponent) for v, s in zip(value, shift, strict=True)]
    return rooted(value) if signed_root else value


def spectral_slope(
    x: mp.matrix, dx: mp.matrix, *, gradient: str = "exact", signed_root: bool = False, top_n: float | None = None, **options: Any
) -> Vector:
    if options.get("scaling", "none") != "none":
        return central_difference(lambda x: spectral(x, top_n=top_n, **options), x, dx)
    if gradient == "exact":
        change = central_difference(lambda x: spectral_root(x, top_n=top_n, **options), x, dx)
    else:
        images, of = (
            with_options(FUNCTIONS[options.get("forward", "sqrt")], options),
            MATRICES[options.get("moment", "covariance")],
        )
        change = by_quotients(x, dx, with_options(QUOTIENTS[gradient], options), images=images, of=of, top_n=top_n)
    return change_of_rooted(spectral_root(x, top_n=top_n, **options), change) if signed_root else change


VALUES: dict[str, Callable[..., Vector]] = {
    "gap": gap,
    "mpn_cov": square_root,
    "isqrt_cov": isqrt_cov,
    "svd_pade": square_root,
    "svd_taylor": square_root,
    "svd_newton": square_root,
    "svd_trunc": square_root,
    "svd_topn": functools.partial(square_root, top_n=200 / 256),
    "svd_power_iteration": square_root,
    "svd_lyapunov": square_root,
    "spectral": spectral,
    "deep_o2p": deep_o2p,
    "bcnn": bcnn,
    "improved_bcnn": improved_bcnn,
    "g2denet": g2denet,
    "cbp": cbp,
    "mpa_lya": lambda x, **_: upper(matrix_pade(x)),
    "mtp_lya": lambda x, **_: upper(matrix_taylor(x)),
    "seb": seb,
    "cross_covariance": cross_covariance,
    "pow_tmlr": pow_tmlr,
    "scale_pow_emlr": scale_pow_emlr,
    "log_cholesky": log_cholesky,
    "dropcov": lambda x: upper(moment(x)),
    "svpn": svpn,
    "epn": lambda x: rooted(upper(moment(x))),
    "rank1_update": rank1_update,
    "isice": isice,
}

SLOPES: dict[str, Callable[..., Vector]] = {
    "mpn_cov": functools.partial(by_quotients, k=ordinary),
    "svd_pade": lambda x, dx, degree=100, **rest: by_quotients(x, dx, functools.partial(pade, degree=degree), **rest),
    "svd_taylor": lambda x, dx, degree=100, **rest: by_quotients(x, dx, functools.partial(taylor, degree=degree), **rest),
    "svd_newton": lambda x, dx, num_iterations=10, **rest: by_quotients(
        x, dx, ordinary, images=functools.partial(iterated, num_iterations=num_iterations), **rest
    ),
    "svd_trunc": lambda x, dx, max_gradient=1e10, **rest: by_quotients(
        x, dx, functools.partial(truncated, max_gradient=max_gradient), **rest
    ),
    "svd_topn": functools.partial(by_quotients, k=ordinary, top_n=200 / 256),
    "svd_power_iteration": power_iteration_slope,
    "improved_bcnn": improved_bcnn_slope,
    "mpa_lya": lyapunov_slope(matrix_pade),
    "mtp_lya": lyapunov_slope(matrix_taylor),
    "spectral": spectral_slope,
}
