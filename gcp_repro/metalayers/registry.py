"""The registry of meta-layers: one row a layer, with every fact about it.

Configurations, tests, documentation, error texts, the report's tables and figures, the plan of the paper's runs, the comparison with
the public code and the import of its weights are made from the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from gcp_repro.errors import OptionError, nearest_names
from gcp_repro.linalg.authors import DIFFERENTIABLE_SVD, FAST_MPN_COV, RIEMGCP
from gcp_repro.linalg.feature_layout import check_layout
from gcp_repro.linalg.machinery.options import options_of
from gcp_repro.metalayers.average_pooling import GlobalAveragePooling
from gcp_repro.metalayers.base import MetaLayer
from gcp_repro.metalayers.bilinear import BilinearPooling, CompactBilinearPooling
from gcp_repro.metalayers.covariance_pooling import CovariancePooling, power_pooling
from gcp_repro.metalayers.matrix_pooling import MatrixPooling
from gcp_repro.metalayers.multi_head import CrossCovariancePooling, MultiHeadPooling
from gcp_repro.metalayers.prepared import PreparedPooling
from gcp_repro.registry import Registry

__all__ = ["COMMON_OPTIONS", "META_LAYERS", "REFERENCE_LAYER", "MetaLayerEntry", "build_meta_layer", "register_meta_layer"]

REFERENCE_LAYER = "isqrt_cov"
"""The layer with which all others are compared, and with which the hybrid protocol starts, as in the paper."""


@dataclass(frozen=True)
class MetaLayerEntry:
    """One row of the registry.

    Attributes:
        name: The string used in configs, tables and test ids.
        family: `"first-order"`, `"svd"` (exact value by eigendecomposition), `"iterative"` (approximate value), or `"other"`.
        description: One line.
        source: Paper, with the equation in the ICCV 2021 paper where there is one.
        factory: The class, or another callable that returns a `MetaLayer`.
        fixed: Arguments that make the class this layer.
        defaults: Options that a user may change, with their default values.
        further_options: Whether the class takes options besides those, as those of a function that an option chooses.
        published: Name in the ICCV 2021 paper's tables; empty if it has none.
        code_bases: Public code bases that train with the layer.
        peers: Classes of DifferentiableSVD with the same output, the layer's own first.
        colour: In figures, legible on white and on black; empty for one that follows from the name.
    """

    name: str
    family: str
    description: str
    source: str
    factory: Callable[..., MetaLayer] = CovariancePooling
    fixed: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    further_options: bool = False
    published: str = ""
    code_bases: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    colour: str = ""

    @property
    def decomposes(self) -> bool:
        """Whether its value is made from eigenvalues."""
        return self.family == "svd"

    @property
    def has_hybrid(self) -> bool:
        """Whether the hybrid protocol can go over to it from the reference layer, and that changes anything."""
        return self.name != REFERENCE_LAYER and build_meta_layer(self.name).can_follow(build_meta_layer(REFERENCE_LAYER))


_COMMON = {"dtype": "float64", "accuracy": "standard", "route": "auto", "solver": "auto", "on_nonfinite": "raise"}
_IN_PUBLIC_CODE = {**_COMMON, "float32_centering": False}
_ONE_ROUTE = {"dtype": "float64", "accuracy": "standard", "solver": "auto", "on_nonfinite": "raise"}
_SONG = "Song, Sebe, Wang, ICCV 2021"
_POWER = {"exponent": 0.5, "num_iterations": None}
_CHEN = "Chen et al., ICLR 2025"


def _spectral(
    name: str, family: str, description: str, source: str, forward: str, gradient: str, common: Mapping[str, Any] = _COMMON,
    fixed: Mapping[str, Any] = MappingProxyType({}), facts: Mapping[str, Any] = MappingProxyType({}), **own: Any,
) -> MetaLayerEntry:  # fmt: skip
    """The row of a spectral function with a gradient table; `own` are its options."""
    arguments = {"forward": forward, "gradient": gradient, **fixed}
    return MetaLayerEntry(name, family, description, source, CovariancePooling, arguments, {**common, **own}, **facts)


def _by_step(
    name: str, description: str, source: str, step: str = "", fixed: Mapping[str, Any] = MappingProxyType({}), **own: Any
) -> MetaLayerEntry:
    """The row of a covariance with a step, which has the layer's name if none is given; `own` are its options."""
    arguments = {"step": step or name, **fixed}
    return MetaLayerEntry(name, "other", description, source, MatrixPooling, arguments, own)


