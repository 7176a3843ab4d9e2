import base64
import io
import re

import numpy as np
from PIL import Image

from gcp_repro.paper.page.pictures import pictures
from gcp_repro.paper.page.report import build_report, render_html
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import write_run


def setting_of(root):
    (setting,) = find_settings(gather([root]))
    return setting


def test_the_page_shows_the_pictures_of_a_run_small_and_in_words(tmp_path):
    write_run(tmp_path / "runs", seed=1)
    run = write_run(tmp_path / "runs", seed=2)
    noise = np.random.default_rng(0).integers(0, 256, (57, 227, 3), dtype=np.uint8)
    for split in ("train", "val"):
        Image.fromarray(noise).resize((1816, 456)).save(run / f"images_{split}.png")
    text = render_html(build_report(gather([tmp_path / "runs"]), tmp_path / "index.html"))
    found = re.findall(r'<img src="data:image/webp;base64,([\w+/=]+)" alt="([^"]+)" width="(\d+)" height="(\d+)"', text)
    assert [words for _, words, _, _ in found] == [
        f"Images of digits in rows of eight, cropped and resized as for {kind}" for kind in ("training", "evaluation")
    ]
    assert f"The first training batch of {run.name} after all transforms, before normalisation." in text
    for packed, _, width, height in found:
        image = Image.open(io.BytesIO(base64.b64decode(packed)))
        assert image.size == (int(width), int(height)) == (960, 241)
        assert len(packed) < 150_000


def test_small_pictures_keep_their_pixels(tmp_path):
    run = write_run(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (22, 82, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(run / "images_val.png")
    (picture,) = pictures(setting_of(tmp_path))
    shown = Image.open(io.BytesIO(base64.b64decode(picture.source.partition(",")[2])))
    assert np.array_equal(np.asarray(shown), pixels)


def test_no_picture_or_a_damaged_one(tmp_path):
    run = write_run(tmp_path)
    assert pictures(setting_of(tmp_path)) == ()
    (run / "images_train.png").write_bytes(b"\x89PNG, but cut off")
    assert pictures(setting_of(tmp_path)) == ()
