import numpy as np
import pytest
import tensorflow as tf

import seqmask

LENGTHS = [2, 0, 3]
MASK = [[True, True, False], [False, False, False], [True, True, True]]


def graph(function, *specs):
    return tf.function(function, input_signature=list(specs))


def steps(*trailing, batch=3, maxlen=3, dtype=np.float32):
    """Whole numbers from 1 on, [B, T, ...]."""
    shape = [batch, maxlen, *trailing]
    return np.arange(1, np.prod(shape, dtype=int) + 1).reshape(shape).astype(dtype)


# apply_mask

@pytest.mark.parametrize('dtype', ['int32', 'bool', 'float16', 'bfloat16', 'float32', 'float64'])
@pytest.mark.parametrize('trailing', [[], [2], [2, 3]], ids=str)
def test_apply_mask_selects(trailing, dtype):
    values = tf.cast(steps(*trailing), dtype)
    out = seqmask.apply_mask(values, MASK)
    assert out.dtype == dtype
    assert out.shape == values.shape
    for b, row in enumerate(MASK):
        for t, real in enumerate(row):
            wanted = values[b, t] if real else tf.zeros_like(values[b, t])
            assert out[b, t].numpy().tolist() == wanted.numpy().tolist()


@pytest.mark.parametrize('fill', [-1, 2.5, float('-inf'), tf.constant(7)], ids=str)
def test_apply_mask_with_another_fill(fill):
    out = seqmask.apply_mask([[1.0, float('nan')]], [[True, False]], fill=fill)
    assert out.numpy().tolist() == [[1, float(fill)]]


def test_apply_mask_to_strings_with_a_fill_of_their_own():
    out = seqmask.apply_mask([['a', 'b']], [[True, False]], fill='')
    assert out.numpy().tolist() == [[b'a', b'']]


def test_the_mask_may_have_all_axes_of_the_values_or_one_only():
    assert seqmask.apply_mask([[1., 2.]], [[False, True]]).numpy().tolist() == [[0, 2]]
    assert seqmask.apply_mask([[1., 2.], [3., 4.]], [False, True]).numpy().tolist() == [
        [0, 0], [3, 4]]


@pytest.mark.parametrize('pole', [tf.math.log, tf.math.sqrt, tf.math.reciprocal, tf.math.rsqrt])
def test_gradient_through_a_pole_is_finite_when_masked_before_and_after(pole):
    x = tf.Variable([[4.0, 0.0], [0.0, 0.0]])
    mask = [[True, False], [False, False]]

    def gradient(before, after):
        with tf.GradientTape() as tape:
            y = pole(seqmask.apply_mask(x, mask, fill=1) if before else x)
            y = tf.reduce_sum(seqmask.apply_mask(y, mask) if after else y)
        return tape.gradient(y, x).numpy()

    expected = {tf.math.log: 1 / 4, tf.math.sqrt: 1 / (2 * 2), tf.math.reciprocal: -1 / 4 ** 2,
                tf.math.rsqrt: -1 / (2 * 4 * 2)}[pole]
    np.testing.assert_allclose(gradient(True, True), [[expected, 0], [0, 0]], rtol=1e-6)
    if pole is tf.math.log:
        assert np.isnan(gradient(False, True)).any()        # after it only: 0 * inf


def test_apply_mask_hides_nan_from_value_and_gradient():
    x = tf.Variable([[1.0, np.nan]])
    with tf.GradientTape() as tape:
        y = seqmask.apply_mask(x, [[True, False]])
    upstream = tf.constant([[2.0, np.nan]])
    assert y.numpy().tolist() == [[1, 0]]
    assert tape.gradient(y, x, upstream).numpy().tolist() == [[2, 0]]


@pytest.mark.parametrize('function', [seqmask.apply_mask, seqmask.mask_gradient])
@pytest.mark.parametrize('values, mask', [
    ([4, 5, 3], [4, 6]), ([4], [4, 4]), ([4], [4, 5]), ([4, 5, 3], [1, 5]), ([4, 5, 3], [4, 1])],
    ids=str)
def test_a_mask_that_does_not_fit_is_an_error(values, mask, function):
    with pytest.raises(ValueError, match=rf'got mask \({mask[0]}, {mask[1]}\) for values \(4,'):
        function(tf.zeros(values), tf.ones(mask, tf.bool))


