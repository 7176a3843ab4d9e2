import logging
import os
from pathlib import Path

import pytest

from gcp_repro.data.streams.formats import FORMATS
from gcp_repro.data.streams.index import default_index_dir, index_shards
from gcp_repro.errors import DataError
from tests.fakes.shards import SIZES, write_shards


def scanned(urls, folder, **options):
    """What `index_shards` gives, and which shards it scanned for it."""
    opened = []

    def scan(url):
        opened.append(url)
        return FORMATS["webdataset"].scan(url)

    shards = index_shards(urls, FORMATS["webdataset"]._replace(scan=scan), folder, **options)
    return shards, sorted(opened)


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_keys_and_labels_in_the_order_of_the_shards(format, tmp_path):
    urls = write_shards(tmp_path / "shards", format)
    for _ in range(2):  # scanned, then kept
        shards = index_shards(urls, FORMATS[format], tmp_path / "index", readers=2)
        assert [shard.url for shard in shards] == urls
        assert [len(shard) for shard in shards] == list(SIZES)
        assert [label for shard in shards for label in shard.labels.tolist()] == list(range(sum(SIZES)))
    assert shards[2].key(1) == {"webdataset": "0007", "parquet": "row 1"}[format]


def test_parquet_files_are_indexed_without_their_images(tmp_path):
    (url,) = write_shards(tmp_path / "shards", "parquet", sizes=[3])
    assert all(sample.data == b"" for sample in FORMATS["parquet"].scan(url))
    assert all(sample.data for sample in FORMATS["parquet"].read(url))


def test_a_shard_is_scanned_once_until_it_changes(tmp_path):
    urls, folder = write_shards(tmp_path / "shards", "webdataset"), tmp_path / "index"
    assert scanned(urls, folder)[1] == urls
    assert scanned(urls, folder)[1] == []
    os.utime(urls[1], ns=(0, 0))
    assert scanned(urls, folder)[1] == [urls[1]]
    scanned(urls, folder)[0][3].index.write_bytes(b"cut off")
    assert scanned(urls, folder)[1] == [urls[3]]


def test_a_remote_shard_is_kept_under_its_address_alone(tmp_path):
    (path,) = write_shards(tmp_path / "shards", "webdataset", sizes=[3])
    url = f"pipe:cat '{path}' # secret"
    assert scanned([url], tmp_path / "index")[1] == [url]
    Path(path).unlink()
    (shard,), opened = scanned([url], tmp_path / "index")
    assert (len(shard), opened) == (3, [])
    assert "secret" not in shard.index.name


def test_a_relative_path_names_the_file_it_leads_to(tmp_path, monkeypatch):
    for number, folder in enumerate("ab"):
        write_shards(tmp_path / folder, "webdataset", sizes=[2], first=10 * number)
        os.utime(tmp_path / folder / "000.tar", ns=(0, 0))
    labels = []
    for folder in "ab":
        monkeypatch.chdir(tmp_path / folder)
        ((shard,), _) = scanned(["000.tar"], tmp_path / "index")
        labels.append(shard.labels.tolist())
    assert labels == [[0, 1], [10, 11]]


def test_the_default_folder_is_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_index_dir() == tmp_path / "gcp_repro" / "shards"


def test_a_folder_that_cannot_be_written_costs_a_warning_alone(tmp_path, caplog):
    urls = write_shards(tmp_path / "shards", "webdataset", sizes=[1])
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        assert len(scanned(urls, tmp_path / "file" / "index")[0][0]) == 1
    assert "it will be made anew at every start" in caplog.text


def test_a_shard_that_another_process_cannot_read_stops_all(tmp_path, monkeypatch):
    urls = write_shards(tmp_path / "shards", "webdataset", sizes=[1, 1])
    error = DataError("a whole shard is needed; ...")

    def gather(parts, mine):
        parts[:] = [mine, error]

    monkeypatch.setattr("torch.distributed.all_gather_object", gather)
    with pytest.raises(DataError, match="a whole shard is needed"):
        scanned(urls, tmp_path / "index", rank=0, world_size=2)
