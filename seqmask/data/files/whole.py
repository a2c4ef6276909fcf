"""A file appears whole or not at all: an earlier one stays until the new one is complete."""

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
    """Gives the name to write to; when the block ends well, the file takes the name `path`.

    Args:
      path: Of the file, as it is to be.

    Yields:
      The name beside it under which it is to be written: an empty file. Nothing stays there.

    Raises:
      OSError: If no file can be made there, or the disk is full; it names `path`.
    """
    unfinished = f'{path}.{uuid.uuid4().hex}.tmp'
    try:
        # Made here, so that whatever writes to it later fails alike where it cannot be made.
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
    """Writes a text file, UTF-8, as `whole_file` does: `write(file)` puts the text there.

    Raises:
      OSError: If the file cannot be written.
    """
    with whole_file(path) as unfinished:
        with open(unfinished, 'w', newline='', encoding='utf-8') as file:
            write(file)
