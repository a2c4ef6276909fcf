"""Runs of the training scripts on a few sequences, trained once for all tests that look at them."""

import fcntl
import functools
import os
import shutil

import numpy as np

from seqmask import data
from test_scripts import own_lines, start

RUNS = {'labels': ('train_labels.py', ['--num_layers=1', '--nobidirectional',
                                       '--standardize=standard']),
        'classifier': ('train_classifier.py', ['--filters=4,4,4'])}


def some_sequences(labels_per, number=16):
    """Sequences whose labels can be seen in their frames: half train, a quarter each test."""
    rng = np.random.default_rng(0)
    lengths = np.arange(number) % 5          # with length 0
    lengths[-number // 2:] += 1
    labels = rng.integers(0, 3, lengths.sum() if labels_per == 'step' else number)
    of_steps = labels if labels_per == 'step' else np.repeat(labels, lengths)
    frames = np.eye(3)[of_steps] + 0.1 * rng.normal(size=[len(of_steps), 3])
    split = np.repeat([0, 1, 2], [number // 2, number // 4, number // 4]).astype(np.int32)
    fields = {'labels': labels.astype(np.int32)}
    return data.Sequences(frames, lengths, fields if labels_per == 'step' else {},
                          {'split': split, **({} if labels_per == 'step' else fields)})


def trained(tmp_path_factory):
    """A folder with a labeller's workdir 'labels', a classifier's 'classifier', and their data.

    Each process has its own, a copy of what the first one that asked has trained.
    """
    return _copied(tmp_path_factory.getbasetemp())


@functools.cache
def _copied(base):
    shared = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / 'tiny_runs'
    with open(f'{shared}.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            _train(shared.with_suffix('.unfinished')).rename(shared)
    return shutil.copytree(shared, base / 'tiny')


def _train(folder):
    folder.mkdir()
    for name, (script, flags) in RUNS.items():
        data.write_npz(folder / f'{name}.npz',
                       some_sequences('step' if name == 'labels' else 'sequence'))
        run = start(folder, f'--data={name}.npz', f'--workdir={name}', '--hidden_size=4',
                    '--batch_size=4', '--epochs=2', '--learning_rate=0.05', '--seed=1', *flags,
                    script=script)
        assert (run.returncode, own_lines(run.stderr)) == (0, [])
        (folder / f'{name}.txt').write_text(run.stdout)
    return folder