@pytest.mark.parametrize('function', [seqmask.apply_mask, seqmask.mask_gradient])
@pytest.mark.parametrize('mask', [[4, 6], [1, 5], [4, 1]], ids=str)
def test_a_mask_that_does_not_fit_is_an_error_in_a_graph(mask, function):
    call = graph(function, tf.TensorSpec([None, None, None]), tf.TensorSpec([None, None], tf.bool))
    assert call(tf.zeros([4, 5, 3]), tf.ones([4, 5], tf.bool)).shape == [4, 5, 3]
    with pytest.raises(tf.errors.InvalidArgumentError, match='mask must have the leading axes of'):
        call(tf.zeros([4, 5, 3]), tf.ones(mask, tf.bool))


@pytest.mark.parametrize('function', [seqmask.apply_mask, seqmask.mask_gradient])
def test_a_mask_of_numbers_is_an_error(function):
    with pytest.raises(TypeError, match='mask must be bool, True at real steps, got float32'):
        function(tf.zeros([1, 2]), tf.ones([1, 2]))


# mask_gradient

def test_mask_gradient_is_the_identity_forward():
    values = np.float32([[1, np.nan], [np.inf, -0.0]])
    out = seqmask.mask_gradient(values, [[True, False], [False, False]])
    np.testing.assert_array_equal(out, values)


def test_mask_gradient_stops_the_gradient_where_false_also_of_nan():
    x = tf.Variable([[3.0, 4.0]])
    with tf.GradientTape() as tape:
        y = seqmask.mask_gradient(x ** 2, [[True, False]])
    upstream = tf.constant([[10.0, np.nan]])
    assert tape.gradient(y, x, upstream).numpy().tolist() == [[10 * 2 * 3, 0]]


def test_mask_gradient_of_sequences_with_features(rng):
    x = tf.Variable(rng.normal(size=[3, 3, 2]))
    upstream = rng.normal(size=[3, 3, 2])
    with tf.GradientTape() as tape:
        y = seqmask.mask_gradient(x, MASK)
    np.testing.assert_array_equal(tape.gradient(y, x, upstream),
                                  np.where(np.array(MASK)[..., None], upstream, 0))


def test_mask_gradient_has_the_right_second_derivative():
    x = tf.Variable([3.0, 4.0])
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            y = tf.reduce_sum(seqmask.mask_gradient(x ** 3, [True, False]))
        first = inner.gradient(y, x)
    assert first.numpy().tolist() == [3 * 3 ** 2, 0]
    assert outer.gradient(first, x).numpy().tolist() == [6 * 3, 0]


