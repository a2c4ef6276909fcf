"""How the kernels are built, with a compiler of our own that counts, sleeps, fails and dies."""

import contextlib
import ctypes
import importlib
import os
import pathlib
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types

import pytest
import tensorflow as tf

from seqmask.kernels import __main__ as command_line
from seqmask.kernels import build
from seqmask.kernels import native as native_module
from test_scripts import ROOT, TIMEOUT, own_lines

IS_X86 = platform.machine().lower() in ('x86_64', 'amd64')
CALLS = 7 if IS_X86 else 5      # ops, network, recurrence, steps for each target, and the library

COMPILER = '''#!/bin/sh
case "$*" in *--version) . {0}/version; exit;; esac
echo "$*" >> {0}/log
for made; do :; done
. {0}/behaviour
echo made > "$made"
'''

# What a process of its own does, without the seconds that TensorFlow takes to be imported.
BUILDER = '''
import importlib.util, pathlib, sys, types
module, sources, locks = sys.argv[1:]
sys.modules['tensorflow'] = types.SimpleNamespace(
    __version__='2', sysconfig=types.SimpleNamespace(get_compile_flags=list, get_link_flags=list))
spec = importlib.util.spec_from_file_location('build', module)
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)
build.SOURCES = pathlib.Path(sources)
if locks == 'no locks':
    build.fcntl = None
print(build.build())
'''

SLEEP = 'echo $$ >> {0}/asleep; exec sleep 60'


