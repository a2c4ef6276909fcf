"""Builds the C++ kernels ahead of their first use, and says what was found.

    python -m seqmask.kernels [--force]

Environment: CXX names the compiler, SEQMASK_CACHE the folder that keeps what was built,
SEQMASK_KERNELS=off does without. The exit status is 0 if the kernels can be used, else 1.
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
    parser.add_argument('--force', action='store_true', help='build even what is in the cache')
    force = parser.parse_args(argv).force
    try:
        disabled = build.disabled()
    except build.BuildError as error:       # which the layers do not run with, either
        return _fail(f'{error}.')
    try:
        if disabled:
            raise build.BuildError('SEQMASK_KERNELS=off')
        _report(force)
    except (build.BuildError, native.Unusable) as error:
        reason, *words = str(error).splitlines()
        return _fail(f"{reason.rstrip('.')}; the recurrent layers use implementation='graph'.",
                     *words)
    return 0


def _fail(reason, *words):
    print(f'seqmask.kernels: {reason}', *words, sep='\n', file=sys.stderr)
    return 1


def _report(force):
    _say('TensorFlow', tf.__version__)
    _say('machine', platform.machine())
    _say('cache', build.cache_folder())
    found = None if force else build.cached()
    try:
        command, version = build.compiler()
        _say('compiler', f'{shlex.join(command)}: {version}')
    except build.BuildError as error:
        if not found:
            raise
        _say('compiler', f'not needed ({error})')
    if not found:
        _say('building', 'takes about 15 seconds')
    start = time.monotonic()
    path = found or build.build(force)
    _say('library', path)
    _say('built', 'earlier' if found else f'now, in {time.monotonic() - start:.1f} seconds')
    native.load()
    targets = native.targets()
    _say('targets', f"{', '.join(targets)}: {targets[0]} is used")


def _say(name, value):
    print(f'{name:<12}{value}', flush=True)


if __name__ == '__main__':
    sys.exit(main())