def test_mask_gradient_inside_a_loop_in_a_graph():
    @tf.function
    def call(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            # y -> 2 y, three times; the gradient of the second element stops at once.
            _, y = tf.while_loop(
                lambda t, y: t < 3,
                lambda t, y: (t + 1, seqmask.mask_gradient(2 * y, tf.constant([True, False]))),
                [0, x])
        return y, tape.gradient(y, x)
    y, gradient = call(tf.constant([1.0, 5.0]))
    assert y.numpy().tolist() == [2 ** 3, 5 * 2 ** 3]
    assert gradient.numpy().tolist() == [2 ** 3, 0]


def truncated(x, lengths, state, kept, w, weights):
    """h_t = tanh(w h_tm1 + x_t) by hand, its gradient multiplied by zeros where not `kept`.

    Returns (outputs, d_x, d_state, d_w) of loss = sum of weights * outputs, at real steps.
    """
    outputs, d_x, d_state, d_w = np.zeros_like(x), np.zeros_like(x), np.zeros_like(state), 0.0
    for b, length in enumerate(lengths):
        h = [state[b]]
        for t in range(length):
            h.append(np.tanh(w * h[t] + x[b, t]))
        outputs[b, :length] = h[1:]
        d_h = 0.0
        for t in reversed(range(length)):
            d_z = (weights[b, t] + d_h) * (1 - h[t + 1] ** 2)
            d_x[b, t] = d_z
            d_w += d_z * h[t]
            d_h = d_z * w * kept[b, t]
        d_state[b] = d_h
    return outputs, d_x, d_state, d_w


def recurrence(x, state, w, lengths, kept, weights, loop):
    """What `truncated` returns, of TensorFlow; with kept=None, nothing is cut."""
    def cell(x_t, h_tm1):
        x_t, *kept_t = x_t
        if kept_t:
            h_tm1 = seqmask.mask_gradient(h_tm1, kept_t[0])
        h_t = tf.tanh(w * h_tm1 + x_t)
        return h_t, h_t

    operands = (x,) if kept is None else (x, tf.convert_to_tensor(kept))
    with tf.GradientTape() as tape:
        tape.watch([x, state, w])
        if loop == 'unroll':
            outputs, _ = seqmask.unroll(cell, operands, lengths, state)
        else:
            def body(t, state, outputs):
                _, state = cell([o[:, t] for o in operands], state)
                return t + 1, state, outputs.write(t, state)
            *_, outputs = tf.while_loop(
                lambda t, *_: t < x.shape[1], body,
                (0, state, tf.TensorArray(x.dtype, x.shape[1], element_shape=state.shape)))
            outputs = tf.transpose(outputs.stack())
        loss = tf.reduce_sum(weights * outputs)
    return outputs, *tape.gradient(loss, [x, state, w])


@pytest.mark.parametrize('wrap', [lambda f: f, tf.function], ids=['eager', 'graph'])
@pytest.mark.parametrize('loop, lengths', [('unroll', [4, 0, 6, 1]), ('while_loop', [6] * 4)])
def test_truncated_back_propagation_equals_multiplying_by_zeros(loop, lengths, wrap, rng):
    x, state, weights = (rng.normal(size=shape) for shape in [(4, 6), 4, (4, 6)])
    kept = rng.uniform(size=[4, 6]) < 0.6
    assert 0 < kept[0, :4].sum() < 4

    @wrap
    def run(x, state, w, kept=None):
        return recurrence(x, state, w, lengths, kept, weights, loop)
    arguments = tf.constant(x), tf.constant(state), tf.constant(0.9, tf.float64)
    for mask in [kept, np.ones_like(kept), np.zeros_like(kept)]:
        found, wanted = run(*arguments, mask), truncated(x, lengths, state, mask, 0.9, weights)
        for one, other in zip(found, wanted):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(found[0], run(*arguments)[0])     # forward: as if uncut


# last_relevant, reverse, repeat, concat_time

def test_last_relevant_of_an_empty_sequence_is_zero():
    outputs = steps(2)
    last = seqmask.last_relevant(outputs, LENGTHS).numpy()
    assert last.tolist() == [outputs[0, 1].tolist(), [0, 0], outputs[2, 2].tolist()]


@pytest.mark.parametrize('dtype', ['int32', 'int64', 'float16', 'float64'])
@pytest.mark.parametrize('trailing', [[], [2, 3]], ids=str)
def test_last_relevant_of_other_ranks_and_dtypes(trailing, dtype):
    outputs = steps(*trailing, dtype=dtype)
    last = seqmask.last_relevant(outputs, LENGTHS)
    assert last.dtype == dtype
    np.testing.assert_array_equal(last, [outputs[0, 1], 0 * outputs[1, 0], outputs[2, 2]])


def test_last_relevant_keeps_infinity_and_nan_that_are_real():
    outputs = [[np.nan, np.inf], [1.0, np.nan]]
    np.testing.assert_array_equal(seqmask.last_relevant(outputs, [2, 2]), [np.inf, np.nan])


@pytest.mark.parametrize('dtype', ['int32', 'bool', 'float16', 'float64'])
@pytest.mark.parametrize('trailing', [[], [2], [2, 3]], ids=str)
def test_reverse_starts_at_each_sequences_own_last_step(trailing, dtype):
    inputs = steps(*trailing, dtype=dtype)
    out = seqmask.reverse(inputs, LENGTHS).numpy()
    for row, mirrored, length in zip(inputs, out, LENGTHS):
        assert mirrored[:length].tolist() == row[:length][::-1].tolist()
        assert not mirrored[length:].any()


def test_reverse_twice_is_the_mask():
    inputs = steps(2)
    np.testing.assert_array_equal(seqmask.reverse(seqmask.reverse(inputs, LENGTHS), LENGTHS),
                                  seqmask.apply_mask(inputs, MASK))


@pytest.mark.parametrize('vectors, zero', [
    ([1., 2., 3.], 0), ([[1, 2], [3, 4], [5, 6]], [0, 0]), (['a', 'b', 'c'], b''),
    ([True, True, True], False)])
def test_repeat(vectors, zero):
    vectors = tf.constant(vectors)
    out = seqmask.repeat(vectors, LENGTHS, 3).numpy().tolist()
    a, _, c = vectors.numpy().tolist()
    assert out == [[a, a, zero], [zero] * 3, [c, c, c]]


def test_gradient_of_repeat_is_the_sum_over_real_steps():
    vectors = tf.Variable([1.0, 2.0, 3.0])
    upstream = np.where(MASK, [[1.0, 10.0, 100.0]], np.nan).astype(np.float32)
    with tf.GradientTape() as tape:
        out = seqmask.repeat(vectors, LENGTHS, 3)
    assert tape.gradient(out, vectors, upstream).numpy().tolist() == [1 + 10, 0, 1 + 10 + 100]


def test_repeat_refuses():
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'lengths and T are \[1, 3\], 2'):
        seqmask.repeat([[1.], [2.]], [1, 3], 2)
    with pytest.raises(TypeError, match='maxlen must be an int'):
        seqmask.repeat([[1.], [2.]], [1, 2], 2.0)
    with pytest.raises(ValueError, match=r'vectors must have rank at least 1 \[B, \.\.\.\]'):
        seqmask.repeat(1.0, [1], 2)


