"""Tables of documents from the rows of `gcp-bench`."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch

from gcp_repro.bench.memory import kept_bytes
from gcp_repro.metalayers import build_meta_layer
from scripts import measured_docs

RESULTS = Path(__file__).parents[2] / "results"


def cells(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_every_file_of_results_says_what_made_it():
    listed = re.findall(r"`([\w/]+\.csv|[\w/]+/)`", (RESULTS / "README.md").read_text(encoding="utf-8"))
    for path in RESULTS.rglob("*.csv"):
        name = path.relative_to(RESULTS).as_posix()
        assert name in listed or f"{path.parent.relative_to(RESULTS).as_posix()}/" in listed, f"results/README.md lacks {name}"


def test_shares_of_a_step_add_up():
    head, _, *rows = cells(measured_docs.steps_table())
    first, last = head.index("data"), head.index("other")
    for row in rows:
        assert sum(map(float, row[first : last + 1])) == pytest.approx(100.0, abs=0.05 * (last - first + 1))


def test_a_row_that_is_there_twice_or_not_at_all_is_no_number():
    rows = pd.DataFrame({"layer": ["gap", "gap", "epn"], "height": [7, 7, 7], "total_min": [1.0, 2.0, 3.0]})
    assert measured_docs.only(rows, layer="epn", height=7)["total_min"] == 3.0
    for layer, count in (("gap", 2), ("cbp", 0)):
        with pytest.raises(ValueError, match=rf"one row is needed with .*'{layer}'.*; there are {count}"):
            measured_docs.only(rows, layer=layer, height=7)


def test_precision_is_the_time_beside_the_reference(tmp_path, monkeypatch):
    """The file has ratios of speed, above 1 where the options are faster."""
    pairs = (("mixed", "standard", "float64", "standard", 1.25), ("float64", "high", "float64", "standard", 0.5),
             ("mixed", "high", "float64", "high", 2.0))  # fmt: skip
    columns = ["dtype", "accuracy", "reference_dtype", "reference_accuracy", "total_ratio_median", "height", "batch"]
    rows = [(*pair, height, batch) for pair in pairs for height, _ in measured_docs.PAPER for batch in measured_docs.BATCHES]
    frame = pd.DataFrame(rows, columns=columns).assign(layer="svd_lyapunov", reference="svd_lyapunov")
    frame.to_csv(tmp_path / "layers_precision_ratios.csv", index=False)
    monkeypatch.setattr(measured_docs, "RESULTS", tmp_path)
    _, _, *found = cells(measured_docs.precision_table())
    assert [row[1] for row in found] == ["0.80, 0.80, 0.80", "2.00, 2.00, 2.00", "0.50, 0.50, 0.50"]


def test_what_a_layer_keeps_is_an_images_share_and_not_the_features():
    """Thin decomposition, `C N` and `N` numbers of eight bytes; centred average pooling keeps nothing."""
    features = torch.rand(2, 12, 3, 3, requires_grad=True)
    assert kept_bytes(build_meta_layer("gap"), features) == 0
    assert 8 * 12 * 8 <= kept_bytes(build_meta_layer("svd_lyapunov"), features) <= 8 * 2 * 12 * 12
