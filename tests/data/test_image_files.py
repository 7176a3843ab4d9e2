import contextlib
import logging
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer

from gcp_repro.data import encoded_images
from gcp_repro.data.image_files import ImageFilesDataModule
from gcp_repro.data.reader import UnreadableImageError
from gcp_repro.data.tiny import Tiny, tiny_root, write_tiny
from gcp_repro.errors import DataError, OptionError, UnknownNameError
from tests.fakes.image_forms import write_images
from tests.tolerances import TIME_LIMIT


@pytest.fixture
def root(tmp_path):
    return write_tiny("birds", tmp_path / "birds", Tiny(classes=3, train=6, val=3, size=(24, 20)))


def make(root, **options):
    defaults = {"allow_partial": True, "batch_size": 4, "image_size": 16}
    module = ImageFilesDataModule("birds", str(root), **(defaults | options))
    module.setup("fit")
    return module


def epochs(module, count=2):
    """Images and labels of some epochs, with the loader that training keeps."""
    loader = module.train_dataloader()
    batches = []
    for epoch in range(count):
        loader.batch_sampler.sampler.set_epoch(epoch)
        batches += list(loader)
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def damage(root, split="train", number=0):
    """Empty the file of an image and return its path."""
    module = make(root)
    path = root / module.image_set.split(split)[number][0]
    path.write_bytes(b"")
    return path


def test_names_of_classes_may_come_from_a_pipe(root):
    known = make(root).class_names
    reading, writing = os.pipe()
    os.write(writing, "\n".join(known[:2]).encode())
    os.close(writing)
    assert list(make(root, classes=f"/dev/fd/{reading}").class_names) == list(known[:2])
    os.close(reading)


def test_batches_are_bytes_and_normalised_on_the_device(root):
    module = make(root)
    batch = next(iter(module.train_dataloader()))
    assert batch[0].dtype == torch.uint8
    assert batch[0].shape == (4, 3, 16, 16)
    images, labels = module.on_after_batch_transfer(batch, 0)
    assert images.is_contiguous(memory_format=torch.channels_last)
    expected = (batch[0][:, 1].float() / 255 - 0.456) / 0.224
    torch.testing.assert_close(images[:, 1], expected)
    assert labels is batch[1]


@pytest.mark.parametrize("workers", [1, 2])
def test_order_and_augmentation_do_not_depend_on_the_number_of_workers(root, workers):
    options = {"transform": "reference", "seed": 3}
    images, labels = epochs(make(root, **options))
    others = epochs(make(root, num_workers=workers, **options))
    assert torch.equal(images, others[0])
    assert torch.equal(labels, others[1])
    assert not torch.equal(images[:18], images[18:])  # another order and other crops in the next epoch
    assert sorted(labels[:18].tolist()) == [0] * 6 + [1] * 6 + [2] * 6


def test_another_seed_gives_another_order(root):
    assert not torch.equal(epochs(make(root))[1], epochs(make(root, seed=1))[1])


def test_evaluation_sees_each_image_once_in_order(root):
    batches = list(make(root, eval_batch_size=2, num_workers=2).val_dataloader())
    assert torch.cat([labels for _, labels in batches]).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_views_are_one_more_dimension(root):
    module = make(root, eval_views="flip")
    batch = next(iter(module.val_dataloader()))
    images, _ = module.on_after_batch_transfer(batch, 0)
    assert images.shape == (4, 2, 3, 16, 16)
    torch.testing.assert_close(images[:, 0].flip(-1), images[:, 1])