@pytest.mark.parametrize('dtype', ['float32', 'int32', 'str'])
def test_concat_time_joins_real_steps(dtype):
    first = np.array([[1, 9], [2, 3]]).astype(dtype)
    second = np.array([[4, 5, 6], [7, 9, 9]]).astype(dtype)
    out, lengths = seqmask.concat_time(first, [1, 2], second, [3, 1])
    assert lengths.numpy().tolist() == [1 + 3, 2 + 1]
    wanted = np.array([[1, 4, 5, 6, 0], [2, 3, 7, 0, 0]])
    if dtype == 'str':
        wanted = np.where(wanted == 0, b'', wanted.astype('S'))
    assert out.numpy().tolist() == wanted.tolist()


@pytest.mark.parametrize('shape, lengths, message', [
    ([3, 2, 1], [1, 1, 1], r'got second \(3, 0, 1\) for first \(2, 0, 1\)'),
    ([2, 2, 4], [1, 1], r'got second \(2, 0, 4\) for first \(2, 0, 1\)'),
    ([2, 2], [1, 1], r'got second \(2, 0\) for first \(2, 0, 1\)')])
def test_concat_time_of_parts_that_do_not_fit(shape, lengths, message):
    with pytest.raises(ValueError, match=message):
        seqmask.concat_time(tf.zeros([2, 3, 1]), [1, 2], tf.zeros(shape), lengths)


def test_concat_time_of_parts_that_do_not_fit_in_a_graph():
    call = graph(seqmask.concat_time, *[tf.TensorSpec([None, None, 1]),
                                        tf.TensorSpec([None], tf.int32)] * 2)
    first, ones = tf.zeros([2, 3, 1]), tf.constant([1, 1])
    assert call(first, ones, first, ones)[0].shape == [2, 3 + 3, 1]
    with pytest.raises(tf.errors.InvalidArgumentError, match='leading axes of|must be equal'):
        call(first, ones, tf.zeros([3, 3, 1]), tf.constant([1, 1, 1]))


# crop, to_ragged, from_ragged

@pytest.mark.parametrize('dtype', ['float32', 'int64', 'bool', 'str'])
@pytest.mark.parametrize('trailing', [[], [2]], ids=str)
def test_crop_gives_each_sequence_alone(trailing, dtype):
    outputs = steps(*trailing, dtype=dtype)
    cropped = seqmask.crop(outputs, LENGTHS)
    stored = outputs.astype('S') if dtype == 'str' else outputs
    assert [row.tolist() for row in cropped] == [
        row[:length].tolist() for row, length in zip(stored, LENGTHS)]
    assert all(isinstance(row, np.ndarray) for row in cropped)


def test_crop_of_an_empty_batch():
    assert seqmask.crop(tf.zeros([0, 3, 2]), []) == []


