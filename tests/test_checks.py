import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import checks


def graph(function, *specs):
    return tf.function(function, input_signature=list(specs))


def test_require_shows_the_values():
    checks.require(tf.constant(True), 'must hold, got', 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'must be even, got \[1, 3\], 5\.'):
        checks.require(tf.constant(False), 'must be even, got', tf.constant([1, 3]), 5)


def test_require_in_a_graph_raises_when_it_runs():
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def call(x):
        checks.require(tf.reduce_all(x > 0), 'x must be positive, got', x)
        return x
    assert call(tf.constant([1])).numpy() == [1]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'(?s)x must be positive, got.*-7'):
        call(tf.constant([-7]))


@pytest.mark.parametrize('legend, shape', [
    ('B', [2]), ('B, T, D', [2, 3, 4]), ('B, T, ...', [2, 3]), ('B, T, ...', [2, 3, 4, 5])])
def test_tensor_of_the_right_rank_passes(legend, shape):
    value = np.ones(shape, np.float32)
    np.testing.assert_array_equal(checks.tensor('x', value, legend), value)


@pytest.mark.parametrize('legend, shape, message', [
    ('B, T, D', [4, 7], r'^inputs must have rank 3 \[B, T, D\], got shape \(4, 7\)\.$'),
    ('B', [], r'^inputs must have rank 1 \[B\], got shape \(\)\.$'),
    ('B, T, ...', [4], r'^inputs must have rank at least 2 \[B, T, \.\.\.\], got shape \(4,\)\.$')])
def test_tensor_of_another_rank_is_an_error(legend, shape, message):
    with pytest.raises(ValueError, match=message):
        checks.tensor('inputs', tf.zeros(shape), legend)


def test_tensor_of_unknown_rank():
    fixed = graph(lambda x: checks.tensor('x', x, 'B, T'), tf.TensorSpec(None))
    assert fixed.get_concrete_function().output_shapes.as_list() == [None, None]
    assert fixed(tf.zeros([2, 3])).shape == [2, 3]
    with pytest.raises(tf.errors.InvalidArgumentError, match='not compatible with expected shape'):
        fixed(tf.zeros([2]))
    with pytest.raises(ValueError, match='x must have a known rank, got shape of unknown rank'):
        graph(lambda x: checks.tensor('x', x, 'B, ...'),
              tf.TensorSpec(None)).get_concrete_function()


def test_tensor_shows_unknown_sizes_as_none():
    with pytest.raises(ValueError, match=r'got shape \(None, 7\)'):
        graph(lambda x: checks.tensor('x', x, 'B, T, D'),
              tf.TensorSpec([None, 7])).get_concrete_function()


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32', 'float64'])
def test_floating_keeps_the_dtype(dtype):
    assert checks.floating('x', tf.zeros([2, 3], dtype), 'B, T').dtype == dtype


@pytest.mark.parametrize('value', [[[1, 2]], [[True]], np.ones([1, 2], np.int64)])
def test_floating_does_not_cast(value):
    with pytest.raises(TypeError, match=r'x must be floating-point \[B, T\].*tf.cast\(x, '):
        checks.floating('x', value, 'B, T')


@pytest.mark.parametrize('value', [
    [2, 0], (2, 0), np.array([2, 0], np.int32), np.array([2, 0], np.int64),
    tf.constant([2, 0], tf.int32), tf.constant([2, 0], tf.int64), tf.Variable([2, 0])],
    ids=['list', 'tuple', 'np int32', 'np int64', 'int32', 'int64', 'variable'])
def test_lengths_accepted(value):
    lengths = checks.lengths(value, batch=2, maxlen=2)
    assert lengths.dtype == tf.int32
    assert lengths.numpy().tolist() == [2, 0]


def test_empty_list_of_lengths_is_accepted():
    assert checks.lengths([], batch=0, maxlen=3).dtype == tf.int32


@pytest.mark.parametrize('make', [np.asarray, tf.constant], ids=['numpy', 'tensor'])
@pytest.mark.parametrize('dtype', [
    'bool', 'int8', 'uint8', 'int16', 'uint32', 'float16', 'float32', 'float64'])
