"""Which code base trained a file of weights, so that its layer is computed in that arithmetic (`gcp_repro.linalg.authors`).

Three code bases have a layer MPNCOV with the same tensors. That of DifferentiableSVD and RiemGCP computes in float64, that of
fast-MPN-COV in float32, all with a centring matrix that is rounded to float32. Logits differ by a few millionths of the largest.
"""

from __future__ import annotations

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.linalg.authors import CODE_BASES, DIFFERENTIABLE_SVD, FAST_MPN_COV, RIEMGCP
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from gcp_repro.weight_files import WeightFile

__all__ = ["ARITHMETICS", "choose_arithmetic", "layer_overrides"]

AUTO, EXACT = "auto", "exact"

ARITHMETICS = (AUTO, *CODE_BASES, EXACT)

LAYERS = {
    code_base: tuple(name for name, entry in META_LAYERS.built_in.items() if code_base in entry.code_bases)
    for code_base in CODE_BASES
}
"""Layers of the code bases that compute otherwise than those of this package, by the last bits."""

ALSO = ("gap", "seb", "pow_tmlr", "scale_pow_emlr", "log_cholesky", "dropcov")
"""Layers of the code bases beside the square roots of the covariance."""

STEPS_OF_RIEMGCP = 5
"""Newton-Schulz steps of its scaled powers."""

DROPPED_BY_TOPN = 50
"""Eigenvalues that SVD_TopN leaves out, however many there are."""

MARK_OF_DIFFERENTIABLE_SVD = "representation.feature_scaling"
"""A module without tensors in DifferentiableSVD's MPNCOV, of which a state dict keeps the name."""


def choose_arithmetic(asked: str, meta_layer: str, source: WeightFile, architecture: str) -> str:
    """What "auto" stands for, or what was asked for.

    Args:
        asked: One of `ARITHMETICS`.
        meta_layer: Name of the layer.
        source: The file; a module's name in it can give the code base away.
        architecture: In DifferentiableSVD the `mpncovresnet` networks do not run.

    Raises:
        UnknownNameError: No such arithmetic.
        OptionError: The layer has no counterpart in the code bases, or not in that one.
    """
    if asked not in ARITHMETICS:
        raise UnknownNameError("arithmetic", asked, ARITHMETICS)
    _require_counterpart(meta_layer)
    if asked == AUTO:
        candidates = [code for code, layers in LAYERS.items() if meta_layer in layers] or [EXACT]
        return candidates[0] if len(candidates) == 1 else _recognise(source, architecture)
    if asked != EXACT and meta_layer not in LAYERS[asked]:
        raise OptionError(
            f"the arithmetic of {asked} needs a layer that differs there, one of {', '.join(LAYERS[asked])}; got "
            f"{meta_layer!r}: leave --arithmetic out"
        )
    return asked


def _require_counterpart(meta_layer: str) -> None:
    layer = build_meta_layer(meta_layer)
    if not (getattr(layer, "approximates_root", False) or meta_layer in ALSO):
        raise OptionError(
            "published weights need the layer that they were trained with: a square root of the covariance, as isqrt_cov and "
            f"svd_pade, or {', '.join(ALSO)}; got {meta_layer!r}, which the code bases lack or compute otherwise: change "
            "--meta-layer"
        )


def _recognise(source: WeightFile, architecture: str) -> str:
    """The code base of a file with Newton-Schulz iterations."""
    if MARK_OF_DIFFERENTIABLE_SVD in source.modules or architecture == "alexnet":
        return DIFFERENTIABLE_SVD
    return FAST_MPN_COV if source.modules or architecture.startswith("mpncov") else DIFFERENTIABLE_SVD


def layer_overrides(name: str, arithmetic: str, channels: int) -> list[str]:
    """The choice of a meta-layer in the arithmetic of a code base, or by name for the layer of this package.

    Args:
        name: Of the layer.
        arithmetic: As `choose_arithmetic` gives it.
        channels: That the layer pools.
    """
    if name in LAYERS[RIEMGCP]:
        steps = [f"meta_layer={name}", f"meta_layer.num_iterations={STEPS_OF_RIEMGCP}"]
        return steps if arithmetic == EXACT else [*steps, *(f"meta_layer.{k}={v}" for k, v in CODE_BASES[arithmetic].items())]
    if arithmetic == EXACT:
        return [f"meta_layer={name}"]
    entry = META_LAYERS[name]
    options = {**entry.fixed, **entry.defaults, **CODE_BASES[arithmetic]}
    if entry.decomposes and options["gradient"] == "exact":
        options["gradient"] = "svd"
    if name == "svd_topn":
        options["top_n"] = max(1, channels - DROPPED_BY_TOPN)
    return ["meta_layer=spectral", *(f"++meta_layer.{option}={value}" for option, value in options.items())]
