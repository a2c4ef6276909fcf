"""The C++ core on its own, without TensorFlow: its test programs under the sanitizers.

recurrence_test.cc is about whole batches, network_test.cc about networks that run step by step.

Compiled with build.py's compiler, targets and flags; a flag that is said twice counts as said last.
"""

import concurrent.futures
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from seqmask.kernels import build

RECURRENCE = pathlib.Path(__file__).with_name('recurrence_test.cc')
NETWORK = pathlib.Path(__file__).with_name('network_test.cc')
INTERFACE = {'network.h', 'recurrence.h'}       # what a test program includes
WARNINGS = ['-Wall', '-Wextra', '-Werror']
ADDRESS = ['-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all',
           '-fno-omit-frame-pointer']
THREAD = ['-O1', '-g', '-fsanitize=thread']
TIMEOUT = 120               # seconds for a call of the compiler, or of the program
OPTIONS = {'ASAN_OPTIONS': 'abort_on_error=1:detect_leaks=1',
           'UBSAN_OPTIONS': 'abort_on_error=1:print_stacktrace=1',
           'TSAN_OPTIONS': 'abort_on_error=1:halt_on_error=1'}

# The core shares a call among threads only from a million multiplications on: with this, always.
EAGER = ('recurrence.cc', 'kWorthAThread = 1 << 20;', 'kWorthAThread = 1;')


class Sanitized:
    """Compiles the core and a test program with a sanitizer, and runs them."""

    def __init__(self, folder, flags):
        self.folder, self.flags = folder, flags
        self.environment = {**os.environ, **OPTIONS, 'LC_ALL': 'C'}
        self.environment.pop('LD_PRELOAD', None)    # the sanitizer wants to be the first
        try:
            self.command, _ = build.compiler()
        except build.BuildError as error:
            pytest.skip(str(error))
        self.probe()

    def probe(self):
        source, made = self.folder / 'probe.cc', self.folder / 'probe'
        source.write_text('int main() { return 0; }\n')
        done = self.call([*self.command, *self.flags, '-pthread', source, '-o', made])
        if done.returncode == 0:
            done = self.call([made])
            if 'LeakSanitizer' in done.stdout:      # it needs ptrace
                self.environment['ASAN_OPTIONS'] += ':detect_leaks=0'
                done = self.call([made])
        if done.returncode:
            last = done.stdout.strip().rpartition('\n')[2]
            pytest.skip(f'{self.command[0]} has no {self.flags[2]} that runs here: {last}')

    def call(self, arguments):
        return subprocess.run([str(argument) for argument in arguments], env=self.environment,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=TIMEOUT, errors='replace',
                              text=True)

    def run(self, cases, edits=(), targets=None, program=RECURRENCE):
        """Runs `cases` cases on the core with `edits` made to it, (file, old, new) each."""
        sources = self.edited(edits)
        jobs = [build.Job('main.o', str(program), build.FLAGS), *core_jobs(targets)]
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(lambda job: self.compiled(job, sources), jobs))
        made = sources.with_suffix(f'.{program.stem}.out')
        done = self.call([*self.command, *self.flags, '-pthread', *objects, '-o', made])
        assert done.returncode == 0, done.stdout
        return self.call([made, cases])

    def edited(self, edits):
        key = hashlib.sha256(repr(edits).encode()).hexdigest()[:8]
        copy = self.folder / f'core-{key}'
        shutil.copytree(build.SOURCES, copy, dirs_exist_ok=True)
        for name, old, new in edits:
            text = (copy / name).read_text()
            assert text.count(old) == 1, f'{name} holds {old!r} {text.count(old)} times, not once'
            (copy / name).write_text(text.replace(old, new))
        return copy

    def compiled(self, job, sources):
        """The object; one that was made from the same text is taken again."""
        source = sources / job.source       # or the program, whose path is absolute
        headers = sorted(sources.glob('*.h'))
        read = [header for header in headers if header.name in INTERFACE]
        texts = [path.read_text() for path in [source, *(read if job.product == 'main.o'
                                                         else headers)]]
        key = hashlib.sha256(repr((job.flags, texts)).encode()).hexdigest()[:8]
        made = self.folder / f'{key}-{job.product}'
        if not made.exists():
            done = self.call([*self.command, *job.flags, *self.flags, *WARNINGS, '-I', sources,
                              '-c', source, '-o', made])
            assert done.returncode == 0, done.stdout
        return made


def core_jobs(targets=None):
    """What build.py compiles, without TensorFlow's part; only for some of the targets, if given."""
    jobs = [job for job in build._jobs() if job.source != 'ops.cc']
    if targets is None:
        return jobs
    assert targets == ['portable'], 'recurrence.cc knows all targets of x86, or this one'
    return [job._replace(flags=[flag for flag in job.flags if flag != '-DSEQMASK_X86_TARGETS'])
            for job in jobs
            if job.product in ('network.o', 'recurrence.o', 'steps-portable.o')]


@pytest.fixture(scope='module')
def address(tmp_path_factory):
    return Sanitized(tmp_path_factory.mktemp('address'), ADDRESS)


@pytest.fixture(scope='module')
def thread(tmp_path_factory):
    return Sanitized(tmp_path_factory.mktemp('thread'), THREAD)


def assert_passed(done, cases):
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == f'{cases} cases, 0 failures'


def test_every_target_is_compiled():
    products = {job.product for job in core_jobs()}
    assert {'network.o', 'recurrence.o', 'steps-portable.o'} <= products
    assert products <= {'network.o', 'recurrence.o',
                        *(f'steps-{target}.o' for target in build.TARGETS)}


