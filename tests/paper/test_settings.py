from gcp_repro.paper.results import gather
from gcp_repro.paper.settings import Variant, find_settings
from tests.paper.fake_runs import EPOCHS, write_run


def test_rows_follow_the_paper_with_float32_last(sweep_setting):
    names = [(variant.meta_layer, variant.dtype) for variant in sweep_setting.variants]
    assert names[:3] == [("gap", ""), ("isqrt_cov", "float64"), ("svd_pade", "float64")]
    assert names[-2:] == [("isqrt_cov", "float32"), ("mpn_cov", "float32")]


def test_experiments_networks_and_lengths_are_kept_apart(tmp_path):
    write_run(tmp_path, "digits")
    write_run(tmp_path, "textures")
    write_run(tmp_path / "quick", "digits", epochs=3)
    settings = find_settings(gather([tmp_path]))
    assert sorted((s.experiment, s.num_epochs) for s in settings) == [("digits", 3), ("digits", EPOCHS), ("textures", EPOCHS)]


def test_names_tell_routes_apart_only_where_there_are_several(tmp_path):
    write_run(tmp_path, meta_layer="svd_pade")
    write_run(tmp_path / "gram", meta_layer="svd_pade", route="gram")
    write_run(tmp_path, meta_layer="mpn_cov", dtype="float32")
    (setting,) = find_settings(gather([tmp_path]))
    assert [setting.name(variant) for variant in setting.variants] == ["svd_pade (dense)", "svd_pade (gram)", "mpn_cov float32"]


def test_layers_that_the_paper_does_not_have_come_last():
    variants = [Variant(name, "float64", "dense") for name in ("seb", "svd_lyapunov", "isqrt_cov")]
    assert [v.meta_layer for v in sorted(variants, key=lambda v: v.order)] == ["isqrt_cov", "svd_lyapunov", "seb"]
