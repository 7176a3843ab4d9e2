"""What the networks of a setting see: the pictures that a run has left of its first batches, small enough for the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gcp_repro.paper.store.settings import Setting

__all__ = ["Picture", "pictures"]

SIDE = 960  # pixels; 16 images of 224 become 40 kB
QUALITY = 80
SPLITS = {"train": "training", "val": "evaluation"}


@dataclass(frozen=True)
class Picture:
    """A picture with its caption.

    Attributes:
        title: Heading.
        caption: What it shows.
        words: The same for those who do not see it.
        source: The picture itself, as a `data:` address.
        size: Width and height in pixels.
    """

    title: str
    caption: str
    words: str
    source: str
    size: tuple[int, int]


def pictures(setting: Setting) -> tuple[Picture, ...]:
    """Of the first run that has any (`callbacks=sample_images`): its first training and evaluation batch."""
    for row in setting.runs.itertuples():
        found = [_picture(Path(row.run), split, str(row.data)) for split in SPLITS]
        if any(found):
            return tuple(picture for picture in found if picture is not None)
    return ()


def _picture(run: Path, split: str, data: str) -> Picture | None:
    try:
        with Image.open(run / f"images_{split}.png") as file:
            image = file.convert("RGB")
    except OSError:  # none, or none that can be read
        return None
    small = image.width < SIDE // 2
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    packed = io.BytesIO()
    image.save(packed, "webp", lossless=small, quality=QUALITY)
    kind = SPLITS[split]
    return Picture(
        f"What the network sees in {kind}",
        f"The first {kind} batch of {run.name} after all transforms, before normalisation.",
        f"Images of {data} in rows of eight, cropped and resized as for {kind}",
        f"data:image/webp;base64,{base64.b64encode(packed.getvalue()).decode()}",
        image.size,
    )
