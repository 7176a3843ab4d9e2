import hashlib
import runpy
from pathlib import Path

import pytest

from gcp_repro.data.catalog import OpenOptions, open_image_set
from gcp_repro.data.tiny import write_tiny

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def prepare():
    return runpy.run_path(str(SCRIPTS / "prepare_imagenet.py"))["main"]


@pytest.fixture
def archives(tmp_path):
    return write_tiny("imagenet_tar", tmp_path / "archives")


def test_archives_become_class_folders(prepare, archives, tmp_path, capsys):
    target = tmp_path / "imagenet"
    prepare([str(archives), str(target), "--skip-md5", "--allow-partial"])
    assert "12 training and 6 validation images" in capsys.readouterr().out
    partial = OpenOptions(allow_partial=True)
    unpacked, packed = (open_image_set("imagenet", root, options=partial) for root in (target, archives))
    assert [(name.split("/")[-1], label) for name, label in unpacked.val] == [
        (name.split("/")[-1], label) for name, label in packed.val
    ]
    assert [unpacked.storage.read(name) for name, _ in unpacked.train] == [packed.storage.read(name) for name, _ in packed.train]


def test_an_interrupted_run_goes_on(prepare, archives, tmp_path, capsys):
    arguments = [str(archives), str(tmp_path / "out"), "--skip-md5", "--allow-partial"]
    prepare(arguments)
    assert "18 files written" in capsys.readouterr().out
    lost, cut, kept, *_ = sorted((tmp_path / "out" / "train").rglob("*.JPEG"))
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:10])
    times = kept.stat().st_mtime_ns
    prepare(arguments)
    assert "2 files written" in capsys.readouterr().out
    assert kept.stat().st_mtime_ns == times
    assert not list((tmp_path / "out").rglob(".*unfinished"))


def test_wrong_counts_and_missing_archives(prepare, archives, tmp_path):
    with pytest.raises(SystemExit, match=r"prepare_imagenet: ImageNet-1k in .* has 3 of 1,000 classes"):
        prepare([str(archives), str(tmp_path / "out"), "--skip-md5"])
    (archives / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(SystemExit, match=r"needs ILSVRC2012_img_val\.tar: get ILSVRC2012_img_train\.tar"):
        prepare([str(archives), str(tmp_path / "out"), "--skip-md5"])


def test_md5_is_checked_once(prepare, archives, tmp_path, capsys):
    target = tmp_path / "out"
    with pytest.raises(SystemExit, match=r"devkit_t12\.tar\.gz needs the md5 sum fa75699e90414af021442c21a62c3abf; it has"):
        prepare([str(archives), str(target), "--allow-partial"])
    sums = prepare.__globals__["MD5"]
    for path in archives.iterdir():
        sums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    prepare([str(archives), str(target), "--allow-partial"])
    assert "md5 of ILSVRC2012_img_train.tar: 100.0 %" in capsys.readouterr().err
    prepare([str(archives), str(target), "--allow-partial"])
    assert "md5 of" not in capsys.readouterr().err


def test_make_tiny_dataset(tmp_path, capsys):
    main = runpy.run_path(str(SCRIPTS / "make_tiny_dataset.py"))["main"]
    main(["cars", str(tmp_path / "cars"), "--classes", "2", "--train", "1", "--val", "1", "--size", "8", "6"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "cars")
    assert len(open_image_set("cars", tmp_path, options=OpenOptions(allow_partial=True)).train) == 2
    with pytest.raises(SystemExit, match="make_tiny_dataset: a tiny data set needs an empty folder"):
        main(["cars", str(tmp_path / "cars")])
