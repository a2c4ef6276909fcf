"""Two workers, two processes of their own on this machine: what one process would have given."""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT = 100       # seconds, for each of the waits
STEPS = 20

# Sequence by sequence to one worker and the other: unequally many steps, and none for one or both.
PROGRAM = '''
import os, sys
os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
import numpy as np
import tensorflow as tf
from absl import flags
import seqmask
from seqmask import runs, training

runs.define_flags(workdir='run', epochs=5)
flags.DEFINE_string('results', '', '')
flags.DEFINE_float('dropout', 0.0, '')
FLAGS = flags.FLAGS
LENGTHS = [3, 0, 5, 2, 0, 4, 1, 0, 0, 0, 6]


def loss(model, batch, training):
    inputs = model.norm(batch['inputs'], batch['lengths'], training=training)
    return model.loss({**batch, 'inputs': inputs}, training)


def main():
    strategy = runs.make_strategy()
    rng = np.random.default_rng(0)
    collection = seqmask.data.Sequences.from_list(
        [rng.normal(size=[n, 3]).astype('float32') for n in LENGTHS],
        steps={'labels': [rng.integers(0, 2, size=n) for n in LENGTHS]})
    batches = seqmask.data.Batches(collection, 3)       # 4 of them; a step each
    with strategy.scope():
        encoder = seqmask.models.Encoder(3, cell='lstm', hidden_size=4, implementation='graph',
                                         seed=0)
        model = seqmask.models.SequenceLabeller(encoder, num_classes=2, dropout=FLAGS.dropout,
                                                seed=0)
        model.norm = seqmask.BatchNorm(3, momentum=0.5)
        optimizer = tf.keras.optimizers.Adam(0.05)
    trainer = training.Trainer(model, loss, optimizer, clip_norm=1.0, strategy=strategy)
    trainer.fit(batches, batches, epochs=FLAGS.epochs, workdir=FLAGS.workdir)
    outputs = np.concatenate(list(trainer.predict(batches)))
    values = trainer.evaluate(batches)
    np.savez(FLAGS.results, *[v.numpy() for v in model.variables], outputs=outputs,
             loss=values['loss'], iterations=optimizer.iterations.value.numpy())


runs.run(main)
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('workers')
    (folder / 'program.py').write_text(PROGRAM)
    return folder


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(('127.0.0.1', 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def started(folder, *commands, script=None):
    """Processes of (name, flags, environment); whatever happens, none outlives the block.

    They run `script`, or the program above, which writes its results to a file of its name.
    """
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    with contextlib.ExitStack() as stack:
        processes = []
        for name, flags, environment in commands:
            out = stack.enter_context(open(folder / f'{name}.out', 'w'))
            err = stack.enter_context(open(folder / f'{name}.err', 'w'))
            processes.append(subprocess.Popen(
                [sys.executable, *([str(ROOT / 'scripts' / script)] if script else
                                   ['program.py', f'--results={name}.npz']), *flags], cwd=folder,
                env={**os.environ, 'PYTHONPATH': path, **environment}, stdout=out, stderr=err))
            stack.callback(processes[-1].wait, TIMEOUT)
            stack.callback(processes[-1].kill)
        yield processes


def workers(name, *flags, different=((), ())):
    addresses = [f'127.0.0.1:{port}' for port in free_ports(2)]
    return [(f'{name}{index}', ['--strategy=multiworker', *flags, *different[index]],
             {'TF_CONFIG': json.dumps({'cluster': {'worker': addresses},
                                       'task': {'type': 'worker', 'index': index}})})
            for index in range(2)]


def said(folder, name):
    """What a process told on stdout and, its own lines alone, on stderr."""
    noise = re.compile(r'WARNING: All log|[IWE]\d{4} |\d{4}-\d\d-\d\d .*: [IWE] |To enable the |$')
    lines = (folder / f'{name}.err').read_text().splitlines()
    return (folder / f'{name}.out').read_text(), [li for li in lines if not noise.match(li)]


def wait_for(condition, processes):
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        assert all(process.poll() is None for process in processes), 'ended too early'
        time.sleep(0.02)


def results(folder, name):
    with np.load(folder / f'{name}.npz') as file:
        return {key: file[key] for key in file.files}


@pytest.mark.slow
def test_two_workers_give_the_weights_of_one_process(folder):
    with started(folder, ('one', ['--workdir=one'], {}),
                 *workers('two', '--workdir=two')) as processes:
        assert [process.wait(TIMEOUT) for process in processes] == [0, 0, 0], [
            said(folder, name) for name in ('one', 'two0', 'two1')]
    one, chief, other = (results(folder, name) for name in ('one', 'two0', 'two1'))
    assert one['iterations'] == chief['iterations'] == STEPS
    assert one.keys() == chief.keys() == other.keys() and len(one) > 8
    for name in one:
        np.testing.assert_allclose(chief[name], one[name], rtol=0, atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(other[name], chief[name], err_msg=name)
    # The chief alone tells and writes.
    assert [line.split('  ')[0] for line in said(folder, 'two0')[0].splitlines()] == [
        f'epoch {k}/5' for k in range(1, 6)]
    assert said(folder, 'two1') == ('', [])
    assert sorted(os.listdir(folder / 'two')) == sorted(os.listdir(folder / 'one'))
    for part in ('checkpoints', 'best'):
        kept, right = ({name.split('.')[0] for name in os.listdir(folder / run / part)}
                       for run in ('two', 'one'))
        assert kept == right


@pytest.mark.slow
@pytest.mark.parametrize('lost', [0, 1])
def test_a_lost_worker_ends_the_others_and_all_go_on(lost, folder):
    name, flags = f'lost{lost}-', [f'--workdir=lost{lost}', '--dropout=0.3']
    workdir = folder / f'lost{lost}'
    commands = workers(name, '--epochs=100000', *flags)
    with started(folder, *commands) as processes:
        wait_for((workdir / 'history.csv').exists, processes)
        time.sleep(0.5)
        processes[lost].kill()
        assert processes[1 - lost].wait(TIMEOUT) == 1
    line, = said(folder, f'{name}{1 - lost}')[1]
    assert re.fullmatch(r'error: another worker was lost \(.*\)\. Restart all workers with the '
                        r'same flags to resume from the last finished epoch\.', line)
    epoch = int(re.search(r'epoch-(\d+)"', (workdir / 'checkpoints/checkpoint').read_text())[1])
    with started(folder, *workers(name, f'--epochs={epoch + 2}', *flags)) as processes:
        assert [process.wait(TIMEOUT) for process in processes] == [0, 0], [
            said(folder, f'{name}{k}') for k in range(2)]
    first, *epochs = said(folder, f'{name}0')[0].splitlines()
    assert first == f'resuming after epoch {epoch} of lost{lost}' and len(epochs) == 2
    for value, right in zip(*(results(folder, f'{name}{k}').values() for k in range(2))):
        np.testing.assert_array_equal(value, right)


def test_a_worker_without_tf_config_ends_at_once(folder):
    environment = {'TF_CONFIG': ''}
    with started(folder, ('alone', ['--strategy=multiworker'], environment)) as (process,):
        assert process.wait(TIMEOUT) == 1
    line, = said(folder, 'alone')[1]
    assert line.startswith('error: --strategy=multiworker needs the environment variable TF_CONFIG')
