import json
import math
import os
from pathlib import Path

import pytest

from gcp_repro.errors import OptionError, StorageError
from gcp_repro.runs.files import (
    previous_of,
    read_json,
    refuse_unwritable,
    replacing,
    require_space,
    set_aside,
    sweep_temporaries,
    write_atomically,
    write_csv,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match=r"result.json failed \(No space left on device\): make room or choose another place"):
        write_atomically(path, "half")
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_the_content_is_on_the_disk_before_its_name(tmp_path, monkeypatch):
    """A power cut after the rename must not leave an empty file."""
    order = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (order.append("sync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (order.append("rename"), replace(self, target))[1])
    write_atomically(tmp_path / "a", "text")
    assert order == ["sync", "rename", "sync"]


def test_two_writers_cannot_meet(tmp_path):
    with replacing(tmp_path / "a") as first, replacing(tmp_path / "a") as second:
        assert first != second
        assert f".{os.getpid()}." in first.name
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1", "the outer block ends last"


def test_the_file_before_is_kept_where_that_is_asked_for(tmp_path):
    path = tmp_path / "last.ckpt"
    for text in ("one", "two", "three"):
        with replacing(path, keep_previous=True) as temporary:
            temporary.write_text(text)
    assert (path.read_text(), previous_of(path).read_text()) == ("three", "two")


def test_a_vanished_folder_is_not_made_again(tmp_path):
    with pytest.raises(StorageError, match="No such file or directory"):
        write_atomically(tmp_path / "gone" / "result.json", "{}")
    assert not (tmp_path / "gone").exists()


def test_json_holds_no_nan(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, {"loss": math.nan, "list": [1.0, math.inf], "deeper": {"x": -math.inf}, "fine": 0.5})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "loss": None, "list": [1.0, None], "deeper": {"x": None}, "fine": 0.5
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [("[]", "needs an object; got list"), ('{"a": NaN}', "no NaN"), ("{", "Expecting"), ("", "Expecting value")],
)
def test_what_is_no_object_is_refused(tmp_path, text, words):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ValueError, match=words):
        read_json(tmp_path / "a.json")


def test_columns_are_those_of_all_rows(tmp_path):
    write_csv(tmp_path / "m.csv", [{"epoch": 0, "a": 1.5}, {"epoch": 1, "a": 2.5, "b": "x"}])
    assert (tmp_path / "m.csv").read_text() == "epoch,a,b\n0,1.5,\n1,2.5,x\n"


def test_what_is_set_aside_never_takes_an_older_ones_place(tmp_path):
    for number in range(3):
        (tmp_path / "last.ckpt").write_text(str(number))
        set_aside(tmp_path / "last.ckpt")
    assert {entry.name: entry.read_text() for entry in tmp_path.iterdir()} == {
        "last.ckpt.damaged": "0", "last.ckpt.damaged2": "1", "last.ckpt.damaged3": "2"
    }  # fmt: skip


def test_what_a_killed_writer_left_is_swept(tmp_path):
    with pytest.raises(KeyboardInterrupt):  # as a kill: nothing after it runs
        _die_while_writing(tmp_path / "a")
    (tmp_path / ".other").write_text("")
    (tmp_path / "b.tmp").write_text("")
    sweep_temporaries(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} == {".other", "b.tmp"}


def _die_while_writing(path):
    writer = replacing(path)
    temporary = writer.__enter__()
    temporary.write_text("half")
    path.with_name(temporary.name.replace(".tmp", "x.tmp")).write_text("another process's")
    raise KeyboardInterrupt


def test_room_is_asked_for_before_it_is_needed(tmp_path):
    require_space(tmp_path / "not" / "yet", 10)
    with pytest.raises(StorageError, match=r"needs 1,000,000,000,000,000\.0 MB, .* MB are free"):
        require_space(tmp_path, 10**21)


def test_where_no_file_can_be_is_told_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "new", tmp_path / "new" / "folder" / "a.csv"):
        refuse_unwritable("--csv", path)
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    with pytest.raises(OptionError, match=rf"--csv needs a file to write to; {tmp_path} is a folder: name a file in it"):
        refuse_unwritable("--csv", tmp_path)
    with pytest.raises(OptionError, match=r"--csv needs a folder to write to; .*/file is no folder: name another file than"):
        refuse_unwritable("--csv", tmp_path / "file" / "a.csv")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(OptionError, match=rf"--csv needs a folder to write to; {tmp_path} cannot be written to: name another"):
        refuse_unwritable("--csv", tmp_path / "a.csv")
