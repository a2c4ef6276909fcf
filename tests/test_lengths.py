import numpy as np
import pytest
import tensorflow as tf

import seqmask

LEFT, HOLE, RIGHT = [False, False, True], [True, False, True], [True, True, False]


def graph(function, *specs):
    return tf.function(function, input_signature=list(specs))


def features_with(frames, maxlen, depth=2, dtype=np.float32):
    """One sequence [1, T, D] whose frames of these numbers are not zero."""
    features = np.zeros([1, maxlen, depth], dtype)
    features[0, frames, 0] = 1
    return features


def test_a_zero_frame_inside_a_sequence_is_real():
    features = features_with([0, 1, 3], 7)
    assert seqmask.lengths_from_features(features).numpy() == [4]
    assert seqmask.count_used_frames(features).numpy() == [3]


def test_a_real_zero_frame_at_the_end_cannot_be_seen():
    features = features_with([0, 1, 3], 7)
    recorded = 5        # the sequence goes on for one silent step
    assert seqmask.lengths_from_features(features).numpy() == [recorded - 1]
    assert 'use lengths that come with the data' in ' '.join(
        seqmask.lengths_from_features.__doc__.split())


def test_a_sequence_that_starts_with_a_zero_frame():
    features = features_with([2], 4)
    assert seqmask.lengths_from_features(features).numpy() == [3]
    assert seqmask.count_used_frames(features).numpy() == [1]


@pytest.mark.parametrize('frames, length', [([], 0), ([0], 1), ([0, 1, 2], 3), ([2], 3)])
def test_lengths_from_zero_to_the_whole_width(frames, length):
    assert seqmask.lengths_from_features(features_with(frames, 3)).numpy() == [length]


@pytest.mark.parametrize('value', [-1.0, 2e-38, 1e38, np.inf, np.nan])
def test_anything_but_zero_is_used(value):
    features = np.float32([[[0, 0], [0, value], [0, 0]]])
    assert seqmask.lengths_from_features(features).numpy() == [2]


def test_negative_zero_is_padding():
    assert seqmask.lengths_from_features([[1.0, -0.0]]).numpy() == [1]


def test_features_that_cancel_out_are_used():
    assert seqmask.lengths_from_features([[[1.0, -1.0], [0.0, 0.0]]]).numpy() == [1]


@pytest.mark.parametrize('dtype', [
    'bool', 'uint8', 'int32', 'int64', 'float16', 'float32', 'float64'])
def test_every_dtype_with_ids_and_with_more_axes(dtype):
    ids = np.array([[1, 0, 1, 0], [0, 0, 0, 0]], dtype)
    for features in (ids, ids[..., None], ids[..., None, None]):
        assert seqmask.lengths_from_features(features).numpy().tolist() == [3, 0]
        assert seqmask.count_used_frames(features).numpy().tolist() == [2, 0]


@pytest.mark.parametrize('padding_value', [-1.0, 7.0, 0.1, np.inf, np.nan])
def test_other_padding_values(padding_value):
    features = np.full([1, 5, 2], padding_value, np.float32)
    features[0, [0, 2], 1] = 0
    assert seqmask.lengths_from_features(features, padding_value).numpy() == [3]
    assert seqmask.count_used_frames(features, padding_value=padding_value).numpy() == [2]


def test_other_padding_values_of_ids():
    assert seqmask.lengths_from_features([[0, -1, 5, -1]], padding_value=-1).numpy() == [3]


@pytest.mark.parametrize('dtype, padding_value', [
    ('int32', 0.5), ('int32', np.nan), ('int32', np.inf), ('uint8', -1), ('uint8', 256)])
def test_a_padding_value_that_the_features_cannot_hold_is_an_error(dtype, padding_value):
    with pytest.raises(ValueError, match=f'must be a number that {dtype} features can hold, got'):
        seqmask.lengths_from_features(np.ones([1, 3], dtype), padding_value)


@pytest.mark.parametrize('shape', [[0, 3, 2], [2, 0, 2], [0, 0, 2], [2, 3, 0]])
def test_features_without_sequences_steps_or_depth(shape):
    assert seqmask.lengths_from_features(tf.zeros(shape)).numpy().tolist() == [0] * shape[0]
    assert seqmask.count_used_frames(tf.zeros(shape)).numpy().tolist() == [0] * shape[0]


