import pytest

from gcp_repro.runs.schema import FIELDS, STATUSES, objection

RESULT = {
    "schema": 2, "status": "finished", "experiment": "digits", "meta_layer": "svd_pade", "protocol": "standalone", "seed": 0,
    "setting": {"optimizer.lr": 0.1, "schedule.milestones": [5, 10]}, "planned_epochs": 15, "final_top1_error": 2.5,
    "config_hash": "01234567", "versions": {"torch": "2.14.1"}, "class_names": ["cat", "dog"],
}  # fmt: skip


def test_a_result_needs_no_more_than_it_needs():
    assert objection(RESULT) is None
    assert objection(RESULT | {"warmup_epochs": None, "further": "single value"}) is None
    diverged = RESULT | {"status": "diverged", "final_top1_error": None}
    assert objection(diverged) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 1}, "needs schema 2; got 1: written by another program or version"),
        ({"seed": "zero"}, "needs a whole number from 0 on in seed; got 'zero'"),
        ({"seed": True}, "needs a whole number from 0 on in seed; got True"),
        ({"seed": 10**30}, f"needs a whole number from 0 on in seed; got {10**30}"),
        ({"status": "running"}, "needs status finished, diverged or imported; got 'running'"),
        ({"status": ["finished"]}, "needs status finished, diverged or imported; got ['finished']"),
        ({"status": "imported"}, "lacks imported_file, imported_architecture, imported_meta_layer"),
        ({"meta_layer": None}, "lacks meta_layer"),
        ({"final_top1_error": None}, "lacks final_top1_error"),
        ({"protocol": "wild"}, "needs protocol standalone or hybrid; got 'wild'"),
        ({"meta_layer": ["svd_pade"]}, "needs a text in meta_layer; got ['svd_pade']"),
        ({"device": {"name": "cpu"}}, "needs a text in device; got {'name': 'cpu'}"),
        ({"backbone": 3}, "needs a text in backbone; got 3"),
        ({"versions": "2.6"}, "needs an object of single values in versions; got '2.6'"),
        ({"setting": {"a": {"b": 1}}}, "needs an object of single values in setting; got {'a': {'b': 1}}"),
        ({"class_names": [1]}, "needs a list of texts in class_names; got [1]"),
        ({"final_loss": float("nan")}, "needs a finite number in final_loss; got nan"),
        ({"further": [1]}, "needs single values; got [1] in further"),
    ],
)
def test_what_is_no_result_is_explained(change, reason):
    assert objection(RESULT | change) == reason


@pytest.mark.parametrize("content", [[], "text", None, 3])
def test_what_is_no_object_is_explained(content):
    assert objection(content) == f"needs an object; got {type(content).__name__}"


def test_each_field_is_named_once_and_says_what_it_means():
    assert len({field.name for field in FIELDS}) == len(FIELDS)
    assert all(field.meaning and set(field.needed) <= set(STATUSES) for field in FIELDS)
