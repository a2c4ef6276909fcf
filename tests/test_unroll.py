import numpy as np
import pytest
import tensorflow as tf

import seqmask

LENGTHS = [2, 0, 3]


def add(x_t, state):
    return state + x_t, state + x_t


def steps(*trailing, dtype='float32'):
    """Whole numbers from 1 on, [3, 4, ...]."""
    shape = [3, 4, *trailing]
    return tf.cast(np.arange(1, np.prod(shape) + 1).reshape(shape), dtype)


@pytest.mark.parametrize('dtype', ['float32', 'float64', 'int32'])
def test_running_sums(dtype):
    inputs = tf.constant([[1, 2, 9], [9, 9, 9], [3, 4, 5]], dtype)
    sums, final = seqmask.unroll(add, inputs, LENGTHS, tf.constant([10, 20, 30], dtype))
    assert sums.numpy().tolist() == [
        [10 + 1, 10 + 1 + 2, 0], [0, 0, 0], [30 + 3, 30 + 3 + 4, 30 + 3 + 4 + 5]]
    assert final.numpy().tolist() == [10 + 1 + 2, 20, 30 + 3 + 4 + 5]


def test_in_reverse_each_sequence_starts_at_its_own_last_step():
    inputs = tf.constant([[1., 2., 9.], [9., 9., 9.], [3., 4., 5.]])
    sums, final = seqmask.unroll(add, inputs, LENGTHS, tf.zeros([3]), reverse=True)
    assert sums.numpy().tolist() == [[2 + 1, 2, 0], [0, 0, 0], [5 + 4 + 3, 5 + 4, 5]]
    assert final.numpy().tolist() == [2 + 1, 0, 5 + 4 + 3]


@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
@pytest.mark.parametrize('make', [seqmask.GRU, seqmask.LSTM])
def test_the_step_of_a_layer_equals_its_call(make, reverse, rng):
    layer = make(3, 2, dtype='float64', seed=0)
    inputs = tf.constant(rng.normal(size=[3, 4, 3]))
    initial = tf.nest.map_structure(lambda s: s + 0.5, layer.initial_state(3))
    wanted = layer(inputs, LENGTHS, initial, reverse=reverse)
    found = seqmask.unroll(layer.step, inputs, LENGTHS, initial, reverse=reverse)
    tf.nest.assert_same_structure(found, wanted)
    tf.nest.map_structure(lambda f, w: np.testing.assert_allclose(f, w, rtol=1e-12), found, wanted)


@pytest.mark.parametrize('traced', [False, True], ids=['eager', 'graph'])
def test_any_structure_of_inputs_states_and_outputs(traced):
    inputs = {'a': steps(2), 'b': steps(3, 1, dtype='int32')}
    initial = (tf.zeros([3, 2]), [tf.zeros([3], tf.int32)])

    def cell(x_t, state):
        total, (count,) = state
        state = (total + x_t['a'], [count + 1])
        return {'total': state[0], 'seen': (count, x_t['b'])}, state

    def call(inputs, initial):
        return seqmask.unroll(cell, inputs, LENGTHS, initial)
    outputs, (total, (count,)) = (tf.function(call) if traced else call)(inputs, initial)
    assert count.numpy().tolist() == LENGTHS
    for b, length in enumerate(LENGTHS):
        np.testing.assert_array_equal(total[b], tf.reduce_sum(inputs['a'][b, :length], axis=0))
        assert outputs['seen'][0][b].numpy().tolist() == [*range(length), *[0] * (4 - length)]
        np.testing.assert_array_equal(outputs['seen'][1][b, :length], inputs['b'][b, :length])
        assert not outputs['seen'][1][b, length:].numpy().any()
    assert outputs['total'].shape == [3, 4, 2]
    assert outputs['seen'][1].shape == [3, 4, 3, 1]


def count_down(x_t, state):
    """Ends at 0 with the sequence: there the logarithm has a pole."""
    return tf.math.log(state) + tf.math.log(x_t), state - 1


@pytest.mark.parametrize('run', ['eager', 'graph', 'xla'])
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
def test_no_pole_at_the_padding_or_at_a_frozen_state_gets_in(run, reverse):
    inputs = tf.where(seqmask.sequence_mask(LENGTHS, 4), steps(dtype='float64'), 0)
    initial = tf.cast(LENGTHS, tf.float64)      # frozen at 0: log has no finite gradient there

    def call(inputs, initial):
        with tf.GradientTape() as tape:
            tape.watch([inputs, initial])
            outputs, final = seqmask.unroll(count_down, inputs, LENGTHS, initial, reverse=reverse)
            loss = tf.reduce_sum(outputs)
        return [outputs, final, *tape.gradient(loss, [inputs, initial])]

    if run != 'eager':
        call = tf.function(call, jit_compile=run == 'xla')
    outputs, final, d_inputs, d_initial = call(inputs, initial)
    assert np.isfinite(outputs).all()
    assert final.numpy().tolist() == [0, 0, 0]
    np.testing.assert_allclose(d_initial, [1 / 2 + 1 / 1, 0, 1 / 3 + 1 / 2 + 1 / 1])
    mask = seqmask.sequence_mask(LENGTHS, 4).numpy()
    np.testing.assert_allclose(d_inputs, np.where(mask, 1 / np.where(mask, inputs, 1), 0))