class Compiler:
    """A shell script in the compiler's place; `behaviour` is what it does before it writes."""

    def __init__(self, folder):
        self.folder = folder
        self.script = folder / 'fake compiler'
        folder.mkdir()
        self.script.write_text(COMPILER.format(shlex.quote(str(folder))))
        self.script.chmod(0o755)
        self.says_version('echo fake 1.0')
        self.behaves('')

    def says_version(self, shell):
        (self.folder / 'version').write_text(shell + '\n')

    def behaves(self, shell):
        (self.folder / 'behaviour').write_text(shell.format(shlex.quote(str(self.folder))) + '\n')

    def lines(self, name='log'):
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / name).read_text().splitlines()
        return []


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    fake = Compiler(tmp_path / 'bin')
    monkeypatch.setenv('CXX', shlex.quote(str(fake.script)))
    yield fake
    for process in fake.lines('asleep'):        # those whose builder was killed live on
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGKILL)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    folder = tmp_path / 'cpp'
    folder.mkdir()
    for name in ('ops.cc', 'network.cc', 'recurrence.cc', 'steps.cc', 'steps.h'):
        (folder / name).write_text(f'// {name}\n')
    monkeypatch.setattr(build, 'SOURCES', folder)
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The cache's folder; no test sees the user's own."""
    folder = tmp_path / 'cache'
    monkeypatch.setenv('SEQMASK_CACHE', str(folder))
    for name in ('SEQMASK_KERNELS', 'CXX'):
        monkeypatch.delenv(name, raising=False)
    return folder


def held(cache):
    """What stands in the cache, beside the lock."""
    return sorted(path.name for path in cache.glob('*') if path.name != 'lock')


# Found again

def test_it_is_built_once_and_then_found(compiler, sources, cache, caplog):
    caplog.set_level('INFO', logger='seqmask')
    assert build.cached() is None
    assert not cache.exists()               # asking makes nothing
    path = build.build()
    assert build.cached() == build.library() == build.build() == path
    assert pathlib.Path(path).read_text() == 'made\n'
    assert held(cache) == [pathlib.Path(path).name]
    assert len(compiler.lines()) == CALLS
    assert caplog.messages == [
        "Compiling seqmask's CPU kernels, once for this TensorFlow; about 15 seconds."]


def test_what_was_built_ahead_needs_no_compiler(compiler, sources, cache, monkeypatch, tmp_path):
    path = build.build()
    monkeypatch.delenv('CXX')
    monkeypatch.setenv('PATH', str(tmp_path))
    assert build.cached() == build.library() == path
    (sources / 'steps.h').write_text('// changed\n')
    with pytest.raises(build.BuildError, match='no C.. compiler was found'):
        build.library()


def with_tensorflow(monkeypatch, version=tf.__version__, compile_flags=(), link_flags=()):
    sysconfig = types.SimpleNamespace(get_compile_flags=lambda: list(compile_flags),
                                      get_link_flags=lambda: list(link_flags))
    monkeypatch.setattr(build, 'tf', types.SimpleNamespace(__version__=version,
                                                           sysconfig=sysconfig))


CHANGES = {
    'a source': lambda sources, *_: (sources / 'steps.h').write_text('// changed\n'),
    'a new source': lambda sources, *_: (sources / 'more.h').write_text('// more\n'),
    'a name': lambda sources, *_: (sources / 'steps.h').rename(sources / 'steps.hh'),
    'a source in a folder': lambda sources, *_: shutil.copytree(sources, sources / 'more'),
    'TensorFlow': lambda _, __, monkeypatch: with_tensorflow(monkeypatch, version='2.99'),
    'its compile flags': lambda _, __, monkeypatch: with_tensorflow(
        monkeypatch, compile_flags=['-DABI=0']),
    'its link flags': lambda _, __, monkeypatch: with_tensorflow(monkeypatch, link_flags=['-lx']),
    'the version': lambda _, compiler, __: compiler.says_version('echo fake 1.1'),
    'an argument': lambda _, compiler, monkeypatch: monkeypatch.setenv(
        'CXX', f"'{compiler.script}' -g"),
    'a flag': lambda _, __, monkeypatch: monkeypatch.setattr(build, 'FLAGS', ['-O2']),
    'a target': lambda _, __, monkeypatch: monkeypatch.setitem(build.TARGETS, 'portable', ['-x']),
    'the machine': lambda _, __, monkeypatch: monkeypatch.setattr(
        build.platform, 'machine', lambda: 'amd64' if IS_X86 else 'riscv64')}


@pytest.mark.parametrize('what', CHANGES)
def test_what_was_built_from_something_else_is_not_found(
        what, compiler, sources, cache, monkeypatch):
    with_tensorflow(monkeypatch)
    before = build.build()
    assert build.cached() == before
    CHANGES[what](sources, compiler, monkeypatch)
    assert build.cached() is None
    assert build.build() != before
    assert len(held(cache)) == 2


def test_what_was_built_for_another_installation_of_the_same_tensorflow_is_found(
        compiler, sources, cache, monkeypatch, tmp_path):
    def installed_in(folder):
        with_tensorflow(monkeypatch, compile_flags=[f'-I{folder}/include', '-DABI=1'],
                        link_flags=[f'-L{folder}', '-l:libtensorflow_framework.so.2'])
    installed_in('/one')
    path = build.build()
    assert any('-I/one/include -DABI=1' in line for line in compiler.lines())
    installed_in('/other')
    assert build.cached() == build.library() == path
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.delenv('CXX')
    assert build.library() == path
    assert len(compiler.lines()) == CALLS


def test_the_time_of_a_source_changes_nothing(compiler, sources):
    path = build.build()
    os.utime(sources / 'steps.cc', (0, 0))
    assert build.cached() == path


def test_force_builds_again(compiler, sources):
    path = build.build()
    pathlib.Path(path).write_text('broken')
    assert build.build() == path
    assert len(compiler.lines()) == CALLS
    with open(path) as in_use:
        assert build.build(force=True) == path
        assert in_use.read() == 'broken'        # another file took its place
    assert pathlib.Path(path).read_text() == 'made\n'
    assert len(compiler.lines()) == 2 * CALLS


def test_force_takes_what_another_process_has_just_built(compiler, sources, monkeypatch):
    path = pathlib.Path(build.build())

    @contextlib.contextmanager
    def late_lock(folder):
        (folder / 'new').write_text('from another process')
        os.replace(folder / 'new', path)
        yield
    monkeypatch.setattr(build, '_lock', late_lock)
    assert build.build(force=True) == str(path)
    assert path.read_text() == 'from another process'
    assert len(compiler.lines()) == CALLS


# What is compiled

def test_objects_are_compiled_side_by_side(compiler, sources, monkeypatch):
    monkeypatch.setattr(build.os, 'cpu_count', lambda: 2)
    compiler.behaves('''case "$*" in
      *recurrence.cc*) : > {0}/met;;
      *ops.cc*) tries=0
        until [ -e {0}/met ]
        do tries=$((tries + 1)); [ $tries -lt 200 ] || exit 1; sleep 0.05; done
    esac''')
    build.build()


@pytest.mark.parametrize('machine, targets', [
    ('x86_64', ['avx2', 'avx512', 'portable']), ('AMD64', ['avx2', 'avx512', 'portable']),
    ('aarch64', ['portable']), ('i686', ['portable'])])
def test_a_machine_gets_its_targets(machine, targets, compiler, sources, monkeypatch):
    monkeypatch.setattr(build.platform, 'machine', lambda: machine)
    build.build()
    *compiled, linked = [line.split() for line in compiler.lines()]
    of = {name: [call for call in compiled if f'{name}.cc' in ' '.join(call)]
          for name in ('ops', 'recurrence', 'steps')}
    [ops], [recurrence], steps = of.values()
    assert sorted(flag.split('=')[1] for call in steps for flag in call
                  if flag.startswith('-DSEQMASK_TARGET=')) == targets
    assert sum('-mavx512f' in call for call in compiled) == targets.count('avx512')
    assert sum('-mavx2' in call for call in compiled) == len(targets) - 1
    assert ('-DSEQMASK_X86_TARGETS' in recurrence) == (len(targets) > 1)
    assert set(tf.sysconfig.get_compile_flags()) <= set(ops)
    assert not set(tf.sysconfig.get_compile_flags()) & set(recurrence + sum(steps, []))
    assert set(tf.sysconfig.get_link_flags()) | {'-shared'} <= set(linked)
    assert len([word for word in linked if word.endswith('.o')]) == len(compiled)


STEPS = '''
#define JOIN(a, b) a##b
#define NAME(target) JOIN(level_, target)

// The compiler keeps one in every object, and the linker one of these.
inline __attribute__((noinline)) int Level() {
#if defined(__AVX512F__)
  volatile int level = 512;
#elif defined(__AVX2__)
  volatile int level = 2;
#else
  volatile int level = 0;
#endif
  return level;
}

extern "C" int NAME(SEQMASK_TARGET)() { return Level(); }
'''


def test_a_real_compiler_in_folders_with_unusual_names(tmp_path, sources, monkeypatch):
    if not any(shutil.which(name) for name in ('g++', 'clang++', 'c++')):
        pytest.skip('no C++ compiler is installed')
    folder = sources.rename(tmp_path / "Quellen für 'C++'")
    (folder / 'steps.cc').write_text(STEPS)
    (folder / 'ops.cc').write_text('extern "C" int answer() { return 6 * 7; }')
    monkeypatch.setattr(build, 'SOURCES', folder)
    monkeypatch.setenv('SEQMASK_CACHE', str(tmp_path / 'mein Cache; $HOME ü 語'))
    path = build.build()
    assert pathlib.Path(path).parent == tmp_path / 'mein Cache; $HOME ü 語'
    loaded = ctypes.CDLL(path)
    assert loaded.answer() == 42
    # A function that all objects hold is the one that every machine can run.
    for target in build.TARGETS if IS_X86 else ['portable']:
        assert getattr(loaded, f'level_{target}')() == 0


# Several processes

@pytest.fixture
def start(sources):
    """Starts processes that build; they end with the test."""
    started = []

    def start(locks='locks'):
        started.append(subprocess.Popen(
            [sys.executable, '-c', BUILDER, build.__file__, str(sources), locks],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]
    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=TIMEOUT)


def result(process):
    """The path that a process built; an error of its own fails the test."""
    path, said = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, said) == (0, '')
    return path.rstrip('\n')


def wait_until(condition):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_four_processes_one_builds(compiler, start, cache):
    compiler.behaves('sleep 0.3')
    first, *others = [result(process) for process in [start() for _ in range(4)]]
    assert others == [first] * 3
    assert held(cache) == [os.path.basename(first)]
    assert len(compiler.lines()) == CALLS


def test_without_locks_all_may_build(compiler, start, cache):
    compiler.behaves('sleep 0.3')
    first, *others = [result(process) for process in [start('no locks') for _ in range(3)]]
    assert others == [first] * 2
    assert held(cache) == [os.path.basename(first)]


def test_a_killed_builder_lets_the_next_one_build(compiler, start, cache):
    compiler.behaves(SLEEP)
    killed = start()
    wait_until(lambda: compiler.lines('asleep'))
    compiler.behaves('')
    following = start()
    with pytest.raises(subprocess.TimeoutExpired):
        following.wait(timeout=1)
    folder, = held(cache)                       # the first one's; nobody compiles for another
    assert all(f'/{folder}/' in line for line in compiler.lines())
    killed.kill()
    path = result(following)
    assert held(cache) == [os.path.basename(path)]


def test_where_a_folder_cannot_be_locked_the_folders_of_others_stay(
        compiler, sources, cache, monkeypatch):
    def flock(file, how):
        raise OSError('no locks available')
    monkeypatch.setattr(build, 'fcntl', types.SimpleNamespace(flock=flock, LOCK_EX=2))
    (cache / 'building-elsewhere').mkdir(parents=True)
    path = build.build()
    assert held(cache) == ['building-elsewhere', os.path.basename(path)]


# What goes wrong is told

def reason():
    with pytest.raises(build.BuildError) as raised:
        build.build()
    return str(raised.value)


def test_the_compilers_last_words_are_told(compiler, sources, cache):
    compiler.behaves('for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo "word $i" >&2; done; exit 3')
    first, *words = reason().splitlines()
    assert first == f'{compiler.script} on ops.cc failed with exit status 3'
    assert words == [f'word {i}' for i in range(3, 13)]
    assert held(cache) == []
    compiler.behaves('')            # repaired
    path = build.build()
    assert held(cache) == [os.path.basename(path)]


@pytest.mark.parametrize('behaviour, expected', [
    ('case "$*" in *steps.cc*) echo no steps; exit 1;; esac',
     ' on steps.cc failed with exit status 1\nno steps'),
    ('case "$*" in *-shared*) echo no symbol; exit 1;; esac',
     ' on the library failed with exit status 1\nno symbol'),
    ('kill -9 $$', ' on ops.cc failed with exit status -9'),
    (r"printf 'no \377 UTF-8'; exit 1", ' on ops.cc failed with exit status 1\nno \ufffd UTF-8'),
    ('exit 0', ' wrote no library')])
def test_a_failure_is_told(behaviour, expected, compiler, sources, cache):
    compiler.behaves(behaviour)
    assert reason() == f'{compiler.script}{expected}'
    assert held(cache) == []


def test_a_failure_replaces_nothing(compiler, sources):
    path = build.build()
    compiler.behaves('exit 1')
    with pytest.raises(build.BuildError):
        build.build(force=True)
    assert build.cached() == path


@pytest.mark.parametrize('part', ['behaves', 'says_version'])
def test_a_compiler_that_never_ends_is_ended(part, compiler, sources, cache, monkeypatch):
    monkeypatch.setattr(build, 'TIME_LIMIT', 2)
    getattr(compiler, part)(SLEEP.format(shlex.quote(str(compiler.folder))))
    begun = time.monotonic()
    what = 'on ops.cc' if part == 'behaves' else '--version'
    assert reason() == f'{compiler.script} {what} took more than 2 s'
    assert time.monotonic() - begun < 30            # it would sleep for 60
    assert held(cache) == []
    assert compiler.lines('asleep')
    for process in compiler.lines('asleep'):
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


@pytest.mark.parametrize('chosen, expected', [
    ('/nowhere/g++ -g', '/nowhere/g++ cannot be run: No such file or directory'),
    (shlex.quote(__file__), f'{__file__} cannot be run: Permission denied'),
    ("g++ '-g", "CXX=g++ '-g cannot be read: No closing quotation")])
def test_a_wrong_CXX_is_told(chosen, expected, sources, monkeypatch):
    monkeypatch.setenv('CXX', chosen)
    assert reason() == expected
    with pytest.raises(build.BuildError):
        build.cached()


def test_a_compiler_that_does_not_know_its_version_is_told(compiler, sources):
    compiler.says_version('echo broken; exit 1')
    assert reason() == f'{compiler.script} --version failed with exit status 1\nbroken'


@pytest.mark.parametrize('chosen', [None, '', ' '])
def test_no_compiler_is_told(chosen, tmp_path, sources, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    if chosen is not None:
        monkeypatch.setenv('CXX', chosen)
    assert reason() == 'no C++ compiler was found: install g++ or clang++, or set CXX'


def test_the_first_compiler_on_the_path_is_taken(compiler, sources, monkeypatch):
    monkeypatch.delenv('CXX')
    monkeypatch.setenv('PATH', str(compiler.folder))
    for name in ('c++', 'clang++', 'g++'):
        shutil.copy(compiler.script, compiler.folder / name)
        assert build.compiler() == ([name], 'fake 1.0')


# Where it stands

@pytest.mark.parametrize('below', ['', 'folder'])
def test_a_cache_that_cannot_be_written_is_told(below, compiler, sources, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    folder = tmp_path / 'file' / below
    monkeypatch.setenv('SEQMASK_CACHE', str(folder))
    why = 'Not a directory' if below else 'File exists'
    assert reason() == (f'the cache folder {folder} cannot be used ({why}): '
                        'set SEQMASK_CACHE to one that can')


@pytest.mark.parametrize('own, users, expected', [
    ('/own', '/users', '/own'), ('', '/users', '/users/seqmask'), (None, '', '~/.cache/seqmask'),
    (None, None, '~/.cache/seqmask'), ('~/own', None, '~/own'), ('own', None, './own')])
def test_the_cache_stands_where_it_should(own, users, expected, tmp_path, monkeypatch):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    monkeypatch.setenv('HOME', str(tmp_path))
    for name, value in ('SEQMASK_CACHE', own), ('XDG_CACHE_HOME', users):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    expected = expected.replace('~', str(tmp_path)).replace('./', f'{tmp_path}/here/')
    assert build.cache_folder() == pathlib.Path(expected)


def test_a_user_without_a_home_is_told(compiler, sources, monkeypatch):
    def expanduser(path):
        raise RuntimeError('no home')
    monkeypatch.setattr(pathlib.Path, 'expanduser', expanduser)
    assert reason() == 'no cache folder was found (no home): set SEQMASK_CACHE'


@pytest.mark.parametrize('value, expected', [
    (None, False), ('', False), ('on', False), ('On', False), ('off', True), ('OFF', True),
    ('0', True), ('False', True), ('no', True)])
def test_the_kernels_can_be_switched_off(value, expected, monkeypatch):
    if value is not None:
        monkeypatch.setenv('SEQMASK_KERNELS', value)
    assert build.disabled() is expected


def test_a_wrong_switch_is_told(monkeypatch):
    monkeypatch.setenv('SEQMASK_KERNELS', 'maybe')
    with pytest.raises(build.BuildError,
                       match="^SEQMASK_KERNELS must be 'on' or 'off', got 'maybe'$"):
        build.disabled()


# Damaged

@pytest.mark.parametrize('part', [0, 3, 40, 1000, 0.5, 0.999])
def test_a_truncated_library_is_told_and_does_not_crash_the_process(
        part, sources, tmp_path, monkeypatch):
    whole = pathlib.Path(importlib.import_module('numpy.random.mtrand').__file__)
    build.require_whole(whole)
    content = whole.read_bytes()
    cut = tmp_path / 'cut.so'
    cut.write_bytes(content[:part if isinstance(part, int) else int(part * len(content))])
    monkeypatch.setattr(build, 'library', lambda: str(cut))
    monkeypatch.setenv('PATH', '')
    operations, _, reason = native_module._loaded.__wrapped__()
    assert operations is None
    assert re.search(f'{cut}.*, and it cannot be rebuilt: no C.. compiler was found', reason)


# python -m seqmask.kernels

class Unusable(Exception):
    pass


@pytest.fixture
def native(monkeypatch):
    """In the place of the module that loads the library, which is no library here."""
    module = types.SimpleNamespace(load=lambda: None, targets=lambda: ['quick', 'slow'],
                                   Unusable=Unusable)
    monkeypatch.setattr(command_line, 'native', module)
    return module


def report(capsys, *flags):
    status = command_line.main(list(flags))
    out, err = capsys.readouterr()
    return status, out.splitlines(), err


def test_it_reports_what_it_found(compiler, sources, cache, native, capsys):
    status, out, err = report(capsys)
    path = build.cached()
    assert (status, err) == (0, '')
    found = [tuple(line.split(None, 1)) for line in out]
    assert found[:-2] == [('TensorFlow', tf.__version__), ('machine', platform.machine()),
                          ('cache', str(cache)), ('compiler', f"'{compiler.script}': fake 1.0"),
                          ('building', 'takes about 15 seconds'), ('library', path)]
    assert found[-2][1].startswith('now, in ')
    assert found[-1] == ('targets', 'quick, slow: quick is used')

    status, out, err = report(capsys)
    assert (status, err, len(out)) == (0, '', 7)
    assert out[-2].split() == ['built', 'earlier']
    assert len(compiler.lines()) == CALLS

    status, out, err = report(capsys, '--force')
    assert (status, err, len(out)) == (0, '', 8)
    assert out[-2].startswith('built       now, in ')
    assert len(compiler.lines()) == 2 * CALLS


GRAPH = "; the recurrent layers use implementation='graph'.\n"


def test_it_reports_a_failed_build(compiler, sources, native, capsys):
    compiler.behaves('echo syntax error; exit 1')
    status, _, err = report(capsys)
    assert (status, err) == (1, f'seqmask.kernels: {compiler.script} on ops.cc failed with exit '
                                f'status 1{GRAPH}syntax error\n')


def test_it_reports_a_library_that_does_not_load(compiler, sources, native, capsys):
    def load():
        raise Unusable('it does not load.')
    native.load = load
    status, _, err = report(capsys)
    assert (status, err) == (1, f'seqmask.kernels: it does not load{GRAPH}')


def test_it_reports_a_wrong_switch(native, monkeypatch, capsys):
    monkeypatch.setenv('SEQMASK_KERNELS', 'maybe')
    assert report(capsys) == (
        1, [], "seqmask.kernels: SEQMASK_KERNELS must be 'on' or 'off', got 'maybe'.\n")


@pytest.mark.parametrize('name, value, expected', [
    ('SEQMASK_KERNELS', 'off', 'SEQMASK_KERNELS=off'),
    ('PATH', '', 'no C++ compiler was found: install g++ or clang++, or set CXX')])
def test_as_a_person_starts_it(name, value, expected, tmp_path):
    done = subprocess.run([sys.executable, '-m', 'seqmask.kernels'], cwd=ROOT, text=True,
                          env={**os.environ, name: value}, capture_output=True, timeout=TIMEOUT)
    assert own_lines(done.stderr) == [f'seqmask.kernels: {expected}{GRAPH}'.rstrip()]
    assert done.returncode == 1
    assert not (tmp_path / 'cache').exists()
