"""What scripts/benchmark.py is made of: processes, turns, agreement, ratios, pictures."""

import ast
import contextlib
import importlib
import importlib.util
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from seqmask.runs import UserError
from test_scripts import ROOT


@pytest.fixture
def part(monkeypatch):
    """`part('rounds')` is a module of scripts/peers."""
    monkeypatch.syspath_prepend(str(ROOT / 'scripts'))
    return lambda name: importlib.import_module(f'peers.{name}' if name else 'peers')


# Processes


def stub(tmp_path, monkeypatch, source):
    """Puts a package `torch` in front of any other."""
    (tmp_path / 'torch.py').write_text('import os, sys, time\n' + source)
    monkeypatch.setenv('PYTHONPATH', str(tmp_path))


def started(part):
    peers = part('')
    return part('processes').started(
        [peer for peer in peers.LAYERS if peer.name == 'PyTorch packed'],
        {'pytorch': sys.executable}, 1)


def test_a_peer_without_its_package_is_absent(tmp_path, monkeypatch, part):
    stub(tmp_path, monkeypatch, "raise ImportError('no torch here')")
    with started(part) as (ready, absent):
        assert ready == [] and absent == {
            'PyTorch packed': "not installed (no torch here): pip install '.[bench]'"}


def test_a_peer_that_dies_leaves_its_last_words(tmp_path, monkeypatch, part):
    stub(tmp_path, monkeypatch, "print('out of luck', file=sys.stderr)\n"
                                'sys.stderr.flush()\nos._exit(3)')
    with pytest.raises(UserError, match=r'PyTorch packed: .* \(exit status 3\): .*out of luck'):
        with started(part):
            pass


def test_a_peer_that_hangs_is_ended(tmp_path, monkeypatch, part):
    stub(tmp_path, monkeypatch, f'open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))\n'
                                'time.sleep(1000)')
    monkeypatch.setattr(part('processes'), 'TIMEOUT', 3)
    with pytest.raises(UserError, match='PyTorch packed: no answer for 3 seconds'):
        with started(part):
            pass
    assert not runs(int((tmp_path / 'pid').read_text()))


def test_an_interrupt_while_a_peer_is_started_ends_it(tmp_path, monkeypatch, part):
    stub(tmp_path, monkeypatch, 'time.sleep(1000)')
    real, begun = subprocess.Popen, []

    def popen(*args, **options):
        begun.append(real(*args, **options))
        signal.raise_signal(signal.SIGINT)
        return begun[-1]

    monkeypatch.setattr(part('processes').subprocess, 'Popen', popen)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            with started(part):
                pass
    finally:
        signal.signal(signal.SIGINT, before)
    process, = begun
    alive = process.poll() is None
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        stream.close()
    assert not alive


