"""A sum and its number of terms, divided as late as possible."""

from __future__ import annotations

import typing

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike


class Tally(typing.NamedTuple):
    """A sum and the number of its terms.

    mean = total / count;   0 where count = 0

    Tallies of micro-batches, batches and replicas add up. The mean of their sum weights every step
    equally; a mean of means does not. A tally without terms has the mean 0 and no gradient.

    Attributes:
      total: float scalar. Sum of (weighted) terms.
      count: float scalar. Number of terms, or the sum of their weights.

    >>> one, nine = seqmask.Tally(0.0, 1.0), seqmask.Tally(9.0, 9.0)
    >>> round(float((one + nine).mean()), 3), float(seqmask.Tally(0.0, 0.0).mean())
    (0.9, 0.0)
    """
    total: TensorLike
    count: TensorLike

    # Without these, arrays and tuples would treat the tally as a tuple, and add to its count, too.
    __array_ufunc__ = None

    def __add__(self, other: Tally) -> Tally:
        if not isinstance(other, Tally):
            raise TypeError(_refusal(type(other).__name__))
        return Tally(self.total + other.total, self.count + other.count)

    def __radd__(self, other: int) -> Tally:
        if type(other) is not int or other != 0:        # sum() starts from the integer 0
            raise TypeError(_refusal(type(other).__name__))
        return self

    def mean(self) -> tf.Tensor:
        """total / count as a float scalar tensor; 0 where count is 0."""
        return tf.math.divide_no_nan(tf.convert_to_tensor(self.total), self.count)


def _refusal(other):
    return (f'A Tally adds to another Tally only, got {other}. Take its mean(), or add a penalty '
            f'as a Tally: seqmask.Tally(penalty * tally.count, 0.0).')


def _not_a_tensor(tally, dtype=None, name=None, as_ref=False):
    raise TypeError(_refusal('a tensor'))


tf.register_tensor_conversion_function(Tally, _not_a_tensor, priority=0)


def tally_up(values: tf.Tensor, mask: tf.Tensor, weights: TensorLike | None = None,
             per: str = 'step', features: str = 'mean') -> Tally:
    """Sums the values of a loss or a metric at the real steps of a batch.

    per='step':      total = sum of w[b, t] * values[b, t],  count = sum of w[b, t],  at real steps
    per='sequence':  total = sum of v[b] * average of values[b, :] at its real steps, weighted by w,
                     count = sum of v[b],  over the sequences that have any
    where w = weights [B, T] and v = 1, or w = 1 and v = weights [B].

    Args:
      values: float [B, T], or another shape that begins with B; may have one axis more than mask.
      mask: bool [B, T]. True = real.
      weights: number [B] or of the shape of mask, or None. Ignored where no step is real.
      per: 'step' or 'sequence'.
      features: 'mean' or 'sum': how to reduce the axis that the mask lacks.

    Returns:
      `Tally` in the dtype of values.

    Raises:
      ValueError: If a shape does not fit, or per or features is unknown.
    """
    checks.choice('per', per, ['step', 'sequence'])
    checks.choice('features', features, ['mean', 'sum'])
    if values.shape.rank > mask.shape.rank:
        reduce = tf.reduce_mean if features == 'mean' else tf.reduce_sum
        values = reduce(values, axis=-1)
    zero = tf.zeros([], values.dtype)
    values = tf.where(mask, values, zero)
    step_weights = tf.cast(mask, values.dtype)                      # w
    sequence_weights = tf.ones(tf.shape(mask)[:1], values.dtype)    # v
    if weights is not None:
        weights = checks.tensor('weights', tf.cast(weights, values.dtype), 'B, ...')
        if weights.shape.rank == 1:
            sequence_weights = checks.prefix('weights', weights, 'mask', mask)
        else:
            weights = checks.same_shape('weights', weights, 'mask', mask)
            step_weights = tf.where(mask, weights, zero)
    inner = list(range(1, mask.shape.rank))
    totals = tf.reduce_sum(step_weights * values, axis=inner)       # [B]
    counts = tf.reduce_sum(step_weights, axis=inner)
    sequence_weights = tf.where(tf.reduce_any(mask, axis=inner), sequence_weights, zero)
    if per == 'sequence':
        totals = tf.math.divide_no_nan(totals, counts)
        counts = tf.cast(counts != 0, values.dtype)
    return Tally(tf.reduce_sum(sequence_weights * totals), tf.reduce_sum(sequence_weights * counts))


def precise(tally: Tally) -> Tally:
    """The tally in NumPy's float64: a float32 sum cannot count beyond 2^24."""
    return Tally(np.float64(tally.total), np.float64(tally.count))


def step_mask(mask: TensorLike | None, name: str, values: tf.Tensor,
              ranks: list[int] | None = None) -> tf.Tensor:
    """`mask` as bool, of one of `ranks`; if it is None, all True and of the first of `ranks`.

    By default the mask has all axes of `values`, or all but the last; None gives [B, T] for both
    [B, T] and [B, T, D].
    """
    rank = values.shape.rank
    if ranks is None:
        ranks = {1: [1], 2: [2, 1]}.get(rank, [rank - 1, rank])
    if mask is None:
        return tf.ones(tf.shape(values)[:ranks[0]], tf.bool)
    mask = checks.mask(mask, values, name)
    if mask.shape.rank not in ranks:
        raise ValueError(f'mask must have rank {" or ".join(map(str, ranks))}, one entry for each '
                         f'step, got mask {checks.shown(mask.shape)} for {name} '
                         f'{checks.shown(values.shape)}.')
    return mask


def labels_like(outputs: tf.Tensor, name: str, labels: TensorLike) -> tf.Tensor:
    """Labels in the dtype of `outputs`, checked to have the same shape."""
    labels = checks.tensor('labels', tf.cast(labels, outputs.dtype), 'B, ...')
    return checks.same_shape('labels', labels, name, outputs)


def widen(values: tf.Tensor) -> tf.Tensor:
    """Values in the dtype to sum them in: float32 for half precision, else their own."""
    return tf.cast(values, tf.float32) if values.dtype.size < 4 else values
