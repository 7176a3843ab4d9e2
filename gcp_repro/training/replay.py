"""`gcp-train replay=FILE`: look again at a batch that was not finite, with the run's layer or with another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from gcp_repro.errors import DataError, NonFiniteError
from gcp_repro.runs.config_file import parse_config
from gcp_repro.training.build import build, build_network
from gcp_repro.training.processes.random_state import RandomState
from gcp_repro.trust import check_targets
from gcp_repro.user_paths import user_path
from gcp_repro.weight_files import load_plain

__all__ = ["replay"]


def replay(config: DictConfig) -> str:
    """Repeat the forward and the backward of a saved batch, and say at each step what is finite and how large it is.

    The network, its weights, the batch and the random state are those of the file. What the command line changes of the
    configuration is taken from there, so that `meta_layer=svd_lyapunov` or `meta_layer.dtype=float64` can be tried on it.

    Args:
        config: Of the command, with `replay` naming a file in the folder `nonfinite` of a run.

    Returns:
        A table in plain text.

    Raises:
        DataError: The file is none of those.
        UntrustedTargetError: Its configuration names other objects than those of a training.
    """
    path = user_path(config.replay)
    saved = load_plain(path)
    if not isinstance(saved, dict) or not {"network", "images", "labels", "config"} <= saved.keys():
        raise DataError(f"replay needs a file from the folder 'nonfinite' of a run; {path} is another one: correct the path")
    own = parse_config(str(saved["config"]), str(path))
    changed = _take_over(own, config)
    check_targets(own, str(path), config.trusted)
    network = _network(own, saved)
    lines = [
        f"{path}",
        f"{saved['split']}, epoch {saved['epoch']}, batch {saved['batch']}, rank {saved['rank']}: {saved['cause']} not finite, "
        f"with {saved['meta_layer']}",
        *([f"images: {', '.join(saved['files'] or map(str, saved['rows']))}"] if saved["rows"] else []),
        *([f"changed: {', '.join(changed)}"] if changed else []),
        "",
        *_table(_stages(network, saved)),
    ]
    return "\n".join(lines)


def _take_over(own: DictConfig, command: DictConfig) -> list[str]:
    """Copy what the command line sets from its configuration into the run's; returns the overrides."""
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    taken = []
    for override in overrides:
        key = override.partition("=")[0].lstrip("+~").partition("@")[0].replace("/", ".")
        if key != "replay" and OmegaConf.select(own, key) is not None:
            OmegaConf.update(own, key, OmegaConf.select(command, key), merge=False, force_add=True)
            taken.append(override)
    return taken


def _network(config: DictConfig, saved: dict[str, Any]) -> nn.Module:
    """The network in the mode of the batch, with its weights and its random state."""
    initial = saved["meta_layer"] != config.meta_layer.name and config.protocol.get("initial")
    layer = build(config.protocol.initial if initial else config.meta_layer)
    classes = [weight for name, weight in saved["network"].items() if name.startswith("classifier.") and weight.ndim][-1]

    class Shape:
        in_channels, num_classes = saved["images"].shape[-3], len(classes)

    network = build_network(config.model, Shape, layer)
    network.load_state_dict(saved["network"])
    RandomState(**saved["random_state"]).restore(torch.device("cpu"))
    return network.train(saved["split"] == "training")


def _stages(network: nn.Module, saved: dict[str, Any]) -> Iterator[tuple[str, Tensor | str]]:
    """Name and value of everything from the images to the gradients."""
    yield "images", saved["images"]
    yield from ((f"weight {name}", weight) for name, weight in saved["network"].items() if not _finite(weight))
    seen: dict[str, Tensor] = {}
    layer = network.get_submodule("meta_layer")
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs: seen.update(features=inputs[0])),
        layer.register_forward_hook(lambda _, __, output: seen.update(pooled=output)),
    ]
    error: Exception | None = None
    loss = None
    try:
        logits = network(saved["images"])
        loss = cross_entropy(logits, saved["labels"])
        seen |= {"logits": logits, "loss": loss}
    except (NonFiniteError, torch.linalg.LinAlgError) as raised:  # type: ignore[attr-defined]
        error = raised
    for handle in handles:
        handle.remove()
    yield from seen.items()
    if error is not None or loss is None:
        yield "error", str(error)
        return
    features = seen["features"]
    parameters = dict(network.named_parameters())
    gradients = torch.autograd.grad(loss, [features, *parameters.values()], allow_unused=True)
    for name, gradient in zip(["features", *parameters], gradients, strict=True):
        if gradient is not None:
            yield f"gradient of {name}", gradient


def _table(stages: Iterator[tuple[str, Tensor | str]]) -> list[str]:
    rows = [("", "shape", "finite", "largest")]
    for name, value in stages:
        if isinstance(value, str):
            rows.append((name, value, "", ""))
            continue
        flat = value.detach().double().flatten()
        fine = flat[flat.isfinite()]
        share = "all" if len(fine) == len(flat) else f"{len(fine)} of {len(flat)}"
        rows.append((name, str(tuple(value.shape)), share, f"{fine.abs().max().item():.3g}" if len(fine) else ""))
    widths = [max(len(row[column]) for row in rows if row[2]) for column in range(3)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, (*widths, 0), strict=True)).rstrip() for row in rows]


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())
