"""How every command ends at a user's mistake: one message, no traceback, and the status that says what kind it was."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from gcp_repro.errors import GCPError
from gcp_repro.runs.exit_codes import MEANINGS, MISCONFIGURED
from gcp_repro.runs.interruption import TrainingInterrupted
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
    """Turn errors that are no fault of the program, Ctrl-C and interrupted runs into a message and the end of a command.

    Args:
        command: What the message begins with.
        describe: Makes the message of an error.
        configuration: What other libraries raise at a wrong configuration.
        outside: What is raised where a disk or network fails.

    Raises:
        SystemExit: With a status of `gcp_repro.runs.exit_codes`.
    """
    expected: tuple[type[Exception], ...] = (GCPError, *configuration, *outside)
    try:
        yield
    except expected as error:
        print(f"{command}: {describe(error)}", file=sys.stderr)
        raise SystemExit(MISCONFIGURED if isinstance(error, configuration) else exit_code_for(error)) from None
    except (KeyboardInterrupt, TrainingInterrupted) as stop:
        code = exit_code_for(stop)
        print(f"{command}: {str(stop) or MEANINGS[code]}", file=sys.stderr)
        raise SystemExit(code) from None
