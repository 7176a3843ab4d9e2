from types import SimpleNamespace

import pytest
import torch
from lightning_fabric.utilities import move_data_to_device
from PIL import Image

from gcp_repro.data.device_decoding import EncodedBatch, decode_batch
from gcp_repro.data.image_files import ImageFilesDataModule
from gcp_repro.data.reader import UnreadableImageError
from gcp_repro.data.tiny import Tiny, write_tiny
from gcp_repro.errors import OptionError, UnknownNameError


@pytest.fixture
def root(tmp_path):
    return write_tiny("image_folder", tmp_path / "x", Tiny(size=(48, 40)))


def batches(root, split, device="cpu", **options):
    module = ImageFilesDataModule("image_folder", str(root), image_size=32, batch_size=5, seed=3, **options)
    module.trainer = SimpleNamespace(
        training=split == "train", current_epoch=1, global_rank=0, world_size=1, accumulate_grad_batches=1
    )
    module.setup("fit")
    loader = module.train_dataloader() if split == "train" else module.val_dataloader()
    for images, labels in loader:
        yield module.on_after_batch_transfer((images, labels.to(device)), 0)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("workers", [0, 1])
def test_images_are_those_that_workers_decode(root, split, workers):
    Image.new("CMYK", (48, 40)).save(root / "train" / "class_0" / "0000.jpg")  # which a worker has to decode
    expected = list(batches(root, split))
    found = list(batches(root, split, decode_on="device", num_workers=workers))
    for (images, labels), (other_images, other_labels) in zip(found, expected, strict=True):
        torch.testing.assert_close(images, other_images, rtol=0, atol=0)
        assert torch.equal(labels, other_labels)
        assert images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_decodes_the_same_to_a_few_levels(root):
    for (images, _), (expected, _) in zip(batches(root, "val", "cuda", decode_on="device"), batches(root, "val"), strict=True):
        assert images.device.type == "cuda"
        assert (images.cpu() - expected).abs().mean() < 4 / 255 / 0.224


def test_lightning_leaves_encoded_images_where_they_are():
    """It moves every tensor that it finds in tuples, dictionaries and dataclasses; bytes are decoded from the CPU."""
    encoded, labels = move_data_to_device((EncodedBatch([torch.zeros(9)], [0]), torch.zeros(1)), torch.device("meta"))
    assert (encoded.images[0].device.type, labels.device.type) == ("cpu", "meta")


def test_a_file_that_is_no_jpeg_there(root):
    batch = EncodedBatch([torch.zeros(100, dtype=torch.uint8)], [0])
    with pytest.raises(UnreadableImageError, match=r"one of 1 is none there .*: set data\.decode_on=workers to learn its name"):
        decode_batch(batch, lambda image: image, torch.device("cpu"))


def test_what_a_device_cannot_do_is_refused(root):
    with pytest.raises(OptionError, match=r"needs data\.on_error=raise and data\.reduced_decode=false; got skip and False"):
        ImageFilesDataModule("image_folder", str(root), decode_on="device", on_error="skip")
    with pytest.raises(UnknownNameError, match=r"no place data\.decode_on 'gpu'; known: device, workers"):
        ImageFilesDataModule("image_folder", str(root), decode_on="gpu")
