"""Data modules: where images come from, and in which order they are seen.

Imports: `errors`, `stand_ins`, `user_paths`.
"""

from gcp_repro.data.arrays import ArrayDataModule
from gcp_repro.data.base import ImageDataModule
from gcp_repro.data.digits import DigitsDataModule
from gcp_repro.data.image_files import ImageFilesDataModule
from gcp_repro.data.streams import StreamDataModule
from gcp_repro.data.textures import TexturesDataModule

__all__ = [
    "ArrayDataModule",
    "DigitsDataModule",
    "ImageDataModule",
    "ImageFilesDataModule",
    "StreamDataModule",
    "TexturesDataModule",
]
