import pytest

from gcp_repro.paper.plan import IMAGENET_IMAGES, PlannedRun, gpu_hours, missing_runs, plan_table, planned_runs
from gcp_repro.paper.store.results import gather
from tests.paper.fake_runs import write_run


def test_every_row_of_the_tables_is_planned_once():
    runs = planned_runs()
    commands = [run.command for run in runs]
    assert len(commands) == len(set(commands))
    table2 = [run for run in runs if run.table == "2"]
    assert len(table2) == 7 + 6  # seven layers standalone, six with the hybrid protocol
    assert "gcp-train experiment=alexnet_imagenet meta_layer=svd_pade meta_layer.route=dense protocol=hybrid seed=0" in commands


def test_a_finished_run_is_not_missing_and_one_on_another_route_is(tmp_path):
    write_run(tmp_path, "alexnet_imagenet", "svd_pade", "standalone", seed=0, epochs=30)
    write_run(tmp_path, "alexnet_imagenet", "svd_trunc", "standalone", seed=0, epochs=30, route="gram")
    missing = {(run.table, run.meta_layer, run.protocol, run.seed) for run in missing_runs(gather([tmp_path]))}
    assert ("2", "svd_pade", "standalone", 0) not in missing
    assert ("2", "svd_trunc", "standalone", 0) in missing


def test_a_shortened_run_leaves_the_papers_one_missing(tmp_path):
    write_run(tmp_path / "debug", "alexnet_imagenet", "svd_pade", "standalone", seed=0, epochs=1)
    missing = {(run.table, run.meta_layer, run.protocol, run.seed) for run in missing_runs(gather([tmp_path]))}
    assert ("2", "svd_pade", "standalone", 0) in missing


def test_precision_is_part_of_what_is_missing(tmp_path):
    write_run(tmp_path, "alexnet_imagenet", "mpn_cov", "standalone", seed=0, epochs=30, dtype="float32")
    missing = {(run.table, run.meta_layer) for run in missing_runs(gather([tmp_path])) if run.protocol == "standalone"}
    assert ("Figure 2", "mpn_cov") not in missing
    assert {("Figure 2", "isqrt_cov"), ("2", "mpn_cov")} <= missing


def test_warm_up_is_part_of_what_is_missing(tmp_path):
    write_run(tmp_path, "alexnet_imagenet", "svd_pade", "hybrid", seed=0, epochs=30, warmup_epochs=2)
    table11 = [run.warmup_epochs for run in missing_runs(gather([tmp_path])) if run.table == "11"]
    assert table11 == [0, 3]


def test_the_seed_is_part_of_what_is_missing(tmp_path):
    write_run(tmp_path, "alexnet_imagenet", "svd_pade", "standalone", seed=3, epochs=30)
    missing = [(run.table, run.seed) for run in missing_runs(gather([tmp_path])) if run.meta_layer == "svd_pade"]
    assert [seed for table, seed in missing if table == "appendix G"] == [1, 2, 4]
    assert ("2", 0) in missing


def test_hours_come_from_measured_throughput_only(tmp_path):
    run = PlannedRun("2", "alexnet_imagenet", "svd_pade", "hybrid", None, 0, 30, IMAGENET_IMAGES)
    write_run(tmp_path, "alexnet_imagenet", "svd_pade", seed=5, device="cpu", samples_per_second=3.0)
    write_run(tmp_path, "alexnet_imagenet", "mpn_cov", seed=5, device="NVIDIA H100", samples_per_second=9.0)
    assert gpu_hours(run, gather([tmp_path])) is None
    write_run(tmp_path, "alexnet_imagenet", "svd_pade", seed=6, device="NVIDIA H100", samples_per_second=2000.0)
    assert gpu_hours(run, gather([tmp_path])) == pytest.approx(30 * IMAGENET_IMAGES / 2000 / 3600)


def test_table_says_that_nothing_is_estimated_without_a_measurement(tmp_path):
    table = plan_table(gather([]))
    assert "GPU hours are not estimated" in table.caption
    assert all(row[5].origin == "missing" for row in table.rows)
    assert "gcp-train -m experiment=alexnet_imagenet sweep=table2" in table.notes[0]
    write_run(tmp_path, "alexnet_imagenet", "svd_pade", seed=9, device="NVIDIA H100", samples_per_second=2000.0)
    assert "GPU hours for the" in plan_table(gather([tmp_path])).caption


def test_fine_tuning_names_the_run_it_starts_from(tmp_path):
    def starts(results):
        return {row[2].text: row[6].text for row in plan_table(results).rows if row[1].text == "resnet50_birds"}

    assert starts(gather([]))["svd_pade"] == "resnet50_imagenet svd_pade hybrid (missing: train it first)"
    assert starts(gather([]))["isqrt_cov"].startswith("resnet50_imagenet isqrt_cov standalone")
    write_run(tmp_path, "resnet50_imagenet", "svd_pade", "hybrid", epochs=60)
    assert starts(gather([tmp_path]))["svd_pade"] == "resnet50_imagenet svd_pade hybrid (done)"


def test_later_work_is_planned_after_the_paper(tmp_path):
    runs = planned_runs()
    later = [run for run in runs if run.row]
    assert runs[-len(later) :] == later
    assert {run.table for run in later} == {"RiemGCP 5", "DropCov", "iSICE"}
    assert "gcp-train experiment=riemgcp_birds row=pow_tmlr seed=0" in [run.command for run in later]
    write_run(tmp_path, "riemgcp_birds", "pow_tmlr", "standalone", seed=0, epochs=100, meta_layer_options="num_iterations=5")
    write_run(tmp_path, "riemgcp_birds", "scale_pow_emlr", "standalone", seed=0, epochs=100)  # by decomposition
    missing = [(run.experiment, run.meta_layer) for run in missing_runs(gather([tmp_path])) if run.row]
    assert ("riemgcp_birds", "pow_tmlr") not in missing
    assert ("riemgcp_birds", "scale_pow_emlr") in missing
    assert "gcp-train -m sweep=riemgcp_table5" in plan_table(gather([])).notes[0]