def test_lengths_refused(dtype, make):
    with pytest.raises(TypeError, match=rf'lengths must be int32 or int64 \[B\], got {dtype}\.'):
        checks.lengths(make(np.array([1, 0], dtype)))


@pytest.mark.parametrize('value', [[1.0, 2.0], [True, False], ['a']])
def test_lists_of_anything_else_are_refused(value):
    with pytest.raises(TypeError, match='lengths must be int32 or int64'):
        checks.lengths(value)


@pytest.mark.parametrize('value, shape', [(3, r'\(\)'), ([[1], [2]], r'\(2, 1\)')])
def test_lengths_of_another_rank_are_an_error(value, shape):
    with pytest.raises(ValueError, match=rf'lengths must have rank 1 \[B\], got shape {shape}'):
        checks.lengths(value)


def test_lengths_one_for_each_sequence():
    with pytest.raises(ValueError, match=r'each of the 3 sequences \[B\], got shape \(2,\)'):
        checks.lengths([1, 2], batch=3)
    with pytest.raises(ValueError, match=r'each of the 3 sequences \[B\], got shape \(1,\)'):
        checks.lengths([1], batch=tf.constant(3))       # would broadcast


@pytest.mark.parametrize('dtype', [tf.int32, tf.int64])
@pytest.mark.parametrize('value, message', [
    ([0, -1], r'lengths must not be negative, got \[0, -1\]'),
    ([3, 6], r'must not exceed the number of time steps T; lengths and T are \[3, 6\], 5\.')])
def test_lengths_out_of_range(value, message, dtype):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        checks.lengths(tf.constant(value, dtype), maxlen=5)


def test_a_length_beyond_int32_does_not_wrap_around():
    with pytest.raises(tf.errors.InvalidArgumentError, match='must not exceed'):
        checks.lengths(tf.constant([2 ** 32 + 1], tf.int64), maxlen=5)


def test_maxlen_is_an_integer():
    with pytest.raises(TypeError, match='maxlen must be an int or an int scalar, got float32'):
        checks.lengths([1, 2], maxlen=2.5)


@pytest.mark.parametrize('value, message', [
    ([0, -1], r'(?s)lengths must not be negative, got.*0 -1'),
    ([3, 6], r'(?s)lengths must not exceed the number of time steps.*3 6.*5'),
    ([3], r'(?s)lengths must have one entry for each sequence'),
    ([3, 3, 3], r'(?s)lengths must have one entry for each sequence')])
def test_lengths_in_a_graph_of_unknown_sizes(value, message):
    call = graph(lambda n, x: checks.lengths(n, tf.shape(x)[0], tf.shape(x)[1]),
                 tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, None]))
    assert call(tf.constant([3, 5]), tf.zeros([2, 5])).numpy().tolist() == [3, 5]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(tf.constant(value), tf.zeros([2, 5]))


@pytest.mark.parametrize('value', [[0, -1], [3, 6]])
@pytest.mark.parametrize('compiled', [False, True], ids=['graph', 'xla'])
def test_lengths_out_of_range_that_are_known_are_refused_while_a_graph_is_traced(value, compiled):
    call = tf.function(lambda: checks.lengths(value, maxlen=5), jit_compile=compiled)
    with pytest.raises(tf.errors.InvalidArgumentError, match='lengths must not '):
        call.get_concrete_function()


@pytest.mark.parametrize('dtype', ['int32', 'int64'])
def test_lengths_out_of_range_are_clipped_where_xla_drops_the_check(dtype):
    call = tf.function(lambda n: (checks.lengths(n), checks.lengths(n, maxlen=5)), jit_compile=True)
    large = 2 ** 31 - 1 if dtype == 'int32' else 2 ** 32 + 1
    free, clipped = call(tf.constant([-3, 0, 5, 6, large], dtype))
    assert clipped.numpy().tolist() == [0, 0, 5, 5, 5]
    assert free.numpy()[:4].tolist() == [0, 0, 5, 6]


