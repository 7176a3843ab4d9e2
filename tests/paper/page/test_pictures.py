import base64
import io

import numpy as np
from PIL import Image

from gcp_repro.paper.page.pictures import pictures
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import write_run


def setting_of(root):
    (setting,) = find_settings(gather([root]))
    return setting


def unpacked(picture):
    return Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2])))


def test_large_pictures_become_small_ones_with_words(tmp_path):
    write_run(tmp_path, seed=1)
    run = write_run(tmp_path, seed=2)
    noise = np.random.default_rng(0).integers(0, 256, (57, 227, 3), dtype=np.uint8)
    for split in ("train", "val"):
        Image.fromarray(noise).resize((1816, 456)).save(run / f"images_{split}.png")
    found = pictures(setting_of(tmp_path))
    assert [picture.words for picture in found] == [
        f"Images of digits in rows of eight, cropped and resized as for {kind}" for kind in ("training", "evaluation")
    ]
    assert found[0].caption == f"The first training batch of {run.name} after all transforms, before normalisation."
    for picture in found:
        assert picture.source.startswith("data:image/webp;base64,")
        assert len(picture.source) < 150_000
        assert unpacked(picture).size == picture.size == (960, 241)


def test_small_pictures_keep_their_pixels(tmp_path):
    run = write_run(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (22, 82, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(run / "images_val.png")
    (picture,) = pictures(setting_of(tmp_path))
    assert np.array_equal(np.asarray(unpacked(picture)), pixels)


def test_no_picture_or_a_damaged_one(tmp_path):
    run = write_run(tmp_path)
    assert pictures(setting_of(tmp_path)) == ()
    (run / "images_train.png").write_bytes(b"\x89PNG, but cut off")
    assert pictures(setting_of(tmp_path)) == ()
