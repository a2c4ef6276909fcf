import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask

both_ways = pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])


def random_lengths(seed):
    """Lengths of every kind: few or many sequences, short or long, many of them equal."""
    rng = np.random.default_rng(seed)
    longest = rng.integers(0, 9)
    return rng.integers(0, longest + 1, size=rng.integers(0, 9)).tolist(), int(longest)


@both_ways
@pytest.mark.parametrize('seed', range(25))
def test_pack_equals_the_oracle(seed, reverse):
    lengths, longest = random_lengths(seed)
    maxlen = longest + seed % 3
    inputs = np.random.default_rng(seed).normal(size=[len(lengths), maxlen, 2])
    packed = seqmask.pack(inputs, tf.constant(lengths, tf.int32), reverse=reverse)
    batch_sizes, order, positions = reference.pack(lengths, reverse)
    assert packed.batch_sizes.numpy().tolist() == batch_sizes
    assert packed.order.numpy().tolist() == order
    assert packed.positions.numpy().tolist() == [list(place) for place in positions]
    assert packed.values.numpy().tolist() == [inputs[place].tolist() for place in positions]
    assert packed.lengths.numpy().tolist() == lengths
    assert packed.maxlen.numpy() == maxlen
    assert packed.values.shape == [sum(lengths), 2]
    assert {x.dtype for x in packed[1:]} == {tf.int32}


def test_longest_first_is_stable():
    packed = seqmask.pack(tf.zeros([6, 3]), [2, 3, 2, 0, 3, 2])
    assert packed.order.numpy().tolist() == [1, 4, 0, 2, 5, 3]
    many = seqmask.pack(tf.zeros([500, 1]), tf.ones([500], tf.int32))
    assert many.order.numpy().tolist() == list(range(500))


def test_the_rows_alive_at_a_step_are_the_first_rows_of_the_step_before(rng):
    lengths = rng.integers(0, 6, size=8)
    packed = seqmask.pack(tf.zeros([8, 5]), lengths)
    rows = np.split(packed.positions.numpy()[:, 0], np.cumsum(packed.batch_sizes)[:-1])
    for before, after in zip(rows, rows[1:]):
        assert before[:len(after)].tolist() == after.tolist()


def test_reverse_reads_from_each_sequences_own_end():
    packed = seqmask.pack(tf.constant([[1., 9., 9.], [2., 3., 4.]]), [1, 3], reverse=True)
    assert packed.values.numpy().tolist() == [4, 1, 3, 2]


@both_ways
@pytest.mark.parametrize('dtype', ['float16', 'float32', 'float64', 'int32', 'bool', 'str'])
@pytest.mark.parametrize('trailing', [[], [2], [2, 3]], ids=str)
def test_unpack_restores_real_steps_and_zeroes_the_rest(trailing, dtype, reverse, rng):
    lengths = np.array([2, 0, 4, 1])
    inputs = rng.integers(1, 9, size=[4, 5, *trailing]).astype(dtype)
    outputs = seqmask.unpack(seqmask.pack(inputs, lengths, reverse=reverse)).numpy()
    expected = inputs.astype('S' if dtype == 'str' else dtype)
    for b, length in enumerate(lengths):
        assert outputs[b, :length].tolist() == expected[b, :length].tolist()
        assert not outputs[b, length:].astype(bool).any()
    assert outputs.shape == inputs.shape


@both_ways
def test_gradient_of_unpack_of_pack_is_the_mask(reverse, rng):
    lengths = [2, 0, 3]
    inputs = rng.normal(size=[3, 4, 2]).astype(np.float32)
    inputs[0, 2:], inputs[1], inputs[2, 3:] = np.nan, np.inf, -1e38
    inputs = tf.Variable(inputs)
    upstream = rng.normal(size=[3, 4, 2]).astype(np.float32)
    with tf.GradientTape() as tape:
        outputs = seqmask.unpack(seqmask.pack(inputs, lengths, reverse=reverse))
    mask = seqmask.sequence_mask(lengths, 4)[..., None]
    np.testing.assert_array_equal(tape.gradient(outputs, inputs, upstream),
                                  np.where(mask, upstream, 0))


