"""Batches of real steps only: time-major, longest sequence first, no padding."""

from __future__ import annotations

import typing

import tensorflow as tf

from seqmask import checks, known
from seqmask.checks import TensorLike


class Packed(typing.NamedTuple):
    """The real steps of a batch: all first steps, then all second steps, and so on.

    Step t holds the `batch_sizes[t]` sequences longer than t, longest first (equal lengths keep
    their order), so the sequences alive at step t + 1 are the first rows of step t.

    Attributes:
      values: [N, ...]. N = sum of lengths.
      batch_sizes: int32 [L]. Sequences alive at each step; L = the longest length, 0 if B = 0.
      order: int32 [B]. The batch row of each sequence, longest first.
      positions: int32 [N, 2]. (batch row, time step) of each value.
      lengths: int32 [B]. In the order of the batch.
      maxlen: int32 scalar. T, the padded width that `unpack` restores.
    """
    values: tf.Tensor
    batch_sizes: tf.Tensor
    order: tf.Tensor
    positions: tf.Tensor
    lengths: tf.Tensor
    maxlen: tf.Tensor


def pack(inputs: TensorLike, lengths: TensorLike, *, reverse: bool = False) -> Packed:
    """Gathers the real steps of a padded batch.

    Args:
      inputs: [B, T, ...]. Values at padded steps are ignored, NaN included.
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.
      reverse: If True, each sequence is read from its own last step to its first; `unpack` puts
        the steps back in their places.

    Returns:
      `Packed`.

    Raises:
      TypeError: If lengths is not int32 or int64.
      ValueError: If a rank or a static size does not fit.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).

    >>> packed = seqmask.pack(tf.constant([[[1.], [0.]], [[2.], [3.]]]), tf.constant([1, 2]))
    >>> packed.values.numpy().ravel(), packed.batch_sizes.numpy()
    (array([2., 1., 3.], dtype=float32), array([2, 1], dtype=int32))
    """
    inputs = checks.tensor('inputs', inputs, 'B, T, ...')
    batch, maxlen = known.sizes(inputs)
    lengths = checks.lengths(lengths, batch=batch, maxlen=maxlen)
    order = tf.argsort(lengths, direction='DESCENDING', stable=True)
    ordered = tf.gather(lengths, order)
    longest = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
    alive = tf.range(longest)[:, None] < ordered           # [L, B]
    batch_sizes = tf.reduce_sum(tf.cast(alive, tf.int32), axis=1)
    places = tf.cast(tf.where(alive), tf.int32)            # [N, 2], time-major
    steps, ranks = places[:, 0], places[:, 1]
    if reverse:
        steps = tf.gather(ordered, ranks) - 1 - steps
    positions = tf.stack([tf.gather(order, ranks), steps], axis=1)
    # gather_nd and scatter_nd are each other's gradient, and neither touches the padding.
    values = tf.gather_nd(inputs, positions)
    return Packed(values, batch_sizes, order, positions, lengths, maxlen)


def unpack(packed: Packed) -> tf.Tensor:
    """Returns packed steps to a padded batch; padded steps are 0.

    unpack(pack(inputs, lengths)) = apply_mask(inputs, sequence_mask(lengths, T))

    Args:
      packed: `Packed`. To unpack other values of the same steps, `packed._replace(values=...)`.

    Returns:
      [B, T, ...].

    >>> packed = seqmask.pack(tf.constant([[[1.], [9.]], [[2.], [3.]]]), tf.constant([1, 2]))
    >>> seqmask.unpack(packed).numpy().tolist()
    [[[1.0], [0.0]], [[2.0], [3.0]]]
    """
    batch_and_time = tf.stack([tf.size(packed.lengths), packed.maxlen])
    shape = tf.concat([batch_and_time, tf.shape(packed.values)[1:]], axis=0)
    outputs = tf.scatter_nd(packed.positions, packed.values, shape)
    static = [packed.lengths.shape[0], tf.get_static_value(packed.maxlen)]
    return tf.ensure_shape(outputs, static + packed.values.shape[1:].as_list())


def take_rows(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """values[rows], with a dense gradient, unlike `tf.gather`.

    Args:
      values: [B, ...].
      rows: int32 [N].

    Returns:
      [N, ...].
    """
    return tf.gather_nd(values[:, None], tf.stack([rows, tf.zeros_like(rows)], axis=1))
