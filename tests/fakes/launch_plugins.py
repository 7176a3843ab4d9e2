"""The plugins of Hydra that the choices of `launch` need; they are extras, and may be absent."""

from importlib.util import find_spec

PLUGINS = {
    "slurm": "hydra_submitit_launcher",
    "local_jobs": "hydra_submitit_launcher",
    "ray": "hydra_ray_launcher",
    "optuna": "hydra_optuna_sweeper",
}


def is_installed(launch):
    """Whether the plugin of a choice is; joblib's is a dependency of the package."""
    return launch not in PLUGINS or find_spec("hydra_plugins." + PLUGINS[launch]) is not None
