"""Compiles the C++ kernels with the machine's own compiler, once, into a cache.

The file name of a library holds a hash of everything that it is built from: sources, TensorFlow,
compiler, flags. So a library built from anything else is never found, and nothing has to be
invalidated. The folder where TensorFlow is installed is not hashed.
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
import struct
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
TIME_LIMIT = 300            # seconds for one call of the compiler
SHOWN_LINES = 10            # the last lines of compiler output that an error shows


class BuildError(Exception):
    """Why there are no C++ kernels: the reason in one line, then the compiler's output."""


class Job(NamedTuple):
    """One call of the compiler."""
    product: str
    source: str
    flags: list


def disabled():
    """Whether the environment variable SEQMASK_KERNELS disables the kernels."""
    value = os.environ.get('SEQMASK_KERNELS', 'on')
    if value.lower() in ('', 'on'):
        return False
    if value.lower() in ('off', '0', 'false', 'no'):
        return True
    raise BuildError(f"SEQMASK_KERNELS must be 'on' or 'off', got {value!r}")


def cache_folder():
    """The folder of built libraries: SEQMASK_CACHE, else `seqmask` in the user's cache."""
    own, users = os.environ.get('SEQMASK_CACHE'), os.environ.get('XDG_CACHE_HOME')
    try:
        return pathlib.Path(own or pathlib.Path(users or '~/.cache', 'seqmask')
                            ).expanduser().absolute()
    except RuntimeError as error:       # the user has no home folder
        raise BuildError(f'no cache folder was found ({error}): set SEQMASK_CACHE') from None


def compiler():
    """The compiler's command as a list, and the first line of its version."""
    command = _command()
    output = _call([*command, '--version'], f'{command[0]} --version')
    return command, output.partition('\n')[0]


def cached():
    """The path of the library if it is in the cache, else None; BuildError if none can be built."""
    try:
        path = _path(*compiler())
    except BuildError:
        # A library built ahead, for a machine without a compiler, may come from any compiler.
        found = sorted(cache_folder().glob(f'libseqmask-{_key()}-*.so'))
        if not found:
            raise
        return str(found[0])
    return str(path) if os.path.isfile(path) else None


def library():
    """The path of the library, built first if it is not in the cache."""
    return cached() or build()


def build(force=False):
    """Builds the library and returns its path; `force` replaces one in the cache."""
    command, version = compiler()
    path = _path(command, version)
    before = _identity(path)
    if before and not force:
        return str(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path.parent):
            # Another process may have built it while this one waited for the lock.
            if _identity(path) == before:
                _build(command, path)
    except OSError as error:
        raise BuildError(f'the cache folder {path.parent} cannot be used ({error.strerror}): '
                         'set SEQMASK_CACHE to one that can') from None
    return str(path)


def require_whole(path):
    """Refuses a truncated ELF library: loading it would crash the process.

    Raises:
      OSError: If the file cannot be read, or ends before its last part, the table of its sections.
    """
    with open(path, 'rb') as file:
        header, size = file.read(64), os.fstat(file.fileno()).st_size
    if header[:5] != b'\x7fELF\x02':        # of 64 bits; the loader itself refuses what is neither
        return
    if size >= 64:
        table, = struct.unpack_from('=Q', header, 40)
        entry_size, entries = struct.unpack_from('=2H', header, 58)
        if size >= table + entry_size * entries:
            return
    raise OSError(f'{path} is truncated')


def _command():
    """The compiler's command; CXX may include arguments."""
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
    """The calls that compile the sources, in the order of linking.

    Of a template or an inline function in more than one object the linker keeps the first copy, so
    the objects for fewer instruction sets come first: those run on every machine.
    """
    x86 = platform.machine().lower() in ('x86_64', 'amd64')
    jobs = [Job('ops.o', 'ops.cc', [*FLAGS, *tf.sysconfig.get_compile_flags()]),
            Job('network.o', 'network.cc', FLAGS),
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
    """The hash of everything that a library is built from except the compiler."""
    sources = [(path.relative_to(SOURCES).as_posix(), path.read_bytes())
               for path in sorted(SOURCES.rglob('*')) if path.is_file()]
    jobs = [(job.product, job.source, _without_folders(job.flags)) for job in _jobs()]
    return _hash(sources, tf.__version__, platform.machine(), jobs,
                 _without_folders(_link_flags()))


def _without_folders(flags):
    """The flags except those that name TensorFlow's folders."""
    return [flag for flag in flags if not flag.startswith(('-I', '-L'))]


def _hash(*parts):
    return hashlib.sha256(repr(parts).encode('utf-8', 'backslashreplace')).hexdigest()[:16]


def _identity(path):
    """Differs between a file and its replacement; None if there is no file."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_ino, found.st_mtime_ns


@contextlib.contextmanager
def _lock(folder):
    """Admits one process at a time. The system unlocks when a process ends, even if killed."""
    with open(folder / 'lock', 'a') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except (OSError, AttributeError):
            # Without locks, processes may build at the same time: each has its own folder, and a
            # rename is atomic. But nothing tells which folders have been abandoned.
            pass
        else:
            for abandoned in folder.glob('building-*'):
                shutil.rmtree(abandoned, ignore_errors=True)
        yield


def _build(command, path):
    logging.getLogger('seqmask').info(
        "Compiling seqmask's CPU kernels, once for this TensorFlow; about 15 seconds.")
    # Inside the cache, because a rename is atomic only within one file system.
    folder = tempfile.mkdtemp(prefix='building-', dir=path.parent)
    try:
        jobs = _jobs()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda job: _compile(command, job, folder), jobs))
        built = os.path.join(folder, path.name)
        _call([*command, *objects, *_link_flags(), '-o', built], f'{command[0]} on the library')
        if not os.path.isfile(built):
            raise BuildError(f'{command[0]} wrote no library')
        with open(built, 'rb') as file:
            os.fsync(file.fileno())     # otherwise a crash may leave the name without the content
        os.replace(built, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _compile(command, job, folder):
    product = os.path.join(folder, job.product)
    _call([*command, *job.flags, '-c', str(SOURCES / job.source), '-o', product],
          f'{command[0]} on {job.source}')
    return product


def _call(arguments, what):
    """Runs the compiler and returns its output; `what` names the call in an error."""
    try:
        done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=TIME_LIMIT,
                              env={**os.environ, 'LC_ALL': 'C'})
    except OSError as error:
        raise BuildError(f'{arguments[0]} cannot be run: {error.strerror}') from None
    except subprocess.TimeoutExpired:
        raise BuildError(f'{what} took more than {TIME_LIMIT} s') from None
    output = done.stdout.decode(errors='replace').strip()
    if done.returncode:
        raise BuildError('\n'.join([f'{what} failed with exit status {done.returncode}',
                                    *output.splitlines()[-SHOWN_LINES:]]))
    return output
