import pytest

from gcp_repro.paper.measured.counterparts import COUNTERPARTS, counterpart, reproducing
from gcp_repro.paper.published.published_tables import published_table
from gcp_repro.paper.store.settings import Variant


@pytest.mark.parametrize("experiment", COUNTERPARTS)
def test_columns_exist_in_the_published_table(experiment):
    beside = COUNTERPARTS[experiment]
    assert set(beside.slots.values()) <= set(published_table(beside.number).columns)
    assert beside.rows


def test_other_experiments_stand_beside_table_2_without_being_it():
    assert (counterpart("digits").number, counterpart("digits").same) == ("2", False)
    assert counterpart("alexnet_imagenet").same


def test_another_length_is_not_the_papers_experiment():
    shortened = counterpart("resnet50_imagenet", {"schedule.epochs": 2, "schedule.milestones": []})
    assert (shortened.number, shortened.same, shortened.departure) == ("3", False, "trained for 60 epochs")
    other = counterpart("resnet50_imagenet", {"optimizer.lr": 0.1})
    assert (other.number, other.same, other.departure) == ("3", False, "with other values of optimizer.lr")


def test_rows_of_the_paper_as_variants():
    vanilla, reference, *remedies = counterpart("resnet50_imagenet").variants
    assert (vanilla, reference) == (Variant("gap", "", ""), Variant("isqrt_cov", "float64", "dense"))
    assert [variant.meta_layer for variant in remedies] == [
        "svd_pade", "svd_taylor", "svd_newton", "svd_trunc", "svd_topn", "mpn_cov"
    ]  # fmt: skip
    assert [v.meta_layer for v in counterpart("resnet101_imagenet").variants] == ["gap", "isqrt_cov", "svd_pade", "mpn_cov"]
    assert len(counterpart("alexnet_imagenet").variants) == 7


@pytest.mark.parametrize(
    ("experiment", "layer", "protocol", "metric", "text", "place"),
    [
        ("resnet101_imagenet", "gap", "standalone", "final_top1_error", "22.63", None),
        ("resnet50_cars", "svd_trunc", "standalone", "best_top1_error", "93.04", 1),
        ("resnet50_dogs", "isqrt_cov", "standalone", "final_top1_error", "82.34", None),
        ("resnet50_dogs", "svd_topn", "standalone", "final_top1_error", "does not converge", None),
        ("resnet50_dogs", "svd_pade", "hybrid", "final_top1_error", "", None),
        ("alexnet_imagenet", "svd_lyapunov", "standalone", "final_top1_error", "", None),
    ],
)
def test_cells(experiment, layer, protocol, metric, text, place):
    cell = COUNTERPARTS[experiment].cell(Variant(layer, "float64", "dense"), protocol, metric)
    assert (cell.text, cell.place) == (text, place)


@pytest.mark.parametrize(
    ("trained", "chosen"),
    [
        (["mpn_cov float64 gram", "mpn_cov float64 dense"], ["mpn_cov float64 dense"]),
        (["mpn_cov float64 gram", "mpn_cov float32 dense"], []),
        (["svd_pade float64 auto"], []),
        (["isqrt_cov float64 auto", "isqrt_cov float32 dense"], ["isqrt_cov float64 auto"]),
        (["isqrt_cov float64 auto", "isqrt_cov float64 dense"], ["isqrt_cov float64 dense"]),
        (["svd_topn float64 dense top_n=14"], []),
    ],
)
def test_published_numbers_stand_beside_what_the_paper_computed(trained, chosen):
    assert reproducing([Variant(*words.split()) for words in trained]) == {Variant(*words.split()) for words in chosen}