def test_features_need_two_axes():
    with pytest.raises(ValueError, match=r'features must have rank at least 2 .* got shape \(3,\)'):
        seqmask.lengths_from_features(tf.zeros([3]))


def test_lengths_from_mask_of_right_padding():
    mask = [[True, True, True], [True, False, False], [False, False, False]]
    assert seqmask.lengths_from_mask(mask).numpy().tolist() == [3, 1, 0]


@pytest.mark.parametrize('mask, rows', [
    ([RIGHT, LEFT], r'\[1\]'), ([HOLE, RIGHT], r'\[0\]'), ([LEFT, RIGHT, HOLE], r'\[0, 2\]')])
def test_left_padding_and_holes_are_errors_that_name_the_rows(mask, rows):
    with pytest.raises(tf.errors.InvalidArgumentError,
                       match=rf'move_padding_right\(inputs, mask\)\. Wrong rows: {rows}'):
        seqmask.lengths_from_mask(mask)


def test_left_padding_in_a_graph_is_an_error_that_names_the_rows():
    call = graph(seqmask.lengths_from_mask, tf.TensorSpec([None, None], tf.bool))
    assert call(tf.constant([RIGHT])).numpy() == [2]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'(?s)Wrong rows:.*\[0 2\]'):
        call(tf.constant([LEFT, RIGHT, HOLE]))


@pytest.mark.parametrize('mask, error, message', [
    (np.ones([1, 2], np.int32), TypeError, 'mask must be bool'),
    (np.ones([1, 2], np.float32), TypeError, 'mask must be bool'),
    ([True, False], ValueError, r'mask must have rank 2 \[B, T\], got shape \(2,\)'),
    (np.ones([1, 2, 3], bool), ValueError, r'mask must have rank 2 \[B, T\]')])
def test_lengths_from_what_is_no_mask(mask, error, message):
    with pytest.raises(error, match=message):
        seqmask.lengths_from_mask(mask)


@pytest.mark.parametrize('shape', [[0, 3], [2, 0], [0, 0]])
def test_lengths_from_an_empty_mask(shape):
    lengths = seqmask.lengths_from_mask(np.ones(shape, bool))
    assert lengths.numpy().tolist() == [0] * shape[0]
    assert lengths.dtype == tf.int32


@pytest.mark.parametrize('lengths', [
    [0, 1, 3], np.array([0, 1, 3]), tf.constant([0, 1, 3]), tf.constant([0, 1, 3], tf.int64)],
    ids=['list', 'numpy', 'int32', 'int64'])
@pytest.mark.parametrize('maxlen', [3, np.int64(3), tf.constant(3), tf.constant(3, tf.int64)],
                         ids=['int', 'numpy', 'int32', 'int64'])
def test_sequence_mask(lengths, maxlen):
    mask = seqmask.sequence_mask(lengths, maxlen)
    assert mask.numpy().tolist() == [[False] * 3, [True, False, False], [True] * 3]


def test_sequence_mask_of_another_dtype():
    mask = seqmask.sequence_mask([1], 2, dtype=tf.float16)
    assert mask.dtype == tf.float16
    assert mask.numpy().tolist() == [[1, 0]]


def test_sequence_mask_is_undone_by_lengths_from_mask(rng):
    lengths = rng.integers(0, 10, size=20)
    mask = seqmask.sequence_mask(lengths, 9)
    np.testing.assert_array_equal(seqmask.lengths_from_mask(mask), lengths)


@pytest.mark.parametrize('lengths, maxlen', [([], 3), ([0, 0], 0), ([], 0)])
def test_empty_sequence_masks(lengths, maxlen):
    assert seqmask.sequence_mask(lengths, maxlen).shape == [len(lengths), maxlen]


@pytest.mark.parametrize('lengths, maxlen, error, message', [
    ([1, 4], 3, tf.errors.InvalidArgumentError, r'lengths and T are \[1, 4\], 3'),
    ([1, -1], 3, tf.errors.InvalidArgumentError, r'must not be negative, got \[1, -1\]'),
    (np.float64([1, 2]), 3, TypeError, 'lengths must be int32 or int64'),
    ([True, False], 3, TypeError, 'lengths must be int32 or int64'),
    ([1, 2], 3.5, TypeError, 'maxlen must be an int or an int scalar'),
    (2, 3, ValueError, r'lengths must have rank 1 \[B\], got shape \(\)')])
