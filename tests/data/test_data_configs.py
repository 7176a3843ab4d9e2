"""Every choice of `configs/data` and every experiment on data from disk, on generated data."""

import re
import shutil
from pathlib import Path

import gcp_repro.configs
import pytest
from hydra.utils import instantiate

from gcp_repro.data import ImageDataModule
from gcp_repro.training.run import train

CONFIGS = Path(next(iter(gcp_repro.configs.__path__)))
TINY = re.compile(r"^tiny: |base/image_files@_here_", re.MULTILINE)  # in files that can have generated images
ON_DISK = sorted(path.stem for path in (CONFIGS / "data").glob("*.yaml") if TINY.search(path.read_text(encoding="utf-8")))
ON_DISK.remove("imagenet_stream")  # which needs addresses
FINE_GRAINED = [f"resnet50_{name}" for name in ("aircraft", "birds", "cars", "dogs")]
ON_FILES = [*FINE_GRAINED, *sorted(path.stem for path in (CONFIGS / "experiment").glob("*_imagenet.yaml"))]


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("choice", ON_DISK)
def test_every_choice_gives_a_module_that_names_its_options(choice, compose_train):
    config = compose_train(f"data={choice}", "debug=tiny").data
    module = instantiate(config)
    assert isinstance(module, ImageDataModule)
    module.setup("fit")
    images, labels = next(iter(module.train_dataloader()))
    assert images.shape[1] == module.in_channels
    assert labels.max() < module.num_classes


def test_the_root_follows_the_environment(compose_train, monkeypatch):
    assert compose_train("data=birds").data.root == "data"
    monkeypatch.setenv("GCP_DATA_DIR", "/somewhere")
    assert compose_train("data=birds").data.root == "/somewhere"
    assert compose_train("data=birds", "paths.data_dir=/else").data.root == "/else"


def test_a_stream_says_which_options_it_needs(compose_train):
    urls = ['data.train_urls="https://host/train-{0000..0002}.tar"', "data.val_urls=[a.tar,b.tar]"]
    module = instantiate(compose_train("data=imagenet_stream", *urls).data)
    assert module.urls == {"train": [f"https://host/train-{n:04d}.tar" for n in range(3)], "val": ["a.tar", "b.tar"]}


@pytest.mark.parametrize("experiment", FINE_GRAINED)
def test_fine_grained_experiments_follow_the_paper(experiment, compose_train):
    config = compose_train(f"experiment={experiment}")
    assert (config.data.batch_size, config.schedule.epochs) == (10, 50)
    assert config.optimizer.lr == pytest.approx(1.2e-3)
    assert config.optimizer.lr * config.classifier_lr_multiplier == pytest.approx(6e-3)
    assert (config.optimizer.momentum, config.optimizer.weight_decay) == (0.9, 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ON_FILES)
def test_every_experiment_on_files_trains_on_a_tiny_set(experiment, compose_train, tmp_path):
    config = compose_train(
        f"experiment={experiment}",
        "debug=tiny",
        "data.image_size=64",
        "model.hidden_dims=[16]",
        "callbacks=none",
        "trainer.accelerator=cpu",
        f"paths.runs_dir={tmp_path / 'runs'}",
    )
    result = train(config)["result"]
    shutil.rmtree(tmp_path / "runs")  # pytest keeps folders, and these hold hundreds of megabytes
    assert result["status"] == "finished"
    assert (result["epochs"], result["train_images"], result["val_images"]) == (2, 12, 6)


def test_a_run_records_the_files_it_could_not_read(compose_train, tmp_path):
    options = (
        "data.image_size=32",
        "data.on_error=skip",
        "data.eval_views=flip",
        "callbacks=none",
        "model=digits",
        f"paths.runs_dir={tmp_path}",
        "trainer.accelerator=cpu",
    )
    config = compose_train("experiment=fashion_mnist", "data=birds", "debug=tiny", *options)
    module = instantiate(config.data)
    (module.root / module.image_set.train[0][0]).write_bytes(b"")
    (module.root / module.image_set.val[0][0]).write_bytes(b"")
    result = train(config)["result"]
    assert (result["unreadable_train_images"], result["unreadable_val_images"]) == (1, 1)
    assert (result["train_images"], result["val_images"]) == (12, 6)
    assert result["final_top1_error"] in [pytest.approx(100 * wrong / 6, abs=1e-3) for wrong in range(7)]
