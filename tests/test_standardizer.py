"""Scaling: statistics of real steps only, padding stays 0, saved with the model."""

import numpy as np
import pytest
import tensorflow as tf

import some_models
import seqmask
from seqmask.data import (Batches, Sequences, Standardizer, Stream, StreamBatches, moments,
                          standardize_sequences)
from test_scripts import own_lines, start

LENGTHS = [3, 0, 5, 1, 4]


def collection(rng, lengths=LENGTHS, loc=3.0, scale=2.0, dtype=np.float64):
    frames = rng.normal(loc, scale, size=[int(np.sum(lengths)), 3]).astype(dtype)
    return Sequences(frames, np.array(lengths, np.int32))


SOURCES = {
    'Sequences': lambda whole: whole,
    'Batches': lambda whole: Batches(whole, 2),
    'Stream': Stream.from_sequences,
    'StreamBatches': lambda whole: StreamBatches(Stream.from_sequences(whole), 2),
    'list': lambda whole: [
        {'inputs': np.where(np.arange(9)[:, None] < length, np.resize(part, [9, 3]), np.nan)[None],
         'lengths': np.array([length], np.int32)}
        for part, length in zip(np.split(whole.frames, np.cumsum(whole.lengths)[:-1]),
                                whole.lengths) if length],
}


# Fit


@pytest.mark.parametrize('source', SOURCES)
def test_statistics_are_those_of_real_steps(source, rng):
    whole = collection(rng)
    fitted = Standardizer.fit(SOURCES[source](whole), dtype='float64')
    np.testing.assert_allclose(fitted.mean, whole.frames.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.scale, whole.frames.std(axis=0), rtol=1e-12)
    fitted = Standardizer.fit(SOURCES[source](whole), 'minmax', dtype='float64')
    np.testing.assert_array_equal(fitted.mean, whole.frames.min(axis=0))
    np.testing.assert_array_equal(fitted.scale, np.ptp(whole.frames, axis=0))