def test_sequence_mask_refuses(lengths, maxlen, error, message):
    with pytest.raises(error, match=message):
        seqmask.sequence_mask(lengths, maxlen)


def test_a_length_above_the_width_is_an_error_in_a_graph():
    call = graph(seqmask.sequence_mask, tf.TensorSpec([None], tf.int32),
                 tf.TensorSpec([], tf.int32))
    assert call(tf.constant([1]), 2).numpy().tolist() == [[True, False]]
    with pytest.raises(tf.errors.InvalidArgumentError, match='lengths must not exceed'):
        call(tf.constant([1, 4]), 3)


def test_sequence_mask_compiled():
    compiled = tf.function(lambda n: seqmask.sequence_mask(n, 3), jit_compile=True)
    assert compiled(tf.constant([1, 3])).numpy().tolist() == [[True, False, False], [True] * 3]


def test_move_padding_right_of_left_padding_and_holes():
    inputs = np.float32([[[np.nan], [4], [5]], [[6], [np.inf], [7]], [[8], [9], [1]]])
    mask = [[False, True, True], HOLE, [False] * 3]
    outputs, lengths = seqmask.move_padding_right(inputs, mask)
    assert outputs.numpy()[..., 0].tolist() == [[4, 5, 0], [6, 7, 0], [0, 0, 0]]
    assert lengths.numpy().tolist() == [2, 2, 0]


@pytest.mark.parametrize('dtype', ['int32', 'float32', 'bool', 'str'])
@pytest.mark.parametrize('trailing', [[], [2], [2, 3]], ids=str)
def test_move_padding_right_equals_selecting_in_numpy(trailing, dtype, rng):
    inputs = rng.integers(0, 9, size=[6, 5, *trailing]).astype(dtype)
    mask = rng.random([6, 5]) < 0.5
    outputs, lengths = seqmask.move_padding_right(inputs, mask)
    assert outputs.shape == inputs.shape
    np.testing.assert_array_equal(lengths, mask.sum(axis=1))
    if dtype == 'str':
        inputs = inputs.astype('S')
    for row, moved, keep, length in zip(inputs, outputs.numpy(), mask, lengths.numpy()):
        assert moved[:length].tolist() == row[keep].tolist()
        assert not moved[length:].astype(bool).any()


def test_move_padding_right_feeds_what_lengths_from_mask_refuses():
    inputs, lengths = seqmask.move_padding_right(tf.constant([[0., 1., 2.]]), [[False, True, True]])
    again = seqmask.lengths_from_mask(seqmask.sequence_mask(lengths, 3))
    assert again.numpy().tolist() == lengths.numpy().tolist() == [2]
    assert seqmask.lengths_from_features(inputs).numpy() == [2]


def test_gradient_of_move_padding_right_goes_to_real_steps_only():
    inputs = tf.Variable([[np.nan, 4.0, 5.0]])
    with tf.GradientTape() as tape:
        outputs, _ = seqmask.move_padding_right(inputs, [[False, True, True]])
        loss = tf.reduce_sum(outputs ** 2)
    assert tape.gradient(loss, inputs).numpy().tolist() == [[0, 2 * 4, 2 * 5]]


def test_move_padding_right_refuses_a_mask_that_does_not_fit():
    with pytest.raises(ValueError, match=r'got mask \(1, 3\) for inputs \(2, 3\)'):
        seqmask.move_padding_right(tf.zeros([2, 3]), [RIGHT])
    call = graph(seqmask.move_padding_right, tf.TensorSpec([None, None, 1]),
                 tf.TensorSpec([None, None], tf.bool))
    with pytest.raises(tf.errors.InvalidArgumentError, match='mask must have the leading axes of'):
        call(tf.zeros([2, 3, 1]), tf.constant([RIGHT]))


@pytest.mark.parametrize('function', [seqmask.lengths_from_features, seqmask.count_used_frames])
def test_one_trace_for_all_widths(function):
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, None])])
    def call(features):
        traces.append(1)
        return function(features)
    for maxlen in range(20):
        assert call(tf.ones([2, maxlen, 3])).numpy().tolist() == [maxlen, maxlen]
    assert len(traces) == 1


def test_features_of_unknown_rank_are_an_error():
    with pytest.raises(ValueError, match='features must have a known rank'):
        graph(seqmask.lengths_from_features, tf.TensorSpec(None)).get_concrete_function()
