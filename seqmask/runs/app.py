"""A script as a person starts it: an error is one line and an exit status."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator

import tensorflow as tf
from absl import app, flags, logging

from seqmask import kernels


# What TensorFlow raises where an operation waits for a worker that is gone.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
        tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError)


class UserError(Exception):
    """Something the person who started the script can mend; its message says what and how."""


def run(main: Callable[[], object]) -> None:
    """Parses the flags and runs `main()`, for `if __name__ == '__main__':`.

    An error in flags, files or data ends the script with one line on stderr and exit status 1, an
    interrupt with 130. Anything else is a bug, and shows its traceback.

    Args:
      main: Function without arguments.
    """
    app.run(lambda argv: sys.exit(_report(main, argv)))


def _report(main, argv):
    if not flags.FLAGS['verbosity'].present:
        logging.set_verbosity(logging.WARNING)      # absl's default tells of every file written
    try:
        # While a script imports, it ends at an interrupt without words; from here on it says some.
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
    except LOST as error:
        if getattr(flags.FLAGS, 'strategy', None) != 'multiworker':     # not every script has it
            raise           # of one process alone it is a bug
        said = _one_line(error).rpartition('aborted by: ')[2]
        print(f'error: another worker is gone ({said[:100]}). Start all workers again with the '
              f'same flags: they go on from the last finished epoch.', file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)         # TensorFlow's own way out waits for the other workers
    except KeyboardInterrupt:
        print('interrupted; started again with the same flags, it goes on from the last finished '
              'epoch.', file=sys.stderr)
        return 130
    return 0


def _require_finite_flags():
    """absl's bounds let nan pass, and inf where there is no upper one."""
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f'--{name} must be a finite number, got {value}.')


def _one_line(error):
    if isinstance(error, tf.errors.OpError):    # without the names of TensorFlow's nodes
        error = re.sub(r'{{.*?}}|\[\[.*?\]\]|\[Op:.*?\]', '', error.message)
    return ' '.join(str(error).split())


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """Around what reads a person's data or files: its errors are theirs to mend, in one line."""
    try:
        yield
    except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
        raise UserError(_one_line(error)) from error
