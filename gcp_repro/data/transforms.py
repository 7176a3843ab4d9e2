"""What happens to an image before the network sees it: one table, as the paper says it and as its code does it.

Transforms take and give uint8 tensors; bytes become normalised floats on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from gcp_repro.data.loading import Transform
from gcp_repro.errors import OptionError, UnknownNameError

__all__ = ["EVALUATION_VIEWS", "RECIPES", "Recipe", "build_eval_transform", "build_train_transform", "find_recipe"]


@dataclass(frozen=True)
class Recipe:
    """How the images of a data set are resized and cropped; sizes in pixels.

    Args:
        crop: Side of the square that the network sees.
        resize: Size before cropping: `(height, width)`, or the shorter side alone.
        train: "random_resized" crops a random part of 8 to 100 % of the area and resizes it (`resize` is not
            used), "random" crops at a random place after resizing, "center" in the middle.
        flip: Mirror half of the training images.
    """

    crop: int
    resize: int | tuple[int, int]
    train: Literal["random_resized", "random", "center"]
    flip: bool = True

    @property
    def longest_side(self) -> int:
        """Pixels that a decoded image needs on its shorter side so that resizing never enlarges it."""
        return self.resize if isinstance(self.resize, int) else max(self.resize)

    def scaled(self, crop: int) -> Recipe:
        """The same recipe for another input size, all sizes in proportion.

        Example:
            >>> Recipe(224, 256, "random_resized").scaled(112).resize
            128
        """
        if crop < 1:
            raise OptionError(f"data.image_size needs at least 1 pixel; got {crop}: choose a positive size")

        def scale(side: int) -> int:
            return max(crop, round(side * crop / self.crop))

        resize = scale(self.resize) if isinstance(self.resize, int) else (scale(self.resize[0]), scale(self.resize[1]))
        return replace(self, crop=crop, resize=resize)


_IMAGENET_PAPER = Recipe(224, (256, 256), "random")
_IMAGENET_REFERENCE = Recipe(224, 256, "random_resized")
_FGVC_PAPER = Recipe(448, (448, 448), "center", flip=False)

RECIPES: dict[str, dict[str, Recipe]] = {
    "paper": {
        "imagenet": _IMAGENET_PAPER,
        "tiny_imagenet": _IMAGENET_PAPER.scaled(64),
        "imagenette": _IMAGENET_PAPER,
        "birds": _FGVC_PAPER,
        "dogs": _FGVC_PAPER,
        "cars": _FGVC_PAPER,
        "aircraft": _FGVC_PAPER,
        "image_folder": _IMAGENET_PAPER,
    },
    "reference": {
        "imagenet": _IMAGENET_REFERENCE,
        "tiny_imagenet": _IMAGENET_REFERENCE.scaled(64),
        "imagenette": _IMAGENET_REFERENCE,
        "birds": Recipe(448, 448, "center"),
        "dogs": Recipe(448, (512, 512), "center"),
        "cars": Recipe(448, (448, 448), "center"),
        "aircraft": Recipe(448, (512, 512), "center"),
        "image_folder": _IMAGENET_REFERENCE,
    },
}
"""Recipes by source, then by data set: "paper" is its appendix D, "reference" what its code does."""


def find_recipe(source: str, dataset: str, image_size: int | None = None) -> Recipe:
    """A row of `RECIPES`, scaled to `image_size` where one is given.

    Raises:
        UnknownNameError: No such source or data set.
    """
    if source not in RECIPES:
        raise UnknownNameError("transform", source, RECIPES)
    if dataset not in RECIPES[source]:
        raise UnknownNameError(f"{source} transform for data set", dataset, RECIPES[source])
    recipe = RECIPES[source][dataset]
    return recipe if image_size is None else recipe.scaled(image_size)


def build_train_transform(recipe: Recipe) -> Transform:
    """Maps `(C, H, W)` to `(C, crop, crop)`, uint8; draws from torch's global generator alone."""
    crops: dict[str, list[v2.Transform]] = {
        "random_resized": [_RandomResizedCrop(recipe.crop, antialias=True)],
        "random": [_resize(recipe), v2.RandomCrop(recipe.crop)],
        "center": [_resize(recipe), v2.CenterCrop(recipe.crop)],
    }
    flip = [v2.RandomHorizontalFlip()] if recipe.flip else []
    transform: Transform = v2.Compose(crops[recipe.train] + flip)
    return transform


def build_eval_transform(recipe: Recipe, views: str = "center") -> Transform:
    """Maps `(C, H, W)` to the views that are scored, uint8.

    Args:
        recipe: Sizes.
        views: "center" gives `(C, crop, crop)`; "flip" `(2, C, crop, crop)`, the centre and its mirror image; "ten"
            `(10, C, crop, crop)`, four corners and centre with their mirror images. Logits are averaged over views.

    Raises:
        UnknownNameError: Other views.
        OptionError: Ten crops of an image that is no larger than one.
    """
    if views not in EVALUATION_VIEWS:
        raise UnknownNameError("evaluation view", views, EVALUATION_VIEWS)
    if views == "ten" and recipe.resize == (recipe.crop, recipe.crop):
        raise OptionError(
            f"ten-crop evaluation needs images larger than the crop; this transform resizes to {recipe.crop}x{recipe.crop} "
            f"and crops {recipe.crop}: use data.eval_views=flip, or data.transform=reference where that resizes to more"
        )
    transform: Transform = v2.Compose([_resize(recipe), partial(EVALUATION_VIEWS[views], recipe.crop)])
    return transform


class _RandomResizedCrop(v2.RandomResizedCrop):  # type: ignore[misc]
    """The same draws and pixels; the crop is put in order before it is resized, which torch does faster by a third."""

    def transform(self, inpt: Tensor, params: dict[str, int]) -> Tensor:
        part = F.crop(inpt, **params)[None].contiguous(memory_format=torch.channels_last)[0]
        resized: Tensor = F.resize(part, self.size, antialias=self.antialias)
        return resized


def _resize(recipe: Recipe) -> v2.Transform:
    return v2.Resize(recipe.resize if isinstance(recipe.resize, int) else list(recipe.resize), antialias=True)


def _center(crop: int, image: Tensor) -> Tensor:
    view: Tensor = F.center_crop(image, [crop, crop])
    return view


def _center_and_mirrored(crop: int, image: Tensor) -> Tensor:
    view = _center(crop, image)
    return torch.stack([view, F.horizontal_flip(view)])


def _ten(crop: int, image: Tensor) -> Tensor:
    return torch.stack(list(F.ten_crop(image, [crop, crop])))


EVALUATION_VIEWS: dict[str, Callable[[int, Tensor], Tensor]] = {
    "center": _center,
    "flip": _center_and_mirrored,
    "ten": _ten,
}
