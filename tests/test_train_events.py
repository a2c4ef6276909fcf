"""scripts/train_events.py as a person starts it, on few sequences, also with bad input."""

import os
import re

import numpy as np
import pytest

from seqmask import data, metrics, models, runs
from seqmask.metrics import matching
from seqmask.runs.pictures import events as pictures_events
from test_scripts import own_lines, rows_of, start

SMALL = ['--hidden_size=4', '--epochs=3', '--batch_size=8', '--learning_rate=0.05']


def run(folder, *flags, **how):
    return start(folder, *flags, script='train_events.py', **how)


def a_log(**labels_of):
    """32 sequences, of 0 and 1 step among them: where the first feature is high, there is an event.

    Args:
      **labels_of: The labels of a part, all alike: train=0, say.
    """
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 40, size=32)
    lengths[[0, 1, 24]] = 0, 1, 1
    labels = (rng.random(lengths.sum()) < 0.1).astype(np.int32)
    split = np.repeat([0, 1, 2], [16, 8, 8]).astype(np.int32)
    for part, name in enumerate(['train', 'valid', 'test']):
        if name in labels_of:
            labels[np.repeat(split, lengths) == part] = labels_of[name]
    frames = rng.normal(size=[len(labels), 2])
    frames[:, 0] += 3 * labels
    return data.Sequences(frames, lengths, {'labels': labels}, {'split': split})


def part_of(sequences, part):
    return sequences.select(sequences.sequences['split'] == part)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('events')
    data.write_npz(folder / 'own.npz', a_log())
    return folder


@pytest.fixture(scope='module')
def first(folder):
    return run(folder, '--data=own.npz', '--workdir=run', '--tolerance=1', *SMALL, afresh=True)


def test_a_run_prints_what_is_found(first, folder):
    assert (first.returncode, own_lines(first.stderr)) == (0, [])
    lines = [line for line in first.stdout.splitlines() if not line.startswith('epoch ')]
    log = a_log()
    rate = part_of(log, 0).steps['labels'].mean()
    assert lines[0].endswith(f'; {rate:.2%} of the steps are events; 221 weights')
    assert 'the same network, with an unweighted loss and an initial bias of 0:' in lines
    chosen, = (line for line in lines if line.startswith('threshold'))
    assert re.fullmatch(r'threshold   [\d.]+%, with the highest F1 on the validation data, '
                        r'in events: precision [\d.]+%, recall [\d.]+%, F1 [\d.]+%', chosen)
    by_step, by_event = ({line[:22].strip(): line[22:].split() for line in lines[k:k + 4]}
                         for k in (-9, -5))
    assert list(by_step) == list(by_event)[:0] + ['test, step by step', *list(by_event)[1:]]
    test = part_of(log, 2)
    assert by_step['always zero'][:4] == [f'{1 - test.steps["labels"].mean():.2%}', '-', '0.00%',
                                          '0.00%']
    assert lines[-1].startswith('files       in run: best/, checkpoints/, events.csv, flags.json')
    # The table counts the rows of events.csv.
    rows = [row for row in rows_of(folder / 'run' / 'events.csv') if row['part'] == 'test']
    hits = sum(row['outcome'] == 'hit' for row in rows)
    events = sum(len(matching.find_events(test.sequence(i)['labels'])) for i in range(len(test)))
    detector, = (values for name, values in by_event.items() if name.startswith('detector'))
    assert hits and detector[1:3] == [f'{hits / len(rows):.2%}', f'{hits / events:.2%}']


def test_the_threshold_is_kept_with_the_model_and_events_are_what_it_detects(first, folder):
    model = runs.load_run(str(folder / 'run')).trainer.model
    assert isinstance(model, models.EventDetector) and model.threshold != 0
    test, wanted = part_of(a_log(), 2), []
    for batch in data.Batches(test, 1):
        if batch['inputs'].shape[1]:
            inputs, lengths = batch['inputs'].numpy().astype('float32'), batch['lengths']
            logits = model(inputs, lengths)
            peaks = matching.find_peaks(logits, None, 1)
            wanted.append((peaks & model.detect(inputs, lengths))[0])
        else:
            wanted.append([])
    rows = [row for row in rows_of(folder / 'run' / 'events.csv') if row['part'] == 'test']
    assert [(int(row['sequence']), int(row['step'])) for row in rows] == [
        (i, t) for i, detected in enumerate(wanted) for t in np.flatnonzero(detected)]
    for row in rows:
        labels = test.sequence(int(row['sequence']))['labels']
        if row['outcome'] == 'hit':
            assert labels[int(row['event_step'])] == 1
            assert abs(int(row['event_step']) - int(row['step'])) <= 2
        else:
            assert (row['outcome'], row['event_step']) == ('false alarm', '')


