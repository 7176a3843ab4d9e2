# %% [markdown]
# # Add a layer
#
# A new function of the eigenvalues with its exact gradient, checked, and then trained by name.
#
# The function is `log(1 + l / s)`: near zero it is linear, far out it grows as slowly as the logarithm, and it needs no threshold for zero eigenvalues. A layer of the SVD family is a function and a table of its divided
# differences, `(f(l_i) - f(l_j)) / (l_i - l_j)`. Written with `log1p` the difference does not cancel.

# %%
from typing import Annotated

import torch

from gcp_repro.linalg import GradientTable, SpectralFunction, register_function
from gcp_repro.linalg.machinery.options import Above
from gcp_repro.metalayers import CovariancePooling, build_meta_layer, register_meta_layer


def soft_log(scale: Annotated[float, Above(0)] = 0.1) -> SpectralFunction:
    """`log(1 + l / scale)`."""

    def gradient(eigenvalues: torch.Tensor) -> GradientTable:
        shifted = eigenvalues + scale
        rows, columns = shifted.unsqueeze(-1), shifted.unsqueeze(-2)
        x = (rows - columns) / columns
        ratio = torch.where(x == 0, 1.0, torch.log1p(x) / torch.where(x == 0, 1.0, x))
        return GradientTable(ratio / columns)

    return SpectralFunction("soft_log", lambda eigenvalues: torch.log1p(eigenvalues / scale), gradient)


register_function("soft_log", soft_log)
register_meta_layer(
    "soft_log_cov",
    CovariancePooling,
    description="log(1 + l / scale) of the covariance",
    source="this tutorial",
    fixed={"forward": "soft_log"},
    defaults={"dtype": "float64", "route": "auto", "scale": 0.1},
)

# %% [markdown]
# `gradcheck` compares the table with differences of the value, on both routes. A wrong name or option is refused in words.

# %%
torch.manual_seed(0)
features = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
for route in ("gram", "dense"):
    print(route, torch.autograd.gradcheck(build_meta_layer("soft_log_cov", route=route), features))
try:
    build_meta_layer("soft_log_cov", scale=-1.0)
except ValueError as error:
    print(error)

# %% [markdown]
# Configurations know it by its name, with the defaults that it was registered with. `store_layer_configs` is what the commands call before they read a configuration.

# %%
from hydra import compose, initialize_config_module

from gcp_repro.runs import register_resolvers
from gcp_repro.training.layer_configs import store_layer_configs
from gcp_repro.training.run import train

register_resolvers()
store_layer_configs()
with initialize_config_module("gcp_repro.configs", version_base="1.3"):
    config = compose("train", [
        *("experiment=digits", "meta_layer=soft_log_cov", "meta_layer.scale=0.01", "trainer=cpu", "callbacks=none"),
        *("schedule.epochs=4", "schedule.milestones=[3]"),
    ])  # fmt: skip
print(f"top-1 error {train(config)['result']['final_top1_error']:.1f} %")

# %% [markdown]
# To give `gcp-train` the layer, name the module in an entry point of your package: [adding a layer](../docs/adding_a_layer.md). A new gradient for a known function is smaller still:
# [adding a rule](../docs/adding_a_rule.md).
