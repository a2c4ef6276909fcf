"""scripts/benchmark.py as a person starts it, at sizes that say nothing about speed."""

import concurrent.futures
import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from test_scripts import TIMEOUT, command, own_lines, rows_of, start

TINY = ['--batch_size=3', '--maxlen=5', '--input_size=2', '--hidden_size=4']
NUMBER = r'\d[\d,]*(?:\.\d+)?'
SPREAD = rf'{NUMBER} +{NUMBER} - {NUMBER}'


# Runs. Several are started at once: most of the time of each is TensorFlow's import.

RUNS = {
    'lstm': ['--fill=0.6', '--repeats=3', '--peers=seqmask_graph,keras', '--csv=lstm.csv', *TINY],
    'gru': ['--cell=gru', '--fill=1', '--repeats=1', '--peers=keras_xla,keras', '--threads=1',
            *TINY],
    'scaling': ['--scaling', '--cell=gru', '--repeats=1', '--peers=seqmask_graph',
                '--csv=scaling.csv', '--batch_size=2', '--maxlen=1', '--input_size=1',
                '--hidden_size=1'],
    'step': ['--step', '--repeats=2', '--csv=step.csv', '--input_size=2', '--hidden_size=4',
             '--peers=seqmask_runner,seqmask_layer,tensorflow_lite,keras_cell,numpy_product'],
    'epoch': ['--epoch=both', '--limit=7', '--repeats=2', '--csv=epoch.csv', '--num_layers=1',
              '--implementation=graph', *TINY],
}
BAD = {
    '--peers=keras,theano': '--peers must be some of seqmask_kernel, seqmask_graph, keras, '
                            'keras_xla, pytorch_packed, pytorch_padded, flax; got theano.',
    '--epoch=both --peers=keras': '--peers must be some of seqmask_buckets, seqmask_mixed, '
                                  'seqmask_in_keras_fit, keras_fit; got keras.',
    '--python=pytorch=/nowhere/python':
        "--python=pytorch=/nowhere/python: '/nowhere/python' cannot be run.",
    '--python=python3': '--python=python3: must be FRAMEWORK=PATH, with one of tensorflow, '
                        'pytorch, flax.',
    '--scaling --epoch=both': '--scaling and --epoch cannot be combined: choose one.',
    '--step --peers=keras': '--peers must be some of seqmask_runner, seqmask_layer, '
                            'tensorflow_lite, keras_cell, pytorch_cell, numpy_product; got keras.',
    '--csv=nowhere/times.csv': "--csv=nowhere/times.csv: there is no folder 'nowhere'.",
    '--threads=100000': r'--threads=100000: there are \d+ cores.',
    '--plot=times.png': "--plot needs matplotlib (not here): pip install '.[plots]'",
    '--peers=flax': "Flax is not installed (not here): pip install '.[bench]'",
}
NOT_HERE = ['--plot=times.png', '--peers=flax']
WRONG_FLAGS = {'--fill=2': 'flag --fill=2: '}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('benchmark')
    (folder / 'hidden').mkdir()
    for name in ('matplotlib', 'flax'):
        (folder / 'hidden' / f'{name}.py').write_text("raise ImportError('not here')")
    return folder


def all_at_once(run, names):
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return dict(zip(names, pool.map(run, names)))


@pytest.fixture(scope='module')
def done(folder):
    return all_at_once(lambda name: start(folder, *RUNS[name], script='benchmark.py'), RUNS)


@pytest.fixture(scope='module')
def refused(folder):
    def run(flags):
        if flags not in NOT_HERE:
            return start(folder, *flags.split(), script='benchmark.py')
        with_path = command(*flags.split(), script='benchmark.py')
        with_path['env']['PYTHONPATH'] = os.pathsep.join(
            [str(folder / 'hidden'), with_path['env']['PYTHONPATH']])
        return subprocess.run(**with_path, cwd=folder, capture_output=True, timeout=TIMEOUT)

    return all_at_once(run, [*BAD, *WRONG_FLAGS])


def blocks(run):
    """What a run printed, as lists of the lines between empty lines."""
    assert (own_lines(run.stderr), run.returncode) == ([], 0)
    return [block.split('\n') for block in run.stdout.strip().split('\n\n')]


def names(lines):
    return [re.split('  +', line)[0] for line in lines]


