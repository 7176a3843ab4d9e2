# %% [markdown]
# # Compare layers on your images
#
# Three layers and two seeds on a folder of images, and a table of errors with their spread over seeds.
#
# Images lie in `train/<class>/` and `val/<class>/`. Here a tiny set is drawn; take your own folder instead.

# %%
from pathlib import Path

from gcp_repro.data.tiny import Tiny, write_tiny

root = write_tiny("image_folder", Path("images"), Tiny(classes=3, train=8, val=4, size=(40, 32)))
print(*sorted(path.relative_to(root) for path in root.glob("*/*")), sep="\n")

# %% [markdown]
# On the command line a sweep is one line:
#
# ```sh
# gcp-train -m data=image_folder data.root=images meta_layer=gap,isqrt_cov,svd_lyapunov seed=0,1
# ```
#
# The same from Python: compose a configuration for each run, and train it. A run's directory follows from its configuration, so that a second call finds it finished.

# %%
from itertools import product

from hydra import compose, initialize_config_module

from gcp_repro.runs import register_resolvers
from gcp_repro.training.run import train

COMMON = [
    *("data=image_folder", "data.root=images", "data.image_size=32", "data.batch_size=8", "data.num_workers=0"),
    *("model.backbone.stages=[{channels: 16, kernel: 5, pool: 2}, {channels: 16, kernel: 3}]", "optimizer.lr=0.05"),
    *("experiment_name=my_images", "schedule.epochs=2", "schedule.milestones=[1]", "callbacks=none", "trainer=cpu"),
]
register_resolvers()
with initialize_config_module("gcp_repro.configs", version_base="1.3"):
    for layer, seed in product(("gap", "isqrt_cov", "svd_lyapunov"), (0, 1)):
        result = train(compose("train", [*COMMON, f"meta_layer={layer}", f"seed={seed}"]))["result"]
        print(f"{layer:12} seed {seed}: top-1 error {result['final_top1_error']:.1f} %")

# %% [markdown]
# `gcp-tables runs` makes the report. Its tables are there from Python as well: one row a run, and the error of each layer with its spread over seeds.

# %%
from gcp_repro.paper.store.results import gather

runs = gather(["runs"]).runs
print(runs.groupby("meta_layer")["final_top1_error"].agg(["mean", "std", "count"]).round(1).to_string())

# %% [markdown]
# A dozen images say nothing about the layers. On real data take five seeds or more, the same ones for every layer, and look at the intervals in the report before believing a
# difference: [findings](../docs/findings.md) shows how many of them vanish.
