import os
import signal
import subprocess
import sys
import threading

import pytest
import torch

from gcp_repro.bench.timing import torch_threads
from gcp_repro.linalg.machinery import parallel
from gcp_repro.linalg.machinery.parallel import CHUNK_BYTES, for_each_chunk
from tests.tolerances import TIME_LIMIT


@pytest.fixture
def two_threads():
    with torch_threads(2):
        yield


def test_chunks_are_of_the_aimed_at_size_and_cover_the_batch_once(two_threads):
    sizes, batch = [], torch.zeros(10)

    def work(part):
        sizes.append(len(part))
        part += 1

    for_each_chunk(work, [batch], CHUNK_BYTES // 3)
    assert sorted(sizes) == [1, 3, 3, 3]
    assert batch.tolist() == [1.0] * 10


@pytest.mark.parametrize(("batch", "threads", "sizes"), [(18, 2, [5, 5, 5, 3]), (10, 1, [5, 5]), (16, 2, [8, 8]), (3, 2, [2, 1])])
def test_chunks_are_of_nearly_equal_size_and_as_many_for_every_thread(batch, threads, sizes):
    seen = []
    with torch_threads(threads):
        for_each_chunk(lambda part: seen.append(len(part)), [torch.zeros(batch)], CHUNK_BYTES // 8)
    assert sorted(seen, reverse=True) == sizes


@pytest.mark.parametrize(("threads", "batch"), [(1, 20), (2, 1), (2, 0)])
def test_one_thread_or_one_chunk_is_the_callers_own_thread(threads, batch):
    """Where modes that watch operators see the work."""
    seen = []
    with torch_threads(threads):
        for_each_chunk(lambda part: seen.append(threading.get_ident()), [torch.zeros(batch)], CHUNK_BYTES // 8)
    assert set(seen) == ({threading.get_ident()} if batch else set())


def test_workers_run_one_threaded_kernels_whatever_ran_before(two_threads):
    """Two kernels with two threads each on two cores were half as fast as one after the other."""
    torch.ones(10**6).sum()
    seen = {}

    def work(part):
        torch.linalg.eigh(torch.eye(3))  # a thread's first kernel reads the process's setting
        seen[threading.current_thread().name] = torch.get_num_threads()
        both.wait()

    both = threading.Barrier(2, timeout=TIME_LIMIT)
    for _ in range(2):
        for_each_chunk(work, [torch.zeros(2)], CHUNK_BYTES)
    assert len(seen) == 2
    assert set(seen.values()) == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own(two_threads):
    """Those of the parent do not survive a fork, and work handed to them is never done."""
    batch = torch.zeros(4)
    for_each_chunk(lambda part: part.add_(1), [batch], CHUNK_BYTES)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        for_each_chunk(lambda part: part.add_(1), [batch], CHUNK_BYTES)
        os._exit(0 if batch.tolist() == [2.0] * 4 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_error_in_a_worker_is_raised(two_threads):
    def work(part):
        raise ValueError("bad chunk")

    with pytest.raises(ValueError, match="bad chunk"):
        for_each_chunk(work, [torch.zeros(2)], CHUNK_BYTES)


def test_pools_do_not_pile_up():
    for count in (2, 3, 4, 5, 3):
        with torch_threads(count):
            for_each_chunk(lambda part: part.add_(1), [torch.zeros(2 * count)], CHUNK_BYTES)
    workers = {thread for thread in threading.enumerate() if thread.name.startswith("gcp_repro")}
    (pool,) = parallel._pools.values()
    for thread in workers - pool._threads:
        thread.join(timeout=60)  # idle ones end by themselves
    assert {thread for thread in workers if thread.is_alive()} == pool._threads
    assert len(pool._threads) == 3
    with torch_threads(3):
        for_each_chunk(lambda part: part.add_(1), [torch.zeros(6)], CHUNK_BYTES)
    assert parallel._pools == {3: pool}  # it goes on as long as the number stays


@pytest.mark.filterwarnings("ignore:.*fork\\(\\) may lead to deadlocks:DeprecationWarning")  # that is what is tested
def test_a_fork_while_another_thread_submits(two_threads):
    """In the child nobody is there who would give the lock back."""
    held, released = threading.Event(), threading.Event()

    def hold():
        with parallel._lock:
            held.set()
            released.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        os._exit(0 if parallel._lock._lock.acquire(timeout=1) and not parallel._pools else 1)
    released.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


AFTER_THE_MAIN_THREAD = """
import threading, torch
from gcp_repro.linalg.machinery.parallel import CHUNK_BYTES, for_each_chunk

def later():
    threading.main_thread().join()
    x = torch.zeros(6)
    for_each_chunk(lambda part: part.add_(1), [x], CHUNK_BYTES)
    print(x.tolist())

torch.set_num_threads(2)
for_each_chunk(lambda part: part.add_(1), [torch.zeros(6)], CHUNK_BYTES)
threading.Thread(target=later).start()
"""


def test_a_thread_that_outlives_the_main_one_goes_on_alone():
    done = subprocess.run([sys.executable, "-c", AFTER_THE_MAIN_THREAD], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[1.0, 1.0, 1.0, 1.0, 1.0, 1.0]", done.stderr