def test_static_errors_are_raised_while_a_graph_is_traced():
    with pytest.raises(TypeError, match='got float64'):
        graph(checks.lengths, tf.TensorSpec([None], tf.float64)).get_concrete_function()
    with pytest.raises(ValueError, match=r'each of the 3 sequences \[B\], got shape \(2,\)'):
        graph(lambda n: checks.lengths(n, batch=3),
              tf.TensorSpec([2], tf.int32)).get_concrete_function()


@pytest.mark.parametrize('value', [
    [[True, False]], np.array([[True, False]]), tf.constant([[True, False]])],
    ids=['list', 'numpy', 'tensor'])
def test_mask_accepted(value):
    assert checks.mask(value, tf.zeros([1, 2, 3])).numpy().tolist() == [[True, False]]


@pytest.mark.parametrize('make', [np.asarray, tf.constant, list], ids=['numpy', 'tensor', 'list'])
@pytest.mark.parametrize('dtype', ['int32', 'int64', 'uint8', 'float32'])
def test_mask_refused(dtype, make):
    with pytest.raises(TypeError, match='mask must be bool, True at real steps, got '):
        checks.mask(make(np.ones([1, 2], dtype)), tf.zeros([1, 2]))


@pytest.mark.parametrize('mask, values', [
    ([4, 6], [4, 5, 3]), ([4, 4], [4]), ([4, 5], [4]), ([1, 5], [4, 5, 3]), ([4, 1], [4, 5, 3]),
    ([5, 4], [4, 5]), ([4, 5, 1], [4, 5, 3])])
def test_a_mask_that_does_not_fit_names_both_shapes(mask, values):
    def written(shape):
        return r'\(' + ', '.join(map(str, shape)) + r',?\)'
    message = f'got mask {written(mask)} for losses {written(values)}'
    with pytest.raises(ValueError, match=message):
        checks.mask(tf.ones(mask, tf.bool), tf.zeros(values), 'losses')


@pytest.mark.parametrize('shape', [[1, 5], [4, 1], [1, 1], [5, 4], [4, 6]])
def test_a_mask_never_broadcasts_in_a_graph_of_unknown_sizes(shape):
    call = graph(checks.mask, tf.TensorSpec([None, None], tf.bool), tf.TensorSpec([None, None, 3]))
    assert call(tf.ones([4, 5], tf.bool), tf.zeros([4, 5, 3])).shape == [4, 5]
    with pytest.raises(tf.errors.InvalidArgumentError, match=(
            r'(?s)mask must have the leading axes of values; their shapes are.*'
            rf'{shape[0]} {shape[1]}\].*4 5 3\]')):
        call(tf.ones(shape, tf.bool), tf.zeros([4, 5, 3]))


def test_what_follows_a_check_in_a_graph_waits_for_it():
    # Without an order, `reverse_sequence` complains in its own words about half of the time.
    @tf.function(input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([None], tf.int32)])
    def call(inputs, lengths):
        lengths = checks.lengths(lengths, maxlen=tf.shape(inputs)[1])
        return tf.reverse_sequence(inputs, lengths, seq_axis=1)
    for _ in range(20):
        with pytest.raises(tf.errors.InvalidArgumentError, match='lengths must not exceed'):
            call(tf.zeros([2, 3]), tf.constant([1, 4]))


@pytest.mark.parametrize('mask, values', [(None, [2, 2]), ([2, 2], None)])
def test_a_mask_needs_known_ranks(mask, values):
    call = graph(checks.mask, tf.TensorSpec(mask, tf.bool), tf.TensorSpec(values))
    with pytest.raises(ValueError, match='must have a known rank'):
        call.get_concrete_function()        # [2] and [2, 2] would broadcast, as B == T


def test_same_shape():
    checks.same_shape('labels', tf.zeros([2, 3]), 'logits', tf.ones([2, 3]))
    for shape in ([2], [2, 3, 1], [2, 1], [3, 3]):
        with pytest.raises(ValueError, match='labels must have the .* got labels .* for logits'):
            checks.same_shape('labels', tf.zeros(shape), 'logits', tf.ones([2, 3]))


