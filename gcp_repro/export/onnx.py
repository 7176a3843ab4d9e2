"""Networks with a meta-layer as ONNX files."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from gcp_repro.errors import GCPError, OptionError
from gcp_repro.metalayers import MetaLayer

__all__ = ["to_onnx"]

LARGEST_DIFFERENCE = 1e-4  # of what two programs make of one network in float32, relative to the largest output


def to_onnx(model: nn.Module, path: str | Path, example: Tensor) -> Path:
    """Write a network in evaluation mode as an ONNX file for batches of any size.

    ONNX knows no eigendecomposition and none of this package's operators. Every meta-layer is replaced by the same function made
    of matrix products, where there is one: `gap`, `isqrt_cov`, `bcnn`, `cbp`, `improved_bcnn`, `mtp_lya`, and `spectral` with a
    forward function `newton_schulz` or `taylor_root`, whatever its gradient. `on_nonfinite="raise"` becomes NaN for the images in
    question. Where onnxruntime is installed, the file is run on the example and compared with the network.

    Args:
        model: A meta-layer, or a network with one, as a `GCPClassifier`. Left as it is.
        path: File to write.
        example: An input, `(B, ...)`; sizes other than the batch's become those of the file.

    Returns:
        The path.

    Raises:
        OptionError: A layer needs a decomposition, or the packages onnx and onnxscript are missing.
        GCPError: onnxruntime makes something else of the file than torch of the network.

    Example:
        >>> from gcp_repro.metalayers import build_meta_layer
        >>> to_onnx(build_meta_layer("svd_pade"), "layer.onnx", torch.rand(2, 8, 3, 3))
        Traceback (most recent call last):
        ...
        gcp_repro.errors.OptionError: an ONNX file needs layers made of matrix products; got svd_pade, ...
    """
    _require_packages()
    twin = copy.deepcopy(model).eval()
    batch = example if len(example) > 1 else example.expand(2, *example.shape[1:])  # a batch of 1 would be taken for a constant
    with torch.no_grad():
        twin, expected = _in_plain_torch(twin, batch)
        torch.onnx.export(
            twin.eval(), (batch,), path, dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), input_names=["images"],
            output_names=["output"], external_data=False, verbose=False,
        )  # fmt: skip
    _compare(Path(path), batch, expected)
    return Path(path)


def _require_packages() -> None:
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if missing:
        raise OptionError(
            f'an ONNX file needs the packages onnx and onnxscript; {missing[0]} is missing: pip install "gcp_repro[onnx]"'
        )


def _in_plain_torch(model: nn.Module, example: Tensor) -> tuple[nn.Module, Tensor]:
    """The model with each of its layers replaced, for the features that reach it, and what it gave before."""
    layers = {name: module for name, module in model.named_modules(remove_duplicate=False) if isinstance(module, MetaLayer)}
    reached: dict[MetaLayer, Tensor] = {}
    hooks = [
        layer.register_forward_pre_hook(lambda module, inputs: reached.update({module: inputs[0]}))  # type: ignore[misc]
        for layer in set(layers.values())
    ]
    output = model(example)
    for hook in hooks:
        hook.remove()
    plain = {layer: layer.in_plain_torch(features) for layer, features in reached.items()}
    for name, layer in layers.items():
        if layer in plain and name != "":
            model.set_submodule(name, plain[layer])
    return plain.get(model, model), output  # type: ignore[call-overload]


def _compare(path: Path, example: Tensor, expected: Tensor) -> None:
    """Refuse a file whose output differs from the network's."""
    if importlib.util.find_spec("onnxruntime") is None:
        return
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: example.cpu().numpy()})
    expected = expected.cpu()
    difference = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max().clamp(
        min=torch.finfo(expected.dtype).tiny
    )
    if not difference <= LARGEST_DIFFERENCE:
        raise GCPError(
            f"an ONNX file must give what the network gives; onnxruntime's output of {path} differs from torch's by "
            f"{difference:.2g} of the largest: do not use it, and report the layer with the versions of torch and onnxscript"
        )
