import numpy as np
import pytest
import tensorflow as tf

import seqmask

LENGTHS = [2, 0, 3]
MASK = np.array([[True, True, False], [False, False, False], [True, True, True]])


def test_the_bias_does_not_leak_into_the_padding():
    dense = seqmask.Dense(2, 1)
    dense.kernel.assign([[1.], [10.]])
    dense.bias.assign([100.])
    inputs = tf.constant([[[1., 2.], [3., 4.], [9., 9.]]])
    assert dense(inputs, [2]).numpy().tolist() == [[[1 + 20 + 100], [3 + 40 + 100], [0]]]


@pytest.mark.parametrize('poison', [np.nan, np.inf, 1e38])
def test_gradients_ignore_the_padding(poison, rng):
    dense = seqmask.Dense(2, 3, dtype='float64', seed=0)
    real = rng.normal(size=[3, 3, 2])
    inputs = tf.constant(np.where(MASK[..., None], real, poison))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = dense(inputs, LENGTHS)
        loss = tf.reduce_sum(outputs)
    d_inputs, d_kernel, d_bias = tape.gradient(loss, [inputs, dense.kernel, dense.bias])
    ones = np.ones([sum(LENGTHS), 3])
    np.testing.assert_allclose(d_kernel, real[MASK].T @ ones)
    np.testing.assert_allclose(d_bias, [sum(LENGTHS)] * 3)
    np.testing.assert_allclose(d_inputs.numpy()[MASK], ones @ dense.kernel.numpy().T)
    assert not d_inputs.numpy()[~MASK].any()


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_other_dtypes(dtype):
    dense = seqmask.Dense(2, 3, dtype=dtype, seed=0)
    outputs = dense(tf.ones([3, 3, 2], dtype), LENGTHS)
    assert outputs.dtype == dense.kernel.dtype == dense.bias.dtype == dtype
    wanted = np.where(MASK[..., None], tf.cast(tf.reduce_sum(dense.kernel, 0), tf.float32), 0)
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), wanted, rtol=0.02, atol=0.02)


def test_one_trace_for_20_widths_and_unknown_sizes():
    dense, traces = seqmask.Dense(2, 3, seed=0), []

    @tf.function(input_signature=[tf.TensorSpec([None] * 3), tf.TensorSpec([None], tf.int32)])
    def call(inputs, lengths):
        traces.append(1)
        return dense(inputs, lengths)
    for maxlen in range(20):
        arguments = tf.ones([2, maxlen, 2]), tf.constant([maxlen, maxlen // 2])
        np.testing.assert_allclose(call(*arguments), dense(*arguments), rtol=1e-6)
    assert len(traces) == 1


def test_compiled_equals_eager(rng):
    dense, inputs = seqmask.Dense(2, 3, seed=0), tf.constant(rng.normal(size=[3, 3, 2]), tf.float32)
    compiled = tf.function(lambda x: dense(x, LENGTHS), jit_compile=True)
    np.testing.assert_allclose(compiled(inputs), dense(inputs, LENGTHS), rtol=1e-5, atol=1e-6)


def test_variables_and_seeds():
    one, same, other, fresh, fresher = (seqmask.Dense(4, 3, seed=s) for s in (0, 0, 1, None, None))
    assert {v.name: v.shape.as_list() for v in one.trainable_variables} == {
        'kernel:0': [4, 3], 'bias:0': [3]}
    np.testing.assert_array_equal(one.kernel, same.kernel)
    for a, b in [(one, other), (one, fresh), (fresh, fresher)]:
        assert (a.kernel.numpy() != b.kernel.numpy()).any()
    assert not one.bias.numpy().any()
    assert np.abs(one.kernel).max() <= (6 / (4 + 3)) ** 0.5       # Glorot's bound


@pytest.mark.parametrize('shape, dtype, lengths, error, message', [
    ([2, 3], 'float32', [1, 1], ValueError, r'inputs must have rank 3 \[B, T, D\]'),
    ([2, 3, 5], 'float32', [1, 1], ValueError, 'inputs must have input_size = 2 on axis -1'),
    ([2, 3, 2], 'float64', [1, 1], TypeError, 'dtype of the layer, float32, got float64'),
    ([2, 3, 2], 'int32', [1, 1], TypeError, 'inputs must be floating-point'),
    ([2, 3, 2], 'float32', [1., 1.], TypeError, 'lengths must be int32 or int64'),
    ([2, 3, 2], 'float32', [1], ValueError, 'each of the 2 sequences'),
    ([2, 3, 2], 'float32', [1, 4], tf.errors.InvalidArgumentError, 'must not exceed')])
def test_calls_that_do_not_fit_are_errors(shape, dtype, lengths, error, message):
    with pytest.raises(error, match=message):
        seqmask.Dense(2, 3)(tf.zeros(shape, dtype), lengths)


@pytest.mark.parametrize('arguments, options, error, message', [
    ((0, 1), {}, ValueError, 'input_size must be at least 1'),
    ((1, -1), {}, ValueError, 'output_size must be at least 1'),
    ((1, 1.5), {}, TypeError, 'output_size must be an int'),
    ((1, 1), {'dtype': 'int32'}, TypeError, 'dtype must be floating-point, got int32')])
def test_layers_that_cannot_be_are_errors(arguments, options, error, message):
    with pytest.raises(error, match=message):
        seqmask.Dense(*arguments, **options)
