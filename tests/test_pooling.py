import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask

ONE = tf.constant([[[-1.], [-3.], [-5.], [9.], [9.]]])      # with length 3
OVER_TIME = [(seqmask.mean_pool, np.mean), (seqmask.max_pool, np.max)]
OVER_WINDOWS = [(seqmask.average_pool1d, np.mean), (seqmask.max_pool1d, np.max)]


def gradient(function, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(function(inputs))
    return tape.gradient(loss, inputs).numpy()


def test_padding_is_neither_counted_nor_seen():
    assert seqmask.mean_pool(ONE, [3]).numpy().tolist() == [[-(1 + 3 + 5) / 3]]
    assert seqmask.max_pool(ONE, [3]).numpy().tolist() == [[-1]]


@pytest.mark.parametrize('pool, padding, wanted', [
    (seqmask.average_pool1d, 'same', [-(1 + 3) / 2, -5 / 1, 0]),
    (seqmask.average_pool1d, 'valid', [-(1 + 3) / 2, 0]),
    (seqmask.average_pool1d, 'causal', [-1 / 1, -(3 + 5) / 2, 0]),
    (seqmask.max_pool1d, 'same', [-1, -5, 0]),
    (seqmask.max_pool1d, 'valid', [-1, 0]),
    (seqmask.max_pool1d, 'causal', [-1, -3, 0])])
def test_windows_see_real_steps_only(pool, padding, wanted):
    outputs, lengths = pool(ONE, [3], 2, padding=padding)
    assert outputs.numpy().ravel().tolist() == wanted
    assert lengths.numpy().tolist() == [len(wanted) - 1]
    assert lengths.dtype == tf.int32


@pytest.mark.parametrize('padding', ['same', 'valid', 'causal'])
@pytest.mark.parametrize('pool, reduce', OVER_WINDOWS)
def test_every_length_against_brute_force(pool, reduce, padding, rng):
    for pool_size in [1, 2, 3, 4]:
        for strides in [None, 1, 2, 3]:
            for maxlen in [6, 7]:
                lengths = np.arange(maxlen + 1)
                inputs = rng.normal(size=[maxlen + 1, maxlen, 2]) - 3
                outputs, counts = (result.numpy() for result in pool(
                    inputs, lengths, pool_size, strides=strides, padding=padding))
                for b, length in enumerate(lengths):
                    wanted = reference.pool1d(reduce, inputs[b, :length], pool_size, strides,
                                              padding)
                    assert counts[b] == len(wanted)
                    np.testing.assert_allclose(outputs[b, :len(wanted)], wanted, atol=1e-12)
                    assert not outputs[b, len(wanted):].any()


@pytest.mark.parametrize('pool', [p for p, _ in OVER_TIME])
def test_a_sequence_without_steps_gives_zeros_and_takes_no_gradient(pool):
    inputs = tf.fill([2, 3, 1], np.nan)
    assert pool(inputs, [0, 0]).numpy().tolist() == [[0], [0]]
    assert not gradient(lambda x: pool(x, [0, 0]), inputs).any()
    assert pool(tf.zeros([2, 0, 1]), [0, 0]).numpy().tolist() == [[0], [0]]
    assert pool(tf.zeros([0, 3, 4]), []).shape == [0, 4]


@pytest.mark.parametrize('pool', [p for p, _ in OVER_WINDOWS])
@pytest.mark.parametrize('padding, width', [('same', 2), ('valid', 1), ('causal', 2)])
def test_windows_without_sequences_or_steps(pool, padding, width):
    inputs = tf.fill([2, 3, 1], np.nan)
    outputs, lengths = pool(inputs, [0, 0], 2, padding=padding)
    assert outputs.numpy().tolist() == [[[0]] * width] * 2
    assert lengths.numpy().tolist() == [0, 0]
    assert not gradient(lambda x: pool(x, [0, 0], 2, padding=padding)[0], inputs).any()
    assert pool(tf.zeros([2, 0, 4]), [0, 0], 2, padding=padding)[0].shape == [2, 0, 4]
    assert pool(tf.zeros([0, 3, 4]), [], 2, padding=padding)[0].shape == [0, width, 4]


def test_each_real_step_has_an_equal_part_in_the_gradient_of_a_mean():
    assert gradient(lambda x: seqmask.mean_pool(x, [3]), ONE).ravel() == pytest.approx(
        [1 / 3, 1 / 3, 1 / 3, 0, 0])
    overlapping = gradient(
        lambda x: seqmask.average_pool1d(x, [3], 2, strides=1, padding='same')[0], ONE)
    assert overlapping.ravel().tolist() == [1 / 2, 1 / 2 + 1 / 2, 1 / 2 + 1 / 1, 0, 0]


def test_equal_largest_values_share_the_gradient():
    ties = tf.constant([[[2.], [1.], [2.], [2.]]])          # the last one is padding
    assert gradient(lambda x: seqmask.max_pool(x, [3]), ties).ravel().tolist() == [
        1 / 2, 0, 1 / 2, 0]
    assert gradient(lambda x: seqmask.max_pool1d(x, [3], 3)[0], ties).ravel().tolist() == [
        1 / 2, 0, 1 / 2, 0]


@pytest.mark.parametrize('dtype, largest', [('float16', 60000.), ('bfloat16', 2. ** 15)])
def test_long_sums_are_of_float32(dtype, largest):
    values = np.full([1, 4096, 1], largest)
    values[:, 1::2] = 0
    inputs = tf.cast(values, dtype)
    mean = float(inputs[0, 0, 0]) / 2
    assert seqmask.mean_pool(inputs, [4096]).numpy().tolist() == [[mean]]
    assert seqmask.max_pool(inputs, [4096]).numpy().tolist() == [[2 * mean]]
    outputs, _ = seqmask.average_pool1d(inputs, [4096], 32)
    np.testing.assert_array_equal(tf.cast(outputs, tf.float32), np.full([1, 4096 // 32, 1], mean))
    assert outputs.dtype == seqmask.mean_pool(inputs, [4096]).dtype == dtype
    d_inputs = gradient(lambda x: seqmask.mean_pool(x, [4096]), inputs)
    np.testing.assert_array_equal(d_inputs.astype('float32'), np.full([1, 4096, 1], 1 / 4096))


def test_mean_equals_keras_global_pooling(rng):
    inputs, lengths = tf.constant(rng.normal(size=[4, 6, 3]), tf.float32), [1, 6, 3, 4]
    wanted = tf.keras.layers.GlobalAveragePooling1D()(
        inputs, mask=seqmask.sequence_mask(lengths, 6))
    np.testing.assert_allclose(seqmask.mean_pool(inputs, lengths), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('pool, layer', [
    (seqmask.average_pool1d, tf.keras.layers.AveragePooling1D),
    (seqmask.max_pool1d, tf.keras.layers.MaxPooling1D)])
@pytest.mark.parametrize('padding, strides', [('valid', None), ('valid', 1), ('valid', 2),
                                              ('same', 1)])
@pytest.mark.parametrize('pool_size', [2, 3])
def test_windows_equal_keras_on_each_sequence_alone(pool, layer, pool_size, padding, strides, rng):
    inputs, lengths = tf.constant(rng.normal(size=[3, 9, 2]) - 3, tf.float32), [3, 9, 6]
    theirs = layer(pool_size, strides=strides, padding=padding)
    outputs, counts = pool(inputs, lengths, pool_size, strides=strides, padding=padding)
    for b, length in enumerate(lengths):
        wanted = theirs(inputs[b:b + 1, :length])[0]
        assert counts[b] == len(wanted)
        np.testing.assert_allclose(outputs[b, :len(wanted)], wanted, rtol=1e-6)


@pytest.mark.parametrize('pool', [
    *(p for p, _ in OVER_TIME),
    *(lambda x, n, p=p: p(x, n, 3, strides=2, padding='same')[0] for p, _ in OVER_WINDOWS)],
    ids=['mean_pool', 'max_pool', 'average_pool1d', 'max_pool1d'])
def test_one_trace_for_20_widths_compiled_or_not(pool, rng):
    traces = []
    signature = [tf.TensorSpec([None] * 3), tf.TensorSpec([None], tf.int32)]

    @tf.function(input_signature=signature)
    def call(inputs, lengths):
        traces.append(1)
        return pool(inputs, lengths)
    compiled = tf.function(pool, input_signature=signature, jit_compile=True)
    for maxlen in range(20):
        arguments = (tf.constant(rng.normal(size=[2, maxlen, 2]), tf.float32),
                     tf.constant([maxlen, maxlen // 2]))
        wanted = pool(*arguments)
        np.testing.assert_allclose(call(*arguments), wanted, rtol=1e-5, atol=1e-6)
        if maxlen in (5, 8):
            np.testing.assert_allclose(compiled(*arguments), wanted, rtol=1e-5, atol=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize('shape, dtype, lengths, error, message', [
    ([2, 3], 'float32', [1, 1], ValueError, r'inputs must have rank 3 \[B, T, D\]'),
    ([2, 3, 2], 'int32', [1, 1], TypeError, 'inputs must be floating-point'),
    ([2, 3, 2], 'float32', [1., 1.], TypeError, 'lengths must be int32 or int64'),
    ([2, 3, 2], 'float32', [1], ValueError, 'each of the 2 sequences'),
    ([2, 3, 2], 'float32', [1, 4], tf.errors.InvalidArgumentError, 'must not exceed')])
@pytest.mark.parametrize('pool, options', [(p, []) for p, _ in OVER_TIME]
                         + [(p, [2]) for p, _ in OVER_WINDOWS])
def test_calls_that_do_not_fit_are_errors(pool, options, shape, dtype, lengths, error, message):
    with pytest.raises(error, match=message):
        pool(tf.zeros(shape, dtype), lengths, *options)


@pytest.mark.parametrize('pool_size, options, error, message', [
    (0, {}, ValueError, 'pool_size must be at least 1'),
    (2.0, {}, TypeError, 'pool_size must be an int'),
    (2, {'strides': 0}, ValueError, 'strides must be at least 1'),
    (2, {'padding': 'full'}, ValueError, "padding must be one of 'same', 'valid', 'causal'")])
@pytest.mark.parametrize('pool', [p for p, _ in OVER_WINDOWS])
def test_windows_that_cannot_be_are_errors(pool, pool_size, options, error, message):
    with pytest.raises(error, match=message):
        pool(tf.zeros([1, 3, 2]), [3], pool_size, **options)
