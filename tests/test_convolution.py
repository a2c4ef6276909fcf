import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask

PADDINGS = ['same', 'valid', 'causal']


def biased(conv, rng):
    conv.bias.assign(rng.normal(size=conv.bias.shape))
    return conv


def weights_of(conv):
    return {'kernel': conv.kernel.numpy(), 'bias': conv.bias.numpy()}


@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize('kernel_size', [1, 2, 3, 4, 5])
@pytest.mark.parametrize('strides', [1, 2, 3])
def test_every_length_against_brute_force(padding, kernel_size, strides, rng):
    for dilation in [1, 2, 3]:
        window = {'strides': strides, 'dilation': dilation, 'padding': padding}
        conv = biased(seqmask.Conv1D(2, 3, kernel_size, dtype='float64', seed=0, **window), rng)
        weights = weights_of(conv)
        for maxlen in [6, 7]:
            lengths = np.arange(maxlen + 1)
            inputs = rng.normal(size=[maxlen + 1, maxlen, 2])
            poisoned = np.where(np.arange(maxlen)[:, None] < lengths[:, None, None], inputs, np.nan)
            outputs, counts = (result.numpy() for result in conv(poisoned, lengths))
            for b, length in enumerate(lengths):
                wanted = reference.conv1d(inputs[b, :length], weights, **window)
                assert counts[b] == len(wanted)
                np.testing.assert_allclose(outputs[b, :len(wanted)], wanted, rtol=0, atol=1e-12)
                assert not outputs[b, len(wanted):].any()
            assert outputs.shape[1] == counts[-1]       # no wider than the longest needs


def test_lengths_of_same_and_causal_are_those_of_the_inputs_over_strides():
    for padding in ['same', 'causal']:
        _, lengths = seqmask.Conv1D(1, 1, 3, strides=2, padding=padding)(
            tf.zeros([4, 5, 1]), tf.constant([0, 1, 4, 5], tf.int64))
        assert lengths.numpy().tolist() == [0, 1, 4 / 2, (5 + 1) / 2]
        assert lengths.dtype == tf.int32


@pytest.mark.parametrize('maxlen', [5, 6, 7])
def test_same_with_strides_does_not_depend_on_the_padding(maxlen):
    conv = seqmask.Conv1D(1, 1, 3, strides=2)
    conv.kernel.assign(tf.ones([3, 1, 1]))
    inputs = np.arange(1., 1 + maxlen, dtype='float32')[None, :, None]
    outputs, lengths = conv(inputs, [5])
    assert outputs.numpy()[0, :3, 0].tolist() == [0 + 1 + 2, 2 + 3 + 4, 4 + 5 + 0]
    assert lengths.numpy().tolist() == [3]
    assert not outputs[:, 3:].numpy().any()


@pytest.mark.parametrize('padding', PADDINGS)
def test_stacked_convolutions_do_not_leak_their_biases(padding, rng):
    stack = [biased(seqmask.Conv1D(2, 2, 3, padding=padding, dtype='float64', seed=k), rng)
             for k in range(3)]
    inputs, lengths = rng.normal(size=[3, 9, 2]), [9, 3, 7]
    outputs, counts = inputs, lengths
    for conv in stack:
        outputs, counts = conv(outputs, counts)
    for b, length in enumerate(lengths):
        alone = inputs[b, :length]
        for conv in stack:
            alone = reference.conv1d(alone, weights_of(conv), padding=padding)
        assert counts[b] == len(alone)
        np.testing.assert_allclose(outputs[b, :len(alone)], alone, atol=1e-12)


def keras_alone(conv, padding):
    """Keras's layer of the same weights, as a function of one unpadded sequence x [n, D]."""
    layer = tf.keras.layers.Conv1D(
        conv.filters, conv.kernel_size, strides=conv.strides, padding=padding,
        dilation_rate=conv.dilation, groups=conv.groups, dtype='float64')
    layer.build([None, None, conv.input_size])
    layer.set_weights([conv.kernel.numpy(), conv.bias.numpy()])
    return lambda x: layer(x[None])[0].numpy()


