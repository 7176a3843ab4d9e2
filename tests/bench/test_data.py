import argparse
import csv
import sys

import pytest
import torch

from gcp_repro.bench.data import add_arguments, measure, run
from gcp_repro.bench.image_pipelines import baseline_pipeline, dali_loader, our_pipeline, write_photographs
from gcp_repro.data.transforms import find_recipe
from gcp_repro.errors import DataError, OptionError


def options(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(argument) for argument in arguments])


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("transform", ["paper", "reference"])
def test_our_pixels_are_the_baselines_to_one_level(tmp_path, transform, split):
    recipe = find_recipe(transform, "imagenet")
    for seed, file in enumerate(write_photographs(tmp_path, 4)):
        images = []
        for pipeline in (our_pipeline(recipe, split), baseline_pipeline(recipe, split, as_float=False)):
            torch.manual_seed(seed)
            images.append(pipeline(file).int())
        assert (images[0] - images[1]).abs().max() <= 1


def test_normalised_outputs_agree_too(tmp_path):
    recipe = find_recipe("reference", "imagenet")
    (file,) = write_photographs(tmp_path, 1)
    ours, theirs = our_pipeline(recipe, "val", as_float=True)(file), baseline_pipeline(recipe, "val", as_float=True)(file)
    assert (ours - theirs).abs().max() < 1.01 / 255 / 0.224


def test_rows_are_measured_and_written(tmp_path, capsys):
    run(options("--images", 2, "--repeats", 1, "--workers", 0, 1, "--csv", tmp_path / "out" / "data.csv"))
    rows = list(csv.DictReader((tmp_path / "out" / "data.csv").read_text().splitlines()))
    assert [(row["split"], row["pipeline"]) for row in rows if float(row["ratio"]) == 1] == [
        ("train", "pillow + torchvision v1"),
        ("val", "pillow + torchvision v1"),
    ]
    loaders = [row["pipeline"] for row in rows if " with " in row["pipeline"]]
    assert loaders == 2 * [
        "torchvision, loader with 0 workers", "ours, loader with 0 workers", "ours, nothing handed over, with 1 worker",
        "torchvision, loader with 1 worker", "ours, loader with 1 worker",
    ]  # fmt: skip
    assert float(rows[0]["ratio"]) == 1
    assert all(float(row["images_per_second"]) > 0 for row in rows)
    assert int(rows[1]["largest_difference"]) <= 1
    shown = capsys.readouterr()
    assert "ours, normalised on the CPU" in shown.out
    assert "val, round 1 of 1: ours, loader with 1 worker" in shown.err


def test_dali_is_left_out_where_it_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    assert dali_loader(write_photographs(tmp_path, 2), find_recipe("reference", "imagenet"), "val") is None


@pytest.mark.parametrize("split", ["train", "val"])
def test_dali_crops_as_the_recipe_says_or_says_nothing(tmp_path, split):
    pytest.importorskip("nvidia.dali")
    files = write_photographs(tmp_path, 2)
    assert dali_loader(files, find_recipe("reference", "cars"), split) is None
    (batch,) = dali_loader(files, find_recipe("reference", "imagenet"), split)
    assert batch[0].at(1).shape == (224, 224, 3)


def test_threads_are_restored(tmp_path):
    threads = torch.get_num_threads()
    measure(write_photographs(tmp_path, 1), "cars", "paper", repeats=1)
    assert torch.get_num_threads() == threads


def test_a_folder_without_jpegs_and_numbers_out_of_range(tmp_path):
    with pytest.raises(DataError, match=f"needs JPEG files; {tmp_path} has none"):
        run(options(tmp_path))
    with pytest.raises(OptionError, match="at least 1 image and repeat; got 0 and 7"):
        run(options("--images", 0))
    with pytest.raises(OptionError, match="--workers needs numbers of at least 0; got -1"):
        run(options("--workers", -1))
    with pytest.raises(OptionError, match=f"--csv needs a file to write to; {tmp_path} is a folder: name a file in it"):
        run(options("--csv", tmp_path))
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=rf"a readable image is needed; {tmp_path}/a\.jpg is none"):
        run(options(tmp_path))
