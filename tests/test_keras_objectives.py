"""What each version of Keras makes of a mask: recomputed in NumPy, and against the live Keras 3."""

import re

import numpy as np
import pytest
import tensorflow as tf

import seqmask

B, T = 3, 4
LENGTHS = [4, 1, 2]
MASK = np.arange(T) < np.array(LENGTHS)[:, None]


def keras2(score, weights=None, mask=None):
    """The historical objective, its means one after the other as it took them."""
    if mask is not None:
        score = score * mask / np.mean(mask)
    if weights is not None:
        score = np.mean(score, axis=tuple(range(np.ndim(weights), score.ndim)))
        score = score * weights / np.mean(weights != 0)
    return np.mean(score)


@pytest.fixture
def values(rng):
    return rng.normal(size=[B, T, 2]).astype('f'), rng.normal(size=[B, T, 2]).astype('f')


WEIGHTS = {'none': None, 'per sequence': np.array([2.0, 0.0, 0.5], 'f'),
           'per step': np.array([[1, 0, 2, 3], [0.5, 0, 0, 0], [4, 1, 0, 0]], 'f'),
           'ones': np.ones([B, T], 'f')}


@pytest.mark.parametrize('mask', [None, MASK], ids=['no mask', 'mask'])
@pytest.mark.parametrize('weights', WEIGHTS.values(), ids=WEIGHTS)
@pytest.mark.parametrize('name', ['mean_squared_error', 'mean_absolute_error'])
def test_the_objective_of_keras_2(name, weights, mask, values):
    labels, predictions = values
    error = {'mean_squared_error': np.square, 'mean_absolute_error': np.abs}[name]
    objective = seqmask.losses.weighted_masked_objective(tf.keras.losses.get(name))
    actual = objective(labels, predictions, weights, mask).mean()
    wanted = keras2(error(labels - predictions).mean(axis=-1), weights, mask)
    np.testing.assert_allclose(actual, wanted, rtol=1e-5)


@pytest.mark.parametrize('name, labels, predictions', [
    ('categorical_crossentropy', np.full([1, 2, 2], 0.5), [[[0.25, 0.75], [np.nan, 0]]]),
    ('sparse_categorical_crossentropy', [[1, -7]], [[[0.25, 0.75], [np.nan, 0]]]),
    ('binary_crossentropy', [[[1.0], [np.nan]]], [[[0.75], [np.nan]]]),
    ('cosine_similarity', [[[1.0], [np.nan]]], [[[0.75], [0]]]),
    ('kl_divergence', [[[1.0], [np.nan]]], [[[0.75], [-np.inf]]]),
    ('mean_absolute_percentage_error', [[[1.0], [0.0]]], [[[0.75], [np.inf]]]),
])
def test_what_stands_in_the_padding_changes_nothing(name, labels, predictions):
    fn = tf.keras.losses.get(name)
    predictions = tf.constant(predictions, tf.float32)
    labels = tf.constant(labels, tf.int32 if name.startswith('sparse') else tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(predictions)
        objective = seqmask.losses.weighted_masked_objective(fn)(
            labels, predictions, None, [[True, False]]).mean()
    gradient = tape.gradient(objective, predictions).numpy()
    np.testing.assert_allclose(objective, fn(labels[:, :1], predictions[:, :1])[0, 0], rtol=1e-6)
    assert np.isfinite(gradient).all() and not gradient[:, 1].any()


@pytest.mark.parametrize('weights, mask', [(None, np.zeros([B, T], bool)),
                                           (np.zeros([B], 'f'), MASK)], ids=['mask', 'weights'])
def test_nothing_real_or_no_weight_is_0_where_keras_2_had_nan(weights, mask, values):
    objective = seqmask.losses.weighted_masked_objective(tf.keras.losses.mse)
    assert float(objective(*values, weights, mask).mean()) == 0


def live(labels, predictions, mask, weights):
    """What Keras computes with a mask on its predictions, as its layers leave it there."""
    predictions = tf.constant(predictions)
    predictions._keras_mask = tf.constant(mask)
    return tf.keras.losses.MeanSquaredError()(labels, predictions, sample_weight=weights)


@pytest.mark.parametrize('weights', [None, WEIGHTS['per step'], WEIGHTS['ones'] * 2],
                         ids=['none', 'per step', 'twos'])
def test_the_mean_of_keras_3(weights, values):
    squares = np.square(np.subtract(*values)).mean(axis=-1)
    actual = seqmask.losses.keras_mean(values=squares, mask=MASK, weights=weights)
    np.testing.assert_allclose(actual.mean(), live(*values, MASK, weights), rtol=1e-6)


def test_a_weight_for_each_sequence_which_keras_3_lines_up_with_the_steps(values):
    squares = np.square(np.subtract(*values)).mean(axis=-1)
    weights = np.array([1, 2, 3], 'f')
    actual = seqmask.losses.keras_mean(values=squares, mask=MASK, weights=weights)
    wanted = live(*values, MASK, np.repeat(weights[:, None], T, axis=1))
    np.testing.assert_allclose(actual.mean(), wanted, rtol=1e-6)
    with pytest.raises(Exception, match='(?i)incompatible shapes|broadcast'):
        live(*values, MASK, weights)
    square = np.ones([2, 2, 1], 'f')        # with B = T it is no error, but another number
    wrong = live(square, 0 * square, np.array([[True, False], [True, True]]),
                 np.array([1, 4], 'f'))
    assert float(wrong) == (1 * 1 + 1 * 1 + 4 * 1) / 3      # where it should be (1 + 4 + 4) / 3


def test_keras_3_ignores_the_labels_of_masked_steps_and_counts_only_real_ones(values):
    labels, inputs = values
    inputs = np.where(MASK[..., None], inputs, 0)
    model = tf.keras.Sequential([tf.keras.layers.Masking(), tf.keras.layers.Dense(2)])
    model.compile('sgd', 'mse')
    garbage = np.where(MASK[..., None], labels, 1e6).astype('f')
    losses = [model.evaluate(inputs, y, verbose=0) for y in (labels, garbage)]
    assert losses[0] == losses[1]
    tally = seqmask.losses.squared_error(predictions=model(inputs), labels=garbage, mask=MASK)
    np.testing.assert_allclose(losses[0], tally.mean(), rtol=1e-6)


@pytest.mark.parametrize('call, error', {
    'mask': (lambda v: seqmask.losses.keras_mean(values=v, mask=np.ones([3], bool)),
             'mask must have rank 2, one entry for each step, got mask (3,) for values (3, 4).'),
    'weights': (lambda v: seqmask.losses.keras_mean(values=v, mask=MASK, weights=np.ones([3, 1])),
                'weights must have the leading axes of values, got weights (3, 1) for values '
                '(3, 4).'),
    'objective': (lambda v: seqmask.losses.weighted_masked_objective(tf.keras.losses.mse)(
        v, v, None, MASK), 'mask must have the leading axes of fn(y_true, y_pred), got mask (3, 4) '
                           'for fn(y_true, y_pred) (3,).'),
}.values())
def test_shapes_that_do_not_fit_are_named(call, error):
    with pytest.raises(ValueError, match=re.escape(error)):
        call(tf.ones([B, T]))
