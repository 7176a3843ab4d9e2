"""Writers of tiny data sets with the folders, names and file formats of the published ones.

The pictures are noise tinted by class, so a network can learn them. `Tiny` says how many; the same arguments give the same bytes.
"""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.io import savemat

from gcp_repro.data.layouts.extras import import_extra

__all__ = ["WNIDS", "Tiny", "jpeg_bytes", "save_annotations"]

WNIDS = (
    "n01440764", "n01443537", "n01484850", "n01491361", "n01494475", "n01496331", "n01498041",
    "n01514668", "n01514859", "n01518878", "n01530575", "n01531178", "n01532829", "n01534433",
    "n01537544", "n01558993", "n01560419", "n01580077", "n01582220", "n01592084",
)  # fmt: skip
DOG_BREEDS = ("n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02085936-Maltese_dog", "n02086079-Pekinese")
BIRDS = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross", "004.Groove_billed_Ani")
CARS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012", "Acura TL Type-S 2008")
VARIANTS = ("707-320", "727-200", "737-200", "737-300")
CAR_FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


@dataclass(frozen=True)
class Tiny:
    """How large a tiny data set is.

    Args:
        classes: 1 to 4, of the forms of ImageNet 1 to 20.
        train: Training images a class.
        val: Evaluation images a class.
        size: Width and height of the pictures in pixels.
    """

    classes: int = 3
    train: int = 4
    val: int = 2
    size: tuple[int, int] = (64, 48)

    def images(self, split: str) -> Iterator[tuple[int, int, bytes]]:
        """(label, number within its class, JPEG file) of a split, class by class."""
        count, offset = (self.train, 0) if split == "train" else (self.val, self.train)
        for label in range(self.classes):
            for number in range(offset, offset + count):
                yield label, number, jpeg_bytes(label, number, self.size)


def jpeg_bytes(label: int, number: int, size: tuple[int, int]) -> bytes:
    """A JPEG file of noise around the colour of a class."""
    file = io.BytesIO()
    Image.fromarray(_levels(label, number, (size[1], size[0], 3))).save(file, "JPEG", quality=90)
    return file.getvalue()


def _levels(label: int, number: int, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng((label, number))
    tint = np.random.default_rng(label).integers(40, 160, size=shape[-1])
    levels: np.ndarray = (tint + generator.integers(0, 90, size=shape)).astype(np.uint8)
    return levels


def _write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def write_image_folder(root: Path, tiny: Tiny) -> None:
    """`train/<class>/` and `val/<class>/`."""
    for split in ("train", "val"):
        for label, number, data in tiny.images(split):
            _write(root / split / f"class_{label}" / f"{number:04d}.jpg", data)


def write_imagenet(root: Path, tiny: Tiny) -> None:
    """Class folders in both splits."""
    _write_imagenet_train(root, tiny)
    for number, (label, _, data) in enumerate(tiny.images("val"), start=1):
        _write(root / "val" / WNIDS[label] / f"ILSVRC2012_val_{number:08d}.JPEG", data)


def write_tiny_imagenet(root: Path, tiny: Tiny) -> None:
    """Tiny-ImageNet: boxes beside the training images, a list of the validation images, and test images without labels."""
    boxes: dict[str, list[str]] = {}
    for label, number, data in tiny.images("train"):
        name = f"{WNIDS[label]}_{number}.JPEG"
        _write(root / "train" / WNIDS[label] / "images" / name, data)
        boxes.setdefault(WNIDS[label], []).append(f"{name}\t0\t0\t{tiny.size[0] - 1}\t{tiny.size[1] - 1}")
    for wnid, lines in boxes.items():
        _write(root / "train" / wnid / f"{wnid}_boxes.txt", "\n".join(lines) + "\n")
    lines = []
    for number, (label, _, data) in enumerate(tiny.images("val")):
        for split, name in (("val", f"val_{number}.JPEG"), ("test", f"test_{number}.JPEG")):
            _write(root / split / "images" / name, data)
        lines.append(f"val_{number}.JPEG\t{WNIDS[label]}\t0\t0\t{tiny.size[0] - 1}\t{tiny.size[1] - 1}")
    _write(root / "val" / "val_annotations.txt", "\n".join(lines) + "\n")
    _write(root / "wnids.txt", "\n".join(WNIDS[: tiny.classes]) + "\n")


def write_imagenet_flat(root: Path, tiny: Tiny) -> None:
    """A flat `val/` with the devkit."""
    _write_imagenet_train(root, tiny)
    _write_devkit(root / "ILSVRC2012_devkit_t12", tiny)
    for number, (_, _, data) in enumerate(tiny.images("val"), start=1):
        _write(root / "val" / f"ILSVRC2012_val_{number:08d}.JPEG", data)


def write_imagenet_tars(root: Path, tiny: Tiny) -> None:
    """The three archives as downloaded."""
    classes: dict[str, dict[str, bytes]] = {}
    for label, number, data in tiny.images("train"):
        classes.setdefault(WNIDS[label], {})[f"{WNIDS[label]}_{number}.JPEG"] = data
    inner = {f"{wnid}.tar": _tar(files) for wnid, files in classes.items()}
    _write(root / "ILSVRC2012_img_train.tar", _tar(inner))
    val = {f"ILSVRC2012_val_{n:08d}.JPEG": data for n, (_, _, data) in enumerate(tiny.images("val"), start=1)}
    _write(root / "ILSVRC2012_img_val.tar", _tar(val))
    name = "ILSVRC2012_devkit_t12"
    _write_devkit(root / name, tiny)
    with tarfile.open(root / f"{name}.tar.gz", "w:gz") as archive:
        archive.add(root / name, name)
    for path in sorted((root / name).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / name).rmdir()


def write_imagenet_parquet(root: Path, tiny: Tiny) -> None:
    """The files of `ILSVRC/imagenet-1k` on the Hugging Face hub; needs the extra `datasets`."""
    datasets = import_extra("datasets", "parquet files")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(WNIDS[: tiny.classes]))})
    (root / "data").mkdir(parents=True, exist_ok=True)
    for split, name in (("train", "train"), ("val", "validation")):
        rows = [(label, {"bytes": data, "path": f"{number}.JPEG"}) for label, number, data in tiny.images(split)]
        table = {"image": [image for _, image in rows], "label": [label for label, _ in rows]}
        with (root / "data" / f"{name}-00000-of-00001.parquet").open("wb") as file:  # the library takes names for patterns
            datasets.Dataset.from_dict(table, features=features).to_parquet(file)