def test_a_second_start_ends_alike_and_draws(first, folder):
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    before = (folder / 'run' / 'events.csv').read_bytes()
    again = run(folder, '--data=own.npz', '--workdir=run', '--tolerance=1', '--plots', *SMALL)
    assert (again.returncode, own_lines(again.stderr)) == (0, [])
    assert 'resuming after epoch 3 of run' in again.stdout
    assert 'resuming after epoch 3 of run/unweighted' in again.stdout
    assert (folder / 'run' / 'events.csv').read_bytes() == before
    told = first.stdout.splitlines()
    assert again.stdout.splitlines()[-11:-1] == told[-11:-1] and 'pictures/' in again.stdout
    assert sorted(os.listdir(folder / 'run' / 'pictures')) == [
        'curves.png', 'detections.png', 'lengths.png', 'thresholds.png']


def test_without_events_to_validate_and_test_on_it_says_so_and_goes_on(tmp_path):
    data.write_npz(tmp_path / 'own.npz', a_log(valid=0, test=0))
    done = run(tmp_path, '--data=own.npz', '--chunk_size=9', '--min_precision=1',
               '--pos_weight=balanced', '--focal_gamma=1', *SMALL)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert 'there is no event in the validation data: the threshold is chosen on' in done.stdout
    assert re.search(r'no threshold has a precision of 100% on the training data: the highest, '
                     r'|highest recall at a precision of 100% on the training data', done.stdout)
    *_, detector, _ = done.stdout.splitlines()
    assert detector.split()[-2:] == ['0.00%', '-'] or detector.split()[-2:] == ['-', '-']


def test_without_events_to_train_on_there_is_one_line(tmp_path):
    data.write_npz(tmp_path / 'own.npz', a_log(train=0))
    done = run(tmp_path, '--data=own.npz', *SMALL)
    line, = own_lines(done.stderr)
    assert re.fullmatch(r'error: none of the \d+ steps to train on is an event \(label 1\): there '
                        r'is nothing to learn. Train on sequences with both labels.', line)
    assert done.returncode == 1


# Pictures

def lines_of(axis):
    return {line.get_label(): line.get_xydata().tolist() for line in axis.lines}


def test_thresholds_show_the_steps_that_average_precision_adds_up():
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    metric = metrics.AveragePrecision()
    nothing = metric.curve()
    metric.update(logits=np.array([[3., 2., 1.]], 'float32'), labels=[[1, 0, 1]], mask=None)
    curve = metric.curve()
    axis, = pictures_events.thresholds({'own': curve, 'empty': nothing}, curve.at(2.0)).axes
    area = 1 / 2 * 1 + 1 / 2 * 2 / 3
    assert lines_of(axis) == {
        f'own: average precision {area:.1%}': [[0, 1], [1 / 2, 1], [1 / 2, 1 / 2], [1, 2 / 3]],
        'chosen threshold: F1 50.0%': [[1 / 2, 1 / 2]]}


def test_detections_show_hits_false_alarms_and_missed_events():
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    one = {'number': 7, 'probability': np.array([0.1, 0.9, 0.1, 0.8, 0.1]), 'threshold': 0.5,
           'events': np.array([[0, 0], [4, 4]]), 'steps': np.array([1, 3]),
           'matched': np.array([0, -1])}
    empty = {**one, 'number': 8, 'probability': np.zeros(0)}
    assert pictures_events.mistakes(one) == 2
    assert pictures_events.select([empty, one, {**one, 'number': 9}], number=1)[0] is one
    figure = pictures_events.detections([one])
    axis, = figure.axes
    assert axis.get_title(loc='left') == 'sequence 7: 2 events, 2 detections, 1 of them right'
    shown = {line.get_marker(): line.get_xydata().tolist() for line in axis.lines}
    assert shown['o'] == [[1, 0.9]] and shown['x'] == [[3, 0.8]]
    colors = [patch.get_facecolor()[:3] for patch in axis.patches]
    assert colors[0] != colors[1] and axis.get_xlim() == (-0.5, 4.5)


def test_evaluate_and_predict_take_the_run(first, folder):
    done = start(folder, '--workdir=run', script='evaluate.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    model, test = runs.load_run(str(folder / 'run')).trainer.model, part_of(a_log(), 2)
    shown, = (line.split() for line in done.stdout.splitlines() if line.startswith('test '))
    data.write_npz(folder / 'unlabelled.npz', data.Sequences(test.frames, test.lengths))
    done = start(folder, '--workdir=run', '--data=unlabelled.npz', '--output=said.csv',
                 script='predict.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    rows = rows_of(folder / 'said.csv')
    detected = np.array([row['predicted'] == 'event' for row in rows])
    probability = np.array([float(row['probability']) for row in rows])
    wanted = [[], []]
    for batch in data.Batches(test, 1):
        inputs = batch['inputs'].numpy().astype('float32')
        wanted[0].append(model.detect(inputs, batch['lengths'])[0])
        wanted[1].append(model.probabilities(inputs, batch['lengths'])[0])
    np.testing.assert_array_equal(detected, np.concatenate(wanted[0]))
    np.testing.assert_allclose(probability, np.concatenate(wanted[1]), atol=1e-4)
    labels = test.steps['labels'] == 1
    scores = [np.mean(detected == labels), np.mean(labels[detected]), np.mean(detected[labels])]
    assert shown[1:4] == [f'{score:.2%}' for score in scores]
