"""predict.py and stream.py of models of tokens; test_train_tagger.py trains on such files."""

import re
import subprocess

import numpy as np
import pytest

from seqmask import data, runs
from test_scripts import TIMEOUT, command, own_lines, rows_of, start

SMALL = ['--hidden_size=3', '--epochs=2', '--batch_size=8']
STARTS = [
    ['train_labels.py', '--data=words.npz', '--workdir=labels', *SMALL],
    ['train_events.py', '--data=numbers.npz', '--workdir=events', *SMALL],
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp('tokens'), np.random.default_rng(0)
    lengths = rng.integers(1, 6, 40)
    tokens = rng.integers(0, 5, lengths.sum())
    labels = (tokens > 2).astype(np.int32)
    words = np.array(list('abcde'))[tokens]
    data.write_npz(folder / 'words.npz', data.Sequences(words, lengths, {'labels': labels}))
    data.write_npz(folder / 'numbers.npz', data.Sequences(tokens, lengths, {'labels': labels}))
    return folder


@pytest.fixture(scope='module')
def trained(folder):
    for script, *flags in STARTS:
        done = start(folder, *flags, script=script)
        assert (done.returncode, own_lines(done.stderr)) == (0, [])


def test_what_was_trained_on_words_predicts_words(trained, folder):
    done = start(folder, '--workdir=labels', '--data=words.npz', '--output=words.csv',
                 script='predict.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    whole, run = data.read_npz(folder / 'words.npz'), runs.load_run(str(folder / 'labels'))
    logits = run.trainer.predict(data.Batches(data.Sequences(whole.frames, whole.lengths), 7))
    assert [row['predicted'] for row in rows_of(folder / 'words.csv')] == [
        str(k) for k in np.concatenate(list(logits)).argmax(axis=1)]
    for flags, script in [(['--data=numbers.npz', '--output=x.csv'], 'predict.py'),
                          ([], 'stream.py')]:
        done = start(folder, '--workdir=labels', *flags, script=script)
        assert done.returncode == 1 and len(own_lines(done.stderr)) == 1


def test_tokens_are_streamed(trained, folder):
    done = start(folder, '--workdir=events', '--data=numbers.npz', script='stream.py')
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()
    run, whole = runs.load_run(str(folder / 'events')), data.read_npz(folder / 'numbers.npz')
    logits = np.concatenate(list(run.trainer.predict(data.Batches(
        data.Sequences(whole.frames, whole.lengths), 7))))
    wanted = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose([float(line.split(',')[3]) for line in lines], wanted, atol=2e-4)
    for line, words in [('2.5', r"a step must be a token, a whole number, got '2\.5'\."),
                        ('9', r'tokens must be in \[0, num_tokens\) .* 5 9 9')]:
        done = subprocess.run(**command('--workdir=events', script='stream.py'), cwd=folder,
                              input=line + '\n', capture_output=True, timeout=TIMEOUT)
        *_, told = own_lines(done.stderr)
        assert done.returncode == 1 and re.search(words, told)
