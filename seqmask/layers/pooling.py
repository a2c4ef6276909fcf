"""Pooling over a whole sequence, or over windows of it."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks, windows
from seqmask.checks import TensorLike
from seqmask.lengths import sequence_mask
from seqmask.masking import apply_mask
from seqmask.operands import mean_over_time, real_only
from seqmask.tally import widen


def mean_pool(inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
    """Average of each sequence's real steps.

    out[b] = sum over t < n of inputs[b, t] / n,  n = lengths[b];   0 where n = 0

    Args:
      inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.

    Returns:
      float [B, D]. float16 and bfloat16 are summed in float32.

    Raises:
      ValueError: If a rank or a static size does not fit.
      TypeError: If a dtype does not fit.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).

    >>> seqmask.mean_pool(tf.constant([[[1.], [3.], [9.]]]), tf.constant([2])).numpy()
    array([[2.]], dtype=float32)
    """
    inputs, lengths, _ = real_only(inputs, lengths)
    return mean_over_time(inputs, lengths)


def max_pool(inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
    """Largest value of each feature among each sequence's real steps.

    out[b] = max over t < lengths[b] of inputs[b, t];   0 where lengths[b] = 0

    Args and errors: As of `mean_pool`.

    Returns:
      float [B, D]. Tied maxima share the gradient equally.

    >>> seqmask.max_pool(tf.constant([[[-1.], [-3.], [0.]]]), tf.constant([2])).numpy()
    array([[-1.]], dtype=float32)
    """
    inputs, lengths, mask = real_only(inputs, lengths)
    largest = tf.reduce_max(apply_mask(inputs, mask, fill=_lowest(inputs)), axis=1)
    return apply_mask(largest, lengths > 0)


def average_pool1d(inputs: TensorLike, lengths: TensorLike, pool_size: int, *,
                   strides: int | None = None,
                   padding: str = 'valid') -> tuple[tf.Tensor, tf.Tensor]:
    """Average over windows of time.

    out[b, k] = average of the real steps of window k                for k < lengths_out[b]

    and 0 after it. A window that extends beyond the sequence is divided by its real steps only.

    Args:
      inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.
      pool_size: int. Steps in a window.
      strides: int. Steps from one window to the next; pool_size by default.
      padding: 'same', 'valid' or 'causal', as of `Conv1D`.

    Returns:
      (outputs float [B, T', D], lengths int32 [B]).

    Raises:
      ValueError: If a rank, a static size or an option does not fit.
      TypeError: If a dtype does not fit.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).

    >>> outputs, lengths = seqmask.average_pool1d(
    ...     tf.constant([[[1.], [3.], [5.], [9.]]]), tf.constant([3]), 2, padding='same')
    >>> outputs.numpy().ravel(), lengths.numpy()
    (array([2., 5.], dtype=float32), array([2], dtype=int32))
    """
    inputs, lengths, mask = real_only(inputs, lengths)
    window = _window(pool_size, strides, padding)
    seen = windows.windows(widen(inputs), pool_size, **window)
    real = windows.windows(tf.cast(mask, seen.dtype), pool_size, **window)
    count = tf.reduce_sum(real, axis=2)[:, :, None]
    outputs = tf.cast(tf.math.divide_no_nan(tf.reduce_sum(seen, axis=2), count), inputs.dtype)
    return _pooled(outputs, lengths, pool_size, window)


def max_pool1d(inputs: TensorLike, lengths: TensorLike, pool_size: int, *,
               strides: int | None = None, padding: str = 'valid') -> tuple[tf.Tensor, tf.Tensor]:
    """Largest value over windows of time.

    out[b, k] = max of the real steps of window k                    for k < lengths_out[b]

    and 0 after it.

    Args, errors and result: As of `average_pool1d`.

    >>> outputs, lengths = seqmask.max_pool1d(
    ...     tf.constant([[[-1.], [-3.], [-5.], [9.]]]), tf.constant([3]), 2, padding='same')
    >>> outputs.numpy().ravel(), lengths.numpy()
    (array([-1., -5.], dtype=float32), array([2], dtype=int32))
    """
    inputs, lengths, mask = real_only(inputs, lengths)
    window = _window(pool_size, strides, padding)
    lowest = _lowest(inputs)
    seen = windows.windows(apply_mask(inputs, mask, fill=lowest), pool_size, fill=lowest, **window)
    return _pooled(tf.reduce_max(seen, axis=2), lengths, pool_size, window)


def _window(pool_size, strides, padding):
    checks.size('pool_size', pool_size)
    stride = pool_size if strides is None else checks.size('strides', strides)
    return {'stride': stride, 'padding': checks.choice('padding', padding, windows.PADDINGS)}


def _pooled(outputs, lengths, pool_size, window):
    lengths = windows.window_lengths(lengths, pool_size, **window)
    return apply_mask(outputs, sequence_mask(lengths, tf.shape(outputs)[1])), lengths


def _lowest(values):
    return tf.constant(float('-inf'), values.dtype)
