"""The entry point of a script: an error becomes one line and an exit status."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import app, flags, logging

from seqmask import kernels

# What TensorFlow raises from an operation that waits for a lost worker.
WORKER_LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
               tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError)


class UserError(Exception):
    """An error that the user can fix; its message says what is wrong and how to fix it."""


def run(main: Callable[[], object]) -> None:
    """Parses the flags and calls `main()`, for `if __name__ == '__main__':`.

    An error in flags, files or data, or too little memory, ends the script with one line on stderr
    and exit status 1, an interrupt with 130. Anything else is a bug and shows its traceback.
    """
    app.run(lambda argv: sys.exit(_report(main, argv)))


def _report(main, argv):
    if not flags.FLAGS['verbosity'].present:
        logging.set_verbosity(logging.WARNING)      # absl's default reports every file written
    try:
        # During its imports a script exits silently on an interrupt; from here on it prints a line.
        if signal.getsignal(signal.SIGINT) not in (signal.default_int_handler, signal.SIG_IGN):
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if len(argv) > 1:
            raise UserError(f'{argv[1]!r} is not a flag: flags begin with --. See --help.')
        _require_finite_flags()
        main()
    except (UserError, OSError, FloatingPointError, tf.errors.ResourceExhaustedError,
            kernels.native.Unusable) as error:
        print(f'error: {_one_line(error)}', file=sys.stderr)
        return 1
    except MemoryError as error:
        print(f'error: not enough memory ({_one_line(error)}). Choose smaller sizes or batches.',
              file=sys.stderr)
        return 1
    except WORKER_LOST as error:
        if getattr(flags.FLAGS, 'strategy', None) != 'multiworker':     # not every script has it
            raise           # in a single process it is a bug
        cause = _one_line(error).rpartition('aborted by: ')[2]
        print(f'error: another worker was lost ({cause[:100]}). Restart all workers with the same '
              f'flags to resume from the last finished epoch.', file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)         # TensorFlow's normal exit would wait for the other workers
    except KeyboardInterrupt:
        print('interrupted; restart with the same flags to resume from the last finished epoch.',
              file=sys.stderr)
        return 130
    return 0


def _require_finite_flags():
    """Refuses nan and inf, which can pass absl's bounds."""
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f'--{name} must be a finite number, got {value}.')


def _one_line(error):
    if isinstance(error, tf.errors.OpError):    # strip the names of TensorFlow's nodes
        text = re.sub(r'{{.*?}}|\[\[.*?\]\]|\[Op:.*?\]', '', error.message)
        # An assertion in a graph: where it is, and then [what] [value] [value].
        place, _, assertion = text.partition('assertion failed: ')
        error = assertion.strip()[1:-1].replace('] [', ' ') or place
    return ' '.join(str(error).split())


def require_package(module: str, *, flag: str, name: str) -> None:
    """Raises `UserError` if a flag needs a package, of the extra named like it, that is missing."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"--{flag} needs {name}, which is not installed: pip install '.[{flag}]', "
                        f"or leave the flag out.") from error


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Turns errors in the user's data or files, raised inside the block, into `UserError`."""
    try:
        yield
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise UserError(_one_line(error)) from error