@pytest.mark.slow
def test_it_prints_times_and_ratios(done):
    (title,), (versions,), times, ratios = blocks(done['lstm'])
    assert re.fullmatch(r'lstm, B=3 T=5 D=2 H=4, 60% of the steps real; .*, \d+ threads?', title)
    assert re.fullmatch('seqmask .*, TensorFlow .*, Keras .*', versions)
    assert re.split('  +', times[0]) == [
        '', 'forward ms', 'min - max', 'train ms', 'min - max', 'memory MB']
    assert names(times[1:]) == ['seqmask graph', 'Keras', 'GEMM floor']
    assert all(re.fullmatch(rf'[\w ]+? +{SPREAD} +{SPREAD} +(-|-?{NUMBER})', row)
               for row in times[1:])
    assert re.split('  +', ratios[0]) == [
        'seqmask graph /', 'forward', 'min - max', 'train', 'min - max']
    assert names(ratios[1:]) == ['Keras', 'GEMM floor']
    assert all(re.fullmatch(rf'[\w ]+? +{SPREAD} +{SPREAD}', row) for row in ratios[1:])


@pytest.mark.slow
def test_its_file_holds_what_it_prints(done, folder):
    rows = rows_of(folder / 'lstm.csv')
    assert {(row['cell'], row['batch_size'], row['maxlen'], row['input_size'],
             row['hidden_size'], row['fill']) for row in rows} == {('lstm', '3', '5', '2', '4',
                                                                    '0.6')}
    found = {(row['peer'], row['quantity'], row['of']): row for row in rows}
    peers = ['seqmask graph', 'Keras', 'GEMM floor']
    times = {(peer, f'{call}_seconds', '') for peer in peers for call in ('forward', 'train')}
    ratios = {(peer, f'{call}_ratio', 'seqmask graph') for peer in peers[1:]
              for call in ('forward', 'train')}
    memory = {(peer, 'train_memory_mb', '') for peer in peers[:2]}
    assert len(found) == len(rows) and times | ratios <= set(found) <= times | ratios | memory
    assert memory <= set(found) or sys.platform != 'linux'
    for key in times | ratios:
        low, median, high = (float(found[key][name]) for name in ('min', 'median', 'max'))
        assert 0 < low <= median <= high and found[key]['repeats'] == '3'
    _, _, times, _ = blocks(done['lstm'])
    for line in times[1:]:
        peer, shown = re.match(rf'([\w ]+?)  +({NUMBER})', line).groups()
        kept = 1e3 * float(found[peer, 'forward_seconds', '']['median'])
        assert float(shown) == pytest.approx(kept, rel=0.01, abs=0.001)


@pytest.mark.slow
def test_single_steps_are_those_of_one_sequence_on_one_thread(done, folder):
    (title,), _, times, *ratios = blocks(done['step'])
    assert title.startswith('lstm, B=1 D=2 H=4, 200 steps one after the other; ')
    assert title.endswith(', 1 thread')
    peers = ['seqmask runner', 'seqmask layer', 'TensorFlow Lite', 'Keras cell', 'NumPy product']
    assert names(times[1:]) == peers
    assert all(re.fullmatch(rf'[\w ]+? +{SPREAD}', row) for row in times[1:])
    assert [names(lines)[0] for lines in ratios] == ['seqmask runner /', 'seqmask layer /']
    found = {(row['peer'], row['quantity']) for row in rows_of(folder / 'step.csv')}
    assert found == {(peer, quantity) for peer in peers
                     for quantity in ('step_seconds', 'step_ratio')}


@pytest.mark.slow
def test_peers_keep_the_order_asked_for_and_xla_runs_on_request(done):
    (title,), _, times, ratios = blocks(done['gru'])
    assert title.startswith('gru, B=3 T=5 D=2 H=4, 100% of the steps real; ')
    assert title.endswith(', 1 thread')
    assert names(times[1:]) == ['Keras XLA', 'Keras', 'GEMM floor']
    assert names(ratios) == ['Keras XLA /', 'Keras', 'GEMM floor']


@pytest.mark.slow
def test_scaling_varies_one_size_after_the_other(done, folder):
    (title,), _, *tables = blocks(done['scaling'])
    assert title.endswith('; each varied alone')
    assert [re.split('  +', lines[0]) for lines in tables] == [
        [f'{call} ms, {varied} =', *values] for varied, values in {
            'fill': ['5%', '10%', '20%', '37%', '50%', '75%', '100%'], 'maxlen': ['1', '2'],
            'hidden_size': ['1', '2']}.items() for call in ('forward', 'train')]
    assert all(names(lines[1:]) == ['seqmask graph', 'GEMM floor'] for lines in tables)
    rows = [row for row in rows_of(folder / 'scaling.csv') if row['quantity'] == 'train_seconds']
    assert len(rows) == 2 * (7 + 2 + 2)
    assert {(row['maxlen'], row['hidden_size']) for row in rows} == {
        ('1', '1'), ('2', '1'), ('1', '2')}


