"""scripts/train_autoencoder.py as a person starts it, on few sequences, also with bad input."""

import importlib.util
import os
import re

import numpy as np
import pytest

import seqmask
from seqmask import data, datasets, runs
from seqmask.runs.pictures import codes as pictures_codes, figures as pictures
import some_models
from starting import starts
from test_scripts import own_lines, rows_of, start

SMALL = ['--hidden_size=3', '--code_size=2', '--epochs=2', '--batch_size=4']
HAS_MATPLOTLIB = importlib.util.find_spec('matplotlib') is not None


def arrays_of(path):
    with np.load(path, allow_pickle=False) as records:
        return dict(records)


def test_the_embedded_vowels(tmp_path):
    done = start(tmp_path, '--limit=9', *SMALL, *['--plots'] * HAS_MATPLOTLIB,
                 script='train_autoencoder.py', afresh=True)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    first, *epochs, _, _, _, _, _, of_codes, _, _, _, validation, test, files = (
        done.stdout.splitlines())
    assert re.match(r'9 sequences to train on, \d+ steps, of \d+ to \d+; 12 features; ', first)
    assert len(epochs) == 2
    folder = tmp_path / 'workdir' / 'autoencoder'
    codes = arrays_of(folder / 'codes.npz')
    vowels = datasets.japanese_vowels()
    number = codes['number']
    assert codes['codes'].shape == (27, 2) and np.all(np.isfinite(codes['codes']))
    np.testing.assert_array_equal(codes['split'], np.repeat([0, 1, 2], 9))
    np.testing.assert_array_equal(number[9:18], np.arange(0, 90, 10))       # every tenth
    np.testing.assert_array_equal(codes['lengths'], vowels['lengths'][number])
    np.testing.assert_array_equal(codes['labels'],
                                  vowels['label_names'][vowels['labels'][number]])
    assert of_codes == (f'codes       2 numbers each, for sequences of '
                        f'{np.mean(codes["lengths"][18:]):.1f} x 12 on average')
    assert 'codes.npz' in files
    if HAS_MATPLOTLIB:
        assert sorted(os.listdir(folder / 'pictures')) == [
            'codes.png', 'curves.png', 'lengths.png', 'reconstructions.png']

    # The model can be had again: its codes, and the error that was printed.
    loaded = runs.load_run(str(folder))
    model, held_out = loaded.trainer.model, data.read_npz(loaded.held_out)
    sequences = held_out.select(held_out.sequences['split'] == 2)
    batch = next(iter(data.Batches(sequences, 9)))
    np.testing.assert_allclose(model.encode(batch['inputs'], batch['lengths']),
                               codes['codes'][18:], rtol=1e-4, atol=1e-5)
    real = np.isin(np.repeat(np.arange(640), vowels['lengths']), number[:9])
    mean, deviation = vowels['frames'][real].mean(axis=0), vowels['frames'][real].std(axis=0)
    made = np.concatenate(seqmask.crop(model.reconstruct(batch['inputs'], batch['lengths']),
                                       batch['lengths']))
    error = np.mean(((made - sequences.frames) / deviation) ** 2)
    baseline = np.mean(((mean - sequences.frames) / deviation) ** 2)
    name, *shown = test.split()
    assert name == 'test' and validation.startswith('validation  ')
    np.testing.assert_allclose([float(value.rstrip('%')) for value in shown],
                               [error, baseline, 100 * (1 - error / baseline)], atol=0.01)


def write(path, lengths, width=3, **fields):
    rng = np.random.default_rng(0)
    frames = rng.normal(loc=5.0, size=[sum(lengths), width])
    data.write_npz(path, data.Sequences(frames, lengths, sequences=fields))


