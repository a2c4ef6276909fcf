"""Compiles the C++ kernels with the machine's own compiler, once, into a cache.

A library's file name holds a hash of everything that goes into it: sources, TensorFlow, compiler,
flags. So one that was built from anything else is never found, and nothing has to be thrown away.
Where TensorFlow is installed does not go into it.
"""

import concurrent.futures
import contextlib
import hashlib
import logging
import os
import pathlib
import platform
import shlex
import shutil
import subprocess
import tempfile
from typing import NamedTuple

import tensorflow as tf

try:
    import fcntl
except ImportError:         # not a Unix
    fcntl = None

SOURCES = pathlib.Path(__file__).resolve().parent / 'cpp'
FLAGS = ['-std=c++17', '-O3', '-fPIC', '-pthread', '-ffp-contract=fast', '-fno-math-errno']
TARGETS = {'portable': [],
           'avx2': ['-mavx2', '-mfma'],
           'avx512': ['-mavx512f', '-mavx512vl', '-mavx512bw', '-mavx512dq', '-mavx2', '-mfma',
                      '-mprefer-vector-width=512']}
TIME_LIMIT = 300            # seconds that the compiler may take for one file
LAST_WORDS = 10             # lines of the compiler's that an error repeats


class BuildError(Exception):
    """Why there are no C++ kernels: one reason, with the compiler's own words below it."""


class Job(NamedTuple):
    """One call of the compiler: what it makes, from what, with which flags."""
    product: str
    source: str
    flags: list


def disabled():
    """Whether the environment variable SEQMASK_KERNELS says to do without."""
    value = os.environ.get('SEQMASK_KERNELS', 'on')
    if value.lower() in ('', 'on'):
        return False
    if value.lower() in ('off', '0', 'false', 'no'):
        return True
    raise BuildError(f"SEQMASK_KERNELS must be 'on' or 'off', got {value!r}")


def cache_folder():
    """Where built libraries stand: SEQMASK_CACHE, or seqmask's part of the user's cache."""
    own, users = os.environ.get('SEQMASK_CACHE'), os.environ.get('XDG_CACHE_HOME')
    try:
        return pathlib.Path(own or pathlib.Path(users or '~/.cache', 'seqmask')
                            ).expanduser().absolute()
    except RuntimeError as error:       # a user without a home
        raise BuildError(f'no cache folder was found ({error}): set SEQMASK_CACHE') from None


def compiler():
    """The compiler's command as a list, and the first line of what it says of its version."""
    command = _command()
    said = _call([*command, '--version'], f'{command[0]} --version')
    return command, said.partition('\n')[0]


def cached():
    """The path of the library if it was built already, else None. BuildError if none can be."""
    try:
        path = _path(*compiler())
    except BuildError:
        # Built ahead, for a machine without a compiler: then any compiler's will do.
        found = sorted(cache_folder().glob(f'libseqmask-{_key()}-*.so'))
        if not found:
            raise
        return str(found[0])
    return str(path) if os.path.isfile(path) else None


def library():
    """The path of the library, which is built first if it is not in the cache."""
    return cached() or build()


def build(force=False):
    """Builds the library and returns its path. Only `force` replaces one in the cache."""
    command, version = compiler()
    path = _path(command, version)
    before = _identity(path)
    if before and not force:
        return str(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path.parent):
            # Another process may have built it while this one waited.
            if _identity(path) == before:
                _build(command, path)
    except OSError as error:
        raise BuildError(f'the cache folder {path.parent} cannot be used ({error.strerror}): '
                         'set SEQMASK_CACHE to one that can') from None
    return str(path)


def _command():
    """The compiler's command; CXX may hold arguments, too."""
    chosen = os.environ.get('CXX', '')
    if chosen.strip():
        try:
            return shlex.split(chosen)
        except ValueError as error:
            raise BuildError(f'CXX={chosen} cannot be read: {error}') from None
    for name in ('g++', 'clang++', 'c++'):
        if shutil.which(name):
            return [name]
    raise BuildError('no C++ compiler was found: install g++ or clang++, or set CXX')


