"""scripts/predict.py as a person starts it: per step and per sequence, as CSV and as npz."""

import concurrent.futures
import re

import numpy as np
import pytest
import tensorflow as tf

from seqmask import data, runs
from test_scripts import own_lines, rows_of, start
from tiny_runs import some_sequences, trained

RIGHT = {(name, ending): f'--workdir={name} --data=unlabelled.npz --output=of_{name}{ending}'
         for name in ('labels', 'classifier') for ending in ('.csv', '.npz')}
RIGHT['labels', '.csv'] += ' --overwrite'
SAME = '--workdir=labels --data=labels/held_out.npz --part=test --output=test.csv --batch_size=1'
BAD = {'--workdir=labels --data=none.npz --output=x.csv':
       r"\[Errno 2\] No such file or directory: 'none.npz'",
       '--workdir=labels --data=unlabelled.npz --output=taken.npz':
       r"'taken.npz' exists. Choose another --output, or pass --overwrite."}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return trained(tmp_path_factory)


def unlabelled():
    whole = some_sequences('step')
    return data.Sequences(whole.frames, whole.lengths)


@pytest.fixture(scope='module')
def finished(folder):
    data.write_npz(folder / 'unlabelled.npz', unlabelled())
    for name in ('taken.npz', 'of_labels.csv'):
        (folder / name).write_text('mine')
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        started = {flags: pool.submit(start, folder, *flags.split(), script='predict.py',
                                      afresh=flags == SAME)
                   for flags in [*RIGHT.values(), SAME, *BAD]}
        return {flags: run.result() for flags, run in started.items()}


def alone(folder, name):
    """The logits of each sequence, computed by itself: [length, K] or [1, K]."""
    run = runs.load_run(str(folder / name))
    outputs = []
    for i in range(len(unlabelled())):
        one = unlabelled().sequence(i)
        outputs.append(run.trainer.model(tf.constant(one['inputs'][None], tf.float32),
                                         tf.constant([one['lengths']])).numpy())
    return [logits[0] if name == 'labels' else logits for logits in outputs]


@pytest.mark.parametrize('name', ['labels', 'classifier'])
def test_an_npz_holds_the_logits_of_the_real_steps(name, finished, folder):
    done = finished[RIGHT[name, '.npz']]
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    lengths = unlabelled().lengths
    assert done.stdout == f'16 sequences, {lengths.sum()} steps; written: of_{name}.npz\n'
    predictions, wanted = data.read_npz(folder / f'of_{name}.npz'), alone(folder, name)
    np.testing.assert_array_equal(predictions.lengths,
                                  lengths if name == 'labels' else np.ones(16))
    np.testing.assert_allclose(predictions.frames, np.concatenate(wanted), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(predictions.steps['predicted'],
                                  predictions.frames.argmax(axis=1))
    odds = np.exp(predictions.frames.astype(np.float64))
    np.testing.assert_allclose(predictions.steps['probability'],
                               odds.max(axis=1) / odds.sum(axis=1), rtol=1e-6)


@pytest.mark.parametrize('name', ['labels', 'classifier'])
def test_a_csv_has_a_row_for_each_real_step_or_sequence(name, finished, folder):
    rows = rows_of(folder / f'of_{name}.csv')
    predictions = data.read_npz(folder / f'of_{name}.npz')
    places = [(i, step) for i, n in enumerate(predictions.lengths) for step in range(n)]
    if name == 'labels':
        assert [(int(row['sequence']), int(row['step'])) for row in rows] == places
    else:
        assert [int(row['sequence']) for row in rows] == list(range(16))
        assert 'step' not in rows[0]
    assert 'label' not in rows[0]
    assert [row['predicted'] for row in rows] == list(map(str, predictions.steps['predicted']))
    assert [row['probability'] for row in rows] == [
        f'{p:.4f}' for p in predictions.steps['probability']]


def test_the_predictions_of_training_are_the_same(finished, folder):
    at_the_end = [row for row in rows_of(folder / 'labels' / 'predictions.csv')
                  if row['part'] == 'test']
    rows = rows_of(folder / 'test.csv')
    assert len(rows) == len(at_the_end) > 0
    for row, wanted in zip(rows, at_the_end):
        assert [row[n] for n in ('sequence', 'step', 'predicted')] == [
            wanted[n] for n in ('sequence', 'step', 'predicted')]
        assert float(row['probability']) == pytest.approx(float(wanted['probability']), abs=2e-4)


@pytest.mark.parametrize('flags', BAD)
def test_bad_input_is_told_in_one_line(flags, finished, folder):
    line, = own_lines(finished[flags].stderr)
    assert re.fullmatch('error: ' + BAD[flags], line)
    assert finished[flags].returncode == 1 and finished[flags].stdout == ''
    assert (folder / 'taken.npz').read_text() == 'mine' and not (folder / 'x.csv').exists()


# Its parts

NAMES = ['left', 'right', 'nothing at all']


def predictions_of(classes):
    logits = 3 * np.eye(3, dtype=np.float32)[classes]
    return data.Sequences(logits, [2, 0, 1], {'predicted': np.array(classes, np.int32),
                                              'probability': np.ones(3, np.float32)})


def test_confusion_counts_labels_in_rows():
    sequences = data.Sequences(np.zeros([3, 1]), [2, 0, 1], {'labels': [0, 1, 1]})
    counts = runs.Classes(NAMES).confusion_counts(predictions_of([0, 2, 1]), sequences)
    assert counts.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


def test_a_sequence_without_steps_is_not_confused():
    sequences = data.Sequences(np.zeros([3, 1]), [2, 0, 1], {}, {'labels': [0, 1, 1]})
    predictions = data.Sequences(np.eye(3), [1, 1, 1], {'predicted': [2, 0, 1]})
    counts = runs.Classes(NAMES, 'sequence').confusion_counts(predictions, sequences)
    assert counts.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 0]]
