"""The figures draw what the rows hold."""

import pandas as pd
import pytest

pytest.importorskip("matplotlib")

from scripts.study import figures, page
from scripts.study.comparisons import read_epochs, read_runs


@pytest.fixture(scope="module")
def tables():
    stored = {name: pd.read_csv(page.RESULTS / f"{name}.csv") for name in ("gradient_error", "comparisons", "arms")}
    return stored | {"runs": read_runs(page.RESULTS), "epochs": read_epochs(page.RESULTS)}


@pytest.mark.parametrize("name", figures.FIGURES)
def test_a_figure_has_data_on_labelled_axes(name, tables):
    figure = figures.FIGURES[name](tables)
    for axis in figure.axes:
        assert axis.get_xlabel()
        assert any(len(line.get_xdata()) > 1 for line in axis.lines)
    assert figure.axes[0].get_ylabel()
    figures.plt.close(figure)
    assert f"](images/study/{name}.svg)" in page.PAGES[0].read_text(encoding="utf-8")
