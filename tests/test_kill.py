"""kill -9 at random moments of a run: whatever they are, it ends as if it had never been killed.

Started as a script, this file imports TensorFlow once and forks a process for each run: importing
starts no thread of TensorFlow's, so a fork is as good as a new process, and 4 seconds cheaper.
"""

import concurrent.futures
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import training
from test_trainer import a_collection, a_trainer, assert_identical, everything, weights

ROOT = pathlib.Path(__file__).resolve().parent.parent
EPOCHS, KILLS, KILLS_A_RUN = 6, 20, 2
TIMEOUT = 100       # seconds for one run, on a machine that does much else


class Announced:
    """Batches that write a byte to a pipe before each one, so that others see how far it is."""

    def __init__(self, batches, pipe):
        self._batches, self._pipe = batches, pipe
        self.element_spec = batches.element_spec

    def __iter__(self):
        for batch in self._batches:
            os.write(self._pipe, b'.')
            yield batch

    def at_epoch(self, epoch):
        return Announced(self._batches.at_epoch(epoch), self._pipe)


def die_in_saving(epoch, place):
    """Lets this process kill itself in saving an epoch: between two of its files."""
    def kill(*args):
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(function, where):
        def call(prefix, *args):
            dies = place == f'{where} {os.path.basename(os.path.dirname(prefix))}' and (
                os.path.basename(prefix) == f'epoch-{epoch}')
            return (kill if dies else function)(prefix, *args)
        return call

    seal, write_rows = training.checkpoints._write_checksums, training.workdir.write_rows

    def seal_and_die(prefix):
        seal(prefix)
        dying(lambda prefix: None, 'after sealing')(prefix)

    training.checkpoints._write_checksums = dying(seal_and_die, 'before sealing')
    training.workdir.write_rows = lambda path, rows: (
        kill if (place, len(rows)) == ('before the history', epoch) else write_rows)(path, rows)


def train(workdir, pipe, rate=0.1, epochs=EPOCHS, dies=None):
    """The run; its results go to a file in the end."""
    rng = np.random.default_rng(0)
    if dies:
        die_in_saving(*dies)
    batches = seqmask.data.Batches(a_collection(rng), 3, shuffle=True, seed=1)
    valid = seqmask.data.Batches(a_collection(rng, [2, 6]), 2)
    trainer = a_trainer(tf.keras.optimizers.schedules.CosineDecay(rate, 12))
    history = trainer.fit(Announced(batches, pipe), Announced(valid, pipe), epochs=epochs,
                          workdir=workdir)
    last = everything(trainer)
    predictions = list(trainer.predict(valid))
    trainer.restore_best()
    rows = [np.array([value for name, value in row.items() if 'second' not in name])
            for row in history]
    np.savez(os.path.join(workdir, 'result.npz'),
             *rows, *last, *predictions, *weights(trainer), trainer.best_epoch)


def run_and_kill(workdir, events, delay, options):
    """Forks a run and kills it `delay` seconds after so many bytes, or lets it end (None).

    Returns (signal that ended it, or 0; seconds from the start to each byte and to the end).
    """
    ours, theirs = os.pipe()
    start, times = time.monotonic(), [0.0]
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(ours)
            train(workdir, theirs, **options)
            status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    try:
        while events is None or len(times) <= events:
            ready, _, _ = select.select([ours], [], [], TIMEOUT)
            if not ready or not os.read(ours, 1):
                break           # it hangs; or it has ended
            times.append(time.monotonic() - start)
        else:
            time.sleep(delay)
    finally:
        if events is not None or not ready:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(ours)
    times.append(time.monotonic() - start)
    return -os.waitstatus_to_exitcode(status), times


def serve():
    for line in sys.stdin:
        print(json.dumps(run_and_kill(*json.loads(line))), flush=True)


class Server:
    """A process that has imported everything, and forks."""

    def __enter__(self):
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, 'PYTHONPATH': path, 'OPENBLAS_NUM_THREADS': '1',
                 'TF_CPP_MIN_LOG_LEVEL': '2'})
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.communicate()

    def __call__(self, workdir, events=None, delay=0.0, **options):
        self._process.stdin.write(json.dumps([str(workdir), events, delay, options]) + '\n')
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def results(workdir):
    with np.load(workdir / 'result.npz') as file:
        return [file[f'arr_{i}'] for i in range(len(file.files))]


