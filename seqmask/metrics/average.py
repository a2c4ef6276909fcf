"""Metrics that are the mean of the tallies of many batches."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.tally import Tally, step_mask, tally_up, widen


class Average(tf.Module):
    """Base of metrics: `_finish` of the mean of all tallies added so far."""

    _finish = staticmethod(tf.identity)

    def __init__(self, per: str = 'step', name: str | None = None):
        super().__init__(name=name)
        self.per = checks.choice('per', per, ['step', 'sequence'])
        self.total = tf.Variable(0, trainable=False, dtype=tf.float64, name='total')
        self.count = tf.Variable(0, trainable=False, dtype=tf.float64, name='count')

    def add(self, tally: Tally) -> None:
        """Adds a `seqmask.Tally`: the result of `tally(...)`, or a sum of several."""
        self.total.assign_add(tf.cast(tally.total, tf.float64))
        self.count.assign_add(tf.cast(tally.count, tf.float64))

    def result(self) -> tf.Tensor:
        return tf.cast(self._finish(Tally(self.total, self.count).mean()), tf.float32)

    def reset(self) -> None:
        self.total.assign(0)
        self.count.assign(0)


class Mean(Average):
    """Mean of values [B, T], or of [B, T, D] averaged over D first.

    >>> mean = seqmask.metrics.Mean()
    >>> mean.update(values=tf.constant([[0.]]), mask=None)
    >>> mean.update(values=tf.ones([1, 9]), mask=None)
    >>> round(float(mean.result()), 5)
    0.9
    """

    def update(self, *, values: TensorLike, mask: TensorLike | None,
               weights: TensorLike | None = None) -> None:
        self.add(self.tally(values=values, mask=mask, weights=weights, per=self.per))

    @staticmethod
    def tally(*, values: TensorLike, mask: TensorLike | None, weights: TensorLike | None = None,
              per: str = 'step') -> Tally:
        """`Tally` of values."""
        values = widen(checks.floating('values', values, 'B, ...'))
        return tally_up(values, step_mask(mask, 'values', values), weights, per)
