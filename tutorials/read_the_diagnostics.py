# %% [markdown]
# # Read the diagnostics
#
# What a run writes down about the meta-layer's matrices and gradients, and what the numbers mean.
#
# A short hybrid run on the digits: Newton-Schulz for two epochs, then the SVD with the Pade gradient, on the published route.

# %%
from hydra import compose, initialize_config_module

from gcp_repro.runs import register_resolvers
from gcp_repro.training.run import train

register_resolvers()
with initialize_config_module("gcp_repro.configs", version_base="1.3"):
    config = compose("train", [
        *("experiment=digits", "meta_layer=svd_pade", "meta_layer.route=dense", "protocol=hybrid", "trainer=cpu"),
        *("schedule.epochs=4", "schedule.milestones=[2, 3]", "data.train_size=40", "data.batch_size=10"),
        *("model.backbone.stages=[{channels: 16, kernel: 3}, {channels: 16, kernel: 3}]", "trainer.limit_val_batches=1"),
    ])  # fmt: skip
run = train(config)
print(config.paths.run_dir.rpartition("/")[2])

# %% [markdown]
# `metrics.csv` has a row an epoch. The swap shows in the column `meta_layer`.

# %%
from pathlib import Path

import pandas as pd

epochs = pd.read_csv(Path(config.paths.run_dir) / "metrics.csv", index_col="epoch")
epochs.columns = [name.removeprefix("diagnostics/") for name in epochs.columns]
print(epochs[["meta_layer", "learning_rate", "val/top1_error"]].to_string())

# %% [markdown]
# **The matrices.** `condition_number` is the paper's: the largest eigenvalue over the smallest, no smaller than `EPS`. Where positions are fewer than channels the smallest
# eigenvalue is zero but for rounding, and the number is the largest one over `EPS`, whatever happens. `condition_number_rank` leaves the null space out; `rank` is the number of eigenvalues above rounding.

# %%
print(epochs[["condition_number", "condition_number_rank", "rank", "smallest_eigenvalue"]].to_string())

# %% [markdown]
# **The gradient.** `gradient_error` is the distance of the layer's gradient from the exact one of the root, relative to it; `gradient_cosine` the cosine between the two. Newton-Schulz is far
# away, since it computes another function; the SVD layers are near as long as no two eigenvalues nearly coincide.

# %%
print(epochs[["gradient_error", "gradient_cosine", "beta_smoothness"]].to_string(float_format="{:.2e}".format))
before, after = epochs["gradient_error"].groupby(epochs["meta_layer"]).max()[["isqrt_cov", "svd_pade"]]
assert after < before

# %% [markdown]
# **The landscape.** `beta_smoothness` is how fast the gradient changes along a step, relative to the step (Fig. 4 of the paper): large values mean that a rate which was right a moment ago is too
# large now. Each diagnostic says what it costs in a column `..._time_share`; `callbacks=none` leaves all out, `callbacks=all` adds smoothness in the space of parameters.
#
# The report draws all of them over epochs: `gcp-tables runs`.