BAD = {
    '--data=missing.npz': r'.*No such file or directory.*missing\.npz.*',
    '--data=own.npz --autoregressive --bidirectional_decoder':
        r"an autoregressive decoder .*: autoregressive or the decoder's bidirectional must be "
        r'False\.',
    '--data=empty.npz': r'there is nothing to train on: 9 of the 11 sequences, 0 steps\.',
    '--data=few.npz': r'there is nothing to validate on: 0 of the 2 sequences, 0 steps\.',
    '--data=narrow.npz':
        r"'narrow\.npz' holds frames without features, of shape \(24, 0\)\.",
    '--data=split.npz': r'`split` must be 0 \(train\), 1 \(validation\) or 2 \(test\); that of '
                        r'sequence 2 is 3\.',
}


def test_ones_own_data_going_on_and_bad_input(tmp_path):
    lengths = [3, 1, 0, 5, 1, 2, 4, 1, 2, 2, 3]
    write(tmp_path / 'own.npz', lengths)
    write(tmp_path / 'empty.npz', [0] * 11)
    write(tmp_path / 'few.npz', [2, 3])
    write(tmp_path / 'narrow.npz', lengths, width=0)
    write(tmp_path / 'split.npz', lengths, split=[0, 1, 3, *[0] * 7, 2])
    own = ['--data=own.npz', '--workdir=own', '--autoregressive', '--reverse_target',
           '--standardize=none', *SMALL]
    first, again, *bad = starts(
        tmp_path, 'train_autoencoder', own, own,
        *([*flags.split(), '--workdir=bad', *SMALL] for flags in BAD))
    assert (first[0], first[2]) == (0, []) and (again[0], again[2]) == (0, [])
    assert again[1][1] == 'resuming after epoch 2 of own'
    assert first[1][-3:] == again[1][-3:]       # the table, the files
    codes = arrays_of(tmp_path / 'own' / 'codes.npz')
    assert set(codes) == {'codes', 'lengths', 'split', 'number'}        # there are no labels
    np.testing.assert_array_equal(codes['lengths'], np.array(lengths)[codes['number']])
    assert sorted(codes['number']) == list(range(11))
    np.testing.assert_array_equal(codes['split'], [0] * 9 + [1] + [2])
    whole = data.read_npz(tmp_path / 'own.npz')
    train, test = (whole.select(codes['number'][codes['split'] == part]).frames for part in (0, 2))
    baseline = np.mean((test - train.mean(axis=0)) ** 2)        # as they are: not standardised
    np.testing.assert_allclose(float(first[1][-2].split()[2]), baseline, atol=1e-4)
    for (status, _, said), wanted in zip(bad, BAD.values(), strict=True):
        line, = said
        assert status == 1 and re.fullmatch('error: ' + wanted, line), line

    # evaluate.py and predict.py take the run.
    done = start(tmp_path, '--workdir=own', script='evaluate.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    shown = done.stdout.splitlines()[-2].split()
    assert shown[:3:2] == ['test', first[1][-2].split()[3]]         # the share explained
    done = start(tmp_path, '--workdir=own', '--data=own.npz', '--output=codes.csv',
                 script='predict.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    rows = {int(row['sequence']): row for row in rows_of(tmp_path / 'codes.csv')}
    assert [int(row['steps']) for row in rows.values()] == lengths
    for number, code in zip(codes['number'], codes['codes']):
        np.testing.assert_allclose([float(rows[number][f'code_{c}']) for c in range(2)], code,
                                   rtol=1e-4, atol=1e-5)
    run = runs.load_run(str(tmp_path / 'own'))
    whole = data.Sequences(np.float32(whole.frames), whole.lengths)
    made = run.output.predict(run.trainer, data.Batches(whole, 4))
    np.testing.assert_allclose(
        [float(row['error']) for row in rows.values()],
        [np.mean((frames - true) ** 2) if len(true) else 0 for frames, true in zip(*(
            np.split(of.frames, np.cumsum(lengths)[:-1]) for of in (made, whole)))], rtol=1e-4)


# Pictures


@pytest.fixture
def matplotlib():
    return pytest.importorskip('matplotlib', reason='matplotlib is not installed')


def example(number, length, width, error=0.5):
    values = np.arange(length * width, dtype=float).reshape([length, width])
    return {'number': number, 'inputs': values, 'outputs': values + 1, 'error': error}


@pytest.mark.parametrize('width', [2, 9])
def test_reconstructions_stand_beside_their_originals(width, matplotlib):
    figure = pictures_codes.reconstructions([example(0, 3, width), example(4, 8, width)],
                                            [example(2, 1, width, error=7.25)])
    shown = {axis.get_title(loc='left'): axis for axis in figure.axes if axis.axison}
    original, made = shown['sequence 2'], shown['reconstructed, error 7.25']
    assert made.get_position().x0 > original.get_position().x0 > shown['sequence 0'].get_position(
        ).x0
    assert made.get_position().y0 == original.get_position().y0
    for axis, moved in [(original, 0), (made, 1)]:
        values = np.arange(width)[:, None] + moved
        drawn = (axis.images[0].get_array() if width > 4 else
                 [line.get_ydata() for line in axis.lines if len(line.get_xdata()) == 1])
        np.testing.assert_array_equal(drawn, values)
        assert axis.get_xlim() == (-0.5, 8 - 0.5)       # of the longest
    assert made._left_title.get_color() == pictures.WRONG


def test_examples_are_some_as_they_come_and_the_worst(rng):
    sequences = data.Sequences.from_list([np.float32(rng.normal(size=[n, 2]))
                                          for n in [2, 0, 3, 1, 4, 5]])
    model = some_models.autoencoder(
        2, hidden_size=3, standardizer=data.Standardizer([1., 2.], [3., 4.]), seed=0)
    usual, worst = pictures_codes.select(model, data.Batches(sequences, 4), number=2)
    assert [one['number'] for one in usual] == [0, 5]
    errors = {}
    for i in [2, 3, 4]:
        inputs = np.float32(sequences.sequence(i)['inputs'])[None]
        target = (inputs - [1, 2]) / [3, 4]
        errors[i] = np.mean((target - model(inputs, [inputs.shape[1]])) ** 2)
    wanted = sorted(errors, key=errors.get)[::-1][:2]
    assert [one['number'] for one in worst] == wanted
    np.testing.assert_allclose([one['error'] for one in worst], [errors[i] for i in wanted],
                               rtol=1e-5)


def test_principal_components_are_those_of_the_covariance(rng):
    codes = rng.normal(size=[50, 4]) @ np.diag([1, 5, 0.1, 2]) + 3
    points, shares = pictures_codes.principal_components(codes)
    variances = np.linalg.eigvalsh(np.cov(codes.T, bias=True))[::-1]
    np.testing.assert_allclose(points.var(axis=0), variances[:2])
    np.testing.assert_allclose(shares, variances[:2] / variances.sum())
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)
    for codes in [np.ones([3, 1]), np.ones([1, 4])]:        # no second direction, nor a first
        points, shares = pictures_codes.principal_components(codes)
        assert not np.any(points) and points.shape == (len(codes), 2) and not np.any(shares)


@pytest.mark.parametrize('labels, colors', [
    (None, 1), (np.array(['a', 'b', 'a', 'c']), 3), (np.arange(4.0), 4), (np.ones([4, 2]), 1)])
def test_projection_has_a_point_for_each_code(labels, colors, rng, matplotlib):
    figure = pictures_codes.projection(rng.normal(size=[4, 3]), labels)
    axis, = figure.axes
    drawn = axis.collections
    assert len(drawn) == colors and sum(len(part.get_offsets()) for part in drawn) == 4
    assert len({tuple(part.get_facecolor()[0]) for part in drawn}) == colors
    assert len(figure.legends) == (colors > 1)


def test_many_labels_have_no_colours(rng, matplotlib):
    axis, = pictures_codes.projection(rng.normal(size=[21, 3]), np.arange(21)).axes
    assert len(axis.collections) == 1
