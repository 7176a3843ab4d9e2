import pytest

from gcp_repro.paper.diagnostics import condition_table, diagnostics_columns, diagnostics_table, metric_name
from gcp_repro.paper.measured import differences_table, errors_table, warmup_table
from gcp_repro.paper.results import gather
from gcp_repro.paper.run_tables import problems_table, runs_table
from gcp_repro.paper.settings import Variant, find_settings
from tests.paper.fake_runs import EPOCHS, write_broken, write_run, write_sweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    write_sweep(root)
    return gather([root])


@pytest.fixture(scope="module")
def setting(sweep):
    (only,) = find_settings(sweep)
    return only


def cells(table, layer, dtype=None):
    """The cells of a layer's row by group and column."""
    row = next(row for row in table.rows if row[0].text == layer and dtype in (None, row[1].text))
    return {(column.group, column.name): cell for column, cell in zip(table.columns, row, strict=True)}


def test_rows_follow_the_paper_with_float32_last(setting):
    names = [(variant.meta_layer, variant.dtype) for variant in setting.variants]
    assert names[:3] == [("gap", ""), ("isqrt_cov", "float64"), ("svd_pade", "float64")]
    assert names[-2:] == [("isqrt_cov", "float32"), ("mpn_cov", "float32")]


def test_experiments_networks_and_lengths_are_kept_apart(tmp_path):
    write_run(tmp_path, "digits")
    write_run(tmp_path, "textures")
    write_run(tmp_path / "quick", "digits", epochs=3)
    settings = find_settings(gather([tmp_path]))
    assert sorted((s.experiment, s.num_epochs) for s in settings) == [("digits", 3), ("digits", EPOCHS), ("textures", EPOCHS)]


def test_a_cell_is_the_mean_over_seeds_beside_the_published_number(tmp_path):
    for seed, error in enumerate((3.0, 4.0, 5.0)):
        write_run(tmp_path, meta_layer="svd_pade", seed=seed, final=error)
    (setting,) = find_settings(gather([tmp_path]))
    row = cells(errors_table(setting), "svd_pade")
    assert row["standalone, measured (digits)", "final top-1"].text == "4.00 ± 1.00"
    assert row["standalone, measured (digits)", "runs"].text == "3"
    published = row["standalone, published (AlexNet, ImageNet)", "final top-1"]
    assert (published.text, published.place, published.origin) == ("48.41", 2, "published")
    assert row["hybrid, measured (digits)", "final top-1"].origin == "missing"


def test_diverged_runs_are_counted_beside_the_finished_ones(setting):
    row = cells(errors_table(setting), "mpn_cov", "float32")
    assert row["standalone, measured (digits)", "runs"].text == "4 + 1 diverged"
    assert row["standalone, published (AlexNet, ImageNet)", "final top-1"].origin == "missing"  # the paper's numbers are float64


def test_published_marks_are_the_papers(setting):
    table = errors_table(setting)
    column = ("hybrid, published (AlexNet, ImageNet)", "best top-1")
    marked = {row[0].text: cells(table, row[0].text)[column].place for row in table.rows}
    assert {name: place for name, place in marked.items() if place} == {"svd_pade": 1, "mpn_cov": 2, "svd_newton": 3}


def test_measured_places_are_not_given_where_intervals_overlap(setting):
    table = errors_table(setting)
    column = ("standalone, measured (digits)", "final top-1")
    assert cells(table, "gap")[column].place is None
    assert [cells(table, name)[column].place for name in ("svd_trunc", "svd_lyapunov", "svd_newton")] == [None, None, None]


def test_resnets_stand_beside_table_3(tmp_path):
    write_run(tmp_path, "resnet50_imagenet", "gap", dtype=None)
    (setting,) = find_settings(gather([tmp_path]))
    row = cells(errors_table(setting), "gap")
    assert row["standalone, published (ResNet-50, ImageNet)", "final top-1"].text == "23.85"


def test_routes_are_separate_rows(tmp_path):
    write_run(tmp_path, meta_layer="svd_pade", final=3.0)
    write_run(tmp_path / "gram", meta_layer="svd_pade", final=4.0, route="gram")
    (setting,) = find_settings(gather([tmp_path]))
    assert [row[0].text for row in errors_table(setting).rows] == ["svd_pade (dense)", "svd_pade (gram)"]


