import hashlib
import re

import pytest
from torchvision.transforms.v2 import functional as F

from gcp_repro.cli.data import main
from gcp_repro.data import prepare_imagenet
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.reader import decode_rgb
from gcp_repro.data.tiny import write_tiny


def prepare(arguments):
    main(["imagenet", *map(str, arguments)])


@pytest.fixture
def archives(tmp_path):
    return write_tiny("imagenet_tar", tmp_path / "archives")


def test_archives_become_class_folders(archives, tmp_path, capsys):
    target = tmp_path / "imagenet"
    prepare([str(archives), str(target), "--skip-md5", "--allow-partial"])
    assert "12 training and 6 validation images" in capsys.readouterr().out
    partial = OpenOptions(allow_partial=True)
    unpacked, packed = (open_image_set("imagenet", root, options=partial) for root in (target, archives))
    assert [(name.split("/")[-1], label) for name, label in unpacked.val] == [
        (name.split("/")[-1], label) for name, label in packed.val
    ]
    assert [unpacked.storage.read(name) for name, _ in unpacked.train] == [packed.storage.read(name) for name, _ in packed.train]


def test_an_interrupted_run_goes_on(archives, tmp_path, capsys):
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


def test_wrong_counts_and_missing_archives(archives, tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^1$"):
        prepare([str(archives), str(tmp_path / "out"), "--skip-md5"])
    assert re.search(r"gcp-data: ImageNet-1k in .* has 3 of 1,000 classes", capsys.readouterr().err)
    (archives / "ILSVRC2012_img_val.tar").unlink()
    with pytest.raises(SystemExit, match=r"^[12]$"):
        prepare([str(archives), str(tmp_path / "out"), "--skip-md5"])
    assert "needs ILSVRC2012_img_val.tar: get ILSVRC2012_img_train.tar" in capsys.readouterr().err


def test_md5_is_checked_once(archives, tmp_path, capsys, monkeypatch):
    target = tmp_path / "out"
    with pytest.raises(SystemExit, match=r"^1$"):
        prepare([str(archives), str(target), "--allow-partial"])
    assert "devkit_t12.tar.gz needs the md5 sum fa75699e90414af021442c21a62c3abf; it has" in capsys.readouterr().err
    for path in archives.iterdir():
        monkeypatch.setitem(prepare_imagenet.MD5, path.name, hashlib.md5(path.read_bytes()).hexdigest())
    prepare([str(archives), str(target), "--allow-partial"])
    assert "md5 of ILSVRC2012_img_train.tar: 100.0 %" in capsys.readouterr().err
    prepare([str(archives), str(target), "--allow-partial"])
    assert "md5 of" not in capsys.readouterr().err


def test_shards_of_smaller_images(archives, tmp_path):
    options = OpenOptions(allow_partial=True)
    source = open_image_set("imagenet", archives, options=options)
    storage, (name, label) = source.storage, source.train[5]
    prepare_imagenet.write_shard(storage, 24, tmp_path / "imagenet1k-train-0000.tar", source.train)
    prepare_imagenet.write_shard(storage, 100, tmp_path / "imagenet1k-validation-0000.tar", source.val)
    small = open_image_set("imagenet", tmp_path, "webdataset", options)
    assert [row[1] for row in small.train] == [row[1] for row in source.train]
    original, reduced = decode_rgb(storage.read(name), name), decode_rgb(small.storage.read(small.train[5][0]), "small")
    assert (tuple(original.shape), tuple(reduced.shape), label) == ((3, 48, 64), (3, 24, 32), small.train[5][1])
    expected = F.resize(original, [24], antialias=True).float()
    assert (reduced.float() - expected).abs().mean() < 12  # noise is what JPEG keeps worst
    assert small.storage.read(small.val[0][0]) == storage.read(source.val[0][0])  # no larger: the bytes stay


def test_resizing_keeps_the_shards_that_are_there(archives, tmp_path, capsys):
    target = tmp_path / "small"
    arguments = [str(archives), str(target), "--resize", "32", "--workers", "1", "--allow-partial"]
    for written in (2, 1):
        prepare(arguments)
        assert f"2 shards in {target}, {written} of them written now" in capsys.readouterr().out
        (target / "imagenet1k-train-0000.tar").unlink()
    prepare(arguments)
    assert len(open_image_set("imagenet", target, options=OpenOptions(allow_partial=True)).train) == 12
    (target / "file").touch()
    for wrong, words in (
        (["--resize", "0"], "--resize needs at least 1 pixel; got 0"),
        (["--resize", "16"], f"{target} holds shards of another side than 16, or of other images than {archives}: name another"),
        (["--workers", "0"], "--workers needs at least 1 thread; got 0"),
        ([str(target / "file")], f"TARGET needs to be a folder; {target / 'file'} is none"),
    ):
        with pytest.raises(SystemExit, match=r"^2$"):
            prepare([arguments[0], *wrong, *arguments[2:]] if len(wrong) == 1 else [*arguments, *wrong])
        assert words in capsys.readouterr().err
