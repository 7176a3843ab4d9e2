"""Data modules: where images come from, and in which order they are seen."""

from gcp_repro.data.base import ImageDataModule
from gcp_repro.data.digits import DigitsDataModule
from gcp_repro.data.textures import TexturesDataModule

__all__ = ["DigitsDataModule", "ImageDataModule", "TexturesDataModule"]
