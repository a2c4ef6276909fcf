import numpy as np
import pytest
import tensorflow as tf

import seqmask

LENGTHS = [5, 2, 0, 1]
B, T, D = 4, 5, 2


def inputs_of(rng, fill=np.nan, dtype='float32'):
    mask = np.arange(T) < np.array(LENGTHS)[:, None]
    return tf.constant(np.where(mask[..., None], rng.normal(size=[B, T, D]), fill), dtype)


def conv(strides=1, **options):
    return seqmask.Conv1D(D, D, kernel_size=3, strides=strides, padding='same', seed=0, **options)


def assert_silent(outputs, lengths):
    for row, length in zip(outputs.numpy(), lengths.numpy()):
        assert not row[length:].any()


# Sequential

def test_the_lengths_go_along(rng):
    inputs = inputs_of(rng)
    first, pool, last = conv(strides=2), lambda x, n: seqmask.max_pool1d(x, n, 2), conv()
    outputs, lengths = seqmask.Sequential([first, pool, last])(inputs, LENGTHS)
    wanted, n = first(inputs, LENGTHS)
    assert n.numpy().tolist() == [3, 1, 0, 1]       # ceil(length / 2)
    wanted, n = pool(wanted, n)
    assert n.numpy().tolist() == [1, 0, 0, 0]       # whole windows of 2
    wanted, n = last(wanted, n)
    np.testing.assert_array_equal(outputs, wanted)
    np.testing.assert_array_equal(lengths, n)
    assert_silent(outputs, lengths)


def test_states_are_dropped(rng):
    gru, lstm = seqmask.GRU(D, 3, seed=0), seqmask.LSTM(3, 2, seed=0)
    both = seqmask.Bidirectional(seqmask.LSTM(2, 2, seed=1), seqmask.GRU(2, 2, seed=1))
    outputs, lengths = seqmask.Sequential([gru, lstm, both])(inputs_of(rng), LENGTHS)
    wanted = both(lstm(gru(inputs_of(np.random.default_rng(0)), LENGTHS)[0], LENGTHS)[0], LENGTHS)
    np.testing.assert_array_equal(outputs, wanted[0])
    assert lengths.numpy().tolist() == LENGTHS


def test_training_goes_where_it_is_taken():
    seen = []

    def takes(x, n, *, training):
        seen.append(training)
        return x

    def does_not(x, n):
        seen.append(None)
        return x
    model = seqmask.Sequential([takes, does_not, seqmask.Sequential([takes]),
                                seqmask.Residual(takes, shortcut=takes)])
    model(tf.zeros([1, 2, 1]), [1], training=True)
    assert seen == [True, None, True, True, True]
    model(tf.zeros([1, 2, 1]), [1])
    assert seen[5:] == [False, None, False, False, False]


def test_training_moves_the_averages_of_a_layer_inside(rng):
    model = seqmask.Sequential([seqmask.Residual(seqmask.BatchNorm(D, momentum=0.0)),
                                seqmask.Dropout(0.5, seed=0)])
    norm, inputs = model.layers[0].layer, inputs_of(rng)
    model(inputs, LENGTHS)
    assert norm.moving_mean.numpy().tolist() == [0, 0]
    outputs, _ = model(inputs, LENGTHS, training=True)
    real = np.concatenate([row[:n] for row, n in zip(inputs.numpy(), LENGTHS)])
    np.testing.assert_allclose(norm.moving_mean, real.mean(axis=0), rtol=1e-5)
    assert (outputs.numpy()[0] == 0).any()      # dropped


def test_nested_lists_are_one_list(rng):
    layers = [conv(strides=2), seqmask.Activation('relu'), seqmask.LayerNorm(D), conv()]
    nested = seqmask.Sequential([layers[0], seqmask.Sequential(layers[1:3]),
                                 seqmask.Sequential([seqmask.Sequential(layers[3:])])])
    for found, wanted in zip(nested(inputs_of(rng), LENGTHS), seqmask.Sequential(layers)(
            inputs_of(np.random.default_rng(0)), LENGTHS)):
        np.testing.assert_array_equal(found, wanted)


def test_all_variables_are_found():
    model = seqmask.Sequential([
        conv(), seqmask.Sequential([seqmask.BatchNorm(D)]),
        seqmask.Residual(seqmask.Sequential([seqmask.Dense(D, D)]), shortcut=seqmask.Dense(D, D)),
        seqmask.Activation('relu'), seqmask.GRU(D, 3)])
    assert len(model.trainable_variables) == 2 + 2 + 2 + 2 + 3
    assert len(model.non_trainable_variables) == 3       # of the BatchNorm
    with tf.GradientTape() as tape:
        outputs, _ = model(tf.ones([1, T, D]), [T], training=True)
    assert None not in tape.gradient(outputs, model.trainable_variables)


@pytest.mark.parametrize('lengths', [
    LENGTHS, np.array(LENGTHS), np.array(LENGTHS, 'int32'), tf.constant(LENGTHS, tf.int64)],
    ids=['list', 'int64', 'int32', 'int64 tensor'])
