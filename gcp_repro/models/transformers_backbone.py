"""Backbones out of transformers; that package is imported where one of its models is made anew, and nowhere else."""

from __future__ import annotations

from typing import Any

from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.models.cutting import CutNetwork

__all__ = ["TransformersBackbone", "is_transformers_model"]


class TransformersBackbone(CutNetwork):
    """An image classifier of transformers up to its features: the `last_hidden_state` of its base model.

    Args:
        network: A model for image classification, as `AutoModelForImageClassification` gives it; its base model is taken over,
            see `CutNetwork`.
        image_size: Side of images that it takes; None reads it from the model's configuration.

    Raises:
        OptionError: The model has no base model that takes images.
    """

    def __init__(self, network: nn.Module, image_size: int | None = None) -> None:
        if not is_transformers_model(network):
            raise OptionError(
                f"a network must be a model of transformers; got {type(network).__name__}: make it with "
                "AutoModelForImageClassification"
            )
        config: Any = network.config
        vision = getattr(config, "vision_config", config)
        size = image_size or getattr(vision, "image_size", None) or 224
        height, width = size if isinstance(size, (tuple, list)) else (size, size)
        recipes = [{"library": "transformers", "name": type(network).__name__, "config": config.to_dict()}]
        super().__init__(
            _base_model(network),
            name=config.model_type,
            input_size=(getattr(vision, "num_channels", 3), height, width),
            recipes=recipes,
        )

    @classmethod
    def from_recipe(cls, name: str, config: dict[str, Any]) -> TransformersBackbone:
        """A randomly initialised backbone.

        Args:
            name: Class of the classifier.
            config: Its configuration, as `to_dict` gives it.

        Raises:
            OptionError: transformers has no such model, or is not installed.
        """
        try:
            import transformers
        except ImportError as error:
            raise OptionError(
                f'the backbone {name} needs the package transformers: pip install "gcp_repro[transformers]"'
            ) from error
        network = getattr(transformers, name, None)
        if not (isinstance(network, type) and issubclass(network, transformers.PreTrainedModel)):
            raise OptionError(f"a backbone of transformers needs the class of a model; got {name!r}: correct its name")
        options = dict(config)
        return cls(network(transformers.AutoConfig.for_model(options.pop("model_type"), **options)))

    def features(self, images: Any) -> Any:
        output = self.network(images)
        return output[0] if isinstance(output, tuple) else output.last_hidden_state


def is_transformers_model(network: nn.Module) -> bool:
    """Whether a network is a `transformers.PreTrainedModel`, found out without importing that package."""
    return any(
        kind.__module__.startswith("transformers.") and kind.__name__ == "PreTrainedModel" for kind in type(network).__mro__
    )


def _base_model(network: nn.Module) -> nn.Module:
    base: nn.Module = network.base_model  # type: ignore[assignment]
    base = getattr(network, "vision_model", base) if base is network else base
    if base is network:
        raise OptionError(
            f"a model of transformers needs a base model that takes images; {type(network).__name__} has none: choose another, "
            "or write a backbone of your own"
        )
    return base