def test_same_shape_in_a_graph_of_unknown_sizes():
    def call(a, b):
        checks.same_shape('a', a, 'b', b)
        return a
    call = graph(call, tf.TensorSpec([None, None]), tf.TensorSpec([None, None]))
    assert call(tf.zeros([2, 3]), tf.zeros([2, 3])).shape == [2, 3]
    with pytest.raises(tf.errors.InvalidArgumentError, match='a must have the leading axes of b'):
        call(tf.zeros([2, 1]), tf.zeros([2, 3]))


def test_axis_size():
    checks.axis_size('inputs', tf.zeros([2, 3]), -1, 3, 'input_size')
    with pytest.raises(ValueError, match=r'inputs must have input_size = 4 on axis -1, got shape'):
        checks.axis_size('inputs', tf.zeros([2, 3]), -1, 4, 'input_size')


@pytest.mark.parametrize('value', [3, np.int32(3), np.int64(3)])
def test_size_is_a_python_int(value):
    assert type(checks.size('hidden_size', value)) is int


@pytest.mark.parametrize('value', [True, 3.0, '3', None, np.float32(3)])
def test_size_of_another_type_is_an_error(value):
    with pytest.raises(TypeError, match='hidden_size must be an int, got'):
        checks.size('hidden_size', value)


def test_size_has_a_minimum():
    assert checks.size('padding', 0, minimum=0) == 0
    with pytest.raises(ValueError, match='hidden_size must be at least 1, got 0'):
        checks.size('hidden_size', 0)


def test_a_width_that_tensorflow_would_wrap_around_is_refused():
    assert checks.width('hidden_size', 100_000_000) == 100_000_000
    for make in (seqmask.GRU, seqmask.Dense, lambda d, h: seqmask.Conv1D(d, h, 3),
                 lambda d, h: seqmask.models.Encoder(d, hidden_size=h)):
        with pytest.raises(ValueError, match='_size|filters.* must be at most 100,000,000, got '):
            make(3, 10 ** 12)
    with pytest.raises(ValueError, match='dilation must be at most 100,000,000, got '):
        seqmask.Conv1D(3, 4, 3, dilation=2 ** 40)
    with pytest.raises(ValueError, match='num_layers must be at most 27, got 70'):
        seqmask.models.DilatedEncoder(3, num_layers=70)


@pytest.mark.parametrize('value', [0, 0.5, np.float32(0.5)])
def test_fraction_is_a_python_float(value):
    assert type(checks.fraction('rate', value)) is float


@pytest.mark.parametrize('value, error', [
    (1, ValueError), (-0.1, ValueError), (float('nan'), ValueError), (True, TypeError),
    ('0.5', TypeError), (None, TypeError)])
def test_fraction_refused(value, error):
    with pytest.raises(error, match='rate must be '):
        checks.fraction('rate', value)


def test_choice():
    assert checks.choice('per', 'step', ['step', 'sequence']) == 'step'
    with pytest.raises(ValueError, match="per must be one of 'step', 'sequence', got 'steps'"):
        checks.choice('per', 'steps', ['step', 'sequence'])


@pytest.mark.parametrize('shape, written', [
    ([4, None, 7], '(4, None, 7)'), ([], '()'), ([3], '(3,)'), (None, 'of unknown rank')])
def test_shown(shape, written):
    assert checks.shown(tf.TensorShape(shape)) == written


@pytest.mark.parametrize('call', [
    lambda ragged: checks.tensor('inputs', ragged, 'B, T, D'),
    lambda ragged: checks.floating('inputs', ragged, 'B, T, ...'),
    lambda ragged: checks.dense('inputs', ragged),
    lambda ragged: seqmask.keras.BatchNormalization()([ragged, tf.constant([2, 1])])])
def test_a_ragged_tensor_is_told_how_it_is_padded(call):
    ragged = tf.RaggedTensor.from_row_lengths(tf.ones([3, 2]), [2, 1])
    for function in (call, tf.function(call)):
        with pytest.raises(TypeError, match=(
                'inputs must be a padded tensor, got a tf.RaggedTensor. Pad it with padded, '
                r'lengths = seqmask.from_ragged\(')):
            function(ragged)
