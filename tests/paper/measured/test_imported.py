from gcp_repro.paper.measured.imported import imported_table
from gcp_repro.paper.page.report import build_report, render_html
from gcp_repro.paper.plan import missing_runs, planned_runs
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import write_import, write_run


def rows(root):
    return [[cell.text for cell in row] for row in imported_table(gather([root]), root / "index.html").rows]


def test_scores_stand_beside_the_papers_numbers_of_that_layer(tmp_path):
    write_import(tmp_path, "pade")
    birds = {"data": "birds", "imported_meta_layer": "isqrt_cov", "imported_architecture": "mpncovresnet50"}
    write_import(tmp_path, "plain", **birds, imported_best_top1_accuracy=None, epochs=None)
    assert rows(tmp_path) == [
        ["pade.pth.tar", "resnet50", "svd_pade (SVD-Pade)", "imagenet", "60", "22.80", "22.90", "6.70", "22.67", "22.60"],
        ["plain.pth.tar", "mpncovresnet50", "isqrt_cov (iSQRT-COV)", "birds", "", "", "22.90", "6.70", "14.05", ""],
    ]


def test_files_of_the_same_kind_are_no_repetitions(tmp_path):
    write_import(tmp_path, "first")
    write_import(tmp_path, "second")
    results = gather([tmp_path])
    assert (len(results.imported), results.problems) == (2, ())


def test_other_data_have_no_published_number(tmp_path):
    write_import(tmp_path, "own", data="folder", imported_architecture="resnet18", imported_meta_layer="seb")
    assert rows(tmp_path) == [["own.pth.tar", "resnet18", "seb", "folder", "60", "22.80", "22.90", "6.70", "", ""]]


def test_imports_are_no_runs(tmp_path):
    write_run(tmp_path)
    write_import(tmp_path, "pade", experiment="resnet50_imagenet", meta_layer="svd_pade", meta_layer_options="")
    results = gather([tmp_path])
    assert [setting.experiment for setting in find_settings(results)] == ["digits"]
    assert len(missing_runs(results)) == len(planned_runs())
    assert results.runs["status"].tolist() == ["finished", "imported"]  # both are in the tidy table
    page = tmp_path / "index.html"
    text = render_html(build_report(results, page))
    assert '<a href="pade/config.yaml">22.90</a>' in text
    assert "Published weights, scored here" not in render_html(build_report(gather([tmp_path / "digits"]), page))