def moments(times, rng):
    """KILLS moments (bytes before, seconds after), spread over starting, training and saving.

    Time alone would put most of them into the start: it takes longest.
    """
    gaps = np.diff(times)                       # [0] is the start, [-1] what follows the last epoch
    an_epoch = (len(gaps) - 1) // EPOCHS        # batches to train on, then those to validate on
    saving = np.arange(an_epoch, len(gaps), an_epoch)
    inside = np.setdiff1d(np.arange(1, len(gaps)), saving)
    chosen = [0] * 4 + [*rng.choice(inside, 6, replace=False)] + [*rng.choice(saving[:-1], 10)]
    assert len(chosen) == KILLS
    return [(int(i), float(rng.uniform(0, gaps[i]))) for i in rng.permutation(chosen)]


def killed_at(server, workdir, moments):
    """Runs to the end, killed before at each moment; (epochs kept at each kill)."""
    kept = []
    for events, delay in moments:
        while True:
            before = finished(workdir)
            died_of, _ = server(workdir, events, delay)
            if died_of:
                break
            # It ended sooner than it was to be killed, since less was left of it to do.
            events, delay = events // 2, delay / 2
            workdir = workdir.with_name(workdir.name + '-again')
        assert died_of == signal.SIGKILL
        kept.append(finished(workdir))
        assert kept[-1] >= before
    died_of, _ = server(workdir)
    assert not died_of
    return workdir, kept


def finished(workdir):
    """The epoch that a run would go on after."""
    return training.checkpoints.newest_complete(str(workdir / 'checkpoints')) or 0


has_fork = pytest.mark.skipif(not hasattr(os, 'fork'),
                              reason='the system has no fork and no kill -9')
PLACES = ['before sealing best', 'after sealing best', 'before the history',
          'before sealing checkpoints', 'after sealing checkpoints']


@pytest.mark.slow
@has_fork
def test_the_best_model_is_the_true_one_though_the_next_start_makes_the_epoch_otherwise(tmp_path):
    """Killed in saving its best epoch, and gone on with at a rate that makes nothing better."""
    died_of, best, otherwise = {}, 2, 1000.0
    with Server() as server:
        for epochs in [best - 1, best]:
            assert not server(tmp_path / f'whole{epochs}', epochs=epochs)[0]
            assert not server(tmp_path / f'whole{epochs}', rate=otherwise)[0]
        for place in PLACES:
            workdir = tmp_path / place.replace(' ', '-')
            assert server(workdir, dies=[best, place])[0] == signal.SIGKILL
            died_of[place] = finished(workdir), server(workdir, rate=otherwise)[0]
    wanted = {epochs: results(tmp_path / f'whole{epochs}') for epochs in [best - 1, best]}
    assert [int(run[-1]) for run in wanted.values()] == [best - 1, best]     # else nothing is shown
    assert died_of == {**dict.fromkeys(PLACES[:-1], (best - 1, 0)), PLACES[-1]: (best, 0)}
    for place, (kept, _) in died_of.items():
        assert_identical(results(tmp_path / place.replace(' ', '-')), wanted[kept])


@pytest.mark.slow
@has_fork
def test_twenty_kills_change_nothing(tmp_path, caplog):
    rng = np.random.default_rng(0)
    with Server() as one, Server() as other:
        (died_of, times) = one(tmp_path / 'whole')
        assert not died_of
        wanted = results(tmp_path / 'whole')
        drawn = moments(times, rng)
        runs = [drawn[i:i + KILLS_A_RUN] for i in range(0, KILLS, KILLS_A_RUN)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            halves = [pool.submit(lambda server, which: [
                killed_at(server, tmp_path / f'run{i}', runs[i]) for i in which], server,
                range(k, len(runs), 2)) for k, server in enumerate([one, other])]
            ended = [run for half in halves for run in half.result()]
    kept = [epoch for _, epochs in ended for epoch in epochs]
    assert len(kept) == KILLS and 0 in kept and len(set(kept)) > EPOCHS // 2
    for workdir, _ in ended:
        assert_identical(results(workdir), wanted)
    assert not [record for record in caplog.records if 'damaged' in record.getMessage()]


if __name__ == '__main__':
    serve()