def test_differences_pair_seeds_with_the_reference(tmp_path):
    for seed in range(5):
        write_run(tmp_path, meta_layer="isqrt_cov", seed=seed, final=3.0 + seed)
        write_run(tmp_path, meta_layer="gap", dtype=None, seed=seed, final=5.0 + seed)
        write_run(tmp_path, meta_layer="svd_pade", protocol="hybrid", seed=seed, final=3.0 + (-1) ** seed)
    (setting,) = find_settings(gather([tmp_path]))
    table = differences_table(setting)
    gap = cells(table, "gap")
    assert gap["standalone minus isqrt_cov", "difference [interval]"].text == "+2.00 [+2.00, +2.00]"
    assert gap["standalone minus isqrt_cov", "separated"].text == "yes"
    assert cells(table, "svd_pade")["hybrid minus isqrt_cov", "separated"].text == "no"
    assert "isqrt_cov" not in [row[0].text for row in table.rows]  # nothing to compare it with


def test_hybrid_cells_hold_one_length_of_warm_up_and_table_11_holds_all(tmp_path):
    for warmup, seeds in ((1, 3), (2, 1)):
        for seed in range(seeds):
            write_run(
                tmp_path / str(warmup),
                meta_layer="svd_pade",
                protocol="hybrid",
                seed=seed,
                final=float(warmup),
                warmup_epochs=warmup,
            )
    (setting,) = find_settings(gather([tmp_path]))
    row = cells(errors_table(setting), "svd_pade")
    assert row["hybrid, measured (digits)", "final top-1"].text == "1.00 ± 0.00"
    table = warmup_table(setting)
    assert [(row[2].text, row[3].text) for row in table.rows] == [("1", "1.00 ± 0.00"), ("2", "2.00")]


def test_table_11_needs_two_lengths(setting):
    assert warmup_table(setting) is None


def test_every_diagnostics_column_is_shown(setting):
    names = diagnostics_columns(setting)
    assert names == [
        "diagnostics/condition_number",
        "diagnostics/condition_number_rank",
        "diagnostics/beta_smoothness",
        "diagnostics/gradient_error",
    ]
    row = cells(diagnostics_table(setting), "gap")
    assert row["", "condition number"].value > 1e12
    assert row["", "gradient error"].origin == "missing"


def test_condition_number_by_stage_beside_table_1(setting):
    table = condition_table([setting])
    assert [cell.text for cell in table.rows[0][2:5]] == ["3.41e14", "5.36e13", "1.70e13"]
    measured = next(row for row in table.rows if row[1].text == "mpn_cov float64")
    assert measured[2].value == pytest.approx(3.4e14 + 1e13)  # the generator's first epoch
    assert measured[2].value > measured[3].value > measured[4].value
    assert measured[5].value == pytest.approx(200)


def test_numbers_link_to_the_runs_and_these_to_their_configurations(setting, tmp_path):
    table = runs_table([setting], tmp_path / "reports" / "index.html")
    anchors = [row[0].anchor for row in table.rows if row[0].anchor]
    links = [cell.link for row in errors_table(setting).rows for cell in row if cell.link]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(anchors)
    assert len(anchors) == len(set(anchors))
    assert len(table.rows) == len(setting.runs)
    config = tmp_path / "reports" / table.rows[0][-1].link
    assert config.resolve().read_text().startswith("seed: ")


def test_problems_are_listed(tmp_path):
    write_broken(tmp_path)
    table = problems_table(gather([tmp_path]), tmp_path / "index.html")
    assert ("foreign", "photographs") in {(row[0].text, row[1].text) for row in table.rows}


def test_names_of_metrics():
    assert metric_name("train/top5_error") == "training top-5 error"


def test_layers_that_the_paper_does_not_have_come_last():
    variants = [Variant(name, "float64", "dense") for name in ("seb", "svd_lyapunov", "isqrt_cov")]
    assert [v.meta_layer for v in sorted(variants, key=lambda v: v.order)] == ["isqrt_cov", "svd_lyapunov", "seb"]