def _published(published: str, colour: str, *peers: str, code_bases: tuple[str, ...] = (DIFFERENTIABLE_SVD,)) -> dict[str, Any]:
    """The facts of a layer in the paper's tables."""
    return {"published": published, "colour": colour, "peers": peers, "code_bases": code_bases}


_ROWS = [  # in the order of the paper's tables
    MetaLayerEntry("gap", "first-order", "global average pooling", "the vanilla rows of Table 3", GlobalAveragePooling, colour="#8a8a8a"),
    _spectral("isqrt_cov", "iterative", "root by Newton-Schulz iteration, its own gradient", "Li et al., CVPR 2018; eqs. 7 to 10",
              "newton_schulz", "exact", _IN_PUBLIC_CODE, num_iterations=5,
              facts=_published("iSQRT-COV", "#0a7fd0", "MPNCOV", code_bases=(DIFFERENTIABLE_SVD, FAST_MPN_COV))),
    _spectral("svd_pade", "svd", "root by SVD, gradient by Pade approximants", f"{_SONG}, eq. 21", "sqrt", "pade", _IN_PUBLIC_CODE, degree=100,
              facts=_published("SVD-Pade", "#d9480f", "SVD_Pade")),
    _spectral("svd_taylor", "svd", "root by SVD, gradient by a Taylor polynomial", "Wang et al., T-PAMI 2021; eq. 16",
              "sqrt", "taylor", _IN_PUBLIC_CODE, degree=100, facts=_published("SVD-Taylor", "#2b9a50", "SVD_Taylor")),
    _spectral("svd_newton", "svd", "root by SVD, gradient of the Newton-Schulz iteration", f"{_SONG}, sec. 3.3", "sqrt", "newton_schulz", _IN_PUBLIC_CODE,
              num_iterations=10, facts=_published("SVD-Newton", "#a855c8", "SVD_Newton")),
    _spectral("svd_trunc", "svd", "root by SVD, gradient clipped at T", f"{_SONG}, eq. 12", "sqrt", "trunc", _IN_PUBLIC_CODE, max_gradient=1e10,
              facts=_published("SVD-Trunc", "#c49102", "SVD_Trunc")),
    _spectral("svd_topn", "svd", "root of the largest eigenvalues, ordinary gradient", f"{_SONG}, eq. 11", "sqrt", "svd", _IN_PUBLIC_CODE,
              top_n=0.78125, facts=_published("SVD-TopN", "#a0522d", "SVD_TopN")),
    _spectral("mpn_cov", "svd", "matrix power by SVD, ordinary gradient 1/(l_i - l_j)", "Li et al., ICCV 2017; eqs. 2 to 6",
              "power", "svd", _IN_PUBLIC_CODE, exponent=0.5, facts=_published("MPN-COV", "#e0457b", "SVD_Original", "SVD_Pade")),
    _spectral("svd_lyapunov", "svd", "root by SVD, exact gradient 1/(sqrt(l_i) + sqrt(l_j))", "Daleckii-Krein; docs/mathematics.md",
              "sqrt", "lyapunov", facts={"colour": "#159a9c", "peers": ("SVD_Pade",)}),
    _spectral("svd_power_iteration", "svd", "root by SVD, gradient of deflated power iteration", "Wang et al., NeurIPS 2019; eq. 13",
              "sqrt", "power_iteration", _IN_PUBLIC_CODE, num_iterations=19, deflate=True, facts={"code_bases": (DIFFERENTIABLE_SVD,)}),
    MetaLayerEntry("spectral", "other", "any forward function with any gradient table", "docs/mathematics.md", CovariancePooling, {},
                   {"forward": "sqrt", "gradient": "exact", **_COMMON, "moment": "covariance", "top_n": None, "scaling": "none", "signed_root": False},
                   further_options=True),
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
    MetaLayerEntry("cross_covariance", "other", "cross-covariance of two halves of the channels, singular-value power normalisation",
                   "Xie et al., arXiv:2104.10935", CrossCovariancePooling, {},
                   {"normalization": "svpn", "exponent": 0.5, "num_values": 1, "num_iterations": 1}),
    _spectral("seb", "svd", "root with a branch that raises small eigenvalues", "Song et al., T-PAMI 2022", "scaling_eigen_branch", "exact",
              facts={"code_bases": (DIFFERENTIABLE_SVD,)}),
    MetaLayerEntry("pow_tmlr", "svd", "matrix power less the identity, over the exponent: (P^t - I) / t", f"{_CHEN}, Pow-TMLR", power_pooling,
                   {"scaling": "tangent"}, {**_IN_PUBLIC_CODE, **_POWER}, code_bases=(RIEMGCP,)),
    MetaLayerEntry("scale_pow_emlr", "svd", "matrix power over the exponent: P^t / t", f"{_CHEN}, ScalePow-EMLR", power_pooling,
                   {"scaling": "power"}, {**_IN_PUBLIC_CODE, **_POWER}, code_bases=(RIEMGCP,)),
    _by_step("log_cholesky", "Cholesky factor with the logarithm of its diagonal", f"{_CHEN}, Cho-TMLR", epsilon=1e-6),
    _by_step("dropcov", "covariance of channels, some of which training drops", "Wang et al., NeurIPS 2022", "identity", dropout="adaptive"),
    _by_step("svpn", "largest singular values of the covariance to a power, the rest scaled alike", "Xie et al., arXiv:2104.10935",
             exponent=0.5, num_values=1, num_iterations=1),
    _by_step("epn", "covariance, signed square root of every entry, l2 norm", "Xie et al., arXiv:2104.10935", "identity",
             {"signed_root": True}),
    _by_step("rank1_update", "second moment less the direction of its large eigenvalues, signed root, l2 norm", "Yu, Cai, Li, ECCV 2020",
             eta=1.0, num_iterations=2, seed=0, moment="second_moment", signed_root=True),
    _by_step("isice", "sparse inverse covariance by proximal steps, inverses by Newton-Schulz", "Rahman et al., CVPR 2023",
             sparsity=0.01, step_size=1.0, num_iterations=5, inverse_iterations=7),
]  # fmt: skip