@pytest.mark.parametrize('dtype', ['float32', 'int64', 'bool', 'str'])
@pytest.mark.parametrize('trailing', [[], [2], [2, 3]], ids=str)
def test_to_ragged_and_back(trailing, dtype):
    inputs = steps(*trailing, dtype=dtype)
    ragged = seqmask.to_ragged(inputs, LENGTHS)
    outputs, lengths = seqmask.from_ragged(ragged, maxlen=5)
    assert ragged.row_lengths().numpy().tolist() == LENGTHS
    assert outputs.shape == [3, 5, *trailing]
    assert lengths.numpy().tolist() == LENGTHS
    assert lengths.dtype == tf.int32
    stored = inputs.astype('S') if dtype == 'str' else inputs
    for row, kept, length in zip(stored, outputs.numpy(), LENGTHS):
        assert kept[:length].tolist() == row[:length].tolist()
        assert not kept[length:].astype(bool).any()


def test_from_ragged_is_as_wide_as_its_longest_sequence():
    inputs, lengths = seqmask.from_ragged(tf.ragged.constant([[1], [], [2, 3]]))
    assert inputs.numpy().tolist() == [[1, 0], [0, 0], [2, 3]]
    assert lengths.numpy().tolist() == [1, 0, 2]


@pytest.mark.parametrize('batch', [0, 2])
def test_from_ragged_without_steps(batch):
    ragged = tf.RaggedTensor.from_row_lengths(tf.zeros([0, 4]), tf.zeros([batch], tf.int64))
    inputs, lengths = seqmask.from_ragged(ragged)
    assert inputs.shape == [batch, 0, 4]
    assert lengths.numpy().tolist() == [0] * batch


@pytest.mark.parametrize('splits', ['int32', 'int64'])
def test_from_ragged_with_either_kind_of_row_splits(splits):
    ragged = tf.ragged.constant([[1.], [2., 3.]], row_splits_dtype=splits)
    assert seqmask.from_ragged(ragged)[0].numpy().tolist() == [[1, 0], [2, 3]]


def test_from_ragged_refuses():
    with pytest.raises(TypeError, match='ragged must be a tf.RaggedTensor, got list'):
        seqmask.from_ragged([[1.], [2., 3.]])
    with pytest.raises(ValueError, match='in its second axis only, got 2 ragged axes'):
        seqmask.from_ragged(tf.ragged.constant([[[1.], [2., 3.]], []]))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'lengths and T are \[1, 2\], 1'):
        seqmask.from_ragged(tf.ragged.constant([[1.], [2., 3.]]), maxlen=1)


@pytest.mark.parametrize('compiled', [False, True], ids=['eager', 'graph'])
def test_gradient_through_ragged_and_back_is_the_mask(compiled, rng):
    upstream = rng.normal(size=[3, 3, 2]).astype(np.float32)

    def gradient(inputs, lengths):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, _ = seqmask.from_ragged(seqmask.to_ragged(inputs, lengths), 3)
        return tape.gradient(outputs, inputs, upstream)
    if compiled:
        gradient = graph(gradient, tf.TensorSpec([None, None, 2]), tf.TensorSpec([None], tf.int32))
    found = gradient(tf.constant(steps(2)), tf.constant(LENGTHS))
    assert isinstance(found, tf.Tensor)         # not tf.IndexedSlices
    np.testing.assert_array_equal(found, np.where(np.array(MASK)[..., None], upstream, 0))


# All that take lengths

TAKE_LENGTHS = {
    'last_relevant': seqmask.last_relevant, 'reverse': seqmask.reverse,
    'to_ragged': lambda x, n: seqmask.to_ragged(x, n).to_tensor(), 'crop': seqmask.crop,
    'repeat': lambda x, n: seqmask.repeat(x[:, 0], n, tf.shape(x)[1]),
    'concat_time': lambda x, n: seqmask.concat_time(x, n, x, n)[0],
}
all_that_take_lengths = pytest.mark.parametrize('function', TAKE_LENGTHS.values(), ids=TAKE_LENGTHS)
all_in_graphs = pytest.mark.parametrize(
    'function', [f for name, f in TAKE_LENGTHS.items() if name != 'crop'],
    ids=[name for name in TAKE_LENGTHS if name != 'crop'])
BAD_LENGTHS = [([1, 2, 4], tf.errors.InvalidArgumentError, 'must not exceed'),
               ([1, 2, -1], tf.errors.InvalidArgumentError, 'must not be negative')]


