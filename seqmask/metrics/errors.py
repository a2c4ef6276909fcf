"""Metrics of numeric predictions and labels."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.metrics.average import Average
from seqmask.tally import Tally, labels_like, step_mask, tally_up, widen


class _ErrorMetric(Average):
    """Base of metrics that average `_per_element(predictions - labels)`, [B, T] or [B, T, D]."""

    def update(self, *, predictions: TensorLike, labels: TensorLike, mask: TensorLike | None,
               weights: TensorLike | None = None) -> None:
        self.add(self.tally(predictions=predictions, labels=labels, mask=mask, weights=weights,
                            per=self.per))

    @classmethod
    def tally(cls, *, predictions: TensorLike, labels: TensorLike, mask: TensorLike | None,
              weights: TensorLike | None = None, per: str = 'step') -> Tally:
        predictions = widen(checks.floating('predictions', predictions, 'B, ...'))
        labels = labels_like(predictions, 'predictions', labels)
        mask = step_mask(mask, 'predictions', predictions)
        return tally_up(cls._per_element(predictions - labels), mask, weights, per)


class RMSE(_ErrorMetric):
    """Square root of the mean squared error. Its tally is of squares.

    >>> rmse = seqmask.metrics.RMSE()
    >>> rmse.update(predictions=tf.constant([[1., 7.]]), labels=tf.constant([[0., 0.]]), mask=None)
    >>> float(rmse.result()) == ((1 ** 2 + 7 ** 2) / 2) ** 0.5
    True
    """

    _per_element = staticmethod(tf.square)
    _finish = staticmethod(tf.sqrt)


class MAE(_ErrorMetric):
    """Mean absolute error.

    >>> mae = seqmask.metrics.MAE()
    >>> mae.update(predictions=tf.constant([[1., 7.]]), labels=tf.constant([[0., 0.]]), mask=None)
    >>> float(mae.result())
    4.0
    """

    _per_element = staticmethod(tf.abs)
