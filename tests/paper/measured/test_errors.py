from gcp_repro.paper.measured.errors import differences_table, errors_table, warmup_table
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import cells_of, write_run


def test_a_cell_is_the_mean_over_seeds_beside_the_published_number(tmp_path):
    for seed, error in enumerate((3.0, 4.0, 5.0)):
        write_run(tmp_path, meta_layer="svd_pade", seed=seed, final=error)
    (setting,) = find_settings(gather([tmp_path]))
    row = cells_of(errors_table(setting), "svd_pade")
    assert row["standalone, measured (digits)", "final top-1"].text == "4.00 ± 1.00"
    assert row["standalone, measured (digits)", "runs"].text == "3"
    published = row["standalone, published (AlexNet, ImageNet)", "final top-1"]
    assert (published.text, published.place, published.origin) == ("48.41", 2, "published")
    assert row["hybrid, measured (digits)", "final top-1"].origin == "missing"


def test_the_best_epoch_is_shown_only_where_it_may_be_another_than_the_last(tmp_path, sweep_setting):
    measured = ("standalone, measured (digits)", "best top-1")
    write_run(tmp_path, final=3.0, best_top1_error=3.0)
    (once,) = find_settings(gather([tmp_path]))
    assert measured not in cells_of(errors_table(once), "isqrt_cov")
    assert measured in cells_of(errors_table(sweep_setting), "isqrt_cov")


def test_diverged_runs_are_counted_beside_the_finished_ones(sweep_setting):
    row = cells_of(errors_table(sweep_setting), "mpn_cov", "float32")
    assert row["standalone, measured (digits)", "runs"].text == "4 + 1 diverged"
    assert row["standalone, published (AlexNet, ImageNet)", "final top-1"].origin == "missing"  # the paper's numbers are float64


def test_published_marks_are_the_papers(sweep_setting):
    table = errors_table(sweep_setting)
    column = ("hybrid, published (AlexNet, ImageNet)", "best top-1")
    marked = {row[0].text: cells_of(table, row[0].text)[column].place for row in table.rows}
    assert {name: place for name, place in marked.items() if place} == {"svd_pade": 1, "mpn_cov": 2, "svd_newton": 3}


def test_measured_places_are_not_given_where_intervals_overlap(sweep_setting):
    table = errors_table(sweep_setting)
    column = ("standalone, measured (digits)", "final top-1")
    assert cells_of(table, "gap")[column].place is None
    assert [cells_of(table, name)[column].place for name in ("svd_trunc", "svd_lyapunov", "svd_newton")] == [None, None, None]


def test_resnets_stand_beside_table_3(tmp_path):
    write_run(tmp_path, "resnet50_imagenet", "gap", dtype=None)
    (setting,) = find_settings(gather([tmp_path]))
    row = cells_of(errors_table(setting), "gap")
    assert row["standalone, published (ResNet-50, ImageNet)", "final top-1"].text == "23.85"


def test_fine_grained_sets_are_accuracies_beside_table_4(tmp_path):
    for seed, error in enumerate((12.0, 13.0, 14.0)):
        write_run(tmp_path, "resnet50_birds", "svd_trunc", seed=seed, final=error, epochs=50)
    write_run(tmp_path, "resnet50_birds", "svd_topn", status="diverged", epochs=50)
    (setting,) = find_settings(gather([tmp_path]))
    table = errors_table(setting)
    assert table.title.startswith("Table 4: accuracy, resnet50_birds")
    row = cells_of(table, "svd_trunc")
    assert row["standalone, measured (resnet50_birds)", "final"].text == "87.00 ± 1.00"
    assert row["standalone, measured (resnet50_birds)", "best"].text == "87.10 ± 1.00"
    final, best = (row["standalone, published (ResNet-50, Birds)", name] for name in ("final", "best"))
    assert (final.text, final.place, best.text, best.place) == ("87.16", 1, "87.25", 2)
    assert cells_of(table, "svd_topn")["standalone, published (ResNet-50, Birds)", "final"].text == "does not converge"
    assert not any(column.group.startswith("hybrid") for column in table.columns)


