import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as v1

from gcp_repro.data.catalog import CATALOG
from gcp_repro.data.transforms import RECIPES, Recipe, build_eval_transform, build_train_transform, find_recipe
from gcp_repro.errors import OptionError, UnknownNameError


def ramp(height: int, width: int) -> torch.Tensor:
    """Level = 10 * row + column in all channels, wherever that stays below 256."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return (10 * rows + columns).to(torch.uint8).expand(3, -1, -1)


def photograph() -> np.ndarray:
    levels = np.random.default_rng(0).integers(0, 256, size=(60, 90, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(levels).resize((450, 300)))


def test_every_data_set_of_the_catalogue_has_both_recipes():
    assert RECIPES.keys() == {"paper", "reference"}
    for recipes in RECIPES.values():
        assert recipes.keys() == CATALOG.keys()


def test_the_table_says_what_paper_and_code_say():
    assert RECIPES["paper"]["imagenet"] == Recipe(224, (256, 256), "random", flip=True)
    assert RECIPES["reference"]["imagenet"] == Recipe(224, 256, "random_resized", flip=True)
    assert {name: recipe.resize for name, recipe in RECIPES["reference"].items() if recipe.crop == 448} == {
        "birds": 448,
        "dogs": (512, 512),
        "aircraft": (512, 512),
        "cars": (448, 448),
    }
    assert all(recipe.resize == (448, 448) for recipe in RECIPES["paper"].values() if recipe.crop == 448)


def test_center_crop_pixels():
    transform = build_eval_transform(Recipe(2, (6, 8), "random"))
    assert transform(ramp(6, 8))[0].tolist() == [[23, 24], [33, 34]]


def test_flip_and_ten_crop_pixels():
    recipe = Recipe(2, (4, 6), "random")
    flip = build_eval_transform(recipe, "flip")(ramp(4, 6))
    assert flip[:, 0].tolist() == [[[12, 13], [22, 23]], [[13, 12], [23, 22]]]
    ten = build_eval_transform(recipe, "ten")(ramp(4, 6))
    assert ten.shape == (10, 3, 2, 2)
    assert ten[:, 0, 0, 0].tolist() == [0, 4, 20, 24, 12, 5, 1, 25, 21, 13]  # corners, centre, and the same of the mirror image


def test_shorter_side_or_both():
    assert build_eval_transform(Recipe(10, 20, "random"))(ramp(40, 80)).shape == (3, 10, 10)
    # a resize to half averages 10 * row + column over blocks: the centre of a 2x2 crop of a 2x4 image
    halved = build_eval_transform(Recipe(2, 2, "random"))(ramp(4, 8))
    assert halved[0, 0].tolist() == build_eval_transform(Recipe(2, (2, 4), "random"))(ramp(4, 8))[0, 0].tolist()


@pytest.mark.parametrize("recipe", [RECIPES["paper"]["imagenet"], RECIPES["reference"]["imagenet"], RECIPES["reference"]["dogs"]])
def test_pixels_and_random_draws_are_those_of_torchvisions_first_transforms_to_one_level(recipe):
    crop = {
        "random_resized": [v1.RandomResizedCrop(recipe.crop)],
        "random": [v1.Resize(recipe.resize), v1.RandomCrop(recipe.crop)],
        "center": [v1.Resize(recipe.resize), v1.CenterCrop(recipe.crop)],
    }[recipe.train]
    theirs = v1.Compose([*crop, v1.RandomHorizontalFlip(), v1.PILToTensor()])
    ours = build_train_transform(recipe)
    levels = photograph()
    for seed in range(4):
        torch.manual_seed(seed)
        expected = theirs(Image.fromarray(levels)).int()
        torch.manual_seed(seed)
        actual = ours(torch.from_numpy(levels.copy()).permute(2, 0, 1)).int()
        assert actual.shape == expected.shape
        assert (actual - expected).abs().max() <= 1


def test_training_without_flip_repeats():
    transform = build_train_transform(RECIPES["paper"]["cars"])
    image = torch.from_numpy(photograph().copy()).permute(2, 0, 1)
    assert torch.equal(transform(image), transform(image))


def test_scaled_keeps_proportions():
    recipe = find_recipe("paper", "imagenet", image_size=112)
    assert (recipe.crop, recipe.resize) == (112, (128, 128))
    assert build_train_transform(recipe)(ramp(20, 20)).shape == (3, 112, 112)


def test_wrong_names_and_sizes():
    with pytest.raises(UnknownNameError, match="no transform 'papper'; nearest: 'paper'"):
        find_recipe("papper", "birds")
    with pytest.raises(UnknownNameError, match="no paper transform for data set 'bird'"):
        find_recipe("paper", "bird")
    with pytest.raises(UnknownNameError, match=r"no evaluation view 'five'.*known: center, flip, ten"):
        build_eval_transform(RECIPES["paper"]["birds"], "five")
    with pytest.raises(OptionError, match="ten-crop evaluation needs images larger than the crop"):
        build_eval_transform(RECIPES["paper"]["birds"], "ten")
    with pytest.raises(OptionError, match=r"data\.image_size needs at least 1 pixel"):
        find_recipe("paper", "birds", image_size=0)
