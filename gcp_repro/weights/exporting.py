"""From a run of ours to a state dict that the published code bases load."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from gcp_repro.errors import DataError, MissingPathError, OptionError, UnknownNameError
from gcp_repro.metalayers import is_extra_state
from gcp_repro.runs import RunDirectory
from gcp_repro.runs.config_file import read_config
from gcp_repro.user_paths import user_path
from gcp_repro.weight_files import WeightFile, read_weights
from gcp_repro.weights.arithmetic import EXACT
from gcp_repro.weights.importing import convert
from gcp_repro.weights.layouts import Layout, find_architecture

__all__ = ["export_weights"]

PREFIX = "network."


def export_weights(run: str | Path, architecture: str, output: str | Path, layout: str | None = None) -> dict[str, Tensor]:
    """Write the weights of a run under the names of the published code bases.

    The result is a bare state dict, as `model.load_state_dict(torch.load(output))` wants it before the model is wrapped in
    DataParallel. What is written is first fitted to the architecture in the same way as an import, so it can be imported again.

    Args:
        run: A run directory, or a checkpoint in its folder `checkpoints`.
        architecture: A name in `ARCHITECTURES`.
        output: The file; must not exist.
        layout: Name of one of the architecture's layouts; None takes its first.

    Returns:
        The tensors, as written.

    Raises:
        DataError: There is no run, or its network is not that architecture.
        OptionError: `output` exists, or the architecture or layout is unknown.
    """
    output = user_path(output)
    if output.exists():
        raise OptionError(f"an export needs a new file; {output} exists: choose another --output")
    names = _layout(architecture, layout)
    checkpoint, config = _find(user_path(run))
    own = {
        name.removeprefix(PREFIX): value
        for name, value in read_weights(checkpoint).weights.items()
        if name.startswith(PREFIX) and not is_extra_state(name)
    }
    strange = [name for name in own if names.to_theirs(name) is None]
    if strange or not own:
        raise DataError(
            f"an export needs a network of the architecture {architecture!r}; in {checkpoint} {len(strange)} of "
            f"{len(own)} tensors have no place there ({', '.join(strange[:3])}): pass the "
            "--architecture that the run's model.backbone is"
        )
    weights = {str(names.to_theirs(name)): value for name, value in own.items()}
    convert(
        WeightFile(checkpoint, weights),
        architecture,
        config.meta_layer.name,
        arithmetic=EXACT,
        overrides=_network_overrides(config),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    torch.save(weights, output)
    return weights


def _layout(architecture: str, layout: str | None) -> Layout:
    known = {choice.name: choice for choice in find_architecture(architecture).layouts}
    name = next(iter(known)) if layout is None else layout
    if name not in known:
        raise UnknownNameError(f"layout of {architecture}", name, known)
    return known[name]


def _find(path: Path) -> tuple[Path, DictConfig]:
    """Checkpoint and configuration of a run that is named by either its directory or the checkpoint."""
    checkpoint = RunDirectory(path).last if path.is_dir() else path
    run = RunDirectory.of_checkpoint(checkpoint)
    for file in (checkpoint, run.config):
        if not file.is_file():
            raise MissingPathError(
                f"an export needs a run directory with config.yaml and checkpoints/; there is no {file}: name one of gcp-train"
            )
    return checkpoint, read_config(run.config)


def _network_overrides(config: DictConfig) -> list[str]:
    """What a run's network may have changed in the architecture without leaving it."""
    return [f"model.{name}={config.model[name]}" for name in ("hidden_dims", "reduce_average_pooling")]