META_LAYERS: Registry[MetaLayerEntry] = Registry("meta-layer")
"""Every meta-layer by name."""

for _row in _ROWS:
    META_LAYERS.add(_row.name, _row, built_in=True)


def register_meta_layer(
    name: str,
    factory: Callable[..., MetaLayer],
    *,
    description: str,
    source: str,
    family: str = "other",
    fixed: Mapping[str, Any] = MappingProxyType({}),
    defaults: Mapping[str, Any] | None = None,
    replace: bool = False,
    **facts: Any,
) -> MetaLayerEntry:
    """Give a layer a name that configurations, tables and messages know.

    Args:
        name: As in `meta_layer=...` and `build_meta_layer(...)`.
        factory: A subclass of `MetaLayer`, or another callable that returns one; `CovariancePooling` with `fixed` for a
            function with a gradient table.
        description: One line.
        source: Where it is from.
        family: See `MetaLayerEntry`.
        fixed: Arguments that make the class this layer.
        defaults: Options that a user may change, with their default values; left out, all options of the factory that have a default
            and are not fixed.
        replace: Whether it may take the place of another that was added, as when a cell of a notebook is run again.
        **facts: Further fields of `MetaLayerEntry`.

    Raises:
        OptionError: The name is taken or not one that configurations can hold, or the layer cannot be built with its defaults.

    Example:
        >>> from gcp_repro.metalayers import CovariancePooling
        >>> entry = register_meta_layer("cube_root", CovariancePooling, description="cube root", source="this example",
        ...                             fixed={"forward": "power", "exponent": 1 / 3}, defaults={"dtype": "float64"})
        >>> build_meta_layer("cube_root", dtype="float32").output_dim(4)
        10
        >>> META_LAYERS.remove("cube_root")
    """
    if defaults is None:
        own = options_of(factory)
        defaults = {key: option.default for key, option in own.items() if option.default is not option.empty and key not in fixed}
    entry = MetaLayerEntry(name, family, description, source, factory, dict(fixed), dict(defaults), **facts)
    layer = factory(**entry.fixed, **entry.defaults)
    if not isinstance(layer, MetaLayer):
        raise OptionError(
            f"a meta-layer is a gcp_repro.metalayers.MetaLayer; the factory of {name!r} returned {type(layer).__name__}: derive it from MetaLayer"
        )
    META_LAYERS.add(name, entry, replace=replace)
    return entry


