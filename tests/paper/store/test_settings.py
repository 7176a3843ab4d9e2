from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import Variant, find_settings
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


def test_runs_that_differ_in_anything_but_seed_layer_and_protocol_are_never_averaged(tmp_path):
    """A table cell that held rates of 0.1 and 0.00001 said "32.80 +- 16.49"."""
    for seed, rate in enumerate((0.1, 0.1, 1e-05, 1e-05)):
        write_run(tmp_path, seed=seed, final=40.0 if rate < 0.1 else 3.0, setting={"optimizer.lr": rate})
    write_run(tmp_path, seed=0, setting={"data.train_size": 100, "data.split_seed": 4}, final=9.0)
    results = gather([tmp_path])
    assert results.problems == ()
    found = {setting.title: setting for setting in find_settings(results)}
    isqrt = Variant("isqrt_cov", "float64", "dense")
    assert {title: list(setting.values(isqrt, "standalone").values()) for title, setting in found.items()} == {
        "digits: narrow_alexnet, 15 epochs": [3.0, 3.0],
        "digits: narrow_alexnet, 15 epochs, optimizer.lr=1e-05": [40.0, 40.0],
        "digits: narrow_alexnet, 15 epochs, data.train_size=100, data.split_seed=4": [9.0],
    }
    assert len({setting.key for setting in found.values()}) == 3


def test_ways_of_the_hybrid_protocol_are_kept_apart_beside_the_same_standalone_runs(tmp_path):
    write_run(tmp_path, meta_layer="svd_pade")
    for options in ("", "placement=added"):
        write_run(tmp_path, meta_layer="svd_pade", protocol="hybrid", protocol_options=options)
    settings = find_settings(gather([tmp_path]))
    pade = Variant("svd_pade", "float64", "dense")
    assert sorted(setting.changes["protocol"] for setting in settings) == ["as usual", "placement=added"]
    assert [len(setting.select(pade, name)) for setting in settings for name in ("standalone", "hybrid")] == [1, 1, 1, 1]


def test_layers_with_one_way_each_stand_in_one_table(tmp_path):
    """As float32 layers that start from the float64 iteration that float64 layers start from by default."""
    write_run(tmp_path, meta_layer="svd_pade", protocol="hybrid")
    write_run(tmp_path, meta_layer="svd_pade", protocol="hybrid", dtype="float32", protocol_options="initial.dtype=float64")
    (setting,) = find_settings(gather([tmp_path]))
    assert [len(setting.select(variant, "hybrid")) for variant in setting.variants] == [1, 1]
    assert "protocol" not in setting.changes


def test_names_tell_routes_apart_only_where_there_are_several(tmp_path):
    write_run(tmp_path, meta_layer="svd_pade")
    write_run(tmp_path / "gram", meta_layer="svd_pade", route="gram")
    write_run(tmp_path, meta_layer="mpn_cov", dtype="float32")
    (setting,) = find_settings(gather([tmp_path]))
    assert [setting.name(variant) for variant in setting.variants] == ["svd_pade (dense)", "svd_pade (gram)", "mpn_cov float32"]


def test_layers_that_the_paper_does_not_have_come_last():
    variants = [Variant(name, "float64", "dense") for name in ("seb", "svd_lyapunov", "isqrt_cov")]
    assert [v.meta_layer for v in sorted(variants, key=lambda v: v.order)] == ["isqrt_cov", "svd_lyapunov", "seb"]