@pytest.mark.parametrize("workers", [0, 2])
def test_raise_names_the_file(root, workers):
    path = damage(root)
    with pytest.raises(DataError, match=rf"^a readable image is needed; {path} is none \(the file is empty.*without such files$"):
        list(make(root, num_workers=workers).train_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_skip_leaves_out_of_training_and_keeps_in_evaluation(root, workers, caplog):
    train_path, val_path = damage(root, "train", 2), damage(root, "val", 4)
    module = make(root, on_error="skip", num_workers=workers)
    _, labels = epochs(module)
    assert len(labels) == 2 * 17
    images, labels = zip(*module.val_dataloader(), strict=True)
    assert torch.cat(labels).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert torch.cat(images).flatten(1).float().amax(1).eq(0).tolist() == [False] * 4 + [True] + [False] * 4
    with caplog.at_level(logging.WARNING):
        module.teardown("fit")
    assert f"1 of 18 train files could not be read and were left out of training: {train_path}" in caplog.text
    assert f"evaluated as black images, so they count as errors: {val_path}" in caplog.text
    assert module.run_record() == {
        "train_images": 18,
        "unreadable_train_images": 1,
        "val_images": 9,
        "unreadable_val_images": 1,
    }


def test_a_vanished_file(root):
    module = make(root)
    (root / module.image_set.train[0][0]).unlink()
    with pytest.raises(UnreadableImageError, match=r"cannot be read \(No such file or directory\): it may have vanished"):
        list(module.train_dataloader())
    skipping = make(root, on_error="skip")  # the list is checked again: it is missing from the start
    assert len(skipping.image_set.train) == 17


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_unreadable_images_alone_is_replaced(root, workers, caplog):
    damage(root)
    module = make(root, on_error="skip", batch_size=1, num_workers=workers)
    loader = module.train_dataloader()
    batches = list(loader)
    rows = [key.row for key in loader.batch_sampler.sampler]
    first = next(row for row in rows if row not in module._sources["train"].unreadable_rows())
    assert len(batches) == 18  # as many steps as the other processes of a distributed run
    torch.testing.assert_close(batches[rows.index(0)], batches[rows.index(first)])
    assert module.run_record()["unreadable_train_images"] == 1


def test_training_without_a_readable_image_stops(root):
    module = make(root, on_error="skip")
    for name, _ in module.image_set.train:
        (root / name).write_bytes(b"")
    with pytest.raises(DataError, match=r"training needs readable images; all of a batch and of the first 100 of the epoch"):
        list(module.train_dataloader())


def test_a_resumed_run_still_counts_what_was_skipped(root):
    damage(root)
    module = make(root, on_error="skip")
    epochs(module, 1)
    resumed = make(root, on_error="skip")
    resumed.load_state_dict(module.state_dict())
    assert resumed.run_record()["unreadable_train_images"] == 1


@pytest.fixture
def fatal(root, monkeypatch, posix):
    """A module with a worker that dies over an image of its third batch, once a file `go` is there, and that image."""
    module = make(root, num_workers=1, batch_size=2)
    loader = module.train_dataloader()
    row = [key.row for key in loader.batch_sampler.sampler][5]
    path = root / module.image_set.train[row][0]
    decode, go = encoded_images.decode_rgb, root.parent / "go"
    go.touch()

    def die(data, name, **options):
        if Path(name) == path:
            while not go.exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(data, name, **options)

    monkeypatch.setattr(encoded_images, "decode_rgb", die)
    return loader, path


def death(path):
    return rf"process \d+ died while reading {path}: try that file alone with data\.num_workers=0"


def test_a_dying_worker_is_reported_with_its_file(fatal):
    loader, path = fatal
    with pytest.raises(DataError, match=death(path)):
        list(loader)


def test_a_worker_that_died_with_finished_batches_in_its_hands(fatal, root, monkeypatch):
    """Their memory is asked for from a process that is gone; before the system says so, torch raises what the socket does."""
    loader, path = fatal
    go = root.parent / "go"
    go.unlink()
    batches = iter(loader)
    next(batches)
    (worker,) = loader._iterator._workers
    assert loader._iterator._data_queue._reader.poll(TIME_LIMIT)  # the second batch is there; it waits at the third
    go.touch()
    with contextlib.suppress(RuntimeError):  # torch tells of the death in the midst of what the main process does
        worker.join(60)
    monkeypatch.setattr(worker, "is_alive", lambda: True)
    with pytest.raises(DataError, match=death(path)) as caught:
        list(batches)
    assert isinstance(caught.value.__cause__, OSError | EOFError)


def test_a_death_that_shows_outside_the_loader_is_named_as_well(fatal):
    """torch's signal handler raises wherever the main process is, as in a training step."""
    loader, path = fatal
    data = ImageFilesDataModule("birds", "nowhere")
    data.trainer = SimpleNamespace(train_dataloader=loader, val_dataloaders=None)
    batches = iter(loader)
    next(batches)
    (worker,) = loader._iterator._workers
    with contextlib.suppress(RuntimeError):
        worker.join(60)
    for error in (RuntimeError("DataLoader worker is killed by signal: Killed."), ValueError("another")):
        data.on_exception(error)
        assert (f"died while reading {path}" in str(error)) == isinstance(error, RuntimeError)


class Recorder(LightningModule):
    """Notes what it sees, and stops with a checkpoint after so many batches."""

    def __init__(self, stop_after=None, checkpoint=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.sums, self.stop_after, self.checkpoint = [], stop_after, checkpoint

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if len(self.sums) == self.stop_after:
            self.trainer.save_checkpoint(self.checkpoint)
            raise SystemExit

    def training_step(self, batch, batch_idx):
        self.sums.append(batch[0].double().sum().item())
        return self.weight * batch[0].mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(root, tmp_path, stop_after=None, checkpoint=None):
    """Two epochs of 5 batches; returns what each step saw."""
    module = Recorder(stop_after, tmp_path / "stopped.ckpt")
    options = {"enable_progress_bar": False, "logger": False, "enable_model_summary": False, "enable_checkpointing": False}
    trainer = Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, use_distributed_sampler=False, **options)
    with contextlib.suppress(SystemExit):
        trainer.fit(module, datamodule=make(root, transform="reference"), ckpt_path=checkpoint)
    return module.sums


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*val_dataloader.*:UserWarning")
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*")
def test_resuming_in_mid_epoch_sees_every_image_once(root, tmp_path):
    whole = fit(root, tmp_path)
    assert len(whole) == 10
    first = fit(root, tmp_path, stop_after=7)
    rest = fit(root, tmp_path, checkpoint=tmp_path / "stopped.ckpt")
    assert first + rest == whole


def test_options_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(UnknownNameError, match="no transform 'x'"):
        ImageFilesDataModule("birds", str(tmp_path), transform="x")
    with pytest.raises(OptionError, match="ten-crop"):
        ImageFilesDataModule("cars", str(tmp_path), eval_views="ten")
    with pytest.raises(UnknownNameError, match=r"no policy data\.on_error 'ignore'; known: raise, skip"):
        make(write_tiny("birds", tmp_path / "b"), on_error="ignore")


def test_subsets_set_the_number_of_classes(root):
    module = make(root, classes=2, fraction=0.5)
    assert module.num_classes == 2
    assert len(module.image_set.train) == 6


def test_images_of_other_names_or_labels_are_other_data(tmp_path):
    def fingerprint():
        module = ImageFilesDataModule("image_folder", str(tmp_path))
        module.setup("fit")
        return module.fingerprint()

    write_images(tmp_path, "train", "val")
    begun = fingerprint()
    assert fingerprint() == begun
    (tmp_path / "train" / "a" / "0_0.jpg").rename(tmp_path / "train" / "a" / "zzz.jpg")
    assert {name for name, value in fingerprint().items() if begun[name] != value} == {"list_of_train_images"}


def test_a_tiny_module_needs_no_data(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module = ImageFilesDataModule("dogs", "/nowhere", tiny=True)
    module.setup("fit")
    assert module.num_classes == 3
    assert next(iter(module.val_dataloader()))[0].shape == (6, 3, 112, 112)
    assert tiny_root("dogs") == tmp_path / "gcp_repro" / "tiny-1" / "dogs"
    real = {"layout": "list", "train_split": "Train.csv", "val_split": "Test.csv", "label_column": "breed"}
    assert ImageFilesDataModule("dogs", "/nowhere", tiny=True, **real).image_set.train == module.image_set.train