def _jobs():
    """What has to be compiled. Objects for fewer instructions stand first, because of a function
    that several hold (a template, an inline one) the linker takes the first: the machine that runs
    it may not have the others' instructions."""
    x86 = platform.machine().lower() in ('x86_64', 'amd64')
    jobs = [Job('ops.o', 'ops.cc', [*FLAGS, *tf.sysconfig.get_compile_flags()]),
            Job('recurrence.o', 'recurrence.cc', FLAGS + ['-DSEQMASK_X86_TARGETS'] * x86)]
    for target, flags in TARGETS.items():
        if x86 or target == 'portable':
            jobs.append(Job(f'steps-{target}.o', 'steps.cc',
                            [*FLAGS, f'-DSEQMASK_TARGET={target}', *flags]))
    return jobs


def _link_flags():
    return ['-shared', '-pthread', *tf.sysconfig.get_link_flags()]


def _path(command, version):
    return cache_folder() / f'libseqmask-{_key()}-{_hash(command, version)}.so'


def _key():
    """Of all that goes into a library but the compiler."""
    sources = [(path.relative_to(SOURCES).as_posix(), path.read_bytes())
               for path in sorted(SOURCES.rglob('*')) if path.is_file()]
    jobs = [(job.product, job.source, _without_folders(job.flags)) for job in _jobs()]
    return _hash(sources, tf.__version__, platform.machine(), jobs,
                 _without_folders(_link_flags()))


def _without_folders(flags):
    """But those that name the folders in which TensorFlow stands."""
    return [flag for flag in flags if not flag.startswith(('-I', '-L'))]


def _hash(*parts):
    return hashlib.sha256(repr(parts).encode('utf-8', 'backslashreplace')).hexdigest()[:16]


def _identity(path):
    """Tells one file from another that takes its place; None where there is none."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_ino, found.st_mtime_ns


@contextlib.contextmanager
def _lock(folder):
    """One process at a time. The system unlocks when a process ends, in whichever way."""
    with open(folder / 'lock', 'a') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except (OSError, AttributeError):
            # No locks here. Several may build at once: each has its own folder, and a rename is
            # atomic. But then nobody knows which folder's builder has died.
            pass
        else:
            for left_over in folder.glob('building-*'):
                shutil.rmtree(left_over, ignore_errors=True)
        yield


def _build(command, path):
    logging.getLogger('seqmask').info(
        "Compiling seqmask's CPU kernels, once for this TensorFlow; about 15 seconds.")
    # Inside the cache, because a rename is atomic on one file system only.
    folder = tempfile.mkdtemp(prefix='building-', dir=path.parent)
    try:
        jobs = _jobs()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda job: _compile(command, job, folder), jobs))
        made = os.path.join(folder, path.name)
        _call([*command, *objects, *_link_flags(), '-o', made], f'{command[0]} on the library')
        if not os.path.isfile(made):
            raise BuildError(f'{command[0]} wrote no library')
        os.replace(made, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compile(command, job, folder):
    made = os.path.join(folder, job.product)
    _call([*command, *job.flags, '-c', str(SOURCES / job.source), '-o', made],
          f'{command[0]} on {job.source}')
    return made


def _call(arguments, what):
    """Runs the compiler and returns what it said; `what` names the call in an error."""
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=TIME_LIMIT,
                              env={**os.environ, 'LC_ALL': 'C'})
    except OSError as error:
        raise BuildError(f'{arguments[0]} cannot be run: {error.strerror}') from None
    except subprocess.TimeoutExpired:
        raise BuildError(f'{what} took more than {TIME_LIMIT} s') from None
    said = done.stdout.decode(errors='replace').strip()
    if done.returncode:
        raise BuildError('\n'.join([f'{what} failed with exit status {done.returncode}',
                                    *said.splitlines()[-LAST_WORDS:]]))
    return said