def test_unpack_other_values_of_the_same_steps():
    packed = seqmask.pack(tf.constant([[[1.], [9.]], [[2.], [3.]]]), [1, 2])
    wider = packed._replace(values=tf.tile(packed.values, [1, 2]) * [1., 10.])
    assert seqmask.unpack(wider).numpy().tolist() == [[[1, 10], [0, 0]], [[2, 20], [3, 30]]]


@both_ways
@pytest.mark.parametrize('lengths, maxlen', [([], 3), ([], 0), ([0, 0], 3), ([0, 0], 0)])
def test_empty_batches(lengths, maxlen, reverse):
    inputs = tf.Variable(tf.ones([len(lengths), maxlen, 2]))
    with tf.GradientTape() as tape:
        packed = seqmask.pack(inputs, lengths, reverse=reverse)
        outputs = seqmask.unpack(packed)
    assert packed.values.shape == [0, 2]
    assert packed.positions.shape == [0, 2]
    assert packed.batch_sizes.shape == [0]
    assert packed.order.numpy().tolist() == list(range(len(lengths)))
    assert not outputs.numpy().any()
    assert outputs.shape == inputs.shape
    assert not tape.gradient(outputs, inputs).numpy().any()


@both_ways
def test_one_trace_for_all_widths_and_known_sizes_kept(reverse):
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, 2]), tf.TensorSpec([None], tf.int32)])
    def call(inputs, lengths):
        traces.append(1)
        packed = seqmask.pack(inputs, lengths, reverse=reverse)
        outputs = seqmask.unpack(packed)
        assert packed.values.shape.as_list() == [None, 2]
        assert outputs.shape.as_list() == [None, None, 2]
        return outputs
    for maxlen in range(20):
        lengths = [maxlen, maxlen // 2]
        outputs = call(tf.ones([2, maxlen, 2]), tf.constant(lengths))
        assert outputs.shape == [2, maxlen, 2]
        assert tf.reduce_sum(outputs[..., 0], axis=1).numpy().tolist() == lengths
    assert len(traces) == 1


def test_static_sizes_survive_a_graph():
    @tf.function(input_signature=[tf.TensorSpec([3, 4, 2]), tf.TensorSpec([3], tf.int32)])
    def call(inputs, lengths):
        return seqmask.unpack(seqmask.pack(inputs, lengths))
    assert call.get_concrete_function().output_shapes == [3, 4, 2]


def test_packed_steps_pass_through_a_function():
    packed = seqmask.pack(tf.constant([[1., 9.], [2., 3.]]), [1, 2])
    doubled = tf.function(lambda p: p._replace(values=2 * p.values))(packed)
    assert isinstance(doubled, seqmask.Packed)
    assert seqmask.unpack(doubled).numpy().tolist() == [[2 * 1, 0], [2 * 2, 2 * 3]]


@pytest.mark.parametrize('lengths, error, message', [
    ([1, 4], tf.errors.InvalidArgumentError, r'lengths and T are \[1, 4\], 3'),
    ([1, -1], tf.errors.InvalidArgumentError, 'must not be negative'),
    ([1], ValueError, r'each of the 2 sequences \[B\], got shape \(1,\)'),
    (np.float64([1, 2]), TypeError, 'lengths must be int32 or int64')])
def test_pack_refuses(lengths, error, message):
    with pytest.raises(error, match=message):
        seqmask.pack(tf.zeros([2, 3, 1]), lengths)


def test_pack_refuses_in_a_graph_of_unknown_sizes():
    @tf.function(input_signature=[tf.TensorSpec([None, None, 1]), tf.TensorSpec([None], tf.int32)])
    def call(inputs, lengths):
        return seqmask.pack(inputs, lengths).values
    assert call(tf.zeros([2, 3, 1]), tf.constant([1, 3])).shape == [1 + 3, 1]
    for lengths, message in [([1, 4], 'must not exceed'), ([1, -1], 'must not be negative'),
                             ([1], 'must have one entry for each sequence')]:
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            call(tf.zeros([2, 3, 1]), tf.constant(lengths))
