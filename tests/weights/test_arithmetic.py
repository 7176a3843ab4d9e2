from pathlib import Path

import pytest

from gcp_repro.errors import OptionError
from gcp_repro.weight_files import WeightFile
from gcp_repro.weights.arithmetic import choose_arithmetic, layer_overrides

MODULES = frozenset({"", "representation", "representation.conv_dr_block"})
MARKED = MODULES | {"representation.feature_scaling"}


@pytest.mark.parametrize(
    ("layer", "architecture", "modules", "expected"),
    [
        ("isqrt_cov", "resnet50", MARKED, "DifferentiableSVD"),
        ("isqrt_cov", "mpncovresnet50", MARKED, "DifferentiableSVD"),
        ("isqrt_cov", "resnet50", MODULES, "fast-MPN-COV"),
        ("isqrt_cov", "resnet50", frozenset(), "DifferentiableSVD"),  # a state dict that was copied keeps no modules
        ("isqrt_cov", "mpncovresnet50", frozenset(), "fast-MPN-COV"),
        ("isqrt_cov", "alexnet", MODULES, "DifferentiableSVD"),  # the one with batch norm
        ("svd_pade", "mpncovresnet50", MODULES, "DifferentiableSVD"),
        ("svd_lyapunov", "resnet50", MODULES, "exact"),
        ("gap", "resnet50", MODULES, "exact"),
    ],
)
def test_the_code_base_is_recognised(layer, architecture, modules, expected):
    source = WeightFile(Path("w.pth"), {}, modules=modules)
    assert choose_arithmetic("auto", layer, source, architecture) == expected
    assert choose_arithmetic("exact", layer, source, architecture) == "exact"


def test_layers_of_other_papers_have_no_published_arithmetic():
    source = WeightFile(Path("w.pth"), {})
    for code, layer in (("fast-MPN-COV", "svd_pade"), ("DifferentiableSVD", "svd_lyapunov"), ("fast-MPN-COV", "gap")):
        with pytest.raises(OptionError, match=rf"the arithmetic of {code} needs .* got '{layer}': leave --arithmetic out"):
            choose_arithmetic(code, layer, source, "resnet50")


def test_topn_keeps_all_but_fifty_eigenvalues_as_the_code_does():
    assert "++meta_layer.top_n=206" in layer_overrides("svd_topn", "DifferentiableSVD", 256)
    assert "++meta_layer.top_n=1" in layer_overrides("svd_topn", "DifferentiableSVD", 8)
    assert layer_overrides("svd_topn", "exact", 256) == ["meta_layer=svd_topn"]