PREPARATIONS: Mapping[str, Any] = MappingProxyType({"dropout": "none", "correlation": False, "shrinkage": "none"})
"""Options of what happens to the features first, with their defaults: nothing (`PreparedPooling`)."""

COMMON_OPTIONS: Mapping[str, Any] = MappingProxyType({"layout": "auto", "heads": 1, **PREPARATIONS})
"""Options of every layer, with their defaults: where the channels of its features are, groups of channels pooled apart, and
what happens to the features first."""


def build_meta_layer(name: str, **options: Any) -> MetaLayer:
    """Build a meta-layer from its registered name.

    Args:
        name: A key of `META_LAYERS`.
        **options: Those in the entry's `defaults`, and those of every layer: `layout` as in
            `linalg.feature_layout.as_positions`; `heads`, groups of channels that are pooled apart (`MultiHeadPooling`); and
            `dropout`, `correlation` and `shrinkage`, what happens to the features of each first (`PreparedPooling`). For
            `spectral` also the options of the chosen function and rule.

    Raises:
        UnknownNameError: No such layer. "no meta-layer 'svd_pad'; nearest: 'svd_pade', ...; known: ..."
        OptionError: The layer does not have an option of this name, or its value is out of range.

    Example:
        >>> import torch
        >>> layer = build_meta_layer("svd_lyapunov")
        >>> layer(torch.randn(8, 64, 7, 7)).shape, layer.output_dim(64)
        (torch.Size([8, 2080]), 2080)
        >>> build_meta_layer("svd_lyapunov", layout="tokens", heads=4)(torch.randn(8, 196, 192)).shape  # 4 * 48 * 49 / 2
        torch.Size([8, 4704])
    """
    entry = META_LAYERS.find(name)
    unknown = [option for option in options if option not in entry.defaults and option not in COMMON_OPTIONS]
    if unknown and not entry.further_options:
        nearest = nearest_names(unknown[0], {**entry.defaults, **COMMON_OPTIONS})
        hint = f"; nearest: {', '.join(map(repr, nearest))}" if nearest else ""
        raise OptionError(f"{name} has no option {unknown[0]!r}{hint}; it has: {', '.join(entry.defaults) or 'none'}")
    arguments = {**COMMON_OPTIONS, **entry.fixed, **entry.defaults, **options}
    layout, heads = check_layout(arguments.pop("layout")), arguments.pop("heads")
    preparations = {option: arguments.pop(option) for option in PREPARATIONS}
    layer = entry.factory(**arguments)
    layer.name = name
    if preparations != PREPARATIONS:
        layer = PreparedPooling(layer, **preparations)
        layer.name = name
    if heads != 1:
        layer = MultiHeadPooling(layer, heads)
    layer.name, layer.options, layer.layout = name, options, layout
    return layer
