"""Which ratings are given, which are scored, and how is weight decay shared among batches?"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask


def given_steps(given: TensorLike | None, mask: tf.Tensor) -> tf.Tensor:
    """Steps that are real and given, bool [B, T]; all real ones if `given` is None."""
    return mask if given is None else mask & checks.mask(given, mask, 'lengths')


def seen_and_scored(batch: dict[str, tf.Tensor], mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Which steps the encoder sees, and which are scored, both bool [B, T]."""
    if 'given' not in batch:
        return mask, mask
    given = given_steps(batch['given'], mask)
    return given, mask & ~given


def shares(columns: Sequence[tf.Tensor], steps: Sequence[tf.Tensor], num_columns: int,
           dtype: tf.DType) -> list[tf.Tensor]:
    """1 / (occurrences of its column in all micro-batches and on all replicas), of each rating.

    Args:
      columns: list of int [B, T], one for each micro-batch of this replica.
      steps: list of bool [B, T]. Which ratings count as occurrences.
      num_columns: int. Upper bound of columns.
      dtype: Of the shares.

    Returns:
      list of float [B, T]; 0 where a rating does not count.
    """
    occurring = tf.concat([tf.boolean_mask(c, s) for c, s in zip(columns, steps)], axis=0)
    counts = tf.math.unsorted_segment_sum(tf.ones_like(occurring, tf.float32), occurring,
                                          num_columns)
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync > 1:
        counts = replica.all_reduce(tf.distribute.ReduceOp.SUM, counts)
    return [tf.cast(apply_mask(tf.math.divide_no_nan(1.0, tf.gather(counts, c)), s), dtype)
            for c, s in zip(columns, steps)]


def sum_of_squares(rows: Sequence[tf.Tensor], columns: tf.Tensor, steps: tf.Tensor,
                   share: tf.Tensor | None = None) -> tf.Tensor:
    """Sum of the squares of gathered table rows, weighted by their shares.

    Args:
      rows: list of float [N, H], a table's rows of the N columns that occur, in their order.
      columns: int [B, T].
      steps: bool [B, T]. Which ratings count as occurrences.
      share: float [B, T] as `shares` returns it; None if no row occurs elsewhere.
    """
    if share is None:
        return tf.add_n([tf.reduce_sum(tf.square(r)) for r in rows])
    squares = tf.add_n([tf.reduce_sum(tf.square(r), axis=-1) for r in rows])        # [N]
    _, place = tf.unique(tf.boolean_mask(columns, steps))
    return tf.reduce_sum(squares * tf.math.unsorted_segment_sum(
        tf.boolean_mask(share, steps), place, tf.size(squares)))