@pytest.mark.parametrize('poison', [np.nan, np.inf, -1e300])
def test_what_stands_in_the_padding_does_not_reach_the_cell(poison):
    seen = []

    def cell(x_t, state):
        seen.append(x_t.numpy())
        return add(x_t, state)
    inputs = tf.where(seqmask.sequence_mask(LENGTHS, 4), steps(dtype='float64'), poison)
    seqmask.unroll(cell, inputs, LENGTHS, tf.zeros([3], tf.float64))
    real = {float(x) for row, n in zip(inputs.numpy(), LENGTHS) for x in row[:n]}
    assert {float(x) for x_t in seen for x in x_t} <= real | {0.0}     # 0: the example of a step


def test_the_loop_ends_with_the_longest_sequence():
    calls = []

    def cell(x_t, state):
        calls.append(1)
        return add(x_t, state)
    seqmask.unroll(cell, steps(), LENGTHS, tf.zeros([3]))
    assert len(calls) == max(LENGTHS) + 1       # and once for the shapes


@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
def test_one_trace_for_20_widths_equals_eager(reverse, rng):
    traces = []

    def call(inputs, lengths, initial):
        traces.append(1)
        return seqmask.unroll(lambda x_t, s: (s[:, :2] * x_t, tf.sin(s + x_t[:, :1])),
                              inputs, lengths, initial, reverse=reverse)
    traced = tf.function(call, input_signature=[
        tf.TensorSpec([None, None, 2]), tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, 3])])
    for maxlen in range(20):
        batch = 1 + maxlen % 3
        arguments = (tf.constant(rng.normal(size=[batch, maxlen, 2]), tf.float32),
                     tf.constant(rng.integers(0, maxlen + 1, size=batch), tf.int32),
                     tf.ones([batch, 3]))
        found = traced(*arguments)
        count = len(traces)
        for f, w in zip(found, call(*arguments)):
            np.testing.assert_allclose(f, w, rtol=1e-5, atol=1e-6)
        assert len(traces) == count + 1         # the eager one
    assert len(traces) == 1 + 20


def test_compiled_equals_eager_in_value_and_gradient(rng):
    kernel = tf.Variable(rng.normal(size=[2, 2]))

    def cell(x_t, state):
        state = tf.tanh(tf.matmul(state, kernel) + x_t)
        return state, state

    def call(inputs, initial):
        with tf.GradientTape() as tape:
            tape.watch([inputs, initial])
            results = seqmask.unroll(cell, inputs, LENGTHS, initial)
            loss = tf.add_n([tf.reduce_sum(tf.sin(3 * r)) for r in results])
        return [*results, *tape.gradient(loss, [inputs, initial, kernel])]
    arguments = tf.constant(rng.normal(size=[3, 4, 2])), tf.constant(rng.normal(size=[3, 2]))
    for f, w in zip(tf.function(call, jit_compile=True)(*arguments), call(*arguments)):
        np.testing.assert_allclose(f, w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('inputs, lengths, state, error, message', [
    (tf.zeros([3]), LENGTHS, tf.zeros([3]), ValueError, r'inputs must have rank at least 2'),
    (tf.zeros([3, 4]), LENGTHS, tf.zeros([]), ValueError, r'a state must have rank at least 1'),
    (tf.zeros([3, 4]), [1, 2], tf.zeros([3]), ValueError, 'each of the 3 sequences'),
    (tf.zeros([3, 4]), [1., 2., 3.], tf.zeros([3]), TypeError, 'lengths must be int32 or int64'),
    (tf.zeros([3, 4]), [1, 2, 5], tf.zeros([3]), tf.errors.InvalidArgumentError,
     'must not exceed')])
def test_refuses(inputs, lengths, state, error, message):
    with pytest.raises(error, match=message):
        seqmask.unroll(add, inputs, lengths, state)


def test_refuses_a_cell_that_changes_the_structure_of_its_state():
    with pytest.raises((ValueError, TypeError), match='same (nested )?structure'):
        seqmask.unroll(lambda x_t, state: (x_t, (state, state)), steps(), LENGTHS, tf.zeros([3]))
