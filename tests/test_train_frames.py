"""scripts/train_frames.py as a person starts it, on few sequences, also with bad input."""

import importlib.util
import os
import re

import numpy as np
import pytest

from seqmask import data, datasets, runs
from seqmask.runs.pictures import frames as pictures
from seqmask.runs.pictures.figures import WRONG
from starting import starts
from test_scripts import own_lines, rows_of, start

SMALL = ['--hidden_size=3', '--epochs=2', '--batch_size=4']
HAS_MATPLOTLIB = importlib.util.find_spec('matplotlib') is not None
PARTS = ('validation', 'test')


def numbers_of(row, prefix):
    return [float(value) for name, value in row.items() if name.startswith(prefix)]


def lines_of(out):
    """dict of line of the table -> its numbers, as texts."""
    found = (re.match(r'((?:validation|test), [\w ]+?)  +(.*)', line) for line in out)
    return {line[1]: line[2].split() for line in found if line}


def test_the_embedded_vowels(tmp_path):
    done = start(tmp_path, '--limit=9', '--window=2', *SMALL, *['--plots'] * HAS_MATPLOTLIB,
                 script='train_frames.py', afresh=True)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    first, *rest = done.stdout.splitlines()
    assert re.match(r'9 sequences to train on, \d+ steps, of \d+ to \d+; 12 features, horizon 1; ',
                    first)
    table = lines_of(rest)
    assert list(table) == [f'{part}, {by}' for part in PARTS
                           for by in ('frame before', 'linear model', 'GRU')]
    folder = tmp_path / 'workdir' / 'frames'
    if HAS_MATPLOTLIB:
        assert sorted(os.listdir(folder / 'pictures')) == ['curves.png', 'frames.png',
                                                           'lengths.png']

    # Each line, computed from the data.
    vowels = datasets.japanese_vowels()
    ends = np.cumsum(vowels['lengths'])
    words = [np.float64(vowels['frames'][end - n:end]) for end, n in zip(ends, vowels['lengths'])]
    train = [word for i, word in enumerate(words[:11]) if i % 10][:9]
    test = words[270:279]
    scale = np.concatenate(train).std(axis=0)
    now, after = (np.concatenate(part) for part in (
        [word[:-1] for word in test], [word[1:] for word in test]))

    def shown(predicted):
        error = (predicted - after) / scale
        return [f'{np.mean(error ** 2):.4f}', f'{np.mean(np.abs(error)):.4f}']

    def seen(word):
        before = np.vstack([np.zeros([1, 12]), word[:-2]])
        there = (np.arange(len(word) - 1) > 0)[:, None]
        return np.hstack([word[:-1], np.ones([len(word) - 1, 1]), before, there])

    weights = np.linalg.lstsq(np.concatenate([seen(word) for word in train]),
                              np.concatenate([word[1:] for word in train]), rcond=None)[0]
    assert table['test, frame before'] == shown(now)
    np.testing.assert_allclose(
        np.float64(table['test, linear model']),
        np.float64(shown(np.concatenate([seen(word) for word in test]) @ weights)), atol=2e-4)
    rows = [row for row in rows_of(folder / 'predictions.csv') if row['part'] == 'test']
    assert [(row['sequence'], row['step']) for row in rows] == [
        (str(i), str(step)) for i, word in enumerate(test) for step in range(len(word) - 1)]
    np.testing.assert_allclose([numbers_of(row, 'label_') for row in rows], after, rtol=1e-5)
    np.testing.assert_allclose(
        np.float64(table['test, GRU']),
        np.float64(shown(np.array([numbers_of(row, 'predicted_') for row in rows]))), atol=2e-4)


def write(path, frames, lengths, **fields):
    data.write_npz(path, data.Sequences(np.float32(frames), lengths, sequences=fields))


