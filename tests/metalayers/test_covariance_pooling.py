"""What a covariance layer says of itself; its values: `test_values.py`."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.errors import OptionError
from gcp_repro.linalg import SpectralFunction, spectral_function
from gcp_repro.metalayers import META_LAYERS, build_meta_layer


def test_its_text_names_both_parts():
    layer = build_meta_layer("spectral", forward="newton_schulz", gradient="taylor", num_iterations=3, degree=7, route="gram")
    assert repr(layer) == (
        "CovariancePooling(forward=newton_schulz(num_iterations=3), gradient=taylor(degree=7), dtype=float64, route=gram)"
    )


def test_its_text_says_where_the_accuracy_is_high():
    assert str(build_meta_layer("svd_lyapunov", accuracy="high").spec) == (
        "forward=sqrt, gradient=lyapunov, dtype=float64, accuracy=high, route=auto"
    )


def test_which_layers_stand_for_the_root():
    roots = {name for name in META_LAYERS if getattr(build_meta_layer(name), "approximates_root", False)}
    assert roots == {
        "mpn_cov", "isqrt_cov", "svd_pade", "svd_taylor", "svd_newton", "svd_trunc", "svd_topn", "svd_power_iteration",
        "svd_lyapunov", "spectral", "mpa_lya", "mtp_lya",
    }  # fmt: skip
    assert not build_meta_layer("spectral", forward="power", exponent=0.4).approximates_root
    assert build_meta_layer("spectral", forward="power", exponent=0.5).approximates_root
    assert not build_meta_layer("spectral", signed_root=True).approximates_root
    assert not build_meta_layer("spectral", moment="second_moment").approximates_root


@pytest.mark.parametrize("name", ["pow_tmlr", "scale_pow_emlr"])
def test_steps_of_newton_schulz_are_for_the_root(name):
    with pytest.raises(OptionError, match=r"steps need exponent=0.5; got exponent=0.3: leave num_iterations out"):
        build_meta_layer(name, exponent=0.3, num_iterations=5)


@pytest.mark.parametrize("seen", [1.0, 3.0])
def test_an_own_function_sees_the_whole_spectrum(seen):
    """It may divide by the trace; the null space is led by one zero."""
    spectra = []
    root = spectral_function("sqrt")

    def value(eigenvalues):
        spectra.append(eigenvalues)
        return eigenvalues.sqrt()

    layer = build_meta_layer("spectral", forward=SpectralFunction("watched", value, root.gradient))
    features = seen * torch.tensor([[[1.0, -1.0], [0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    layer(features)
    assert spectra[-1].tolist() == [[0.0, 0.0, pytest.approx(seen**2)]]
