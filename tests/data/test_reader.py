import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from gcp_repro.data import reader
from gcp_repro.data.reader import UnreadableImageError, decode_rgb
from gcp_repro.errors import DataError
from tests.fakes.damaged_images import SIZE, UNREADABLE, UNUSUAL, encode, grey_16_bit, jpeg, levels, turned_jpeg


def pillow_levels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA" if b"PLTE" in data else "RGB").convert("RGB"))


def test_a_jpeg_has_pillows_pixels():
    decoded = decode_rgb(jpeg(), "x.jpg")
    assert decoded.dtype == torch.uint8
    np.testing.assert_array_equal(decoded.permute(1, 2, 0), pillow_levels(jpeg()))


@pytest.mark.parametrize("kind", UNUSUAL)
def test_unusual_files_become_rgb_as_pillow_sees_them(kind):
    data = UNUSUAL[kind]()
    decoded = decode_rgb(data, "x.JPEG")  # whatever the suffix says
    assert decoded.shape == (3, SIZE[1], SIZE[0])
    np.testing.assert_array_equal(decoded.permute(1, 2, 0), pillow_levels(data))


def test_cmyk_keeps_its_colours():
    decoded = decode_rgb(jpeg("CMYK"), "x.jpg").permute(1, 2, 0).numpy().astype(int)
    assert np.abs(decoded - levels()).max() < 25


def test_16_bit_levels_keep_their_upper_byte():
    decoded = decode_rgb(grey_16_bit(), "x.png")
    assert decoded[0, 0, 0] == 0
    assert decoded[0, -1, -1] == 255
    assert abs(decoded.float().mean().item() - 127.5) < 1
    assert torch.equal(decoded[0], decoded[2])


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_files_are_named(kind):
    with pytest.raises(UnreadableImageError, match=r"/data/x\.jpg is none .*: fetch the file again .* data\.on_error=skip"):
        decode_rgb(UNREADABLE[kind](), "/data/x.jpg")


def test_the_error_says_what_is_wrong_without_python_addresses():
    with pytest.raises(DataError, match=r"\(UnidentifiedImageError: cannot identify image file\): fetch"):
        decode_rgb(b"text", "x.jpg")
    with pytest.raises(DataError, match=r"is empty \(0 bytes\)"):
        decode_rgb(b"", "x.jpg")


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableImageError, match="DecompressionBomb"):
        decode_rgb(encode(Image.fromarray(levels()), "PNG"), "x.png")
    with pytest.raises(UnreadableImageError, match="DecompressionBomb"):
        decode_rgb(jpeg(), "x.jpg")


def test_exif_orientation_turns_the_image_or_not():
    upright = np.rot90(pillow_levels(turned_jpeg(6)), k=-1)
    np.testing.assert_array_equal(decode_rgb(turned_jpeg(6), "x").permute(1, 2, 0), upright)
    assert decode_rgb(turned_jpeg(6), "x", exif_orientation=False).shape == (3, SIZE[1], SIZE[0])
    assert decode_rgb(turned_jpeg(1), "x").shape == (3, SIZE[1], SIZE[0])


@pytest.mark.parametrize("data", [jpeg(), jpeg("CMYK")], ids=["plain", "through Pillow"])
def test_reduced_decoding_keeps_the_least_side(data):
    height, width = decode_rgb(data, "x", reduce_to=SIZE[1] // 2).shape[1:]
    assert (width, height) == (SIZE[0] // 2, SIZE[1] // 2)
    assert decode_rgb(data, "x", reduce_to=100).shape == (3, SIZE[1], SIZE[0])  # never enlarged


@pytest.mark.parametrize(
    ("kind", "most", "expected"),
    [(np.int32, 255, 255), (np.int32, 65535, 255), (np.float32, 1, 255), (np.float32, 255, 255), (np.float32, 65535, 255)],
)
def test_grey_levels_of_32_bits_keep_their_scale(kind, most, expected):
    ramp = np.linspace(0, most, SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0]).astype(kind)
    decoded = decode_rgb(encode(Image.fromarray(ramp), "TIFF"), "x.tif")
    assert (decoded.min(), decoded.max()) == (0, expected)
    assert abs(decoded.float().mean().item() - 127.5) < 1
    assert torch.equal(decoded[0], decoded[2])


@pytest.mark.parametrize("level", [-1, 70_000])
def test_grey_levels_on_no_known_scale_are_refused(level):
    image = Image.fromarray(np.array([[0, level]], dtype=np.int32))
    with pytest.raises(UnreadableImageError, match=rf"its grey levels go from .*{level}.*; scales to 1, 255 and 65535 are known"):
        decode_rgb(encode(image, "TIFF"), "x.tif")


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_limit_of_pixels_is_the_same_for_every_format(kind, monkeypatch):
    data = encode(Image.fromarray(levels()), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE[0] * SIZE[1] - 1)
    with pytest.raises(UnreadableImageError, match="DecompressionBomb"):
        decode_rgb(data, "x")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE[0] * SIZE[1])
    assert decode_rgb(data, "x").shape == (3, SIZE[1], SIZE[0])


def test_heic_and_avif_are_read(monkeypatch):
    pillow_heif = pytest.importorskip("pillow_heif")
    heif = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(levels())).save(heif, quality=-1)
    for data in (heif.getvalue(), encode(Image.fromarray(levels()), "AVIF", quality=100)):
        decoded = decode_rgb(data, "x").permute(1, 2, 0).numpy().astype(int)
        assert np.abs(decoded - levels()).mean() < 4
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    reader._register_heif.cache_clear()
    with pytest.raises(UnreadableImageError, match=r'it is a HEIC image, which needs pip install "gcp_repro\[heif\]"'):
        decode_rgb(heif.getvalue(), "x.heic")
