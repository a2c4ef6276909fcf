"""Which steps are real?"""

from __future__ import annotations

import math

import tensorflow as tf

from seqmask import checks, known
from seqmask.checks import TensorLike


def lengths_from_features(features: TensorLike, padding_value: float = 0.0) -> tf.Tensor:
    """Length of each sequence, from features padded on the right.

    lengths[b] = 1 + the last t at which any of features[b, t] differs from padding_value;
                 0 where none does

    A frame equal to the padding inside a sequence is real. A real one at the very end cannot be
    told from padding: if that occurs, use lengths that come with the data.

    Args:
      features: number [B, T, D], or ids [B, T].
      padding_value: The number that stands in the padding; NaN is allowed.

    Returns:
      int32 [B]. Time steps.

    Raises:
      ValueError: If features has fewer than two axes, or its dtype cannot hold padding_value.

    >>> seqmask.lengths_from_features(tf.constant([[[7.], [0.], [5.], [0.]]])).numpy()
    array([3], dtype=int32)
    """
    used = _used_frames(features, padding_value)
    steps = tf.range(1, tf.shape(used)[1] + 1)
    last = tf.reduce_max(tf.where(used, steps, 0), axis=1)
    return tf.maximum(last, 0)      # for T = 0 the maximum of nothing is the lowest int


def count_used_frames(features: TensorLike, padding_value: float = 0.0) -> tf.Tensor:
    """Number of frames of each sequence that are not all padding.

    count[b] = number of t at which any of features[b, t] differs from padding_value

    The well-known recipe for lengths, here for comparison. It equals `lengths_from_features` only
    where no real frame is all padding.

    Args:
      features: number [B, T, D], or ids [B, T].
      padding_value: The number that stands in the padding; NaN is allowed.

    Returns:
      int32 [B]. Frames.

    Raises:
      ValueError: If features has fewer than two axes, or its dtype cannot hold padding_value.

    Source: D. Hafner, Variable Sequence Lengths in TensorFlow, 2016.

    >>> seqmask.count_used_frames(tf.constant([[[7.], [0.], [5.], [0.]]])).numpy()
    array([2], dtype=int32)
    """
    return tf.reduce_sum(tf.cast(_used_frames(features, padding_value), tf.int32), axis=1)


def lengths_from_mask(mask: TensorLike) -> tf.Tensor:
    """Length of each sequence, from a mask that is True at its first steps only.

    lengths[b] = number of True in mask[b]

    Args:
      mask: bool [B, T]. True = real. Each row must be right-padded.

    Returns:
      int32 [B]. Time steps.

    Raises:
      TypeError: If mask is not bool.
      ValueError: If mask does not have rank 2.
      tf.errors.InvalidArgumentError: If a row is padded on the left or has holes; the message
        names the rows. `move_padding_right` converts such data.

    >>> seqmask.lengths_from_mask(tf.constant([[True, True, False]])).numpy()
    array([2], dtype=int32)
    """
    mask = checks.mask(mask, checks.tensor('mask', mask, 'B, T'))
    lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    wrong = tf.reduce_any(mask != tf.sequence_mask(lengths, tf.shape(mask)[1]), axis=1)
    checks.require(~tf.reduce_any(wrong),
                   'mask must be right-padded: True up to the length, False after it. Convert with '
                   'inputs, lengths = seqmask.move_padding_right(inputs, mask). Wrong rows:',
                   tf.where(wrong)[:, 0])
    return lengths


def sequence_mask(lengths: TensorLike, maxlen: TensorLike,
                  dtype: str | tf.DType = tf.bool) -> tf.Tensor:
    """Which steps are real.

    mask[b, t] = t < lengths[b]

    Args:
      lengths: int32 [B]. Time steps, 0 <= lengths <= maxlen.
      maxlen: int or int scalar. T, the padded width.
      dtype: Of the result; every operation here takes bool.

    Returns:
      dtype [B, T].

    Raises:
      TypeError: If lengths is not int32 or int64, or maxlen is not an integer.
      ValueError: If lengths does not have rank 1.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds maxlen. Under XLA
        (`jit_compile=True`) and in TensorFlow Lite, which drop checks of values, every operation
        clips lengths to [0, maxlen] instead.

    >>> seqmask.sequence_mask([1, 3], 3).numpy()
    array([[ True, False, False],
           [ True,  True,  True]])
    """
    lengths = checks.lengths(lengths, maxlen=maxlen)
    return known.with_sizes_of(tf.sequence_mask(lengths, maxlen, dtype=dtype), lengths)


def move_padding_right(inputs: TensorLike, mask: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
    """Moves each sequence's real steps to the front, in order; the rest is zero.

    outputs[b, k] = inputs[b, the k-th t at which mask[b, t] is True]

    The mask may be padded on the left, or have holes: steps where it is False are dropped.

    Args:
      inputs: [B, T, ...]. Values at padded steps are ignored, NaN included.
      mask: bool [B, T]. True = real.

    Returns:
      (outputs [B, T, ...], lengths int32 [B]).

    Raises:
      TypeError: If mask is not bool.
      ValueError: If the shapes do not fit.

    >>> outputs, lengths = seqmask.move_padding_right(
    ...     tf.constant([[[0.], [4.], [5.]]]), tf.constant([[False, True, True]]))
    >>> outputs.numpy().ravel(), lengths.numpy()
    (array([4., 5., 0.], dtype=float32), array([2], dtype=int32))
    """
    inputs = checks.tensor('inputs', inputs, 'B, T, ...')
    mask = checks.mask(mask, checks.tensor('mask', mask, 'B, T'))
    mask = checks.prefix('mask', mask, 'inputs', inputs)
    lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    targets = tf.cumsum(tf.cast(mask, tf.int32), axis=1, exclusive=True)  # [B, T]
    sources = tf.where(mask)                                              # [real steps, 2]
    rows = tf.cast(sources[:, 0], tf.int32)
    places = tf.stack([rows, tf.gather_nd(targets, sources)], axis=1)
    outputs = tf.scatter_nd(places, tf.gather_nd(inputs, sources), tf.shape(inputs))
    return tf.ensure_shape(outputs, inputs.shape), lengths


def _used_frames(features, padding_value):
    features = checks.tensor('features', features, 'B, T, ...')
    dtype = features.dtype
    if dtype.is_integer and not (dtype.min <= padding_value <= dtype.max
                                 and padding_value == int(padding_value)):
        raise ValueError(f'padding_value must be a number that {dtype.name} features can hold, '
                         f'got {padding_value}.')
    if math.isnan(padding_value):
        used = ~tf.math.is_nan(features)
    else:
        used = features != tf.cast(padding_value, dtype)
    return tf.reduce_any(used, axis=range(2, used.shape.rank))
