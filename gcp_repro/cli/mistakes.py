"""How every command ends at a user's mistake: one message, no traceback, and the status that says what kind it was."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from gcp_repro.errors import GCPError
from gcp_repro.runs.exit_codes import MISCONFIGURED
from gcp_repro.runs.outcome import exit_code_for

__all__ = ["explained"]


@contextlib.contextmanager
def explained(
    command: str,
    describe: Callable[[Exception], str] = str,
    *,
    configuration: tuple[type[Exception], ...] = (),
    outside: tuple[type[Exception], ...] = (OSError,),
) -> Iterator[None]:
    """Turn errors that are no fault of the program, and Ctrl-C, into the end of a command.

    Args:
        command: What the message begins with.
        describe: Makes the message of an error.
        configuration: What other libraries raise at a wrong configuration.
        outside: What is raised where a disk or network fails.

    Raises:
        SystemExit: With a status of `gcp_repro.runs.exit_codes`, and with the message, which standard error has by then.
    """
    expected: tuple[type[Exception], ...] = (GCPError, *configuration, *outside)
    try:
        yield
    except expected as error:
        ending = SystemExit(f"{command}: {describe(error)}")
        ending.code = MISCONFIGURED if isinstance(error, configuration) else exit_code_for(error)
        print(ending, file=sys.stderr)
        raise ending from None
    except KeyboardInterrupt as stop:
        raise SystemExit(exit_code_for(stop)) from None
