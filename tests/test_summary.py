"""What a person reads when training has ended."""

import numpy as np
import pytest
import tensorflow as tf

from seqmask import data
from seqmask.runs import report, task


@pytest.fixture
def lines():
    parts = [data.Sequences(np.zeros([sum(lengths), 1]), lengths)
             for lengths in ([1000, 234], [3], [2, 2])]
    model = tf.Module()
    model.kernel, model.count = tf.Variable(tf.zeros([40, 50])), tf.Variable(0, trainable=False)
    history = [{'epoch': 1, 'loss': 0.5, 'seconds': 8.25, 'steps_per_second': 10, 'skipped': 0,
                'valid_loss': 1 / 3},
               {'epoch': 2, 'loss': 0.25, 'seconds': 1.5, 'steps_per_second': 4000, 'skipped': 0,
                'valid_loss': 1 / 4},
               {'epoch': 3, 'loss': 0.125, 'seconds': 1.25, 'steps_per_second': 5000, 'skipped': 0,
                'valid_loss': 1 / 2}]
    described = task.Task(None, None, parts, described='7 classes')
    return report.summary(described, model, history, 2, 2.75).splitlines()


def test_what_it_was_trained_on(lines):
    assert lines[0] == ('data        2 sequences to train on, 1,234 steps; 1 to validate, '
                        '2 to test; 7 classes')
    assert lines[1] == 'model       Module, 2,000 weights'


def test_how_long_it_took_in_all_and_in_this_start(lines):
    assert lines[2] == (f'training    3 epochs, {8.25 + 1.5 + 1.25:.1f} s of training (2.8 s in '
                        'this start); 4,000 steps per second (median epoch)')


def test_the_best_epoch_and_its_values(lines):
    assert lines[3] == 'best epoch  2: loss 0.25, valid_loss 0.25'
    assert len(lines) == 4


def test_a_table_shows_shares_in_percent_and_the_loss_in_nats():
    shown = report.table({'validation': {'loss': 1.5, 'accuracy': 0.25, 'other': 3.0},
                          'test': {'loss': 2.5, 'accuracy': 0.75, 'other': 4.0}},
                         {'accuracy': 'steps/right', 'loss': 'loss/in nats'})
    assert [line.split() for line in shown.splitlines()] == [
        ['steps', 'loss'], ['right', 'in', 'nats'], ['validation', '25.00%', '1.5000'],
        ['test', '75.00%', '2.5000']]
    assert len({len(line) for line in shown.splitlines()}) == 1


def test_the_files_are_those_there(tmp_path):
    (tmp_path / 'best').mkdir()
    for name in ('history.csv', 'history.csv.77.tmp', 'flags.json'):
        (tmp_path / name).touch()
    assert report.list_files(str(tmp_path)) == (
        f'files       in {tmp_path}: best/, flags.json, history.csv')


def test_weights_are_the_trainable_ones():
    model = tf.Module()
    model.kernel, model.bias = tf.Variable(tf.zeros([2, 3])), tf.Variable(1.0)
    assert report.count_weights(model) == 2 * 3 + 1
