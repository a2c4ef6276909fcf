"""A file that appears at once and whole, whenever its writer is killed."""

from __future__ import annotations

import os
import typing
from collections.abc import Callable


def write_whole(path: str, write: Callable[[typing.TextIO], object]) -> None:
    """Writes a text file such that it appears at once and whole: `write(file)`, then a rename."""
    temporary = f'{path}.{os.getpid()}.tmp'
    try:
        with open(temporary, 'w', newline='', encoding='utf-8') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)
