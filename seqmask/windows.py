"""Which steps does a window see?

A window of `size` steps, `dilation` apart, moves over each sequence by `stride` steps:

  'same'    the window of output k reaches from step k stride - (size - 1) dilation // 2
  'causal'  the window of output k ends with step k stride
  'valid'   the windows lie wholly inside the sequence; that of output k starts at step k stride

Steps before the start and after the end of a sequence do not exist (a convolution reads zeros).
"""

from __future__ import annotations

import tensorflow as tf

from seqmask.checks import TensorLike

PADDINGS = ('same', 'valid', 'causal')


def window_lengths(lengths: tf.Tensor | int, size: int, *, stride: int = 1, dilation: int = 1,
                   padding: str = 'same') -> tf.Tensor | int:
    """The number of windows of each sequence.

    ceil(length / stride)                                  for 'same' and 'causal'
    max(0, (length - (size - 1) dilation - 1) // stride + 1)   for 'valid'

    Args:
      lengths: int [B], or an int scalar. Time steps.
      size: int. Steps in a window.
      stride: int.
      dilation: int.
      padding: 'same', 'valid' or 'causal'.

    Returns:
      The shape and dtype of lengths.
    """
    if padding != 'valid':
        return -(-lengths // stride)
    return tf.maximum((lengths - (size - 1) * dilation - 1) // stride + 1, 0)


def windows(values: tf.Tensor, size: int, *, stride: int = 1, dilation: int = 1,
            padding: str = 'same', fill: TensorLike = 0) -> tf.Tensor:
    """The steps of each window, side by side.

    out[b, k, j] = values[b, k stride + j dilation - before],  `fill` outside [0, T)

    Args:
      values: [B, T, ...]. Padded steps are not masked here: mask them first.
      size: int. Steps in a window.
      stride: int.
      dilation: int.
      padding: 'same', 'valid' or 'causal'.
      fill: Scalar, the value before the start and after T.

    Returns:
      [B, T', size, ...], T' = window_lengths(T).
    """
    values, count = surround(values, size, stride=stride, dilation=dilation, padding=padding,
                             fill=fill)
    taps = [values[:, j * dilation:j * dilation + (count - 1) * stride + 1:stride][:, :count]
            for j in range(size)]
    return tf.stack(taps, axis=2)


def surround(values: tf.Tensor, size: int, *, stride: int = 1, dilation: int = 1,
             padding: str = 'same', fill: TensorLike = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """The values, padded in time for all windows, and for at least one.

    Args:
      As of `windows`.

    Returns:
      (values [B, before + T + after, ...], T' = window_lengths(T)). Window k reaches from step
      k stride of the result to step k stride + (size - 1) dilation.
    """
    maxlen = tf.shape(values)[1]
    count = window_lengths(maxlen, size, stride=stride, dilation=dilation, padding=padding)
    reach = (size - 1) * dilation
    before = {'same': reach // 2, 'causal': reach, 'valid': 0}[padding]
    last = (tf.maximum(count, 1) - 1) * stride + reach
    after = tf.maximum(last + 1 - before - maxlen, 0)
    margins = [[0, 0], [before, after]] + [[0, 0]] * (values.shape.rank - 2)
    return tf.pad(values, margins, constant_values=tf.cast(fill, values.dtype)), count
