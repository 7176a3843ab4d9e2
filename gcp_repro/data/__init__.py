"""Data modules: where images come from, and in which order they are seen."""

from gcp_repro.data.base import ImageDataModule
from gcp_repro.data.digits import DigitsDataModule

__all__ = ["DigitsDataModule", "ImageDataModule"]