@pytest.mark.parametrize('padding, strides, dilation, groups', [
    ('valid', 1, 1, 1), ('valid', 2, 1, 1), ('valid', 1, 2, 1), ('valid', 3, 1, 2),
    ('causal', 1, 1, 1), ('causal', 2, 1, 1), ('causal', 1, 2, 1), ('causal', 1, 1, 2),
    ('same', 1, 1, 1), ('same', 1, 2, 1), ('same', 1, 1, 2)])
@pytest.mark.parametrize('kernel_size', [1, 2, 3, 4, 5])
def test_equals_keras_on_each_sequence_alone(kernel_size, padding, strides, dilation, groups, rng):
    conv = biased(seqmask.Conv1D(
        4, 6, kernel_size, strides=strides, dilation=dilation, padding=padding, groups=groups,
        dtype='float64', seed=0), rng)
    shortest = (kernel_size - 1) * dilation + 1 if padding == 'valid' else 1    # Keras raises below
    lengths = [length for length in (1, 2, 5, 9) if length >= shortest]
    inputs = rng.normal(size=[len(lengths), 9, 4])
    outputs, counts = (result.numpy() for result in conv(inputs, lengths))
    alone = keras_alone(conv, padding)
    for b, length in enumerate(lengths):
        wanted = alone(inputs[b, :length])
        assert counts[b] == len(wanted)
        np.testing.assert_allclose(outputs[b, :len(wanted)], wanted, atol=1e-12)


@pytest.mark.parametrize('kernel_size, strides, elsewhere', [
    (1, 2, []), (1, 3, []), (2, 2, []), (2, 3, []), (4, 2, []),
    (3, 2, [2, 4, 6, 8]), (3, 3, [2, 3, 5, 6, 8]), (4, 3, [3, 6]), (5, 2, [2, 4, 6, 8])])
