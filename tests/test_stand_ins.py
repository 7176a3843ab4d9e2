"""What lies in a file's place is named as what it is, wherever the file would be read."""

import gzip

import numpy as np
import pytest
import torch

from gcp_repro.data.array_files import read_idx
from gcp_repro.data.arrays import ArrayDataModule
from gcp_repro.data.encoded_images import EncodedImages
from gcp_repro.data.layouts.files import read_lines, read_mat
from gcp_repro.data.layouts.imagenet import read_validation_wnids
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.reader import UnreadableImageError
from gcp_repro.data.subset import class_names
from gcp_repro.data.tar_storage import index_tar
from gcp_repro.data.tiny import write_tiny
from gcp_repro.errors import DataError, GCPError
from gcp_repro.stand_ins import stand_in_at
from gcp_repro.weight_files import read_weights

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * b"7" + b"\nsize 12345\n"
PAGE = b"\r\n<!DOCTYPE html><html><head><title>Log in</title></head></html>"
REFUSAL = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'
WORDS = {
    LFS: "a pointer of Git LFS: run `git lfs pull`",
    PAGE: "a web page: what sent it wanted a login",
    REFUSAL: "the refusal of a bucket: the address is wrong",
}
PARTIAL = OpenOptions(allow_partial=True)


@pytest.mark.parametrize("content", [LFS, PAGE, REFUSAL], ids=["lfs", "page", "refusal"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("train.txt", read_lines),
        ("list.mat", lambda path: read_mat(path, "labels")),
        ("train.tar", index_tar),
        ("train-images-idx3-ubyte", read_idx),
        ("weights.pth", read_weights),
        ("weights.safetensors", read_weights),
        ("meta.bin", lambda path: read_validation_wnids([path.parent])),
        ("ILSVRC2012_devkit_t12.tar.gz", lambda path: read_validation_wnids([path.parent])),
        ("names.txt", lambda path: class_names(str(path))),
    ],
)
def test_small_files_and_archives(tmp_path, name, read, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(GCPError) as error:
        read(path)
    assert WORDS[content] in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("content", [LFS, PAGE], ids=["lfs", "page"])
@pytest.mark.parametrize(("name", "file"), [("imagenet_parquet", "data/train-00000-of-00001.parquet"), ("birds", "images.txt")])
def test_files_of_data_sets(tmp_path, name, file, content):
    root = write_tiny(name, tmp_path / "x")
    (root / file).write_bytes(content)
    with pytest.raises(DataError, match=f"{file} is needed; in its place is {WORDS[content]}"):
        open_image_set(name.partition("_")[0], root, options=PARTIAL)


def test_a_batch_of_arrays(tmp_path):
    root = write_tiny("cifar10", tmp_path / "x")
    path = next(root.rglob("data_batch_1"))
    path.write_bytes(LFS)
    with pytest.raises(DataError, match="data_batch_1 is needed; in its place is a pointer of Git LFS"):
        ArrayDataModule("cifar10", str(root), allow_partial=True).setup("fit")


@pytest.mark.parametrize("content", [LFS, PAGE], ids=["lfs", "page"])
def test_images(tmp_path, content):
    root = write_tiny("image_folder", tmp_path / "x")
    (root / "train" / "class_0" / "0000.jpg").write_bytes(content)
    image_set = open_image_set("image_folder", root)
    with pytest.raises(UnreadableImageError, match=rf"train/class_0/0000\.jpg is none \({WORDS[content]}"):
        EncodedImages(image_set.train, image_set.storage)[0]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("../../.git/annex/objects/Mq/02/KEY/KEY", r"a link to \.\./.*/KEY, which is not there: run `git annex get`"),
        ("/nowhere/0.jpg", r"a link to /nowhere/0\.jpg, which is not there\)"),
        (None, r"a folder: put the file there"),
    ],
)
@pytest.mark.parametrize("name", ["image_folder", "birds"])
def test_links_to_nothing_and_folders(tmp_path, name, target, words):
    root = write_tiny(name, tmp_path / "x")
    path = sorted((root / ("train" if name == "image_folder" else "images")).rglob("*.jpg"))[0]
    path.unlink()
    path.mkdir() if target is None else path.symlink_to(target)
    with pytest.raises(DataError, match=rf"lacks 1 of its 18 images: {path.relative_to(root)} \({words}"):
        open_image_set(name, root)
    assert len(open_image_set(name, root, options=PARTIAL).train) == 11


def test_files_themselves_are_none(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(b"x"))
    (tmp_path / "b").touch()
    np.save(tmp_path / "c.npy", np.zeros(3))
    torch.save({}, tmp_path / "d")
    assert {stand_in_at(path) for path in tmp_path.iterdir()} == {""}
    assert stand_in_at(tmp_path / "none") == ""
