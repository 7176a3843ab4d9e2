import multiprocessing
import socket
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from gcp_repro.data.streams import reader as stream_reader
from gcp_repro.data.streams.formats import FORMATS, Encoded, EncodedSamples
from gcp_repro.data.streams.index import Shard, index_shards
from gcp_repro.data.streams.loading import stream_order
from gcp_repro.data.streams.reader import fetch
from gcp_repro.errors import DataError
from tests.fakes.shards import write_shards


class Source:
    """Shards in memory that write down how far each has been read."""

    def __init__(self, sizes):
        names = [np.array([f"{number}".encode() for number in range(size)]) for size in sizes]
        self.shards = [
            Shard(str(number), keys, np.zeros(len(keys), dtype=np.int64), Path("index")) for number, keys in enumerate(names)
        ]
        self.read_of = dict.fromkeys(map(str, range(len(sizes))), 0)
        self.closed = set()

    def read(self, url) -> EncodedSamples:
        try:
            for place in range(len(self.shards[int(url)])):
                self.read_of[url] += 1
                yield Encoded(str(place), 0, f"{url}/{place}".encode())
        finally:
            self.closed.add(url)

    def fetch(self, places, readers=2):
        return fetch(places, self.shards, self.read, readers=readers)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(stream_reader, "CHUNK", 3)


@pytest.mark.parametrize("readers", [1, 2, 8])
@pytest.mark.parametrize("buffer", [1, 20, 1000])
def test_any_order_is_served_and_each_shard_read_once(readers, buffer):
    source = Source([7, 0, 1, 12, 30, 3, 9])
    shard_of_row = np.repeat(np.arange(7), [len(shard) for shard in source.shards])
    place_of_row = np.concatenate([np.arange(len(shard)) for shard in source.shards])
    rows = stream_order(shard_of_row, seed=0, epoch=0, shuffle_buffer=buffer)
    places = list(zip(shard_of_row[rows].tolist(), place_of_row[rows].tolist(), strict=True))
    assert list(source.fetch(places, readers)) == [f"{shard}/{place}".encode() for shard, place in places]
    assert source.read_of == {shard.url: len(shard) for shard in source.shards}
    assert len(source.closed) == 6  # all but the empty one


def test_a_shard_is_read_no_further_than_wanted_and_others_are_not_opened():
    source = Source([10, 10, 10])
    assert list(source.fetch([(2, 4), (2, 1), (0, 0)])) == [b"2/4", b"2/1", b"0/0"]
    assert source.read_of == {"0": 1, "1": 0, "2": 5}
    assert source.closed == {"0", "2"}


def test_what_is_read_ahead_is_limited():
    source = Source([100] * 20)
    with closing(source.fetch([(shard, place) for shard in range(20) for place in range(100)], readers=2)) as files:
        next(files)
        assert sum(source.read_of.values()) <= (2 + 1 + 1) * 2 * 3
    assert source.closed == {url for url, read in source.read_of.items() if read}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("shard")]


def test_a_command_whose_output_is_no_longer_wanted_is_ended(tmp_path):
    """Even where another process holds the end of its pipe open, as workers do that are forked while it runs."""
    (path,) = write_shards(tmp_path / "shards", "webdataset", sizes=[4])
    samples = FORMATS["webdataset"].read(f"pipe:cat '{path}' /dev/zero")
    next(samples)
    holder = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    holder.start()
    samples.close()
    ended_before = holder.is_alive()
    holder.kill()
    holder.join()
    assert ended_before


@pytest.mark.parametrize("change", ["other samples", "fewer", "more"])
def test_a_shard_that_changed_since_it_was_indexed_is_named(change, tmp_path):
    (path,) = write_shards(tmp_path / "before", "webdataset", sizes=[4])
    url = f"pipe:cat '{path}'"
    shards = index_shards([url], FORMATS["webdataset"], tmp_path / "index")
    size, first = {"other samples": (4, 2), "fewer": (3, 0), "more": (5, 0)}[change]
    Path(write_shards(tmp_path / "after", "webdataset", sizes=[size], first=first)[0]).rename(path)
    place = {"other samples": 0, "fewer": 3, "more": 4}[change]
    with pytest.raises(DataError, match=rf"differs from sample {place} on, counted from 0: .* remove {shards[0].index}"):
        list(fetch([(0, 0), (0, 3)], shards, FORMATS["webdataset"].read, readers=1))


def test_a_command_that_fails_after_the_last_sample_is_named(tmp_path):
    (path,) = write_shards(tmp_path / "shards", "webdataset", sizes=[2])
    with pytest.raises(DataError, match=r"a whole shard is needed; reading pipe:cat .* gave OSError: .*exit 3"):
        list(FORMATS["webdataset"].read(f"pipe:cat '{path}'; exit 3"))


def test_an_iteration_that_is_left_when_the_process_ends_is_silent(monkeypatch):
    """The modules of thread pools have been taken apart by then: their methods raise."""

    def taken_apart(*_, **__):
        raise AttributeError("'NoneType' object has no attribute 'Empty'")

    files = Source([10]).fetch([(0, 0), (0, 3)])
    with monkeypatch.context() as ending:
        ending.setattr(sys, "is_finalizing", lambda: True)
        ending.setattr(stream_reader.ThreadPoolExecutor, "shutdown", taken_apart)
        next(files)
        files.close()


def test_local_parquet_is_read_without_the_network(monkeypatch, tmp_path):
    asked = []

    def no_network(host, *_, **__):
        asked.append(host)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    (path,) = write_shards(tmp_path / "shards", "parquet", sizes=[2])
    assert len(list(FORMATS["parquet"].read(path))) == 2
    assert asked == []