def test_aircraft_is_an_accuracy_that_the_paper_does_not_have(tmp_path):
    write_run(tmp_path, "resnet50_aircraft", "svd_pade", final=10.0)
    (setting,) = find_settings(gather([tmp_path]))
    table = errors_table(setting)
    assert [cell.text for cell in table.rows[0]] == ["svd_pade", "dense", "float64", "90.00", "90.10", "1"]
    assert "The paper does not have this data set." in table.caption


def test_routes_are_separate_rows(tmp_path):
    write_run(tmp_path, meta_layer="svd_pade", final=3.0)
    write_run(tmp_path / "gram", meta_layer="svd_pade", final=4.0, route="gram")
    (setting,) = find_settings(gather([tmp_path]))
    table = errors_table(setting)
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [["svd_pade", "dense"], ["svd_pade", "gram"]]
    published = [
        [cell.text for cell, column in zip(row, table.columns, strict=True) if "published" in column.group] for row in table.rows
    ]
    assert published == [["48.41", "23.91", "47.76", "23.48", "47.63", "23.21"], [""] * 6]


def test_published_rows_of_the_papers_own_experiment_are_shown_untrained_too(tmp_path):
    write_run(tmp_path, "alexnet_imagenet", "svd_pade", final=48.0, epochs=30, route="gram")
    (setting,) = find_settings(gather([tmp_path]))
    table = errors_table(setting)
    assert table.title.startswith("Table 2: validation error")
    assert [[cell.text for cell in row[:2]] for row in table.rows] == [
        ["isqrt_cov", "dense"], ["svd_pade", "dense"], ["svd_pade", "gram"], ["svd_taylor", "dense"], ["svd_newton", "dense"],
        ["svd_trunc", "dense"], ["svd_topn", "dense"], ["mpn_cov", "dense"],
    ]  # fmt: skip
    measured, published = (f"standalone, {name}" for name in ("measured (alexnet_imagenet)", "published (AlexNet, ImageNet)"))
    dense, gram = (dict(zip(((c.group, c.name) for c in table.columns), row, strict=True)) for row in table.rows[1:3])
    assert [row[measured, "final top-1"].text for row in (dense, gram)] == ["", "48.00"]
    assert [row[published, "final top-1"].text for row in (dense, gram)] == ["48.41", ""]


def test_a_shortened_run_is_not_the_papers_experiment(tmp_path):
    write_run(tmp_path, "alexnet_imagenet", "svd_pade", epochs=1)
    (setting,) = find_settings(gather([tmp_path]))
    table = errors_table(setting)
    assert table.title == "Validation error, alexnet_imagenet: narrow_alexnet, 1 epoch"
    assert "trained for 30 epochs: the two are not expected to agree" in table.caption
    assert len(table.rows) == 1


def test_differences_pair_seeds_with_the_reference(tmp_path):
    for seed in range(5):
        write_run(tmp_path, meta_layer="isqrt_cov", seed=seed, final=3.0 + seed)
        write_run(tmp_path, meta_layer="gap", dtype=None, seed=seed, final=5.0 + seed)
        write_run(tmp_path, meta_layer="svd_pade", protocol="hybrid", seed=seed, final=3.0 + (-1) ** seed)
    (setting,) = find_settings(gather([tmp_path]))
    table = differences_table(setting)
    gap = cells_of(table, "gap")
    assert gap["standalone minus isqrt_cov", "difference [interval]"].text == "+2.00 [+2.00, +2.00]"
    assert gap["standalone minus isqrt_cov", "separated"].text == "yes"
    assert cells_of(table, "svd_pade")["hybrid minus isqrt_cov", "separated"].text == "no"
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
    row = cells_of(errors_table(setting), "svd_pade")
    assert row["hybrid, measured (digits)", "final top-1"].text == "1.00 ± 0.00"
    table = warmup_table(setting)
    assert [(row[3].text, row[4].text, row[8].text) for row in table.rows] == [
        ("none", "", "47.95"), ("0", "", "47.89"), ("1", "1.00 ± 0.00", "47.76"), ("2", "2.00", "47.70"), ("3", "", "47.95")
    ]  # fmt: skip


def test_table_11_needs_two_lengths(sweep_setting):
    assert warmup_table(sweep_setting) is None
