"""Unpack ImageNet's archives into class folders, or write shards of smaller images.

    gcp-data imagenet ARCHIVES TARGET

writes `train/<wnid>/` and `val/<wnid>/`. ARCHIVES holds ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and
ILSVRC2012_devkit_t12.tar.gz from https://image-net.org/download.php. Their md5 sums are checked first and the numbers of
images at the end. A run that was interrupted goes on where it stopped: files that are there in full are kept. Training can
also read the archives in place (data.layout=tar); unpacked files are faster on a local disk and slower on most network ones.

    gcp-data imagenet SOURCE TARGET --resize 256

writes shards (data.layout=webdataset) of images whose shorter side is 256 pixels, encoded anew once, from ImageNet in any form
that training reads. They decode faster and are other pixels; docs/reading_images.md has the
numbers. Shards that are there are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import sys
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import simplejpeg
from torchvision.datasets.imagenet import ARCHIVE_META
from torchvision.transforms.v2 import functional as F

from gcp_repro.data.catalog import CATALOG
from gcp_repro.data.layouts.imagenet import DEVKIT, TRAIN_TAR, VAL_TAR, read_validation_wnids
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.reader import decode_rgb
from gcp_repro.data.storage import Storage, is_image_name
from gcp_repro.data.tar_storage import TarMember, index_tar, read_at
from gcp_repro.errors import DataError, MissingPathError, OptionError

__all__ = ["add_arguments", "run"]

MD5 = dict(ARCHIVE_META.values())
CHUNK = 1 << 24
SHARD = 1000  # images
QUALITY = 95

Progress = Callable[[str, int, int], None]


def check_md5(path: Path, expected: str, stamp: Path, progress: Progress) -> None:
    """Compare an archive's md5 with the published one, once: `stamp` remembers a sum that was right."""
    status = path.stat()
    state = f"{expected} {status.st_size} {status.st_mtime_ns}"
    if stamp.exists() and stamp.read_text() == state:
        return
    digest, done = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(f"md5 of {path.name}", done, status.st_size)
    if digest.hexdigest() != expected:
        raise DataError(
            f"{path} needs the md5 sum {expected}; it has {digest.hexdigest()} and {status.st_size:,} bytes: "
            "the download is incomplete or damaged; fetch it again, or pass --skip-md5 if the archive is meant to differ"
        )
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(state)


def unpack(archive: Path, placed: Iterator[tuple[TarMember, Path]], total: int, progress: Progress) -> int:
    """Write members of an archive to their places and return how many had to be written.

    A file appears under its name when it is complete; one of the right size is kept.
    """
    written = 0
    with archive.open("rb") as file:
        for number, (member, path) in enumerate(placed, start=1):
            if not path.is_file() or path.stat().st_size != member.size:
                path.parent.mkdir(parents=True, exist_ok=True)
                unfinished = path.with_name(f".{path.name}.unfinished")
                unfinished.write_bytes(read_at(file, member.size, member.offset))
                unfinished.replace(path)
                written += 1
            progress(f"unpacking {archive.name}", number, total)
    return written


def prepare(archives: Path, target: Path, *, skip_md5: bool, allow_partial: bool, progress: Progress) -> str:
    """Check, unpack, count; returns a summary.

    Raises:
        DataError: An archive is missing or damaged, or the numbers of images are not the published ones.
    """
    needed = [archives / TRAIN_TAR, archives / VAL_TAR]
    devkit = archives / f"{DEVKIT}.tar.gz"
    missing = [path.name for path in (*needed, devkit) if not path.exists()]
    if missing:
        raise MissingPathError(f"{archives} needs {', '.join(missing)}: {CATALOG['imagenet'].advice}")
    if not skip_md5:
        for path in (devkit, *needed):
            check_md5(path, MD5[path.name], target / f".{path.name}.verified", progress)
    wnids = read_validation_wnids([archives]).wnids
    train, val = ([member for member in index_tar(path) if is_image_name(Path(member.name).name)] for path in needed)
    strange = [member.name for member in val if Path(member.name).stem not in wnids]
    if strange:
        raise DataError(f"{needed[1]} holds {strange[0]}, for which the devkit has no label: fetch both again")
    written = unpack(needed[0], ((member, target / "train" / member.name) for member in train), len(train), progress)
    places = ((member, target / "val" / wnids[Path(member.name).stem] / Path(member.name).name) for member in val)
    written += unpack(needed[1], places, len(val), progress)
    found = open_image_set("imagenet", target, "folder", OpenOptions(allow_partial=allow_partial))
    return f"{len(found.train):,} training and {len(found.val):,} validation images in {target}; {written:,} files written now"


