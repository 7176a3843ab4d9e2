"""Checkpoints that are torn, flipped, foreign or out of step; disks that are full or gone."""

import errno
import shutil
import signal
from pathlib import Path

import pytest
import torch

from gcp_repro.errors import DataError, StorageError
from gcp_repro.runs import RunDirectory, read_json
from gcp_repro.runs.files import previous_of
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.training.loop import checkpoints
from gcp_repro.training.loop.checkpoints import DurableCheckpointIO, first_difference
from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.run import train


@pytest.fixture
def stopped(compose_tiny, monkeypatch):
    """A run that was stopped in its third epoch, and what it would have come to."""
    whole = compose_tiny(runs="whole")
    train(whole)
    config = compose_tiny()

    def on_train_batch_start(self, _, batch_idx):
        if (self.current_epoch, batch_idx) == (2, 1):
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(GCPModule, "on_train_batch_start", on_train_batch_start)
        with pytest.raises(TrainingInterrupted):
            train(config)
    return config, RunDirectory(config.paths.run_dir), RunDirectory(whole.paths.run_dir)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    weight = next(iter(torch.load(path, weights_only=True)["state_dict"].values())).numpy().tobytes()
    content[content.index(weight) + len(weight) // 2] ^= 4
    path.write_bytes(content)


DAMAGES = {
    "flipped bit": (flip_a_bit, "has changed since it was written"),
    "torn": (lambda path: path.write_bytes(path.read_bytes()[:5000]), "no whole file of torch.save"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "text": (lambda path: path.write_text("<html>"), "no whole file of torch.save"),
    "other content": (lambda path: torch.save({"state_dict": {}}, path), "it is no checkpoint of a training"),
    "code": (lambda path: torch.save({"run": shutil.rmtree}, path), "needs the code of"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(stopped, read_rows, weights, caplog, kind):
    config, run, whole = stopped
    damage, reason = DAMAGES[kind]
    damage(run.last)
    with caplog.at_level("INFO"):
        result = train(config)["result"]
    (line,) = [message for message in caplog.messages if "cannot be used" in message]
    assert f"{run.last} cannot be used: " in line
    assert reason in line
    assert "it is now last.ckpt.damaged, and the run goes on from what was saved before" in line
    assert run.last.with_name("last.ckpt.damaged").exists()
    assert f"resuming from {previous_of(run.last)}" in caplog.text
    assert read_rows(run.metrics) == read_rows(whole.metrics)
    assert all(
        torch.equal(value, weights(whole.path)[name]) for name, value in weights(run.path).items() if torch.is_tensor(value)
    )
    assert result["final_loss"] == read_json(whole.result)["final_loss"]


def test_a_checkpoint_of_another_run_is_not_trained_on(stopped, compose_tiny, caplog):
    config, run, _ = stopped
    other = compose_tiny("optimizer.lr=0.2")
    train(other)
    for path in (run.last, previous_of(run.last)):
        shutil.copy(RunDirectory(other.paths.run_dir).last, path)
    with caplog.at_level("INFO"):
        train(config)
    assert caplog.text.count("it belongs to another run (identity ") == 2
    assert "resuming" not in caplog.text


def test_where_nothing_can_be_used_training_begins_again(stopped, read_rows, caplog):
    config, run, whole = stopped
    for path in (run.last, previous_of(run.last)):
        path.write_bytes(b"")
    train(config)
    assert caplog.text.count("cannot be used: the file is empty") == 2
    assert read_rows(run.metrics) == read_rows(whole.metrics)


@pytest.mark.parametrize("moment", ["before best", "while best is written", "before last"])
def test_the_best_weights_are_those_of_the_best_epoch_wherever_a_run_is_killed(compose_tiny, monkeypatch, moment):
    """Between the two files of an epoch one of them is newer than the other."""
    config = compose_tiny()
    save = DurableCheckpointIO.save_checkpoint

    def killed(self, checkpoint, path, storage_options=None):
        path = Path(path)
        name = "last.ckpt" if moment == "before last" else "best.ckpt"
        if path.name == name and checkpoint["epoch"] == 1:
            if moment == "while best is written":
                path.with_name(".best.ckpt.host.1.abcd.tmp").write_bytes(b"half")
            raise KeyboardInterrupt
        save(self, checkpoint, path, storage_options)

    errors = iter([50.0, 10.0, 20.0, 30.0])
    report = GCPModule._report

    def planned(self, split):
        report(self, split)
        if split == "val":
            self.reports["val/top1_error"] = {0: 50.0, 1: 10.0, 2: 20.0, 3: 30.0}[self.current_epoch]

    assert next(errors) == 50.0
    monkeypatch.setattr(GCPModule, "_report", planned)
    with monkeypatch.context() as patch:
        patch.setattr(DurableCheckpointIO, "save_checkpoint", killed)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(config)
    result = train(config)["result"]
    run = RunDirectory(config.paths.run_dir)
    assert result["best_epoch"] == 1
    assert torch.load(run.best, weights_only=True)["epoch"] == 1
    assert not list(run.checkpoints.glob(".*"))


def test_other_data_are_refused_and_nothing_is_lost(stopped, monkeypatch):
    config, run, _ = stopped
    monkeypatch.setattr("gcp_repro.data.digits.DigitsDataModule.class_names", ["zero", "one"])
    with pytest.raises(DataError, match=r"was begun with other data: class_names\[0\] was None and is 'zero': set data"):
        train(config)
    assert run.last.exists()


def test_checkpoints_are_written_beside_their_place(compose_tiny, monkeypatch, tmp_path):
    """Not by way of TMPDIR, from where they would be copied over the old one."""
    (tmp_path / "elsewhere").mkdir(mode=0o500)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "elsewhere"))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile.mkstemp", lambda *_, **__: pytest.fail("a temporary file somewhere else"))
    train(compose_tiny())


@pytest.fixture
def small_disk(posix):
    """Files of at most so many bytes, which fails as a full disk does."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size=limits[1]: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_ends_the_run_in_one_line_and_keeps_the_last_good_state(compose_tiny, monkeypatch, small_disk, read_rows):
    whole, config = compose_tiny(runs="whole"), compose_tiny()
    train(whole)
    run = RunDirectory(config.paths.run_dir)

    def on_train_epoch_start(self):
        if self.current_epoch == 2:
            small_disk(10_000)

    with monkeypatch.context() as patch:
        patch.setattr(GCPModule, "on_train_epoch_start", on_train_epoch_start)
        with pytest.raises(StorageError, match=r"^writing .*last.ckpt failed \(.*\): make room or choose another place") as error:
            train(config)
    assert "\n" not in str(error.value)
    small_disk()
    assert torch.load(run.last, weights_only=True)["epoch"] == 1
    assert not list(run.checkpoints.glob(".*")), "no half a file is left"
    train(config)
    assert read_rows(run.metrics) == read_rows(RunDirectory(whole.paths.run_dir).metrics)


def test_room_is_asked_for_before_the_first_epoch(compose_tiny, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000))
    monkeypatch.setattr(GCPModule, "training_step", lambda *_: pytest.fail("trained"))
    with pytest.raises(StorageError, match=r"checkpoints failed \(needs 0\.\d MB, 0\.0 MB are free\)"):
        train(compose_tiny())


def test_a_folder_that_vanishes_is_not_made_again(compose_tiny, monkeypatch):
    config = compose_tiny()
    run = RunDirectory(config.paths.run_dir)
    monkeypatch.setattr(
        GCPModule, "on_train_epoch_start", lambda self: shutil.rmtree(run.path) if self.current_epoch == 1 else None
    )
    with pytest.raises(StorageError, match=r"writing .* failed \((No such file or directory|the folder has vanished)\)"):
        train(config)
    assert not run.checkpoints.exists()


def test_only_a_full_disk_is_worded_as_one(monkeypatch, tmp_path):
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only file system")))
    with pytest.raises(StorageError, match="Read-only file system"):
        DurableCheckpointIO().save_checkpoint({}, tmp_path / "last.ckpt")
    assert checkpoints.best_row([{"epoch": 0}, {"epoch": 1, "val/top1_error": 3.0}])["epoch"] == 1
    assert checkpoints.best_row([{"epoch": 0}]) is None


def test_of_two_lists_the_first_entries_that_differ_are_named():
    assert first_difference("class_names", ["a", "b", "c", "d"], ["a", "b", "c", "e"]) == ("class_names[3]", "d", "e")
    assert first_difference("class_names", ["a", "b"], ["a"]) == ("class_names[1]", "b", None)
    assert first_difference("train_images", 9, 14) == ("train_images", 9, 14)
