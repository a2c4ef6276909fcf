"""Atomic writes: an earlier file stays until the new one is complete."""

from __future__ import annotations

import contextlib
import errno
import os
import typing
import uuid
from collections.abc import Callable, Iterator

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)        # only writing fails so


@contextlib.contextmanager
def whole_file(path: str) -> Iterator[str]:
    """Yields the name of an empty file beside `path`, which replaces it unless the block raises.

    Raises:
      OSError: If it cannot be created, or the disk is full; it names `path`.
    """
    unfinished = f'{path}.{uuid.uuid4().hex}.tmp'
    try:
        # Created here, so that the error does not depend on what writes to it.
        open(unfinished, 'xb').close()
        yield unfinished
        with open(unfinished, 'rb') as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except OSError as error:
        if error.filename == unfinished or error.filename is None and error.errno in FULL:
            raise OSError(error.errno, error.strerror, path) from error
        raise
    finally:
        if os.path.exists(unfinished):
            os.remove(unfinished)


def write_whole(path: str, write: Callable[[typing.TextIO], object]) -> None:
    """Writes a UTF-8 text file in the same way: `write(file)` writes the text."""
    with whole_file(path) as unfinished:
        with open(unfinished, 'w', newline='', encoding='utf-8') as file:
            write(file)