def resize(source: Path, target: Path, side: int, *, workers: int, allow_partial: bool, progress: Progress) -> str:
    """Write shards of smaller images; returns a summary.

    Raises:
        DataError: See `open_image_set`.
    """
    found = open_image_set("imagenet", source, options=OpenOptions(allow_partial=allow_partial))
    content = hashlib.sha256(repr((side, found.train, found.val)).encode(errors="surrogateescape")).hexdigest()
    note = target / ".content"
    if note.is_file() and note.read_text() != content:
        raise OptionError(
            f"{target} holds shards of another side than {side}, or of other images than {source}: name another TARGET"
        )
    target.mkdir(parents=True, exist_ok=True)
    note.write_text(content)
    jobs = [
        (target / f"imagenet1k-{name}-{start // SHARD:04d}.tar", samples[start : start + SHARD])
        for name, samples in (("train", found.train), ("validation", found.val))
        for start in range(0, len(samples), SHARD)
    ]
    missing = [(path, samples) for path, samples in jobs if not path.exists()]
    with ThreadPoolExecutor(workers) as pool:
        for number, _ in enumerate(pool.map(partial(write_shard, found.storage, side), *zip(*missing, strict=True)), start=1):
            progress(f"writing shards of {side} pixels", number, len(missing))
    (target / "classnames.txt").write_text("\n".join(found.classes) + "\n")
    return f"{len(jobs):,} shards in {target}, {len(missing):,} of them written now"


def write_shard(storage: Storage, side: int, path: Path, samples: Sequence[tuple[str, int]]) -> None:
    """A tar file of images and labels, which appears under its name when it is complete."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    with tarfile.open(unfinished, "w") as archive:
        for number, (name, label) in enumerate(samples):
            key = f"{number:04d}_{Path(name).stem}"
            for suffix, data in (
                (".jpg", smaller(storage.read(name), storage.locate(name), side)),
                (".cls", str(label).encode()),
            ):
                member = tarfile.TarInfo(key + suffix)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    unfinished.replace(path)


def smaller(data: bytes, name: str, side: int) -> bytes:
    """The image as a JPEG whose shorter side is `side`; one that is no larger stays as it is."""
    image = decode_rgb(data, name)
    if min(image.shape[1:]) <= side:
        return data
    levels = F.resize(image, [side], antialias=True).permute(1, 2, 0).contiguous().numpy()
    encoded: bytes = simplejpeg.encode_jpeg(levels, quality=QUALITY, colorsubsampling="420")
    return encoded


def show(what: str, done: int, total: int) -> None:
    """A line that is rewritten as the work goes on."""
    if done == total or done % 1000 == 0 or total > 1_000_000_000:
        print(f"\r{what}: {100 * done / total:5.1f} %", end="\n" if done == total else "", file=sys.stderr, flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `gcp-data imagenet`."""
    parser.add_argument("source", type=Path, help="folder of the three archives; with --resize ImageNet in any form")
    parser.add_argument("target", type=Path, help="folder to write into")
    parser.add_argument("--resize", type=int, metavar="SIDE", help="write shards of smaller images")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="threads that write shards")
    parser.add_argument("--skip-md5", action="store_true", help="trust the archives")
    parser.add_argument("--allow-partial", action="store_true", help="accept other numbers of images than ImageNet's")


def run(options: argparse.Namespace) -> None:
    """Unpack or resize, and print what was done."""
    source, target, partly = options.source, options.target, options.allow_partial
    if target.exists() and not target.is_dir():
        raise OptionError(f"TARGET needs to be a folder; {target} is none: name another")
    if options.workers is not None and options.workers < 1:
        raise OptionError(f"--workers needs at least 1 thread; got {options.workers}: leave it out for one a core")
    if options.resize is None:
        print(prepare(source, target, skip_md5=options.skip_md5, allow_partial=partly, progress=show))
        return
    if options.resize < 1:
        raise OptionError(f"--resize needs at least 1 pixel; got {options.resize}: 256 suits inputs of 224")
    print(resize(source, target, options.resize, workers=options.workers, allow_partial=partly, progress=show))
