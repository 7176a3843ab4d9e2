"""What tests of commands share: overrides of runs that wait or go wrong, and waiting for processes."""

import time
from pathlib import Path

from tests.fakes.gate import Gate
from tests.fakes.trouble import Trouble
from tests.tolerances import TIME_LIMIT


def gated(path, **options):
    """Overrides for a run that waits at a `Gate`."""
    return _callback("gate", Gate, path=path, **options)


def troubled(**options):
    """Overrides for runs that go wrong by `Trouble`."""
    return _callback("trouble", Trouble, seed="${seed}", **options)


def _callback(name, kind, **options):
    settings = {"_target_": f"{kind.__module__}.{kind.__name__}", **options}
    return [f"+callbacks.{name}.{option}={value}" for option, value in settings.items()]


def flags_first(*arguments):
    return sorted(arguments, key=lambda argument: not argument.startswith("-"))


def wait_for(condition, process):
    deadline = time.monotonic() + TIME_LIMIT
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def results(runs_dir):
    return sorted(Path(runs_dir).rglob("result.json"))
