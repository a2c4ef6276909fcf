"""The predictor of later frames: where it starts, what it sees, how it trains and streams."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import data, training
from seqmask.models import Encoder, FramePredictor, TokenEmbedding

LENGTHS = [5, 3, 0, 4]


def a_model(standardizer=None, targets='squared', **options):
    encoder = Encoder(3, hidden_size=4, standardizer=standardizer, seed=0, **options)
    return FramePredictor(encoder, targets=targets, seed=1)


def randomized(model, rng):
    for variable in model.trainable_variables:
        variable.assign(tf.constant(rng.normal(size=variable.shape), variable.dtype))
    return model


def test_untrained_it_predicts_no_change_and_its_errors_are_in_units_of_the_scale(rng):
    scale = np.array([1.0, 10.0, 0.1])
    frames = np.float32(scale * rng.normal(size=[12, 3]) + 7)
    whole = data.next_step(data.Sequences(frames, LENGTHS))
    batch, = data.Batches(whole, 4)
    model = a_model(data.Standardizer([7.0] * 3, scale))
    for outputs, inputs in zip(*(seqmask.crop(values, whole.lengths) for values in (
            model(batch['inputs'], batch['lengths']), batch['inputs']))):
        np.testing.assert_array_equal(outputs, inputs)
    errors = (whole.frames - whole.steps['labels']) / scale
    measured = model.measure(batch)
    steps = sum(n - 1 for n in LENGTHS if n)
    np.testing.assert_allclose(measured['loss'], [np.square(errors).mean(axis=1).sum(), steps],
                               rtol=1e-4)
    assert float(measured['squared_error'].mean()) == pytest.approx(np.mean(errors ** 2), rel=1e-4)
    assert float(measured['absolute_error'].mean()) == pytest.approx(np.mean(np.abs(errors)),
                                                                     rel=1e-4)


@pytest.mark.parametrize('targets', ['squared', 'binary'])
def test_step_by_step_and_chunk_by_chunk_it_is_the_same(targets, rng):
    model = randomized(a_model(data.Standardizer([1.0] * 3, [2.0] * 3), targets), rng)
    inputs = np.float32(rng.normal(size=[2, 6, 3]))
    wanted, state = model(inputs, [6, 6]), model.initial_state(2)
    for t in range(6):
        outputs, state = model.step(inputs[:, t], state)
        np.testing.assert_allclose(outputs, wanted[:, t], atol=1e-5)
    batch = {'inputs': inputs, 'lengths': tf.constant([6, 6]),
             'labels': np.float32(rng.integers(0, 2, size=[2, 6, 3]))}
    whole, state, parts = model.loss(batch, training=False), model.initial_state(2), 0.0
    for part in (slice(0, 4), slice(4, 6)):
        tally, state = model.chunk_loss(
            {'inputs': inputs[:, part], 'lengths': tf.constant([part.stop - part.start] * 2),
             'labels': batch['labels'][:, part]}, state, training=False)
        parts += float(tally.total)
    assert parts == pytest.approx(float(whole.total), rel=1e-5)


def test_it_learns_what_the_frame_before_does_not_tell(tmp_path):
    """A sawtooth of period 3, whose next value two steps tell, and whose last does not."""
    frames = [np.float32((np.arange(n) % 3)[:, None] * [1.0, 100.0, 0.01] + 5) for n in (9, 7, 8)]
    whole = data.next_step(data.Sequences.from_list(frames))
    model = a_model(data.Standardizer.fit(whole))
    trainer = training.Trainer(model, type(model).loss, tf.keras.optimizers.Adam(0.03),
                               measure=type(model).measure, progress=False)
    before = trainer.evaluate(data.Batches(whole, 4))['squared_error']
    trainer.fit(data.Batches(whole, 4), epochs=80, workdir=tmp_path)
    assert trainer.evaluate(data.Batches(whole, 4))['squared_error'] < 0.05 * before


def test_half_precision_keeps_a_large_number_whose_change_is_small(rng):
    model = a_model(data.Standardizer([1e4] * 3, [1.0] * 3, dtype='float32'), dtype='float16')
    inputs = np.float32(1e4 + rng.normal(size=[1, 4, 3]))
    outputs = model(inputs, [4])
    assert outputs.dtype == tf.float32
    np.testing.assert_array_equal(outputs, inputs)


@pytest.mark.parametrize('options, words', [
    ({'targets': 'classes'}, "targets must be one of 'squared', 'absolute', 'huber', 'binary'"),
    ({'bidirectional': True}, 'the encoder must not see later steps'),
    ({'standardizer': data.standardize_sequences}, 'the encoder must not see later steps')])
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        a_model(**options)


def test_tokens_are_no_frames():
    encoder = Encoder(embedding=TokenEmbedding(5, 3, seed=0), hidden_size=4, seed=0)
    with pytest.raises(ValueError, match='the encoder must have an input_size and no embedding'):
        FramePredictor(encoder)