def write_imagenet_webdataset(root: Path, tiny: Tiny) -> None:
    """Two shards a split with `.jpg` and `.cls`, as `timm/imagenet-1k-wds`."""
    for split, name in (("train", "train"), ("val", "validation")):
        samples = list(tiny.images(split))
        for shard in range(2):
            files: dict[str, bytes] = {}
            for label, number, data in samples[shard::2]:
                key = f"{WNIDS[label]}_{number}"
                files |= {f"{key}.cls": str(label).encode(), f"{key}.jpg": data}
            _write(root / f"imagenet1k-{name}-{shard:04d}.tar", _tar(files))


def _write_imagenet_train(root: Path, tiny: Tiny) -> None:
    for label, number, data in tiny.images("train"):
        _write(root / "train" / WNIDS[label] / f"{WNIDS[label]}_{number}.JPEG", data)


def _write_devkit(folder: Path, tiny: Tiny) -> None:
    """Synset numbers run against the order of the wnids, as in the real devkit they do not follow it."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    wnids = WNIDS[: tiny.classes]
    rows = [(number, wnid) for number, wnid in enumerate(reversed(wnids), start=1)]
    savemat(folder / "data" / "meta.mat", {"synsets": _structs(("ILSVRC2012_ID", "WNID"), rows)})
    numbers = {wnid: number for number, wnid in rows}
    lines = [str(numbers[wnids[label]]) for label, _, _ in tiny.images("val")]
    _write(folder / "data" / "ILSVRC2012_validation_ground_truth.txt", "\n".join(lines) + "\n")


def write_birds(root: Path, tiny: Tiny) -> None:
    """CUB-200-2011."""
    tables: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": []}
    number = 0
    for split in ("train", "val"):
        for label, index, data in tiny.images(split):
            number += 1
            name = f"{BIRDS[label]}/{BIRDS[label][4:]}_{index:04d}_{number}.jpg"
            _write(root / "images" / name, data)
            for table, value in zip(tables.values(), (name, label + 1, int(split == "train")), strict=True):
                table.append(f"{number} {value}")
    tables["classes"] = [f"{label + 1} {name}" for label, name in enumerate(BIRDS[: tiny.classes])]
    for name, lines in tables.items():
        _write(root / f"{name}.txt", "\n".join(lines) + "\n")


def write_dogs(root: Path, tiny: Tiny) -> None:
    """Stanford Dogs."""
    for split, name in (("train", "train"), ("val", "test")):
        files, labels = [], []
        for label, number, data in tiny.images(split):
            files.append(f"{DOG_BREEDS[label]}/{DOG_BREEDS[label].partition('-')[0]}_{number}.jpg")
            labels.append(label + 1)
            _write(root / "Images" / files[-1], data)
        (root / "lists").mkdir(exist_ok=True)
        content = {"file_list": _cells(files)[:, None], "labels": np.array(labels, dtype=np.uint8)[:, None]}
        savemat(root / "lists" / f"{name}_list.mat", content)


def write_cars(root: Path, tiny: Tiny) -> None:
    """Stanford Cars with devkit."""
    devkit = root / "devkit"
    devkit.mkdir(parents=True, exist_ok=True)
    for split, folder in (("train", "cars_train"), ("val", "cars_test")):
        rows = []
        for number, (label, _, data) in enumerate(tiny.images(split), start=1):
            _write(root / folder / f"{number:05d}.jpg", data)
            rows.append((*_box(tiny), label + 1, f"{number:05d}.jpg"))
        fields = (*CAR_FIELDS, "class", "fname")
        if split == "train":
            save_annotations(devkit / "cars_train_annos.mat", fields, rows)
        else:
            save_annotations(root / "cars_test_annos_withlabels.mat", fields, rows)
            save_annotations(devkit / "cars_test_annos.mat", (*CAR_FIELDS, "fname"), [(*row[:4], row[5]) for row in rows])
    savemat(devkit / "cars_meta.mat", {"class_names": _cells(CARS[: tiny.classes])[None]})


def write_car_ims(root: Path, tiny: Tiny) -> None:
    """Stanford Cars as `car_ims/` with `cars_annos.mat`."""
    rows: list[tuple[Any, ...]] = []
    for split in ("train", "val"):
        for label, _, data in tiny.images(split):
            name = f"car_ims/{len(rows) + 1:06d}.jpg"
            _write(root / name, data)
            rows.append((name, *_box(tiny), label + 1, int(split == "val")))
    fields = ("relative_im_path", *CAR_FIELDS, "class", "test")
    save_annotations(root / "cars_annos.mat", fields, rows, class_names=_cells(CARS[: tiny.classes])[None])


def write_aircraft(root: Path, tiny: Tiny) -> None:
    """FGVC-Aircraft 2013b."""
    number = 1_000_000
    for split, name in (("train", "trainval"), ("val", "test")):
        lines = []
        for label, _, data in tiny.images(split):
            number += 1
            _write(root / "data" / "images" / f"{number}.jpg", data)
            lines.append(f"{number} {VARIANTS[label]}")
        _write(root / "data" / f"images_variant_{name}.txt", "\n".join(lines) + "\n")
    _write(root / "data" / "variants.txt", "\n".join(VARIANTS[: tiny.classes]) + "\n")


def write_fashion_mnist(root: Path, tiny: Tiny) -> None:
    """Gzipped IDX files."""
    for split, name in (("train", "train"), ("val", "t10k")):
        samples = list(tiny.images(split))
        images = np.stack([_levels(label, number, (28, 28, 1))[..., 0] for label, number, _ in samples])
        header = struct.pack(">IIII", 0x803, len(samples), 28, 28)
        _write(root / f"{name}-images-idx3-ubyte.gz", gzip.compress(header + images.tobytes(), mtime=0))
        labels = struct.pack(">II", 0x801, len(samples)) + bytes(label for label, _, _ in samples)
        _write(root / f"{name}-labels-idx1-ubyte.gz", gzip.compress(labels, mtime=0))


def write_cifar10(root: Path, tiny: Tiny) -> None:
    """`cifar-10-batches-py` with five training batches."""
    train = _cifar_rows(tiny, "train")
    for batch in range(5):
        _write_pickle(root / f"data_batch_{batch + 1}", {b"data": train[0][batch::5], b"labels": train[1][batch::5]})
    data, labels = _cifar_rows(tiny, "val")
    _write_pickle(root / "test_batch", {b"data": data, b"labels": labels})
    _write_pickle(root / "batches.meta", {b"label_names": [f"class_{label}".encode() for label in range(tiny.classes)]})


def write_cifar100(root: Path, tiny: Tiny) -> None:
    """`cifar-100-python`."""
    for split, name in (("train", "train"), ("val", "test")):
        data, labels = _cifar_rows(tiny, split)
        _write_pickle(root / name, {b"data": data, b"fine_labels": labels, b"coarse_labels": [0] * len(labels)})
    _write_pickle(root / "meta", {b"fine_label_names": [f"class_{label}".encode() for label in range(tiny.classes)]})


def _cifar_rows(tiny: Tiny, split: str) -> tuple[np.ndarray, list[int]]:
    samples = [(label, number) for label, number, _ in tiny.images(split)]
    rows = [_levels(label, number, (32, 32, 3)).transpose(2, 0, 1).reshape(-1) for label, number in samples]
    return np.stack(rows), [label for label, _ in samples]


def _write_pickle(path: Path, content: dict[bytes, Any]) -> None:
    _write(path, pickle.dumps(content, protocol=2))


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _cells(texts: Any) -> np.ndarray:
    cells = np.empty(len(texts), dtype=object)
    cells[:] = list(texts)
    return cells


def _structs(fields: tuple[str, ...], rows: list[tuple[Any, ...]]) -> np.ndarray:
    array = np.empty(len(rows), dtype=[(field, object) for field in fields])
    array[:] = rows
    return array


def save_annotations(path: Path, fields: tuple[str, ...], rows: list[tuple[Any, ...]], **more: Any) -> None:
    """Write the struct array `annotations` of the cars' files."""
    savemat(path, {"annotations": _structs(fields, rows)[None], **more})


def _box(tiny: Tiny) -> tuple[int, int, int, int]:
    return 1, 1, tiny.size[0] - 1, tiny.size[1] - 1