def test_an_empty_list_of_layers_still_masks(lengths, rng):
    outputs, found = seqmask.Sequential([])(inputs_of(rng), lengths)
    np.testing.assert_array_equal(outputs, inputs_of(np.random.default_rng(0), fill=0))
    assert found.dtype == tf.int32 and found.numpy().tolist() == LENGTHS


@pytest.mark.parametrize('lengths', [LENGTHS, np.array(LENGTHS), tf.constant(LENGTHS, tf.int64)],
                         ids=['list', 'int64', 'int64 tensor'])
def test_functions_see_lengths_as_a_tensor_and_no_poison(lengths, rng):
    def every_other(x, n):
        assert tf.is_tensor(n) and n.dtype == tf.int32 and np.isfinite(x).all()
        return x[:, ::2], (n + 1) // 2
    outputs, found = seqmask.Sequential([every_other, conv()])(inputs_of(rng), lengths)
    assert outputs.shape == [B, 3, D] and found.numpy().tolist() == [3, 1, 0, 1]


@pytest.mark.parametrize('shape', [(2, 0), (0, 3), (0, 0), (3, 4)], ids=str)
def test_nothing_at_all(shape):
    model = seqmask.Sequential([
        conv(strides=2), seqmask.BatchNorm(D), seqmask.Activation('relu'), seqmask.SqueezeExcite(D),
        seqmask.Residual(seqmask.SelfAttention(D, 1)), seqmask.GRU(D, 3)])
    outputs, lengths = model(tf.zeros([*shape, D]), tf.zeros(shape[:1], tf.int32), training=True)
    assert outputs.shape == [shape[0], (shape[1] + 1) // 2, 3] and not outputs.numpy().any()
    assert not lengths.numpy().any()


@pytest.mark.parametrize('layers', [[None], ['relu'], [seqmask.max_pool1d, 3]],
                         ids=['None', 'a string', 'a number'])
def test_what_cannot_be_called_is_an_error(layers):
    with pytest.raises(TypeError, match='each of layers must be a layer or a function, got'):
        seqmask.Sequential(layers)


# Residual

def test_inputs_are_added(rng):
    layer = conv()
    outputs, lengths = seqmask.Residual(layer)(inputs_of(rng), LENGTHS)
    clean = inputs_of(np.random.default_rng(0), fill=0)
    np.testing.assert_array_equal(outputs, clean + layer(clean, LENGTHS)[0])
    assert lengths.numpy().tolist() == LENGTHS
    assert_silent(outputs, lengths)


def test_a_shortcut_may_go_along_with_fewer_steps(rng):
    layer, shortcut = conv(strides=2), seqmask.Conv1D(D, D, kernel_size=1, strides=2, seed=1)
    outputs, lengths = seqmask.Residual(layer, shortcut)(inputs_of(rng), LENGTHS)
    clean = inputs_of(np.random.default_rng(0), fill=0)
    np.testing.assert_allclose(outputs, layer(clean, LENGTHS)[0] + shortcut(clean, LENGTHS)[0],
                               rtol=1e-6)
    assert lengths.numpy().tolist() == [3, 1, 0, 1]


@pytest.mark.parametrize('lengths', [LENGTHS, np.array(LENGTHS), tf.constant(LENGTHS, tf.int64)],
                         ids=['list', 'int64', 'int64 tensor'])
def test_lengths_of_any_kind(lengths, rng):
    outputs, found = seqmask.Residual(seqmask.LayerNorm(D))(inputs_of(rng), lengths)
    assert found.dtype == tf.int32 and found.numpy().tolist() == LENGTHS
    assert_silent(outputs, found)


@pytest.mark.parametrize('layer, error, message', [
    (conv(strides=2), ValueError, r'the outputs of the layer must have the leading axes of its '
     r'inputs, got the outputs of the layer \(4, 3, 2\) for its inputs \(4, 5, 2\)'),
    (seqmask.Dense(D, 3), ValueError, r'\(4, 5, 3\) for its inputs \(4, 5, 2\)'),
    (seqmask.mean_pool, ValueError, 'the outputs of the layer must have the shape of its inputs'),
    (lambda x, n: (x, tf.maximum(n - 1, 0)), tf.errors.InvalidArgumentError,
     'a residual layer must not change the lengths')])
def test_layers_that_change_shapes_or_lengths_are_errors(layer, error, message):
    with pytest.raises(error, match=message):
        seqmask.Residual(layer)(tf.zeros([B, T, D]), LENGTHS)


def test_changed_sizes_are_errors_in_a_graph_too():
    block = seqmask.Residual(conv(strides=2))
    call = tf.function(block, input_signature=[
        tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int32)])
    assert call(tf.zeros([1, 1, D]), tf.constant([1]))[1].numpy().tolist() == [1]
    with pytest.raises(tf.errors.InvalidArgumentError, match='the outputs of the layer must have'):
        call(tf.zeros([1, 3, D]), tf.constant([3]))
