from gcp_repro.paper.measured.errors import errors_table
from gcp_repro.paper.measured.run_tables import problems_table, runs_table
from gcp_repro.paper.store.results import gather
from tests.paper.fake_runs import write_broken


def test_numbers_link_to_the_runs_and_these_to_their_configurations(sweep_setting, tmp_path):
    table = runs_table([sweep_setting], tmp_path / "reports" / "index.html")
    anchors = [row[0].anchor for row in table.rows if row[0].anchor]
    links = [cell.link for row in errors_table(sweep_setting).rows for cell in row if cell.link]
    assert links
    assert {link.removeprefix("#") for link in links} <= set(anchors)
    assert len(anchors) == len(set(anchors))
    assert len(table.rows) == len(sweep_setting.runs)
    config = tmp_path / "reports" / table.rows[0][-1].link
    assert config.resolve().read_text().startswith("seed: ")


def test_problems_are_listed(tmp_path):
    write_broken(tmp_path)
    table = problems_table(gather([tmp_path]), tmp_path / "index.html")
    assert ("foreign", "photographs") in {(row[0].text, row[1].text) for row in table.rows}
