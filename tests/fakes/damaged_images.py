"""Image files as they should not be, and some that only look odd."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

SIZE = (48, 32)  # width, height


def levels(seed: int = 0) -> np.ndarray:
    """Smooth colours `(H, W, 3)`, so that JPEG keeps them to a few levels."""
    rows, columns = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    return np.stack([4 * columns + seed, 6 * rows, 255 - 4 * columns], axis=-1).clip(0, 255).astype(np.uint8)


def encode(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def jpeg(mode: str = "RGB", **options: object) -> bytes:
    """A JPEG file in a colour mode."""
    return encode(Image.fromarray(levels()).convert(mode), quality=95, **options)


def turned_jpeg(orientation: int = 6) -> bytes:
    """A JPEG whose EXIF tag asks to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(exif=exif)


def grey_16_bit() -> bytes:
    """A PNG with grey levels from 0 to 65535."""
    ramp = np.linspace(0, 65535, SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0])
    return encode(Image.fromarray(ramp.astype(np.uint16)), "PNG")


def transparent_palette() -> bytes:
    """A palette PNG with one transparent colour."""
    image = Image.fromarray(levels()).quantize(16)
    return encode(image, "PNG", transparency=0)


UNREADABLE: dict[str, Callable[[], bytes]] = {
    "zero bytes": lambda: b"",
    "truncated JPEG": lambda: jpeg()[: len(jpeg()) // 2],
    "JPEG without its last bytes": lambda: jpeg()[:-20],
    "truncated PNG": lambda: encode(Image.fromarray(levels()), "PNG")[:-60],
    "JPEG header alone": lambda: b"\xff\xd8\xff\xe0",
    "text": lambda: b"<html>404 Not Found</html>",
    "zeros": lambda: bytes(1000),
}

UNUSUAL: dict[str, Callable[[], bytes]] = {
    "CMYK": lambda: jpeg("CMYK"),
    "grey": lambda: jpeg("L"),
    "progressive": lambda: jpeg(progressive=True),
    "PNG": lambda: encode(Image.fromarray(levels()), "PNG"),
    "RGBA": lambda: encode(Image.fromarray(levels()).convert("RGBA"), "PNG"),
    "palette": lambda: encode(Image.fromarray(levels()).quantize(64), "PNG"),
    "transparent palette": transparent_palette,
    "GIF": lambda: encode(Image.fromarray(levels()), "GIF"),
    "BMP": lambda: encode(Image.fromarray(levels()), "BMP"),
    "WebP": lambda: encode(Image.fromarray(levels()), "WEBP"),
    "one bit": lambda: encode(Image.fromarray(levels()).convert("1"), "PNG"),
}
