"""The registry of meta-layers: one row a layer, from which configs, tests, documentation and error texts are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gcp_repro.errors import OptionError, UnknownNameError, nearest_names
from gcp_repro.metalayers.layers import (
    BilinearPooling,
    CompactBilinearPooling,
    CovariancePooling,
    GlobalAveragePooling,
    MetaLayer,
)

__all__ = ["META_LAYERS", "MetaLayerEntry", "build_meta_layer"]


@dataclass(frozen=True)
class MetaLayerEntry:
    """One row of the registry.

    Attributes:
        name: The string used in configs, tables and test ids.
        family: `"first-order"`, `"svd"` (exact value by eigendecomposition), `"iterative"` (approximate value), or `"other"`.
        description: One line.
        source: Paper, with the equation in the ICCV 2021 paper where there is one.
        factory: The class.
        fixed: Arguments that make the class this layer.
        defaults: Options that a user may change, with their default values.
    """

    name: str
    family: str
    description: str
    source: str
    factory: type[MetaLayer] = CovariancePooling
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


_COMMON = {"dtype": "float64", "route": "auto", "solver": "auto", "on_nonfinite": "raise"}
_ONE_ROUTE = {"dtype": "float64", "solver": "auto", "on_nonfinite": "raise"}
_SONG = "Song, Sebe, Wang, ICCV 2021"


def _spectral(
    name: str, family: str, description: str, source: str, forward: str, gradient: str, common: Mapping[str, Any] = _COMMON,
    fixed: Mapping[str, Any] = MappingProxyType({}), **own: Any,
) -> MetaLayerEntry:  # fmt: skip
    arguments = {"forward": forward, "gradient": gradient, **fixed}
    return MetaLayerEntry(name, family, description, source, CovariancePooling, arguments, {**common, **own})


_ROWS = [
    MetaLayerEntry("gap", "first-order", "global average pooling", "the vanilla rows of Table 3", GlobalAveragePooling),
    _spectral("mpn_cov", "svd", "matrix power by SVD, ordinary gradient 1/(l_i - l_j)", "Li et al., ICCV 2017; eqs. 2 to 6",
              "power", "svd", exponent=0.5),
    _spectral("isqrt_cov", "iterative", "root by Newton-Schulz iteration, its own gradient", "Li et al., CVPR 2018; eqs. 7 to 10",
              "newton_schulz", "exact", num_iterations=5),
    _spectral("svd_pade", "svd", "root by SVD, gradient by Pade approximants", f"{_SONG}, eq. 21", "sqrt", "pade", degree=100),
    _spectral("svd_taylor", "svd", "root by SVD, gradient by a Taylor polynomial", "Wang et al., T-PAMI 2021; eq. 16",
              "sqrt", "taylor", degree=100),
    _spectral("svd_newton", "svd", "root by SVD, gradient of the Newton-Schulz iteration", f"{_SONG}, sec. 3.3", "sqrt", "newton_schulz",
              num_iterations=10),
    _spectral("svd_trunc", "svd", "root by SVD, gradient clipped at T", f"{_SONG}, eq. 12", "sqrt", "trunc", max_gradient=1e10),
    _spectral("svd_topn", "svd", "root of the largest eigenvalues, ordinary gradient", f"{_SONG}, eq. 11", "sqrt", "svd",
              top_n=0.78125),
    _spectral("svd_power_iteration", "svd", "root by SVD, gradient of deflated power iteration", "Wang et al., NeurIPS 2019; eq. 13",
              "sqrt", "power_iteration", num_iterations=19, deflate=True),
    _spectral("svd_lyapunov", "svd", "root by SVD, exact gradient 1/(sqrt(l_i) + sqrt(l_j))", "Daleckii-Krein; docs/mathematics.md",
              "sqrt", "lyapunov"),
    MetaLayerEntry("spectral", "other", "any forward function with any gradient table", "docs/mathematics.md", CovariancePooling, {},
                   {"forward": "sqrt", "gradient": "exact", **_COMMON, "moment": "covariance", "top_n": None, "signed_root": False}),
    _spectral("deep_o2p", "svd", "matrix logarithm of the second moment", "Ionescu et al., ICCV 2015", "log", "exact", _ONE_ROUTE,
              {"moment": "second_moment"}, epsilon=1e-3),
    MetaLayerEntry("bcnn", "other", "second moment, signed square root, l2 norm", "Lin et al., ICCV 2015", BilinearPooling),
    _spectral("improved_bcnn", "iterative", "second moment, Newton-Schulz root, Lyapunov gradient, signed root, l2 norm",
              "Lin and Maji, BMVC 2017", "newton_schulz", "lyapunov", _ONE_ROUTE, {"moment": "second_moment", "signed_root": True},
              num_iterations=10),
    _spectral("g2denet", "svd", "root of the Gaussian embedding of mean and covariance", "Wang et al., CVPR 2017", "sqrt", "lyapunov",
              _ONE_ROUTE, {"moment": "gaussian"}),
    MetaLayerEntry("cbp", "other", "compact bilinear pooling by Tensor Sketch", "Gao et al., CVPR 2016", CompactBilinearPooling, {},
                   {"projection_dim": 8192, "seed": 0}),
    _spectral("mpa_lya", "iterative", "root by a matrix Pade approximant, Lyapunov equation by iteration", "Song et al., ICLR 2022",
              "pade_root", "lyapunov_iteration", _ONE_ROUTE, {"route": "dense"}, num_iterations=8),
    _spectral("mtp_lya", "iterative", "root by a matrix Taylor polynomial, Lyapunov equation by iteration", "Song et al., ICLR 2022",
              "taylor_root", "lyapunov_iteration", _ONE_ROUTE, {"route": "dense"}, num_iterations=8),
    _spectral("seb", "svd", "root with a branch that raises small eigenvalues", "Song et al., T-PAMI 2022", "scaling_eigen_branch", "exact"),
]  # fmt: skip

META_LAYERS: dict[str, MetaLayerEntry] = {entry.name: entry for entry in _ROWS}
"""Every meta-layer by name."""


def build_meta_layer(name: str, **options: Any) -> MetaLayer:
    """Build a meta-layer from its registered name.

    Args:
        name: A key of `META_LAYERS`.
        **options: Those in the entry's `defaults`. For `spectral` also the options of the chosen function and rule.

    Raises:
        UnknownNameError: No such layer. "no meta-layer 'svd_pad'; nearest: 'svd_pade', ...; known: ..."
        OptionError: The layer does not have an option of this name, or its value is out of range.

    Example:
        >>> import torch
        >>> layer = build_meta_layer("svd_lyapunov")
        >>> layer(torch.randn(8, 64, 7, 7)).shape, layer.output_dim(64)
        (torch.Size([8, 2080]), 2080)
    """
    if name not in META_LAYERS:
        raise UnknownNameError("meta-layer", name, META_LAYERS)
    entry = META_LAYERS[name]
    unknown = [option for option in options if option not in entry.defaults]
    if unknown and name != "spectral":
        nearest = nearest_names(unknown[0], entry.defaults)
        hint = f"; nearest: {', '.join(map(repr, nearest))}" if nearest else ""
        raise OptionError(f"{name} has no option {unknown[0]!r}{hint}; it has: {', '.join(entry.defaults) or 'none'}")
    return entry.factory(**{**entry.fixed, **entry.defaults, **options})
