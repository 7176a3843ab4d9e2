"""Optional libraries, and their errors in this package's words."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

from gcp_repro.errors import DataError

__all__ = ["import_extra", "naming"]

EXTRAS = {
    "fsspec": "streams",
    "pyarrow": "datasets",
    "pyarrow.parquet": "datasets",
}  # the extra that brings a library, where it has another name


def import_extra(name: str, purpose: str) -> Any:
    """An optional library.

    Raises:
        DataError: It is not installed.
    """
    try:
        library = importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f'reading {purpose} needs the library {name}; it is not installed: pip install "gcp_repro[{EXTRAS.get(name, name)}]"'
        ) from error
    if name == "datasets":
        library.utils.tqdm.get_lock()  # it must exist: threads that list files side by side would delete each other's
        library.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # each file opened would be counted at the hub, and wait for a network
    return library


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Turn whatever a library raises over a shard into an error that names it.

    Raises:
        DataError: It raised something.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        reason = error.__cause__ or error  # libraries say "an error occurred" and hide which
        if isinstance(reason, DataError):
            raise reason from None
        raise DataError(
            f"a whole shard is needed; reading {source} gave {type(reason).__name__}: {reason}: check its address, that this "
            "machine can reach it, and that it was written to the end"
        ) from error
