"""Fixtures of all tests of data."""

import datasets
import pytest


@pytest.fixture(autouse=True)
def _offline_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    datasets.disable_progress_bars()
