"""Effective beta-smoothness of the loss, with respect to the meta-layer's input or to all parameters.

On one mini-batch, with g the gradient at the point: the largest `||g(x - eta g) - g(x)|| / ||eta g||` over a range of step sizes
eta around the learning rate.

Source:
    Santurkar, Tsipras, Ilyas, Madry: How does batch normalization help optimization?, NeurIPS 2018, section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector

from gcp_repro.errors import OptionError
from gcp_repro.training.diagnostics.diagnostic import MetaLayerDiagnostic, Sample, child

__all__ = ["BetaSmoothness", "ParameterSmoothness", "effective_smoothness"]


class BetaSmoothness(MetaLayerDiagnostic):
    """Effective beta-smoothness with respect to the meta-layer's input, as `beta_smoothness`.

    Layer and classifier are evaluated twice: at the input, and once for all steps from it.

    Args:
        every_n_steps: See `MetaLayerDiagnostic`.
        max_samples: See `MetaLayerDiagnostic`.
        step_factors: Step sizes eta in units of the current learning rate.

    Raises:
        OptionError: A step size that is not positive, or none.
    """

    label = "beta_smoothness"

    def __init__(
        self, every_n_steps: int = 50, max_samples: int = 2, step_factors: Sequence[float] = (0.5, 1.0, 2.0, 4.0)
    ) -> None:
        super().__init__(every_n_steps, max_samples)
        if not step_factors or min(step_factors) <= 0:
            raise OptionError(
                f"step_factors of {self.label} need positive numbers; got {list(step_factors)}: change "
                f"callbacks.{self.label}.step_factors"
            )
        self.step_factors = tuple(step_factors)

    def measure(self, network: nn.Module, sample: Sample, learning_rate: float) -> dict[str, float]:
        """See the class."""
        layer, classifier = child(network, "meta_layer"), child(network, "classifier")

        def gradients(points: Tensor) -> Tensor:
            """In evaluation mode images do not see each other, so one pass serves all points."""
            x = points.flatten(0, 1).requires_grad_()
            summed = cross_entropy(classifier(layer(x)), torch.cat([sample.labels] * len(points)), reduction="sum")
            return torch.autograd.grad(summed / len(sample.labels), x)[0].view_as(points)

        return self._value(gradients, sample.features, learning_rate)

    def _value(self, gradients: Callable[[Tensor], Tensor], point: Tensor, learning_rate: float) -> dict[str, float]:
        beta = effective_smoothness(gradients, point, [factor * learning_rate for factor in self.step_factors])
        return {} if beta is None else {self.label: beta}


class ParameterSmoothness(BetaSmoothness):
    """Effective beta-smoothness with respect to all parameters of the network, as `parameter_smoothness`.

    Needs a pass through the whole network for every step size, and memory for as many copies of its parameters; not among
    the default callbacks. Batch norm uses its running statistics.
    """

    label = "parameter_smoothness"

    def measure(self, network: nn.Module, sample: Sample, learning_rate: float) -> dict[str, float]:
        """See the class."""
        parameters = dict(network.named_parameters())
        sizes = [parameter.numel() for parameter in parameters.values()]

        def gradient(point: Tensor) -> Tensor:
            parts = [part.detach().requires_grad_() for part in torch.split(point, sizes)]
            values = {name: part.view_as(parameters[name]) for name, part in zip(parameters, parts, strict=True)}
            loss = cross_entropy(functional_call(network, values, (sample.images,)), sample.labels)
            return torch.cat(torch.autograd.grad(loss, parts))

        point = parameters_to_vector(parameters.values()).detach()
        return self._value(lambda points: torch.stack([gradient(p) for p in points]), point, learning_rate)


def effective_smoothness(gradients: Callable[[Tensor], Tensor], point: Tensor, steps: Sequence[float]) -> float | None:
    """Largest change of a gradient per distance moved against it: `||g(x - eta g) - g|| / ||eta g||` over `steps`.

    Args:
        gradients: Maps points `(S, *shape)` to their gradients, each that of the function at one point.
        point: x, of any shape; not changed.
        steps: The eta, positive.

    Returns:
        The maximum, or None where the gradient is zero, so that no distance is moved.
    """
    start = gradients(point.clone()[None])[0]
    length = torch.linalg.vector_norm(start)
    if length == 0:
        return None
    etas = torch.tensor(steps, dtype=point.dtype, device=point.device)
    moved = point - etas.view(-1, *[1] * point.ndim) * start
    changes = torch.linalg.vector_norm((gradients(moved) - start).flatten(1), dim=1)
    return float((changes / (etas * length)).max())
