import csv
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gcp_repro.cli.evaluate import PATHS
from gcp_repro.errors import OptionError
from gcp_repro.training.evaluate import evaluate
from gcp_repro.training.record.predictions import PREDICTION_FILES, PredictionRecorder, check_files, write_predictions
from gcp_repro.training.run import train


def rows_of(path):
    return list(csv.DictReader(Path(path).read_text().splitlines()))


@pytest.fixture
def recorder():
    recorder = PredictionRecorder()
    logits = torch.tensor([[2.0, 0, 0], [2, 1, 0], [0, 1, 2], [0, 2, 1]])
    for rows, labels in ((slice(0, 2), [0, 1]), (slice(2, 4), [1, 1])):
        recorder.on_validation_batch_end(None, None, logits[rows], (None, torch.tensor(labels)), 0)
    return recorder


def test_tables_by_image_and_class(recorder, tmp_path):
    names = [f"{number}.jpg" for number in range(4)]
    source = SimpleNamespace(name=names.__getitem__)
    data = SimpleNamespace(class_names=("cat", "dog", "cow"), num_classes=3, _sources={"val": source})
    files = {name: tmp_path / f"{name}.csv" for name in PREDICTION_FILES}
    write_predictions(files, recorder, data)
    images = rows_of(files["predictions"])
    assert [row["image"] for row in images] == names
    assert [(row["label"], row["predicted_1"], row["correct"]) for row in images] == [
        ("cat", "cat", "1"), ("dog", "cat", "0"), ("dog", "cow", "0"), ("dog", "dog", "1"),
    ]  # fmt: skip
    assert float(images[1]["probability_2"]) == pytest.approx(torch.tensor([2.0, 1, 0]).softmax(0)[1].item(), abs=1e-6)
    assert rows_of(files["per_class"]) == [
        {"class": "cat", "images": "1", "top1_error": "0.0", "most_often_taken_for": "", "times": "0"},
        {"class": "dog", "images": "3", "top1_error": "66.6667", "most_often_taken_for": "cat", "times": "1"},
        {"class": "cow", "images": "0", "top1_error": "", "most_often_taken_for": "", "times": "0"},
    ]
    assert [list(row.values()) for row in rows_of(files["confusion"])] == [
        ["cat", "1", "0", "0"], ["dog", "1", "1", "1"], ["cow", "0", "0", "0"],
    ]  # fmt: skip


def test_a_run_is_scored_image_by_image(compose_tiny, tmp_path):
    config = compose_tiny()
    train(config)
    checkpoint = Path(config.paths.run_dir) / "checkpoints" / "last.ckpt"
    files = {"predictions": tmp_path / "new" / "p.csv", "per_class": tmp_path / "c.csv", "confusion": None}
    metrics = evaluate(checkpoint, accelerator="cpu", files=files)
    images, classes = rows_of(files["predictions"]), rows_of(files["per_class"])
    wrong = sum(row["correct"] == "0" for row in images)
    assert metrics["val/top1_error"] == pytest.approx(100 * wrong / len(images), rel=1e-6)
    assert sum(int(row["images"]) for row in classes) == len(images)
    with pytest.raises(OptionError, match=rf"per_class needs a file to write to; {tmp_path} is a folder: name a file"):
        evaluate(checkpoint, accelerator="cpu", files={"per_class": tmp_path})


def test_names_of_whatever_bytes(recorder, tmp_path):
    odd = os.fsdecode(b'caf\xe9, "x"')
    source = SimpleNamespace(name=lambda row: f"val/{odd}/{row}.jpg")
    data = SimpleNamespace(class_names=(odd, "dog", "cow"), num_classes=3, _sources={"val": source})
    files = {name: tmp_path / f"{name}.csv" for name in PREDICTION_FILES}
    write_predictions(files, recorder, data)
    assert (
        rows_of(files["predictions"])[0] | {"image": 'val/caf\\xe9, "x"/0.jpg', "label": 'caf\\xe9, "x"'}
        == (rows_of(files["predictions"])[0])
    )
    assert rows_of(files["per_class"])[0]["class"] == rows_of(files["confusion"])[0]["class"] == 'caf\\xe9, "x"'


def test_where_no_file_can_be_is_told_before_scoring(tmp_path):
    (tmp_path / "file").touch()
    assert check_files({"predictions": tmp_path / "new" / "a.csv", "confusion": None}) == {
        "predictions": tmp_path / "new" / "a.csv"
    }
    with pytest.raises(OptionError, match=r"predictions needs a folder to write to; .*/file is no folder: name another file"):
        check_files({"predictions": tmp_path / "file" / "a.csv"})
    with pytest.raises(
        OptionError, match=r"predictions and per_class need files of their own; both are .*/x/\.\./a\.csv: name two"
    ):
        check_files({"predictions": tmp_path / "a.csv", "per_class": tmp_path / "x" / ".." / "a.csv"})


def test_their_paths_may_hold_anything_on_the_command_line():
    assert set(PREDICTION_FILES) <= set(PATHS)