@pytest.mark.parametrize('source', SOURCES)
def test_one_pass_is_stable(source, rng, monkeypatch):
    monkeypatch.setattr(moments, 'MOST_FRAMES', 64)       # many merges
    whole = collection(rng, rng.integers(0, 9, size=300), loc=1e6, scale=1e-2)
    fitted = Standardizer.fit(SOURCES[source](whole), dtype='float64')
    # In a float64 of 1e6 the last digit is 1e-10, a hundred-millionth of the deviation.
    np.testing.assert_allclose(fitted.mean, whole.frames.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(fitted.scale, (whole.frames - 1e6).std(axis=0), rtol=1e-6)
    # What is not one pass of this kind fails: sum of squares minus square of sum.
    naive = np.mean(whole.frames**2, axis=0) - np.mean(whole.frames, axis=0)**2
    assert not np.allclose(naive, (whole.frames - 1e6).var(axis=0), rtol=0.1)


def test_chunks_of_very_different_sizes_and_levels_merge(rng, monkeypatch):
    frames = np.concatenate([rng.normal(size=[1, 2]), rng.normal(1e3, 1, size=[700, 2]),
                             rng.normal(-5, 9, size=[4, 2])])
    for chunk in [1, 3, 700, 10_000]:
        monkeypatch.setattr(moments, 'MOST_FRAMES', chunk)
        fitted = Standardizer.fit(Sequences(frames, [len(frames)]), dtype='float64')
        np.testing.assert_allclose(fitted.mean, frames.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(fitted.scale, frames.std(axis=0), rtol=1e-12)


@pytest.mark.parametrize('kind', ['standard', 'minmax'])
@pytest.mark.parametrize('value', [0.1, 0.0, -1e6, 1e-30])
def test_a_constant_feature_becomes_0(kind, value, rng):
    # 0.1 is no binary fraction: the mean of a thousand is not 0.1 to the last bit.
    frames = np.stack([np.full(1000, value), rng.normal(size=1000)], axis=1)
    for dtype in ['float32', 'float64']:
        fitted = Standardizer.fit(Sequences(frames, [1000]), kind, dtype=dtype)
        assert float(fitted.scale[0]) == 1
        assert not np.any(fitted.apply(frames)[:, 0])
        assert not np.any(fitted(tf.constant(frames[None], dtype), tf.constant([1000]))[..., 0])


def test_what_a_dtype_cannot_divide_by_is_constant():
    frames = np.array([[0.0], [1e-45]])
    assert float(Standardizer.fit(Sequences(frames, [2])).scale[0]) == 1
    assert float(Standardizer.fit(Sequences(frames, [2]), dtype='float64').scale[0]) == 1e-45 / 2


def test_values_that_are_not_finite_do_not_count():
    frames = np.array([[1.0, np.nan], [3.0, np.inf], [np.nan, 4.0], [np.inf, 8.0]])
    fitted = Standardizer.fit(Sequences(frames, [4]))
    assert fitted.mean.numpy().tolist() == [(1 + 3) / 2, (4 + 8) / 2]
    assert fitted.scale.numpy().tolist() == [1, 2]


@pytest.mark.parametrize('error, message, source', [
    (ValueError, 'feature 1 is NaN or inf at all 2', Sequences([[1.0, np.nan], [2, np.inf]], [2])),
    (ValueError, 'fitted to real steps, got none', Sequences(np.zeros([0, 2]), [0, 0])),
    (ValueError, 'fitted to real steps, got none', []),
    (ValueError, 'mean must be finite in float32; that of feature 0', Sequences([[1e300]], [1])),
    (ValueError, 'scale must be finite and positive in float32; that of feature 0',
     Sequences([[1e38 * 3], [-1e38 * 3]] * 2, [4])),
    (TypeError, 'source must be Sequences, a Stream or batches, got ndarray', np.ones([2, 3])),
    (ValueError, 'same number of features, got 1 after 2',
     [{'inputs': np.ones([1, 1, size]), 'lengths': [1]} for size in [2, 1]]),
])
def test_fit_refuses(error, message, source):
    kind = 'minmax' if 'scale' in message else 'standard'
    with pytest.raises(error, match=message):
        Standardizer.fit(source, kind)


@pytest.mark.parametrize('error, message, arguments, options', [
    (ValueError, r'shape \[D\], got shapes \(1,\) and \(2,\)', ([0.0], [1.0, 1.0]), {}),
    (ValueError, 'mean must be finite', ([0.0, np.nan], [1.0, 1.0]), {}),
    (ValueError, 'that of feature 1 is 0', ([0.0, 0.0], [1.0, 0.0]), {}),
    (ValueError, 'that of feature 0 is -1', ([0.0], [-1.0]), {}),
    (TypeError, 'dtype must be floating-point', ([0.0], [1.0]), {'dtype': 'int32'}),
])
def test_the_constructor_refuses(error, message, arguments, options):
    with pytest.raises(error, match=message):
        Standardizer(*arguments, **options)


def test_an_unknown_kind_is_refused(rng):
    with pytest.raises(ValueError, match="kind must be one of 'standard', 'minmax', got 'robust'"):
        Standardizer.fit(collection(rng), 'robust')


# Use; tests/test_contracts.py compares calls with the oracle


def test_before_padding_equals_after_it(rng):
    whole = collection(rng, dtype=np.float32)
    standardizer = Standardizer.fit(whole)
    before = Sequences(standardizer.apply(whole.frames), whole.lengths)
    raw, = Batches(whole, len(whole))
    wanted, = Batches(before, len(whole))
    found = standardizer(raw['inputs'], raw['lengths'])
    np.testing.assert_array_equal(found, wanted['inputs'])
    np.testing.assert_array_equal(standardizer.apply(tf.constant(whole.frames)), before.frames)
    assert before.frames.dtype == np.float32
    np.testing.assert_allclose(before.frames.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(before.frames.std(axis=0), 1, atol=1e-6)
    back = standardizer.inverse(found, raw['lengths'])
    np.testing.assert_allclose(back, raw['inputs'], rtol=1e-5, atol=1e-6)


def test_minmax_lies_between_0_and_1(rng):
    whole = collection(rng)
    scaled = Standardizer.fit(whole, 'minmax', dtype='float64').apply(whole.frames)
    assert scaled.min(axis=0).tolist() == [0] * 3 and scaled.max(axis=0).tolist() == [1] * 3


def test_apply_takes_one_frame_and_whole_numbers():
    standardizer = Standardizer([1.0, 2.0], [2.0, 4.0])
    assert standardizer.apply(np.array([5, 2])).tolist() == [2, 0]
    assert standardizer.apply(np.array([5, 2])).dtype == np.float32
    for frames in [np.ones([3, 1]), tf.ones([3, 1]), np.float64(1)]:
        with pytest.raises(ValueError, match='frames must have D = 2 on their last axis'):
            standardizer.apply(frames)


def test_half_precision_is_computed_in_single():
    standardizer = Standardizer([1000.0], [0.5], dtype='float16')
    assert standardizer.mean.dtype == tf.float32
    outputs = standardizer(tf.constant([[[1001.0]]], tf.float16), tf.constant([1]))
    assert outputs.dtype == tf.float16 and float(outputs[0, 0, 0]) == 1 / 0.5


def test_nothing_in_it_is_trained(rng):
    standardizer = Standardizer.fit(collection(rng))
    assert not standardizer.trainable_variables and len(standardizer.variables) == 2


def model(standardizer, room='labeller', **options):
    return getattr(some_models, room)(3, 2, hidden_size=4, seed=0, standardizer=standardizer,
                                      implementation='graph', **options)


ROOMS = {'labeller': {}, 'classifier': {'filters': (4, 4, 4)}}


@pytest.mark.parametrize('room', ROOMS)
@pytest.mark.parametrize('make', [Standardizer.fit, lambda whole: standardize_sequences],
                         ids=['Standardizer', 'standardize_sequences'])
def test_a_model_standardizes_first(room, make, rng):
    whole = collection(rng, dtype=np.float32)
    batch, = Batches(whole, len(whole))
    inputs, lengths = batch['inputs'], batch['lengths']
    poisoned = tf.where(seqmask.sequence_mask(lengths, 5)[..., None], inputs, np.nan)
    standardizer = make(whole)
    with_it = model(standardizer, room, **ROOMS[room])
    without = model(None, room, **ROOMS[room])
    wanted = without(standardizer(inputs, lengths), lengths)
    np.testing.assert_array_equal(with_it(poisoned, lengths), wanted)
    assert not np.allclose(without(inputs, lengths), wanted)


def test_a_checkpoint_holds_it(tmp_path, rng):
    trained = model(Standardizer.fit(collection(rng)))
    path = tf.train.Checkpoint(model=trained).write(str(tmp_path / 'ckpt'))
    fresh = model(Standardizer(np.zeros(3), np.ones(3)))
    tf.train.Checkpoint(model=fresh).read(path).assert_consumed()
    for ours, theirs in zip(fresh.encoder.standardizer.variables,
                            trained.encoder.standardizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_saved_model_holds_it(tmp_path, rng):
    whole = collection(rng, dtype=np.float32)
    batch, = Batches(whole, len(whole))
    module = tf.Module()
    module.standardizer = Standardizer.fit(whole)
    module.call = tf.function(module.standardizer, input_signature=[
        tf.TensorSpec([None, None, 3]), tf.TensorSpec([None], tf.int32)])
    wanted = module.standardizer(batch['inputs'], batch['lengths'])
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(loaded.call(batch['inputs'], batch['lengths']), wanted)


def test_it_is_fitted_to_the_training_part(rng):
    whole = collection(rng)
    for kind in ['standard', 'minmax']:
        found = seqmask.runs.make_standardizer(kind, whole)
        np.testing.assert_array_equal(found.mean, Standardizer.fit(whole, kind).mean)
    assert seqmask.runs.make_standardizer(None, whole) is None
    assert seqmask.runs.make_standardizer('sequence', whole) is standardize_sequences


SCRIPTS = {'train_labels.py': ('steps', ['--num_layers=1', '--nobidirectional']),
           'train_classifier.py': ('sequences', ['--filters=4,4,4'])}


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_script_fits_it_to_the_training_part_and_saves_it(script, tmp_path, rng):
    kind, small = SCRIPTS[script]
    lengths = np.array([3, 1, 2, 4, 1, 3, 2, 2])
    split = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    level = np.repeat(split, lengths)[:, None] * 100.0      # other parts are far away
    whole = Sequences(rng.normal(size=[lengths.sum(), 3]) + level, lengths,
                      sequences={'split': split})
    labels = np.arange(lengths.sum() if kind == 'steps' else len(lengths)) % 2
    getattr(whole, kind)['labels'] = labels
    seqmask.data.write_npz(tmp_path / 'own.npz', whole)
    done = start(tmp_path, '--data=own.npz', '--workdir=run', '--standardize=standard',
                 '--epochs=1', '--hidden_size=4', '--implementation=graph', *small, script=script)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    saved = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(tmp_path / 'run' / 'best')))
    found = {name.split('standardizer/')[1].split('/')[0]: saved.get_tensor(name)
             for name in saved.get_variable_to_shape_map() if 'standardizer/' in name}
    train = whole.select(split == 0).frames
    np.testing.assert_allclose(found['mean'], train.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found['scale'], train.std(axis=0), rtol=1e-5)


# Each sequence by itself


@pytest.mark.parametrize('value', [0.1, 1e6 + 0.1, 0.0])
def test_a_feature_constant_within_a_sequence_becomes_0(value):
    inputs = tf.fill([2, 7, 1], tf.constant(value))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = standardize_sequences(inputs, tf.constant([7, 1]))
    assert not np.any(outputs)
    assert np.all(np.isfinite(tape.gradient(outputs, inputs)))


def test_a_high_level_costs_no_digits(rng):
    x = rng.normal(size=[1, 50, 1])
    found = standardize_sequences(tf.constant(x * 1e-2 + 1e6), tf.constant([50]))
    np.testing.assert_allclose(found, (x - x.mean()) / x.std(), rtol=0, atol=1e-6)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32'])
def test_each_sequence_has_mean_0_and_deviation_1(dtype, rng):
    inputs = tf.cast(rng.normal(5, 3, size=[2, 64, 2]), dtype)
    outputs = standardize_sequences(inputs, tf.constant([64, 40]))
    assert outputs.dtype == dtype
    outputs = tf.cast(outputs, tf.float32).numpy()
    tolerance = 0.01 if dtype != 'float32' else 1e-5
    for b, n in enumerate([64, 40]):
        np.testing.assert_allclose(outputs[b, :n].mean(axis=0), 0, atol=tolerance)
        np.testing.assert_allclose(outputs[b, :n].std(axis=0), 1, atol=tolerance)
