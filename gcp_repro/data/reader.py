"""From the bytes of an image file to an RGB tensor, with an error that names the file when that cannot be done."""

from __future__ import annotations

import functools
import importlib
import io
import re
import warnings

import numpy as np
import simplejpeg
import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from gcp_repro.errors import DataError
from gcp_repro.stand_ins import stand_in

__all__ = ["UnreadableImageError", "decode_rgb", "is_plain_jpeg"]

JPEG_MAGIC = b"\xff\xd8\xff"
EXIF_MAGIC = b"Exif\0\0"
EXIF_SEARCHED = 65_536  # bytes at the start of a file among which a JPEG's EXIF segment begins
PLAIN_COLORSPACES = ("YCbCr", "Gray", "RGB")
SIXTEEN_BIT_MODES = ("I;16", "I;16B", "I;16L", "I;16N")
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


class UnreadableImageError(DataError):
    """The bytes of a file are no complete image."""


def decode_rgb(data: bytes, name: str, *, exif_orientation: bool = True, reduce_to: int | None = None) -> Tensor:
    """Decode any common image format; what the bytes are decides, not the file's suffix.

    Ordinary JPEGs take simplejpeg (libjpeg-turbo), which gives Pillow's pixels in less time; everything else, and whatever
    simplejpeg refuses, takes Pillow. CMYK and grey images become RGB, palettes are looked up, transparency is dropped as
    `Image.convert("RGB")` does, and 16-bit grey levels keep their upper eight bits. Grey levels in integers of 32 bits or in
    floats are taken to be on the scale on which they fit: 0 to 1 (floats), 0 to 255, or 0 to 65535.

    Args:
        data: The whole file.
        name: What errors call the file.
        exif_orientation: Turn the image upright as its EXIF tag says. Torchvision's folder loaders don't.
        reduce_to: Decode JPEGs at the smallest of the scales 1/8, 2/8, ... at which no side falls below this many pixels. Faster
            on large photographs, and not the same pixels. None decodes at full size.

    Returns:
        `(3, H, W)`, uint8, on the CPU, channels last in memory (where torchvision resizes fastest).

    Raises:
        UnreadableImageError: Empty, truncated, damaged, no image, or of more pixels than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    if not data:
        raise UnreadableImageError(_message(name, "the file is empty (0 bytes)"))
    try:
        levels = _decode_plain_jpeg(data, exif_orientation, reduce_to)
        if levels is None:
            levels = _decode_with_pillow(data, exif_orientation, reduce_to)
    except Exception as error:  # Pillow's plug-ins raise OSError, SyntaxError, ValueError, struct.error, ...
        reason = re.sub(r" ?<_io\.BytesIO object at \w+>", "", str(error))
        raise UnreadableImageError(_message(name, stand_in(data) or f"{type(error).__name__}: {reason}")) from error
    return torch.from_numpy(levels).permute(2, 0, 1)


def _decode_plain_jpeg(data: bytes, exif_orientation: bool, reduce_to: int | None) -> np.ndarray | None:
    """Levels `(H, W, 3)`, or None where Pillow has to look at the file."""
    if not is_plain_jpeg(data, exif_orientation=exif_orientation):
        return None
    least = reduce_to or 0
    try:
        levels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB", min_height=least, min_width=least, min_factor=1)
    except ValueError:
        return None  # a rare kind of JPEG or a damaged one: Pillow decides, and words the reason
    return levels


def is_plain_jpeg(data: bytes, *, exif_orientation: bool) -> bool:
    """Whether a file is a JPEG that any decoder makes the same pixels of as `decode_rgb`: no CMYK, and not to be turned."""
    if not data.startswith(JPEG_MAGIC) or (exif_orientation and _is_turned(data)):
        return False
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return False
    return colorspace in PLAIN_COLORSPACES and height * width <= (Image.MAX_IMAGE_PIXELS or np.inf)


def _is_turned(data: bytes) -> bool:
    """Whether a JPEG's EXIF tag asks for another orientation."""
    if data.find(EXIF_MAGIC, 0, EXIF_SEARCHED) < 0:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data)) as image:
            return bool(image.getexif().get(ExifTags.Base.Orientation, 1) != 1)


def _decode_with_pillow(data: bytes, exif_orientation: bool, reduce_to: int | None) -> np.ndarray:
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        _register_heif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd metadata are no reason to reject the pixels ...
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # ... but a hundred megapixels are
        with Image.open(io.BytesIO(data)) as image:
            if reduce_to is not None:
                image.draft("RGB", (reduce_to, reduce_to))
            image.load()
            return _rgb_levels(ImageOps.exif_transpose(image) if exif_orientation else image)


@functools.cache
def _register_heif() -> None:
    """Teach Pillow the format of telephones, whose library is not part of it."""
    try:
        heif = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise ValueError('it is a HEIC image, which needs pip install "gcp_repro[heif]"') from error
    heif.register_heif_opener()


def _rgb_levels(image: Image.Image) -> np.ndarray:
    """Levels `(H, W, 3)`, uint8 and writable."""
    if image.mode in SIXTEEN_BIT_MODES:  # Pillow would clip them at 255
        return _grey(np.asarray(image) >> 8)
    if image.mode in ("I", "F"):
        return _grey(_scaled_levels(np.asarray(image)))
    return np.array(image.convert("RGB"))


def _scaled_levels(levels: np.ndarray) -> np.ndarray:
    """Levels 0 to 255 of integers or floats on one of the scales in use; Pillow would clip them at 255."""
    least, most = levels.min(), levels.max()
    scales = (255.0, 1.0, 1 / 256) if np.issubdtype(levels.dtype, np.floating) else (1.0, 1 / 256)
    scale = next((scale for scale in scales if least >= 0 and int(most * scale) <= 255), None)
    if scale is None:
        raise ValueError(f"its grey levels go from {least} to {most}; scales to 1, 255 and 65535 are known")
    scaled: np.ndarray = np.rint(levels * scale) if scale >= 1 else np.floor(levels * scale)
    return scaled


def _grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels.astype(np.uint8)[..., None], 3, axis=-1)


def _message(name: str, reason: str) -> str:
    return (
        f"a readable image is needed; {name} is none ({reason}): fetch the file again or remove it, "
        "or set data.on_error=skip to go on without such files"
    )
