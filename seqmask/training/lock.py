"""Who may write to a folder? One process at a time, and a kill makes it free."""

from __future__ import annotations

import os
import warnings
import weakref

try:
    import fcntl
except ImportError:         # Windows
    fcntl = None

LOCK = '.lock'

_held = weakref.WeakValueDictionary()


class Lock:
    """A lock on a folder, held as long as this object lives; see `hold`.

    Args:
      folder: Path of a folder.

    Raises:
      BlockingIOError: If another process holds it.
    """

    def __init__(self, folder: str):
        file = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o666)
        self._end = weakref.finalize(self, os.close, file)
        try:
            if fcntl is None:
                raise OSError('this system has no flock')
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._end()
            raise BlockingIOError(
                f'workdir {folder!r} is in use: another process is training in it. Wait until it '
                f'has ended, or choose another workdir.') from error
        except OSError as error:
            warnings.warn(f'workdir {folder!r} cannot be locked ({error}): see to it that no other '
                          f'process trains in it.', stacklevel=4)


def hold(folder: str) -> Lock:
    """Locks a folder for this process, which may hold it several times over.

    The system lets go of it when the process ends, however it ends.

    Args:
      folder: Path of a folder.

    Returns:
      `Lock`; the folder is free for other processes when all of them are gone.

    Raises:
      BlockingIOError: If another process holds it.
    """
    key = os.getpid(), os.path.realpath(folder)     # a forked process does not hold it
    lock = _held.get(key)
    if lock is None:
        _held[key] = lock = Lock(folder)
    return lock