def test_same_with_strides_equals_keras_where_its_zeros_stand_alike(kernel_size, strides, elsewhere,
                                                                    rng):
    conv = biased(seqmask.Conv1D(1, 1, kernel_size, strides=strides, dtype='float64', seed=0), rng)
    alone = keras_alone(conv, 'same')
    for length in range(1, 9):
        inputs = rng.normal(size=[1, length, 1])
        outputs, counts = conv(inputs, [length])
        theirs = alone(inputs[0])
        assert counts[0] == len(theirs)
        zeros = max(0, (len(theirs) - 1) * strides + kernel_size - length)      # TensorFlow's rule
        assert (zeros // 2 != (kernel_size - 1) // 2) == (length in elsewhere)
        assert np.allclose(outputs[0], theirs, atol=1e-12) == (length not in elsewhere)


@pytest.mark.parametrize('kernel_size', [1, 2, 3])
@pytest.mark.parametrize('dilation, groups', [(1, 1), (2, 1), (3, 2)])
def test_step_by_step_equals_the_whole_call(kernel_size, dilation, groups, rng):
    conv = biased(seqmask.Conv1D(2, 4, kernel_size, padding='causal', dilation=dilation,
                                 groups=groups, dtype='float64', seed=0), rng)
    inputs = tf.constant(rng.normal(size=[3, 8, 2]))
    wanted, _ = conv(inputs, [8, 8, 8])
    state, outputs = conv.initial_state(3), []
    for x_t in tf.unstack(inputs, axis=1):
        output, state = conv.step(x_t, state)
        outputs.append(output)
    np.testing.assert_allclose(tf.stack(outputs, axis=1), wanted, atol=1e-12)
    assert state.shape == [3, (kernel_size - 1) * dilation, 2]


def test_step_within_unroll(rng):
    conv = biased(seqmask.Conv1D(2, 4, 3, padding='causal', dilation=2, seed=0), rng)
    inputs, lengths = tf.constant(rng.normal(size=[3, 6, 2]), tf.float32), [4, 0, 6]
    outputs, _ = seqmask.unroll(conv.step, inputs, lengths, conv.initial_state(3))
    np.testing.assert_allclose(outputs, conv(inputs, lengths)[0], rtol=1e-5, atol=1e-6)


def test_step_of_no_sequence():
    conv = seqmask.Conv1D(2, 4, 3, padding='causal')
    output, state = conv.step(tf.zeros([0, 2]), conv.initial_state(0))
    assert output.shape == [0, 4]
    assert state.shape == [0, 2, 2]


@pytest.mark.parametrize('options, x_t, state, error, message', [
    ({'padding': 'same'}, [1, 2], [1, 4, 2], ValueError, "step needs padding='causal' and strides"),
    ({'strides': 2}, [1, 2], [1, 4, 2], ValueError, "Got 'causal' and 2"),
    ({}, [1, 1, 2], [1, 4, 2], ValueError, r'x_t must have rank 2 \[B, D\]'),
    ({}, [1, 3], [1, 4, 2], ValueError, 'x_t must have input_size = 2 on axis -1'),
    ({}, [1, 2], [4, 2], ValueError, r'state must have rank 3 \[B, steps, D\]'),
    ({}, [1, 2], [1, 2, 2], ValueError,
     r'state must have \(kernel_size - 1\) \* dilation = 4 on axis 1'),
    ({}, [1, 2], [1, 4, 3], ValueError, 'state must have input_size = 2 on axis -1'),
    ({}, [2, 2], [1, 4, 2], tf.errors.InvalidArgumentError, 'state must have one row for each')])
def test_steps_that_do_not_fit_are_errors(options, x_t, state, error, message):
    conv = seqmask.Conv1D(2, 1, 3, **{'padding': 'causal', 'dilation': 2, **options})
    with pytest.raises(error, match=message):
        conv.step(tf.zeros(x_t), tf.zeros(state))


def test_states_of_another_dtype_are_errors():
    conv = seqmask.Conv1D(2, 1, 3, padding='causal')
    with pytest.raises(TypeError, match='state must have the dtype of the layer, float32'):
        conv.step(tf.zeros([1, 2]), tf.zeros([1, 2, 2], 'float64'))


@pytest.mark.parametrize('shape', [[1, 1, 2], [1, 3, 2], [3, 2, 2]])
def test_states_of_another_shape_are_errors_in_a_graph(shape):
    conv = seqmask.Conv1D(2, 1, 3, padding='causal')
    step = tf.function(conv.step, input_signature=[tf.TensorSpec([None, None]),
                                                   tf.TensorSpec([None] * 3)])
    output, _ = step(tf.zeros([1, 2]), tf.zeros([1, 2, 2]))
    assert output.shape == [1, 1]
    with pytest.raises(tf.errors.InvalidArgumentError):
        step(tf.zeros([1, 2]), tf.zeros(shape))


def ready(**options):
    """A convolution of two features whose padding of NaN must not matter."""
    conv = seqmask.Conv1D(2, 4, 3, seed=0, **options)
    conv.bias.assign(np.arange(1, 5))
    return conv


variants = pytest.mark.parametrize('options', [
    {'strides': 2}, {'padding': 'valid'}, {'padding': 'causal', 'dilation': 2},
    {'strides': 2, 'dilation': 2}, {'groups': 2}], ids=str)


@variants
def test_one_trace_for_20_widths_and_unknown_sizes(options):
    conv, traces = ready(**options), []

    @tf.function(input_signature=[tf.TensorSpec([None] * 3), tf.TensorSpec([None], tf.int32)])
    def call(inputs, lengths):
        traces.append(1)
        return conv(inputs, lengths)
    for maxlen in range(20):
        arguments = tf.ones([2, maxlen, 2]), tf.constant([maxlen, maxlen // 2])
        for graph, eager in zip(call(*arguments), conv(*arguments)):
            np.testing.assert_allclose(graph, eager, rtol=1e-5)
    assert len(traces) == 1


def value_and_gradients(conv, inputs, lengths):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs, counts = conv(inputs, lengths)
        loss = tf.reduce_sum(outputs ** 2)
    return [outputs, counts, *tape.gradient(loss, [inputs, conv.kernel, conv.bias])]


@variants
@pytest.mark.parametrize('spec', [None, [tf.TensorSpec([None, None, 2]),
                                         tf.TensorSpec([None], tf.int32)]], ids=['static', 'any T'])
def test_compiled_equals_eager(options, spec, rng):
    conv = ready(**options)
    compiled = tf.function(lambda x, n: value_and_gradients(conv, x, n), jit_compile=True,
                           input_signature=spec)
    for maxlen in [5, 8]:
        arguments = tf.constant(rng.normal(size=[3, maxlen, 2]), tf.float32), tf.constant([5, 0, 1])
        for found, wanted in zip(compiled(*arguments), value_and_gradients(conv, *arguments)):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@variants
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_other_dtypes(options, dtype, rng):
    conv, wide = ready(dtype=dtype, **options), ready(dtype='float32', **options)
    inputs = tf.cast(rng.normal(size=[3, 6, 2]), dtype)
    found = value_and_gradients(conv, inputs, [6, 0, 4])
    wanted = value_and_gradients(wide, tf.cast(inputs, tf.float32), [6, 0, 4])
    assert found[0].dtype == conv.kernel.dtype == conv.bias.dtype == dtype
    for narrow, value in zip(found, wanted):
        np.testing.assert_allclose(tf.cast(narrow, tf.float32), tf.cast(value, tf.float32),
                                   rtol=0.05, atol=0.2)


@variants
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32', 'float64'])
def test_no_sequence_at_all(options, dtype):
    outputs, counts, *gradients = value_and_gradients(
        ready(dtype=dtype, **options), tf.zeros([0, 6, 2], dtype), tf.zeros([0], tf.int32))
    assert outputs.shape[0] == counts.shape[0] == 0
    assert outputs.shape[2] == 4
    for gradient in gradients:
        assert not tf.cast(gradient, tf.float32).numpy().any()


def test_variables_and_seeds():
    one, same, other = (seqmask.Conv1D(4, 6, 3, groups=2, seed=s) for s in (0, 0, 1))
    assert {v.name: v.shape.as_list() for v in one.trainable_variables} == {
        'kernel:0': [3, 4 // 2, 6], 'bias:0': [6]}
    np.testing.assert_array_equal(one.kernel, same.kernel)
    assert (one.kernel.numpy() != other.kernel.numpy()).any()
    assert np.abs(one.kernel).max() <= (6 / (3 * 2 + 3 * 6)) ** 0.5     # Glorot's bound
    assert len(seqmask.Conv1D(1, 1, 1, use_bias=False).trainable_variables) == 1


@pytest.mark.parametrize('arguments, options, error, message', [
    ((0, 1, 1), {}, ValueError, 'input_size must be at least 1'),
    ((1, 0, 1), {}, ValueError, 'filters must be at least 1'),
    ((1, 1, 0), {}, ValueError, 'kernel_size must be at least 1'),
    ((1, 1, 2.0), {}, TypeError, 'kernel_size must be an int'),
    ((1, 1, 1), {'strides': 0}, ValueError, 'strides must be at least 1'),
    ((1, 1, 1), {'dilation': 0}, ValueError, 'dilation must be at least 1'),
    ((1, 1, 1), {'groups': 0}, ValueError, 'groups must be at least 1'),
    ((3, 4, 1), {'groups': 2}, ValueError, 'groups must divide input_size, got 2 and 3'),
    ((4, 3, 1), {'groups': 2}, ValueError, 'groups must divide filters, got 2 and 3'),
    ((1, 1, 1), {'padding': 'full'}, ValueError, "one of 'same', 'valid', 'causal', got 'full'"),
    ((1, 1, 1), {'dtype': 'int32'}, TypeError, 'dtype must be floating-point, got int32')])
def test_layers_that_cannot_be_are_errors(arguments, options, error, message):
    with pytest.raises(error, match=message):
        seqmask.Conv1D(*arguments, **options)


@pytest.mark.parametrize('shape, dtype, lengths, error, message', [
    ([2, 3], 'float32', [1, 1], ValueError, r'inputs must have rank 3 \[B, T, D\]'),
    ([2, 3, 5], 'float32', [1, 1], ValueError, 'inputs must have input_size = 2 on axis -1'),
    ([2, 3, 2], 'float64', [1, 1], TypeError, 'dtype of the layer, float32, got float64'),
    ([2, 3, 2], 'float32', [1., 1.], TypeError, 'lengths must be int32 or int64'),
    ([2, 3, 2], 'float32', [1], ValueError, 'each of the 2 sequences'),
    ([2, 3, 2], 'float32', [1, 4], tf.errors.InvalidArgumentError, 'must not exceed')])
def test_calls_that_do_not_fit_are_errors(shape, dtype, lengths, error, message):
    with pytest.raises(error, match=message):
        seqmask.Conv1D(2, 3, 3)(tf.zeros(shape, dtype), lengths)
