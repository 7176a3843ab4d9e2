import io
import logging
import os
import pickle
import tarfile

import pytest

from gcp_repro.data.reader import UnreadableImageError
from gcp_repro.data.tar_storage import TarStorage, index_tar
from gcp_repro.errors import DataError


def write_tar(path, files):
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            source = path.parent / "member"
            source.write_bytes(data)
            archive.add(source, name)
    return path


@pytest.fixture
def archive(tmp_path):
    inner = write_tar(tmp_path / "n1.tar", {"n1_2.JPEG": b"two", "n1_1.JPEG": b"o" * 1000})
    return write_tar(tmp_path / "all.tar", {"n1.tar": inner.read_bytes(), "./n2/x.jpg": b"other", "readme.txt": b"text"})


def test_members_of_inner_archives_are_found_where_they_lie(archive):
    content = archive.read_bytes()
    found = {member.name: content[member.offset : member.offset + member.size] for member in index_tar(archive)}
    assert found == {"n1/n1_2.JPEG": b"two", "n1/n1_1.JPEG": b"o" * 1000, "n2/x.jpg": b"other", "readme.txt": b"text"}


def test_a_second_name_of_a_member_is_a_file_as_well(tmp_path):
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind, target in (
            ("a.jpg", tarfile.REGTYPE, ""),
            ("./b.jpg", tarfile.LNKTYPE, "a.jpg"),
            ("c.jpg", b"2", "a.jpg"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, target, 3 * (not target)
            archive.addfile(member, io.BytesIO(b"one") if not target else None)
    assert [(member.name, path.read_bytes()[member.offset :][: member.size]) for member in index_tar(path)] == [
        ("a.jpg", b"one"), ("b.jpg", b"one"),
    ]  # fmt: skip


def test_the_index_is_kept_until_the_archive_changes(archive, tmp_path, monkeypatch):
    folder = tmp_path / "indices"
    members = index_tar(archive, folder)
    (index,) = folder.iterdir()
    with monkeypatch.context() as context:
        context.setattr(tarfile, "open", lambda *_, **__: pytest.fail("scanned again"))
        assert index_tar(archive, folder) == members
    write_tar(archive, {"new.jpg": b"new"})
    os.utime(archive, ns=(0, 0))
    assert [member.name for member in index_tar(archive, folder)] == ["new.jpg"]
    assert list(folder.iterdir()) == [index]


def test_a_folder_that_cannot_be_written_costs_a_warning_alone(archive, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with caplog.at_level(logging.WARNING):
        assert len(index_tar(archive, blocked / "indices")) == 4
    assert "it will be made anew at every start" in caplog.text


def test_storage_lists_and_reads_like_a_folder(archive):
    storage = TarStorage({"train": archive})
    assert storage.folders("train") == ["n1", "n2"]
    assert storage.names("train/n1") == ["train/n1/n1_1.JPEG", "train/n1/n1_2.JPEG"]
    assert storage.names("train/n") == []
    assert storage.read("train/n1/n1_2.JPEG") == b"two"
    assert storage.locate("train/n1/n1_2.JPEG") == f"{archive}: train/n1/n1_2.JPEG"
    assert pickle.loads(pickle.dumps(storage)).read("train/n2/x.jpg") == b"other"


def test_damaged_archives(archive, tmp_path):
    with pytest.raises(DataError, match=rf"an archive is needed at {tmp_path}/none.tar; it cannot be opened \(No such file"):
        index_tar(tmp_path / "none.tar")
    text = tmp_path / "text.tar"
    text.write_text("no archive" * 100)
    with pytest.raises(DataError, match=r"a whole, uncompressed tar archive is needed; .*compare its md5"):
        index_tar(text)
    cut = tmp_path / "cut.tar"
    cut.write_bytes(write_tar(tmp_path / "flat.tar", {"a.jpg": b"a" * 5000, "b.jpg": b"b" * 5000}).read_bytes()[:8000])
    with pytest.raises(DataError, match=r"cut\.tar"):
        index_tar(cut)


def test_an_archive_that_shrinks_later_is_reported(archive):
    storage = TarStorage({"train": archive})
    os.truncate(archive, 1000)
    with pytest.raises(UnreadableImageError, match="needs 1000 bytes; the archive ends after"):
        storage.read("train/n1/n1_1.JPEG")


@pytest.mark.parametrize("content", [b"", b"no index"])
def test_a_damaged_index_is_made_anew(archive, tmp_path, content, caplog):
    expected = index_tar(archive, tmp_path / "indices")
    (cache,) = (tmp_path / "indices").iterdir()
    cache.write_bytes(content)
    assert index_tar(archive, tmp_path / "indices") == expected
    assert f"the index {cache} is damaged" in caplog.text
    caplog.clear()
    assert index_tar(archive, tmp_path / "indices") == expected
    assert not caplog.text


@pytest.mark.parametrize("name", ["../../x.JPEG", "/x.JPEG", "a/../../x.JPEG"])
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path, name):
    path = tmp_path / "all.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(DataError, match=rf"whose files stay in its folder is needed; {path} also has {name}: it is no archive"):
        index_tar(path)


@pytest.mark.parametrize("kept", [1, 2])
def test_an_archive_cut_between_two_members_is_refused(tmp_path, kept):
    path = write_tar(tmp_path / "x.tar", {f"{number}.jpg": bytes(100) for number in range(3)})
    content, ends = path.read_bytes(), [member.offset + 512 for member in index_tar(path)]  # files are padded to blocks
    path.write_bytes(content[: ends[kept - 1]])
    with pytest.raises(DataError, match=r"x\.tar is none \(the blocks that end an archive are missing\): compare its md5"):
        index_tar(path)
    path.write_bytes(content[: ends[-1] + 512])  # all members and the mark that no more follow
    assert len(index_tar(path)) == 3


def test_an_inner_archive_cut_between_two_members_is_refused(tmp_path):
    path = write_tar(tmp_path / "n1.tar", {"a.jpg": bytes(100), "b.jpg": bytes(100)})
    inner, end = path.read_bytes(), index_tar(path)[0].offset + 512
    path = write_tar(tmp_path / "all.tar", {"n1.tar": inner[:end], "n2.tar": inner})
    with pytest.raises(DataError, match=r"\(its n1/: the blocks that end an archive are missing\)"):
        index_tar(path)


def test_thumbnails_of_file_servers_are_no_images(tmp_path):
    path = write_tar(tmp_path / "x.tar", {"a/1.jpg": b"1", "a/@eaDir/1.jpg": b"2", "__MACOSX/a/._1.jpg": b"3", "a/2.avif": b"4"})
    assert TarStorage({"train": path}).names("train") == ["train/a/1.jpg", "train/a/2.avif"]
