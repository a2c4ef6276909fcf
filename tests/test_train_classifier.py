"""scripts/train_classifier.py as a person starts it, on few sequences, also with bad input."""

import re

import numpy as np
import pytest

from seqmask import data
from test_scripts import own_lines, rows_of, start

SMALL = ['--hidden_size=4', '--filters=4,4,4', '--epochs=2', '--batch_size=4']


def run(folder, *flags, **how):
    return start(folder, *flags, script='train_classifier.py', **how)


def sequences(labels):
    rng = np.random.default_rng(0)
    return data.Sequences.from_list([rng.normal(size=[1 + k % 4, 3]) for k in range(len(labels))],
                                    sequences={'labels': np.array(labels)})


@pytest.mark.parametrize('masked', ['--masked', '--nomasked'])
def test_the_embedded_vowels(masked, tmp_path):
    flags = [] if masked == '--masked' else ['--filters=']      # convolutions once
    done = run(tmp_path, masked, '--limit=9', *SMALL, *flags, afresh=masked == '--masked')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    first, *epochs, _, _, _, summary, _, _, _, validation, test, files = done.stdout.splitlines()
    assert first.startswith('9 sequences to train on, ') and '9 classes' in first
    shortest, longest = re.search(r' steps, of (\d+) to (\d+);', first).groups()
    assert (shortest == longest) == (masked == '--nomasked')
    assert len(epochs) == 2 and summary.startswith('training    2 epochs, ')
    rows = rows_of(tmp_path / 'workdir' / 'classifier' / 'predictions.csv')
    assert [row['part'] for row in rows] == ['validation'] * 9 + ['test'] * 9
    right = np.mean([row['label'] == row['predicted'] for row in rows if row['part'] == 'test'])
    assert test.split() == ['test', f'{right:.2%}']
    assert files.startswith('files       in workdir/classifier: best/, ')


BAD = {
    '--filters=4,4': r'--filters must be three widths, such as 128,256,128, or none, got 4,4.',
    '--filters=wide,4,4': r'--filters must be three widths, .*, got wide,4,4.',
    '--filters=4,²,4': r'--filters must be three widths, .*, got 4,²,4.',
    '--filters= --num_layers=0': r'a classifier needs num_layers > 0 or filters, got neither.',
    '--data=steps.npz': r"'steps.npz' must hold `labels`, a whole number for each sequence.",
    '--data=huge.npz --num_classes=3':
        r"labels must be in \[0, 3\); sequence 2 of 'huge.npz' has 9.",
}


@pytest.mark.parametrize('flags', BAD)
def test_bad_input_is_told_in_one_line(flags, tmp_path):
    data.write_npz(tmp_path / 'huge.npz', sequences([0, 1, 9, 2]))
    frames = np.ones([4, 3])
    labels = {'labels': [0] * 4}
    data.write_npz(tmp_path / 'steps.npz', data.Sequences(frames, [3, 1], steps=labels))
    done = run(tmp_path, *flags.split(), '--limit=9')
    line, = own_lines(done.stderr)
    assert re.fullmatch('error: ' + BAD[flags], line)
    assert done.returncode == 1
