"""Shards as the libraries themselves write them; the label of a sample is its number, so that it names the sample."""

import shutil
from pathlib import Path

import pyarrow as pa
import webdataset
from pyarrow import parquet

from gcp_repro.data.streams import StreamDataModule
from gcp_repro.data.tiny.writers import jpeg_bytes

SIZES = (5, 1, 9, 7)  # samples a shard
SUFFIXES = {"webdataset": "tar", "parquet": "parquet"}


def write_shards(folder: Path, format: str, sizes=SIZES, first: int = 0) -> list[str]:
    folder.mkdir(parents=True)
    urls = []
    for number, size in enumerate(sizes):
        urls.append(str(folder / f"{number:03d}.{SUFFIXES[format]}"))
        rows = [(label, jpeg_bytes(label, 0, (24, 20))) for label in range(first, first + size)]
        first += size
        WRITERS[format](urls[-1], rows)
    return urls


def write_tar(path, rows):
    with webdataset.TarWriter(path) as writer:
        for label, data in rows:
            writer.write({"__key__": f"{label:04d}", "jpg": data, "cls": label})


def write_parquet(path, rows):
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": data, "path": f"{label}.JPEG"} for label, data in rows], image)
    table = pa.table({"image": images, "label": pa.array([label for label, _ in rows], pa.int64())})
    parquet.write_table(table, path, row_group_size=4)


WRITERS = {"webdataset": write_tar, "parquet": write_parquet}


def copies(urls):
    """The same shards once more, to evaluate on: no shard may be in both splits."""
    targets = [f"{url}.copy" for url in urls]
    for url, target in zip(urls, targets, strict=True):
        if Path(url).exists() and not Path(target).exists():
            shutil.copy(url, target)
    return targets


def stream(train_urls, val_urls=None, format="webdataset", **options):
    defaults = {"num_classes": 100, "train_images": None, "val_images": None, "batch_size": 4, "image_size": 16}
    return StreamDataModule(format, train_urls, val_urls or copies(train_urls), **(defaults | options))
