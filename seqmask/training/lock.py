"""Who may write to a folder? One process at a time; its lock ends with it, even when killed."""

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
    """A lock on a folder, held as long as this object lives. Made by `hold`."""

    def __init__(self, folder: str):
        file = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o666)
        self._release = weakref.finalize(self, os.close, file)
        try:
            if fcntl is None:
                raise OSError('this system has no flock')
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._release()
            raise BlockingIOError(
                f'workdir {folder!r} is in use: another process is training in it. Wait until it '
                f'ends, or choose another workdir.') from error
        except OSError as error:
            warnings.warn(f'workdir {folder!r} cannot be locked ({error}): make sure that no other '
                          f'process trains in it.', stacklevel=4)


def hold(folder: str) -> Lock:
    """Locks a folder for this process, which may lock it more than once.

    The operating system releases the lock when the process ends, however it ends.

    Args:
      folder: Path of a folder.

    Returns:
      `Lock`. Other processes may lock the folder once no reference to it is left.

    Raises:
      BlockingIOError: If another process holds it.
    """
    key = os.getpid(), os.path.realpath(folder)     # a forked child does not hold it
    lock = _held.get(key)
    if lock is None:
        _held[key] = lock = Lock(folder)
    return lock
