import os
import signal
import threading

import pytest

from gcp_repro.locks import RenewedLock


def test_one_thread_at_a_time_which_may_enter_again():
    lock, entered = RenewedLock(), []
    with lock, lock:
        other = threading.Thread(target=lambda: [entered.append(threading.current_thread()) for _ in [lock.__enter__()]])
        other.start()
        other.join(0.05)
        assert entered == []
    other.join(60)
    assert entered == [other]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_has_a_lock_that_nobody_holds():
    lock, held, done = RenewedLock(), threading.Event(), threading.Event()

    def hold():
        with lock:
            held.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(60)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(60)
        with lock:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    done.set()
    holder.join(60)
    assert status == 0