@all_that_take_lengths
@pytest.mark.parametrize('lengths, error, message', [
    *BAD_LENGTHS,
    ([1], ValueError, r'each of the 3 sequences \[B\], got shape \(1,\)'),
    ([[1, 2, 3]], ValueError, r'lengths must have rank 1 \[B\], got shape \(1, 3\)'),
    (np.float64([1, 2, 3]), TypeError, 'lengths must be int32 or int64'),
    ([True, True, False], TypeError, 'lengths must be int32 or int64')])
def test_lengths_that_do_not_fit_are_errors(function, lengths, error, message):
    with pytest.raises(error, match=message):
        function(tf.zeros([3, 3, 1]), lengths)


@all_that_take_lengths
@pytest.mark.parametrize('lengths', [LENGTHS, np.int64(LENGTHS), tf.constant(LENGTHS, tf.int64)],
                         ids=['list', 'numpy', 'int64'])
def test_lengths_of_every_legal_kind(function, lengths):
    found = function(tf.constant(steps(2)), lengths)
    wanted = function(tf.constant(steps(2)), tf.constant(LENGTHS))
    assert all(np.array_equal(f, w) for f, w in zip(found, wanted))


@all_in_graphs
@pytest.mark.parametrize('lengths, message', [
    *((lengths, message) for lengths, _, message in BAD_LENGTHS),
    ([1], 'must have one entry for each sequence')])
def test_lengths_that_do_not_fit_are_errors_in_a_graph(function, lengths, message):
    call = graph(function, tf.TensorSpec([None, None, 1]), tf.TensorSpec([None], tf.int32))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(tf.zeros([3, 3, 1]), tf.constant(lengths))


@all_in_graphs
def test_sequences_of_unknown_rank_are_an_error(function):
    if function is TAKE_LENGTHS['repeat']:
        function = lambda x, n: seqmask.repeat(x, n, 3)     # noqa: E731
    with pytest.raises(ValueError, match='must have a known rank'):
        graph(function, tf.TensorSpec(None),
              tf.TensorSpec([None], tf.int32)).get_concrete_function()


@all_in_graphs
def test_one_trace_for_all_widths(function):
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, 1]), tf.TensorSpec([None], tf.int32)])
    def call(inputs, lengths):
        traces.append(1)
        return function(inputs, lengths)
    for maxlen in range(1, 21):
        call(tf.ones([2, maxlen, 1]), tf.constant([maxlen, maxlen // 2]))
    assert len(traces) == 1


@pytest.mark.parametrize('maxlen', [3, 4, 9])
def test_the_output_is_as_wide_as_the_input_whatever_the_lengths(maxlen):
    inputs = tf.zeros([3, maxlen, 2])
    mask = seqmask.sequence_mask(LENGTHS, maxlen)
    for outputs in (seqmask.reverse(inputs, LENGTHS), seqmask.apply_mask(inputs, mask),
                    seqmask.mask_gradient(inputs, mask),
                    seqmask.move_padding_right(inputs, mask)[0],
                    seqmask.unpack(seqmask.pack(inputs, LENGTHS))):
        assert outputs.shape == [3, maxlen, 2]
    assert seqmask.concat_time(inputs, LENGTHS, inputs, LENGTHS)[0].shape == [3, 2 * maxlen, 2]


def _with_mask(function):
    return lambda x, n: function(x, seqmask.sequence_mask(n, 3))


@pytest.mark.parametrize('function', [
    _with_mask(seqmask.apply_mask), _with_mask(seqmask.mask_gradient), seqmask.last_relevant,
    seqmask.reverse, lambda x, n: seqmask.repeat(x[:, 0], n, 3)],
    ids=['apply_mask', 'mask_gradient', 'last_relevant', 'reverse', 'repeat'])
def test_compiled_by_xla_value_and_gradient(function):
    def value_and_gradient(inputs, lengths):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            loss = tf.reduce_sum(function(inputs, lengths) ** 2)
        return loss, tape.gradient(loss, inputs)
    inputs, lengths = tf.constant(steps(2)), tf.constant(LENGTHS)
    found = tf.function(value_and_gradient, jit_compile=True)(inputs, lengths)
    for f, w in zip(found, value_and_gradient(inputs, lengths)):
        np.testing.assert_allclose(f, w, rtol=1e-6)
