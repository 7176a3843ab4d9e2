import pytest

from gcp_repro.paper.counterparts import COUNTERPARTS, counterpart
from gcp_repro.paper.published_tables import published_table
from gcp_repro.paper.settings import Variant


@pytest.mark.parametrize("experiment", COUNTERPARTS)
def test_columns_exist_in_the_published_table(experiment):
    beside = counterpart(experiment)
    assert set(beside.slots.values()) <= set(published_table(beside.number).columns)
    assert beside.rows


def test_other_experiments_stand_beside_table_2_without_being_it():
    assert (counterpart("digits").number, counterpart("digits").same) == ("2", False)
    assert counterpart("alexnet_imagenet").same


@pytest.mark.parametrize(
    ("experiment", "layer", "protocol", "metric", "text", "place"),
    [
        ("resnet101_imagenet", "gap", "standalone", "final_top1_error", "22.63", None),
        ("resnet50_cars", "svd_trunc", "standalone", "best_top1_error", "93.04", 1),
        ("resnet50_dogs", "isqrt_cov", "standalone", "final_top1_error", "82.34", None),
        ("resnet50_dogs", "svd_topn", "standalone", "final_top1_error", "does not converge", None),
        ("resnet50_dogs", "svd_pade", "hybrid", "final_top1_error", "", None),
        ("digits", "svd_lyapunov", "standalone", "final_top1_error", "", None),
    ],
)
def test_cells(experiment, layer, protocol, metric, text, place):
    cell = counterpart(experiment).cell(Variant(layer, "float64", "dense"), protocol, metric)
    assert (cell.text, cell.place) == (text, place)


def test_variants_that_the_paper_does_not_have_get_no_number():
    for variant in (Variant("svd_topn", "float64", "dense", "top_n=14"), Variant("svd_pade", "float32", "dense")):
        assert counterpart("digits").cell(variant, "standalone", "final_top1_error").origin == "missing"