def runs(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.parametrize('name', ['__init__', 'worker', 'layouts', 'memory',
                                  'pytorch_layers', 'flax_layers'])
def test_what_runs_in_other_environments_imports_nothing_of_ours(name):
    tree = ast.parse((ROOT / 'scripts' / 'peers' / f'{name}.py').read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                for alias in node.names}
    imported |= {f'{node.module}.{alias.name}' for node in ast.walk(tree)
                 if isinstance(node, ast.ImportFrom) for alias in node.names}
    own = {name for name in imported if name.startswith('peers')}
    assert own <= {'peers.layouts', 'peers.memory'}
    assert not {name.split('.')[0] for name in imported} & {'tensorflow', 'seqmask', 'absl'}


# Numbers


class Stand:
    """In for a process: computes made-up values, and notes when it is timed."""

    def __init__(self, part, name, outputs, log, refuses=False):
        self.peer = next(p for p in [*part('').LAYERS, part('').FLOOR] if p.name == name)
        self.name, self._outputs, self._log, self._refuses = name, outputs, log, refuses
        self._unable = part('processes').PeerError

    def ask(self, command, values=None, call=None, **_):
        if command == 'load':
            if self._refuses:
                raise self._unable(f'{self.name}: no compiler')
            np.savez(values, **self._outputs)
            return {'facts': {}}
        if command == 'time':
            self._log.append((call, self.name))
            return {'seconds': 1.0}
        return {'resident': {'megabytes': 10.0}, 'memory': {'megabytes': 14.0}}.get(command)

    def end(self):
        self._log.append(('end', self.name))


def values(**changes):
    return {'outputs': np.array([[1.0, -4.0], [0.5, 0.0]]), 'loss': np.array(2.0),
            'gradient of kernel': np.array([1e-3, 2e-3]), **changes}


def test_peers_are_timed_in_turns(part, tmp_path):
    log = []
    workers = [Stand(part, name, values(), log) for name in ('seqmask graph', 'Keras', 'Flax')]
    part('rounds').alternate(workers, ['forward', 'train'], 4)
    order = [''.join(name[0] for _, name in log[i:i + 3]) for i in range(0, len(log), 3)]
    assert order == ['sKF', 'sKF', 'KFs', 'KFs', 'FsK', 'FsK', 'sKF', 'sKF']
    assert [call for call, _ in log[:9:3]] == ['forward', 'train', 'forward']


def test_memory_is_what_the_problem_costs(part, tmp_path):
    workers = [Stand(part, 'Keras', values(), []), Stand(part, 'GEMM floor', {}, [])]
    problem = {'inputs': np.zeros(2**18, np.float32)}       # 1 MB
    measured = part('rounds').measure(workers, {}, problem, {}, tmp_path, ['train'], 2, problem)
    assert measured.memory == {'Keras': 14.0 - 10.0 - 1.0}
    assert measured.times == {'train': {'Keras': [1.0, 1.0], 'GEMM floor': [1.0, 1.0]}}


def test_a_peer_that_cannot_run_is_left_out(part, tmp_path):
    log, absent = [], {}
    workers = [Stand(part, 'seqmask kernel', values(), log, refuses=True),
               Stand(part, 'Keras', values(), log)]
    measured = part('rounds').measure(workers, absent, {}, {}, tmp_path, ['forward'], 1)
    assert absent == {'seqmask kernel': 'not available: no compiler'}
    assert ('end', 'seqmask kernel') in log and list(measured.times['forward']) == ['Keras']
    with pytest.raises(UserError, match='nothing to measure: Keras is not available: no compiler'):
        part('rounds').measure([Stand(part, 'Keras', values(), log, refuses=True),
                                Stand(part, 'GEMM floor', {}, log)], {}, {}, {}, tmp_path,
                               ['forward'], 1)


def test_peers_that_do_not_agree_are_not_timed(part, tmp_path):
    log = []
    workers = [Stand(part, 'Keras', values(), log),
               Stand(part, 'Flax', values(loss=np.array(2.1)), log)]
    with pytest.raises(UserError, match='Flax does not compute what Keras does: loss differs'):
        part('rounds').measure(workers, {}, {}, {}, tmp_path, ['forward'], 1)
    assert log == []


@pytest.mark.parametrize('quantity, wrong', [
    ('outputs', [[1.0, -4.0], [0.5, 5e-4]]),            # 1.25e-4 of the largest
    ('outputs', [[1.0, -4.0], [0.5, np.nan]]),
    ('outputs', [[1.0, -4.0]]),
    ('loss', 2.001),
    ('gradient of kernel', [1e-3, 2e-3 + 1e-6])])
def test_a_difference_is_found(part, quantity, wrong):
    found = {'PyTorch packed': values(**{quantity: np.array(wrong)}), 'Keras': values()}
    with pytest.raises(UserError, match=f'PyTorch packed does not compute what Keras does: '
                                        f'{quantity} '):
        part('rounds').check_agreement(found)


def test_rounding_is_no_difference(part):
    near = values(outputs=np.array([[1.0, -4.0], [0.5, 3e-4]]), loss=np.array(2.0001))
    part('rounds').check_agreement({'Flax': near, 'seqmask graph': values()})


def made_up(rounds):
    """Kernel twice as fast as the better PyTorch: packed forward, padded in training."""
    times = {'seqmask kernel': [1.0, 2.0, 3.0], 'PyTorch packed': [2.0, 4.0, 6.0],
             'PyTorch padded': [4.0, 4.0, 30.0], 'GEMM floor': [0.5, 0.5, 0.5]}
    other = {**times, 'PyTorch packed': [8.0, 8.0, 8.0], 'PyTorch padded': [2.0, 4.0, 6.0]}
    return rounds.Measured({'forward': times, 'train': other}, {}, {})


def test_ratios_are_taken_within_a_repeat(part):
    report, rounds = part('report'), part('rounds')
    found = report.ratios_of(made_up(rounds), ['forward', 'train'], 'seqmask kernel')
    assert list(found) == ['PyTorch packed', 'PyTorch padded', 'better PyTorch', 'GEMM floor']
    assert found['PyTorch padded']['forward'] == (1 / 4, 3 / 30, 2 / 4)
    assert found['better PyTorch'] == {'forward': (1 / 2, 1 / 2, 1 / 2),
                                       'train': (1 / 2, 1 / 2, 1 / 2)}
    assert found['PyTorch packed']['train'] == (2 / 8, 1 / 8, 3 / 8)
    assert found['GEMM floor']['forward'] == (2 / 0.5, 1 / 0.5, 3 / 0.5)


@pytest.mark.parametrize('value, text', [(0, '0.00'), (0.0004, '0.000'), (0.21, '0.210'),
                                         (1.2345, '1.23'), (-12.345, '-12.3'), (123.4, '123'),
                                         (123456.0, '123456')])
def test_numbers_have_three_digits(part, value, text):
    assert part('report').number(value) == text


@pytest.mark.parametrize('fill', [0.05, 0.37, 0.75, 1.0])
def test_lengths_fill_the_share(part, fill, rng):
    lengths = part('problems').draw_lengths(64, 200, fill, rng)
    assert lengths.min() >= 1 and lengths.max() <= 200 and lengths.dtype == np.int32
    assert abs(lengths.mean() / 200 - fill) < 0.01
    assert fill == 1 or len(set(lengths)) > 5


def test_gates_are_put_in_the_others_order(part):
    layouts = part('layouts')
    z_r_h = np.array([[1, 1, 2, 2, 3, 3]])
    np.testing.assert_array_equal(layouts.reorder('gru', z_r_h), [[2, 2, 1, 1, 3, 3]])
    np.testing.assert_array_equal(layouts.reorder('gru', layouts.reorder('gru', z_r_h)), z_r_h)
    i_f_g_o = np.arange(4)
    np.testing.assert_array_equal(layouts.reorder('lstm', i_f_g_o), i_f_g_o)


def test_a_picture(tmp_path, part):
    if importlib.util.find_spec('matplotlib') is None:
        pytest.skip('matplotlib is not installed')
    plots, rounds = part('plots'), part('rounds')
    measured = made_up(rounds)
    plots.bars(tmp_path / 'bars.png', 'a title', {
        call: {name: measured.spread(call, name) for name in measured.times[call]}
        for call in measured.times})
    plots.lines(tmp_path / 'lines.svg', 'a title', {'fill': {0.5: measured, 1.0: measured},
                                                    'maxlen': {5: measured}}, ['forward', 'train'])
    assert (tmp_path / 'bars.png').read_bytes().startswith(b'\x89PNG')
    assert '<svg' in (tmp_path / 'lines.svg').read_text()
    with pytest.raises(UserError, match='--plot=x.doc: '):
        plots.bars('x.doc', '', {'x': {'a': rounds.Spread(1, 1, 1)}})
