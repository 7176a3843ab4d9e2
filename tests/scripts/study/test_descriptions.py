"""Arms, swaps, predictors and cost: by hand on small tables, and as stored."""

import math

import pandas as pd
import pytest

from scripts.study import arms, comparisons, cost, page, predictors, questions, swaps


def test_a_rank_correlation_by_hand():
    """Ranks 1 2 3 4 5 against 2 1 3 4 5: 1 - 6 * 2 / (5 * 24) = 0.9."""
    found = predictors.rank_correlation(pd.Series([1.0, 2, 3, 4, 5]), pd.Series([20.0, 10, 30, 40, 500]))
    assert found["value"] == pytest.approx(0.9)
    half = 1.96 * 1.03 / math.sqrt(2)
    assert found["low"] == pytest.approx(math.tanh(math.atanh(0.9) - half))
    assert math.isnan(predictors.rank_correlation(pd.Series([1.0]), pd.Series([1.0]))["value"])


def test_arms_with_noise_are_dense_float32():
    rows = [
        ("mpn_cov", "dense", "float32", math.nan),
        ("mpn_cov", "gram", "float32", math.nan),
        ("mpn_cov", "dense", "float64", math.nan),
        ("svd_trunc", "dense", "float32", 1e10),
        ("svd_trunc", "dense", "float32", 1e4),
        ("isqrt_cov", "dense", "float32", math.nan),
    ]
    frame = pd.DataFrame(rows, columns=["layer", "route", "dtype", "max_gradient"])
    assert list(predictors.without_noise(frame)) == [False, True, True, False, True, True]


def a_run(**columns):
    base = questions.BASE | {"clip_norm": math.nan, "num_iterations": math.nan, "warmup_epochs": math.nan, "error": 20.0}
    return base | columns


def test_a_swap_is_compared_with_newton_schulz_of_the_same_seed_and_epoch():
    """Norms 3 times as large and losses 0.5 higher from the swap on; earlier epochs do not enter."""
    runs, epochs = [], []
    for seed in (0, 1):
        late = {"decays": "8", "seed": seed}
        runs.append(a_run(config_hash=f"ns{seed}", **questions.NEWTON_SCHULZ, **late))
        runs.append(a_run(config_hash=f"swap{seed}", **swaps.SWAP_LAYER, **late) | {"protocol": "hybrid", "warmup_epochs": 1})
        for epoch in range(10):
            norm, loss = 1.0 + seed + epoch, 2.0 - 0.1 * epoch
            epochs.append({"config_hash": f"ns{seed}", "epoch": epoch, "gradient_norm": norm, "train_loss": loss})
            after = epoch >= 7
            found = {"gradient_norm": norm * (3 if after else 1), "train_loss": loss + 0.5 * after}
            epochs.append({"config_hash": f"swap{seed}", "epoch": epoch} | found)
    table = swaps.table(pd.DataFrame(runs), pd.DataFrame(epochs))
    assert list(table["epoch"]) == [8, 9, 10]
    assert list(table["after_swap"]) == [1, 2, 3]
    assert table["norm_ratio"].tolist() == pytest.approx([3.0] * 3)
    assert table["loss_difference"].tolist() == pytest.approx([0.5] * 3)


def test_epochs_at_equal_seconds():
    exact, dense = cost.REFERENCE, ("mpn_cov", "dense")
    rounds = pd.DataFrame([{exact: 1.0, dense: 3.0}, {exact: 2.0, dense: 8.0}, {exact: 1.0, dense: 3.2}])
    table = cost.table(rounds).set_index("layer")
    assert table.loc["mpn_cov", "ratio"] == pytest.approx(3.2)
    assert list(table["epochs_at_equal_seconds"]) == [10, 3]


def test_stored_descriptions_are_those_of_the_rows():
    runs, epochs = comparisons.read_runs(page.RESULTS), comparisons.read_epochs(page.RESULTS)
    described = {
        "arms": arms.arms(runs, epochs),
        "condition": arms.condition(runs, epochs),
        "swaps": swaps.table(runs, epochs),
        "predictors": pd.DataFrame(
            [*predictors.of_condition(runs, epochs), *predictors.of_smoothness(pd.read_csv(page.RESULTS / "arms.csv"))]
        ),
    }
    for name, found in described.items():
        words = {"decays": str}
        stored = pd.read_csv(page.RESULTS / f"{name}.csv", dtype=words).fillna({"decays": ""} if "decays" in found else {})
        pd.testing.assert_frame_equal(found, stored, rtol=1e-3, check_dtype=False)