@pytest.mark.slow
def test_whole_epochs(done, folder):
    *parts, = blocks(done['epoch'])
    rows = rows_of(folder / 'epoch.csv')
    peers = ['seqmask buckets', 'seqmask mixed', 'seqmask in Keras fit', 'Keras fit']
    for source, found in zip(['handwriting', 'log-normal'], [parts[:6], parts[6:]]):
        (title,), _, epochs, *ratios = found
        steps = re.match(rf'{source}: 7 sequences of \d+ to \d+ steps, (\d+) in all; '
                         '1 bidirectional lstm, H=4, B=3; ', title)[1]
        assert re.split('  +', epochs[0]) == [
            '', 'epoch s', 'min - max', 'steps/s', 'padding', 'memory MB']
        assert names(epochs[1:]) == peers
        assert [names(lines) for lines in ratios] == [
            [f'{peer} /', *(other for other in peers if other != peer)] for peer in peers[:3]]
        padding = [int(re.search(r'(\d+)%', line)[1]) for line in epochs[1:]]
        assert padding[0] <= padding[1] == padding[2] == padding[3]
        kept = {(row['peer'], row['quantity']): row for row in rows if row['data'] == source}
        for peer in peers:
            assert kept[peer, 'epoch_seconds']['real_steps'] == steps
            assert (float(kept[peer, 'steps_per_second']['max'])
                    == pytest.approx(int(steps) / float(kept[peer, 'epoch_seconds']['min']), 1e-4))


@pytest.mark.parametrize('flags', BAD)
def test_bad_input_is_told_in_one_line(flags, refused):
    run = refused[flags]
    line, = own_lines(run.stderr)
    pattern = BAD[flags] if r'\d' in BAD[flags] else re.escape(BAD[flags])
    assert re.fullmatch('error: ' + pattern, line)
    assert run.returncode == 1 and run.stdout == ''


@pytest.mark.parametrize('flags', WRONG_FLAGS)
def test_a_wrong_flag_is_told(flags, refused):
    line, _ = own_lines(refused[flags].stderr)
    assert line.startswith('FATAL Flags parsing error: ' + WRONG_FLAGS[flags])
    assert refused[flags].returncode == 1 and refused[flags].stdout == ''


@pytest.mark.slow
@pytest.mark.parametrize('cell', ['lstm', 'gru'])
@pytest.mark.parametrize('package, peers', [('torch', 'pytorch_packed,pytorch_padded'),
                                            ('flax', 'flax')])
def test_other_frameworks_compute_the_same(cell, package, peers, tmp_path):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f'{package} is not installed')
    run = start(tmp_path, f'--cell={cell}', '--repeats=1', f'--peers=keras,{peers}', *TINY,
                script='benchmark.py')
    assert len(blocks(run)[2]) == 1 + len(f'keras,{peers}'.split(',')) + 1


@contextlib.contextmanager
def interruptible():
    """Processes started inside can be interrupted, also where a shell runs this in the background.

    Such a shell has them ignore interrupts, and Python leaves it at that.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_all_processes(tmp_path):
    (tmp_path / 'torch.py').write_text(
        'import os, time\nopen("pid", "w").write(str(os.getpid()))\ntime.sleep(1000)')
    with_path = command('--peers=pytorch_packed', script='benchmark.py')
    with_path['env']['PYTHONPATH'] = os.pathsep.join(
        [str(tmp_path), with_path['env']['PYTHONPATH']])
    with interruptible():
        process = subprocess.Popen(**with_path, cwd=tmp_path, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
    with process:       # waits and closes, whatever happens
        try:
            end = time.monotonic() + TIMEOUT
            while not ((tmp_path / 'pid').exists() and (tmp_path / 'pid').read_text()):
                assert time.monotonic() < end and process.poll() is None
                time.sleep(0.05)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
    assert (process.returncode, own_lines(stderr)) == (130, ['interrupted.'])
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / 'pid').read_text()), 0)
