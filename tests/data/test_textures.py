import socket
import urllib.request

import numpy as np
import pytest
import torch

from gcp_repro.data import textures
from gcp_repro.data.textures import (
    BLOCK,
    MARGIN,
    MIN_PATCHES,
    MIN_STD,
    PATCH,
    PHOTOGRAPHS,
    TexturesDataModule,
    blocks,
    cut,
    patch_corners,
    read_photograph,
    windows,
)
from gcp_repro.errors import DataError, OptionError


@pytest.fixture(scope="module")
def photographs():
    return {file: read_photograph(file) for file in PHOTOGRAPHS}


@pytest.fixture(scope="module")
def sets():
    data = TexturesDataModule()
    return {split: data.make_dataset(split).tensors for split in ("train", "val")}


def covered(image, parts):
    """How often each pixel lies in a patch of these parts."""
    count = np.zeros(image.shape, dtype=int)
    for top, left in patch_corners(image, parts):
        count[top : top + PATCH, left : left + PATCH] += 1
    return count


def test_no_pixel_is_in_patches_of_two_parts(photographs):
    for file, image in photographs.items():
        masks = [covered(image, {part}) > 0 for part in ("train", "validation", "test")]
        assert all(mask.any() for mask in masks), file
        assert np.max(sum(mask.astype(int) for mask in masks)) == 1, file


@pytest.mark.parametrize(("height", "width"), [(64, 64), (143, 145), (512, 512), (427, 640)])
def test_blocks_lie_inside_and_apart(height, width):
    found = list(blocks(height, width))
    for index, (_, top, left) in enumerate(found):
        assert 0 <= top <= height - BLOCK
        assert 0 <= left <= width - BLOCK
        for _, other_top, other_left in found[:index]:
            assert max(abs(top - other_top), abs(left - other_left)) >= BLOCK + MARGIN


def test_pixels_of_training_and_test_are_sixteen_apart(photographs):
    """Neighbouring pixels are nearly the same: a test patch at the edge of a training patch would be half known."""
    image = photographs["skimage/data/brick.png"]
    test = patch_corners(image, {"test"})
    training = patch_corners(image, {"train", "validation"})
    corners = np.abs(test[:, None] - training).max(axis=2)
    assert corners.min() == 32 + 16  # a patch and the margin


def test_patches_lie_inside_their_blocks(photographs):
    for image in photographs.values():
        origins = np.array([(top, left) for part, top, left in blocks(*image.shape) if part == "test"])
        offsets = patch_corners(image, {"test"})[:, None] - origins
        inside = ((offsets >= 0) & (offsets <= BLOCK - PATCH)).all(axis=2)
        assert inside.sum(axis=1).tolist() == [1] * len(inside)


def test_every_photograph_has_enough_patches_that_are_not_flat(photographs):
    for file, image in photographs.items():
        for parts in ({"train", "validation"}, {"test"}):
            corners = patch_corners(image, parts)
            assert len(corners) >= MIN_PATCHES, file
            assert windows(image, corners).std(axis=(1, 2)).min() >= MIN_STD - 1e-6


@pytest.mark.parametrize("left_out", ["clock_motion.png", "microaneurysms.png"])
def test_photographs_left_out_have_too_few_patches(left_out):
    image = read_photograph(f"skimage/data/{left_out}")
    assert min(len(patch_corners(image, parts)) for parts in ({"train", "validation"}, {"test"})) < MIN_PATCHES


def test_patches_are_normalised_and_classes_equal(sets):
    for images, labels in sets.values():
        assert images.shape == (1900, 1, PATCH, PATCH)
        assert images.dtype == torch.float32
        assert labels.bincount().tolist() == [MIN_PATCHES] * len(PHOTOGRAPHS)
        torch.testing.assert_close(images.mean((1, 2, 3)), torch.zeros(1900), rtol=0, atol=1e-5)
        torch.testing.assert_close(images.std((1, 2, 3), correction=0), torch.ones(1900), rtol=0, atol=1e-5)


def test_no_patch_is_in_both_sets(sets):
    train, test = ({patch.numpy().tobytes() for patch in sets[split][0]} for split in ("train", "val"))
    assert not train & test


def test_brightness_and_contrast_carry_nothing(photographs):
    image = photographs["skimage/data/brick.png"]
    corners = patch_corners(image, {"test"})
    np.testing.assert_allclose(cut(0.2 + 0.5 * image, corners), cut(image, corners), atol=1e-4)


def test_mean_and_deviation_classify_at_chance(sets):
    """A nearest-neighbour classifier on the two numbers must not beat guessing, 5.3 %, by more than noise."""

    def statistics(images):
        return torch.stack([images.double().mean((1, 2, 3)), images.double().std((1, 2, 3))], dim=1) * 1e7

    nearest = torch.cdist(statistics(sets["val"][0]), statistics(sets["train"][0])).argmin(1)
    accuracy = (sets["train"][1][nearest] == sets["val"][1]).double().mean().item()
    assert accuracy < 0.1


def test_patches_are_chosen_by_the_split_seed_alone(sets):
    again = TexturesDataModule(seed=5, train_patches=MIN_PATCHES).make_dataset("train").tensors[0]
    other = TexturesDataModule(split_seed=1).make_dataset("train").tensors[0]
    assert torch.equal(again, sets["train"][0])
    assert not torch.equal(other, sets["train"][0])


def test_validation_reads_training_blocks_alone(monkeypatch, photographs):
    parts_read = set()

    def recording(image, parts):
        parts_read.update(parts)
        return patch_corners(image, parts)

    monkeypatch.setattr(textures, "patch_corners", recording)
    monkeypatch.setattr(textures, "read_photograph", photographs.__getitem__)
    TexturesDataModule(split="validation").setup("fit")
    assert parts_read == {"train", "validation"}


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network must not be used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    TexturesDataModule(train_patches=1, eval_patches=1).setup("fit")


def test_missing_photograph_is_explained():
    with pytest.raises(
        DataError, match=r"needs the photograph skimage/data/none.png, part of the wheel; .* reinstall scikit-image"
    ):
        read_photograph("skimage/data/none.png")


def test_wrong_options_are_refused():
    with pytest.raises(OptionError, match=r"1 to 100 patches a class, which each has; got eval_patches=101: change data.eval"):
        TexturesDataModule(eval_patches=101)
    with pytest.raises(OptionError, match=r"'test' or 'validation'; got split='train': change data.split"):
        TexturesDataModule(split="train")
