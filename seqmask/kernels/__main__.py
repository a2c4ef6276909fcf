"""Builds the C++ kernels ahead of their first use, and reports what it found.

    python -m seqmask.kernels [--force]

Environment: CXX sets the compiler, SEQMASK_CACHE the cache folder; SEQMASK_KERNELS=off disables the
kernels. The exit status is 0 if the kernels can be used, else 1.
"""

import argparse
import platform
import shlex
import sys
import time

import tensorflow as tf

from seqmask.kernels import build, native


def main(argv=None):
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog='python -m seqmask.kernels', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--force', action='store_true', help='rebuild a cached library')
    force = parser.parse_args(argv).force
    try:
        disabled = build.disabled()
    except build.BuildError as error:       # layers refuse this setting, too
        return _fail(f'{error}.')
    try:
        if disabled:
            raise build.BuildError('SEQMASK_KERNELS=off')
        _report(force)
    except (build.BuildError, native.Unusable) as error:
        reason, *details = str(error).splitlines()
        return _fail(f"{reason.rstrip('.')}; the recurrent layers use implementation='graph'.",
                     *details)
    return 0


def _fail(reason, *details):
    print(f'seqmask.kernels: {reason}', *details, sep='\n', file=sys.stderr)
    return 1


def _report(force):
    _print_row('TensorFlow', tf.__version__)
    _print_row('machine', platform.machine())
    _print_row('cache', build.cache_folder())
    found = None if force else build.cached()
    try:
        command, version = build.compiler()
        _print_row('compiler', f'{shlex.join(command)}: {version}')
    except build.BuildError as error:
        if not found:
            raise
        _print_row('compiler', f'not needed ({error})')
    if not found:
        _print_row('building', 'takes about 15 seconds')
    start = time.monotonic()
    path = found or build.build(force)
    _print_row('library', path)
    _print_row('built', 'earlier' if found else f'now, in {time.monotonic() - start:.1f} seconds')
    native.load()
    targets = native.targets()
    _print_row('targets', f"{', '.join(targets)}: {targets[0]} is used")


def _print_row(name, value):
    print(f'{name:<12}{value}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
