import math

import pytest

from gcp_repro.paper.analytic.bounds import EPS, bounds, eigenvalue_pairs, search_bound, table7


def test_pairs_cover_equal_and_neighbouring_eigenvalues():
    larger, smaller = eigenvalue_pairs()
    assert (larger >= smaller).all()
    assert smaller.min() == EPS
    assert larger.max() == 1
    gaps = (larger - smaller) / larger
    assert (gaps == 0).any()
    assert ((gaps > 0) & (gaps < 2 * EPS)).any()


def test_search_finds_the_largest_magnitude_and_where():
    attained = search_bound(lambda larger, smaller: -larger / smaller)
    assert (attained.value, attained.larger, attained.smaller) == (1 / EPS, 1.0, EPS)


def test_division_by_zero_counts_as_infinite_and_the_largest_finite_value_is_kept():
    attained = search_bound(lambda larger, smaller: 1 / (larger - smaller))
    assert math.isinf(attained.value)
    assert attained.larger == attained.smaller
    assert 1 / EPS <= attained.finite < math.inf


def test_no_value_exceeds_its_analytic_bound():
    checked = 0
    for bound in bounds():
        if bound.quotient is not None and bound.method in ("SVD-Taylor", "SVD-Trunc", "SVD-TopN") and not bound.addition:
            assert search_bound(bound.quotient).value == pytest.approx(bound.analytic, rel=1e-12)
            checked += 1
    assert checked == 3


def test_exact_table_of_the_root_is_bounded():
    attained = search_bound(lambda larger, smaller: 1 / (larger.sqrt() + smaller.sqrt()))
    assert attained.value == pytest.approx(0.5 / math.sqrt(EPS))


def test_table_reproduces_the_published_maxima():
    rows = {row[0].text: [cell.text for cell in row] for row in table7().rows}
    assert rows["SVD-Pade"][2:4] == ["6.00e36", "6.00e36"]
    assert rows["SVD-Taylor"][2:5] == ["4.55e17", "4.55e17", "4.55e17"]
    assert rows["SVD"][4] == "infinite"
    assert rows["SVD-Newton"][3] == "none"


def test_topn_is_bounded_against_dropped_eigenvalues_only():
    rows = {row[0].text: [cell.text for cell in row] for row in table7().rows}
    assert rows["SVD-TopN"][2:5] == ["4.50e15", "4.50e15", "4.50e15"]
    assert rows["SVD-TopN, two kept eigenvalues"][2:5] == ["", "infinite", "infinite"]