LENGTHS = [5, 1, 0, 6, 7, 2, 4, 5, 8, 5, 6]
BAD = {
    '--data=own.npz --standardize=sequence':
        r'--standardize=sequence takes the mean of whole sequences, of frames to be predicted: .*',
    '--data=own.npz --horizon=8':
        r'there must be a sequence of more than 8 steps, the horizon; the longest of \'own\.npz, '
        r'training part\' has 7\.',
    '--data=own.npz --targets=binary':
        r"binary features must be 0 or 1; sequence 0 of 'own\.npz, training part' has 5\.5 at step "
        r'0\.',
    '--data=tokens.npz': r"'tokens\.npz' must hold frames with features, \[N, D\], got shape "
                         r'\(6,\)\.',
    '--data=few.npz': r'there is nothing to validate on: 0 of the 2 sequences, 0 steps\.',
    '--data=missing.npz': r'.*No such file or directory.*missing\.npz.*',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('frames')


@pytest.fixture(scope='module')
def started(folder):
    """Results by the flags of each start."""
    rng = np.random.default_rng(0)
    frames = rng.normal(size=[sum(LENGTHS), 2])
    frames[0] = 5.5
    write(folder / 'own.npz', frames, LENGTHS, split=[0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    write(folder / 'roll.npz', rng.integers(0, 2, size=[sum(LENGTHS), 3]), LENGTHS,
          labels=np.zeros(11, int), split=[0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2])
    write(folder / 'few.npz', frames[:8], [4, 4])
    data.write_npz(folder / 'tokens.npz', data.Sequences(np.arange(6), [3, 3]))
    with open(folder / 'own.csv', 'w', encoding='utf-8') as file:
        print('sequence,time,left,right,labels', file=file)
        for i in range(20):
            for step in range(4):
                print(i, step, *rng.normal(size=2), 'x', sep=',', file=file)
    good = {'own': ['--data=own.npz', '--workdir=own', '--horizon=2', '--targets=huber'],
            'csv': ['--data=own.csv', '--workdir=csv', '--standardize=none', '--chunk_size=2'],
            'roll': ['--data=roll.npz', '--workdir=roll', '--targets=binary',
                     *['--plots'] * HAS_MATPLOTLIB]}
    bad = {flags: [*flags.split(), '--workdir=bad'] for flags in BAD}
    done = starts(folder, 'train_frames', *([*flags, *SMALL]
                                            for flags in (*good.values(), *bad.values())))
    return dict(zip([*good, *bad], done, strict=True))


@pytest.mark.parametrize('name', ['own', 'csv', 'roll'])
def test_files_of_ones_own(name, started):
    status, out, err = started[name]
    assert (status, err) == (0, [])
    assert len(lines_of(out)) == 6


@pytest.mark.parametrize('flags', BAD)
def test_bad_input_is_told_in_one_line(flags, started):
    status, _, said = started[flags]
    line, = said
    assert status == 1 and re.fullmatch('error: ' + BAD[flags], line), line


def test_columns_of_a_table_keep_their_names(started, folder):
    row = rows_of(folder / 'csv' / 'predictions.csv')[0]
    assert list(row) == ['part', 'sequence', 'name', 'step', 'label_left', 'label_right',
                         'predicted_left', 'predicted_right']
    assert started['csv'][1][0] == 'own.csv' and '  features  left, right' in started['csv'][1]


def test_a_piano_roll_is_scored_by_the_notes_that_are_found(started, folder):
    table = lines_of(started['roll'][1])
    whole = data.read_npz(folder / 'roll.npz')
    test = whole.select(whole.sequences['split'] == 2)
    ends = np.cumsum(test.lengths)
    parts = [test.frames[end - n:end] for end, n in zip(ends, test.lengths)]
    now, after = (np.concatenate(part) for part in ([p[:-1] for p in parts],
                                                    [p[1:] for p in parts]))
    hits = np.sum(now * after)
    scores = [hits / now.sum(), hits / after.sum(), 2 * hits / (now.sum() + after.sum())]
    assert table['test, frame before'] == ['-', *(f'{score:.2%}' for score in scores)]
    rows = [row for row in rows_of(folder / 'roll' / 'predictions.csv') if row['part'] == 'test']
    p = np.array([numbers_of(row, 'predicted_') for row in rows])
    nats = -np.sum(after * np.log(p) + (1 - after) * np.log(1 - p), axis=1).mean()
    assert float(table['test, GRU'][0]) == pytest.approx(nats, abs=1e-3)
    if HAS_MATPLOTLIB:
        assert (folder / 'roll' / 'pictures' / 'frames.png').exists()


def test_other_scripts_take_the_run(started, folder):
    table = lines_of(started['own'][1])
    done = start(folder, '--workdir=own', script='evaluate.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.splitlines()[-2].split() == ['test', *table['test, GRU']]
    done = start(folder, '--workdir=own', '--data=own.npz', '--output=own.csv.csv',
                 script='predict.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    rows = rows_of(folder / 'own.csv.csv')
    assert [(row['sequence'], row['step']) for row in rows] == [
        (str(i), str(step)) for i, n in enumerate(LENGTHS) for step in range(n)]  # all of them
    run, whole = runs.load_run(str(folder / 'own')), data.read_npz(folder / 'own.npz')
    outputs = run.trainer.predict(data.Batches(
        data.Sequences(np.float32(whole.frames), whole.lengths), 4))
    np.testing.assert_allclose([numbers_of(row, 'predicted_') for row in rows],
                               np.concatenate(list(outputs)), rtol=1e-4, atol=1e-5)
    done = start(folder, '--workdir=own', '--data=own.npz', script='stream.py')
    header, *lines = done.stdout.splitlines()
    assert done.returncode == 0 and header == 'sequence,step,predicted_0,predicted_1'
    np.testing.assert_allclose([[float(word) for word in line.split(',')] for line in lines],
                               [[float(value) for value in row.values()] for row in rows],
                               rtol=1e-3, atol=1e-4)
    told = own_lines(done.stderr)
    assert ' steps on lite: ' in told[-1]
    assert [line for line in told if line.startswith('note: ')] == [
        "note: StepRunner runs on implementation='lite', which is slower: the C++ core does not "
        'know the step of FramePredictor.']
    done = start(folder, '--workdir=roll', '--output=exported', script='export.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    # A file that is too short to compare.
    write(folder / 'short.npz', np.ones([4, 2]), [2, 2])
    done = start(folder, '--workdir=own', '--data=short.npz', '--overwrite', script='evaluate.py')
    assert own_lines(done.stderr) == [
        "error: there must be a sequence of more than 2 steps, the horizon; the longest of "
        "'short.npz' has 2."]


# Pictures


@pytest.mark.parametrize('binary', [False, True])
def test_predictions_are_drawn_at_the_step_that_they_are_for(binary):
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    output = runs.Frames(['x', 'y'], horizon=2, binary=binary)
    sequences = data.Sequences(np.zeros([3, 2]), [2, 1], {
        'labels': np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])})
    predicted = data.Sequences([[0.0, 1.0], [1.0, 0.0], [0.5, 1.0]], [2, 1])
    typical, worst = pictures.select(predicted, sequences, output, number=1)
    assert [one['number'] for one in typical + worst] == [0, 1]
    figure = (pictures.rolls if binary else pictures.curves)(typical, worst, output)
    first, second = figure.axes[0], figure.axes[2]
    assert first.get_xlim() == second.get_xlim() == (1.5, 3.5)
    assert second._left_title.get_color() == WRONG
    if binary:
        np.testing.assert_array_equal(figure.axes[3].images[0].get_array(), [[0.5], [1.0]])
        assert second.images[0].get_extent()[:2] == [1.5, 2.5]
    else:
        assert [line.get_xydata().tolist() for line in first.lines] == [
            [[2, 0], [3, 1]], [[2, 0], [3, 1]]]
        assert second.lines[1].get_xydata().tolist() == [[2, 0.5]]