@pytest.mark.slow
@pytest.mark.parametrize('edits', [(), (EAGER,)], ids=['as it is', 'always on many threads'])
def test_equations_bounds_and_behaviour(address, edits):
    assert_passed(address.run(120, edits), 120)


@pytest.mark.slow
def test_threads_do_not_race(thread):
    assert_passed(thread.run(60, [EAGER], ['portable']), 60)


@pytest.mark.slow
def test_networks_step_by_step(address):
    assert_passed(address.run(70, program=NETWORK), 70)


@pytest.mark.slow
def test_networks_side_by_side_do_not_race(thread):
    assert_passed(thread.run(30, targets=['portable'], program=NETWORK), 30)


# Each of these tests can fail

@pytest.mark.slow
@pytest.mark.parametrize('edit, said', [
    (('forward.h', 'Copy(to.outputs + At(call, b, step) * H, state.h + r * P, H);',
      'Copy(to.outputs + At(call, b, step) * H, state.h + r * P, H + 1);'),
     r'AddressSanitizer: heap-buffer-overflow(.|\n)*\ncase \d+: .* target=portable .*: aborted'),
    (('activations.h', 'return 1.0f / (1.0f + e.scale', 'return 1.0f / (1.0f - e.scale'),
     r'case 0: lstm B=16 .* target=portable threads=1: outputs\[\d+\] is \S+, must be '),
    (('cells.h', 'Store(row.d_gates + 3 * plane + k, DSigmoid(o, d_h * y));', ''),
     r'case 0: lstm B=16 .* target=portable threads=1.*: d_kernel\[\d+\] is '),
    (('arrays.h', '? call.lengths[sequence] - 1 - step : step',
      '? call.maxlen - 1 - step + 0 * sequence : step'),
     r'case \d+: \w+ reverse .*: outputs is not 0 at a padded step'),
    (('step.h', 'Store(d_h + k, Load(d_h + k) + Load(d_c + k));', ';'),
     r'case \d+: gru_reset_before .* target=portable: step d_initial_state\[0\]\[\d+\] is '),
    (('step.h', 'Copy(to + k * GH, room + k * kWidth, H - unit);',
      'Copy(to + k * GH, room + k * kWidth, kWidth);'),
     r'AddressSanitizer: heap-buffer-overflow(.|\n)*\ncase \d+: .* target=portable: aborted'
     r'|target=portable: step d_(recurrent_)?kernel\[\d+\] is '),
    (('activations.h', 'AtMost(x, 80.0f), -89.0f)', 'AtMost(x, 80.0f), -17.0f)'),
     r'target=portable: sigmoid of -\S+, \S+, is too large'),
    (('activations.h', '0.49999998f;', '0.49999f;'),
     r'target=portable: sigmoid of -\S+, \S+, is not accurate'),
    (('activations.h', 'r + r * r * h}', 'r * (1.0f + r * h)}'),
     r'target=portable: tanh of -\S+, \S+, is less than that of the number before'),
    (('activations.h', 'x > high ? Fill(high) : x', 'x < high ? x : Fill(high)'),
     r'target=portable: sigmoid of nan, \S+, is not NaN'),
], ids=['one number too many', 'a sign in a gate', 'a gradient left out', 'padding read',
        'a gradient of a step left out', 'a step that writes too far', 'a gate that never closes',
        'a gate that is not accurate', 'a gate that is not monotone', 'a NaN lost'])
def test_a_broken_core_fails(address, edit, said):
    done = address.run(30, [edit], ['portable'])
    assert done.returncode != 0
    assert re.search(said, done.stdout), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize('edit, said', [
    (('stages.h', 'Copy(state + past - D, x.at + r * x.stride, D);',
      'Copy(state + past - D, x.at + r * x.stride, D + 64);'),
     r'AddressSanitizer: heap-buffer-overflow(.|\n)*\ncase \d+: .* target=portable: aborted'),
    (('network.cc', 'to[p * padded + k] += of_gate[3 * H + k];', 'continue;'),
     r'case \d+: B=\d+ .*gru \d+->.*: (outputs|state 0)\[\d+\] is \S+, must be '),
    (('stages.h', 'h_tm1 + f * (g - h_tm1)', 'h_tm1 + f * (h_tm1 - g)'),
     r'case \d+: B=\d+ .*mgu \d+->.*: (outputs|state 0)\[\d+\] is \S+, must be '),
    (('stages.h', 'state + tap * stage.dilation * D', 'state + tap * D'),
     r'case \d+: B=\d+ .*convolution \d+->.*: outputs\[\d+\] is \S+, must be '),
    (('stages.h', '{layer.seen, P, H}', '{layer.seen, 0, H}'),
     r'case \d+: B=\d+ .*: (outputs|state 0)\[\d+\] is \S+, must be '),
], ids=['a window written too far', 'a bias left out', 'a sign in a gate', 'a window not dilated',
        'rows mixed up'])
def test_a_broken_network_fails(address, edit, said):
    done = address.run(30, [edit], ['portable'], NETWORK)
    assert done.returncode != 0
    assert re.search(said, done.stdout), done.stdout


@pytest.mark.slow
def test_networks_that_share_are_seen(thread):
    shared = ('network.cc', 'layer.sums = Take(batch * planes.all * P);',
              'static float sums[1 << 20];\n      layer.sums = sums;')
    done = thread.run(30, [shared], ['portable'], NETWORK)
    assert done.returncode != 0
    assert 'ThreadSanitizer: data race' in done.stdout, done.stdout


@pytest.mark.slow
def test_a_race_is_seen(thread):
    overlap = ('weights.h', '((first + k) * NumGates(', '(k * NumGates(')
    done = thread.run(30, [EAGER, overlap], ['portable'])
    assert done.returncode != 0
    assert 'ThreadSanitizer: data race' in done.stdout, done.stdout
