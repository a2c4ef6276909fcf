"""Of predictions and labels that are numbers: how far off?"""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.metrics.average import Average
from seqmask.tally import Tally, real_steps, tally_up, widen


class _OfErrors(Average):
    """A metric of predictions and labels of one shape, [B, T] or [B, T, D]: `_of_errors`."""

    def update(self, *, predictions: TensorLike, labels: TensorLike, mask: TensorLike | None,
               weights: TensorLike | None = None) -> None:
        self.add(self.tally(predictions=predictions, labels=labels, mask=mask, weights=weights,
                            per=self.per))

    @classmethod
    def tally(cls, *, predictions: TensorLike, labels: TensorLike, mask: TensorLike | None,
              weights: TensorLike | None = None, per: str = 'step') -> Tally:
        predictions = widen(checks.floating('predictions', predictions, 'B, ...'))
        labels = checks.tensor('labels', tf.cast(labels, predictions.dtype), 'B, ...')
        labels = checks.same_shape('labels', labels, 'predictions', predictions)
        mask = real_steps(mask, 'predictions', predictions)
        return tally_up(cls._of_errors(predictions - labels), mask, weights, per)


class RMSE(_OfErrors):
    """Square root of the mean squared error. Its tally is of squares.

    >>> rmse = seqmask.metrics.RMSE()
    >>> rmse.update(predictions=tf.constant([[1., 7.]]), labels=tf.constant([[0., 0.]]), mask=None)
    >>> float(rmse.result()) == ((1 ** 2 + 7 ** 2) / 2) ** 0.5
    True
    """

    _of_errors = staticmethod(tf.square)
    _finish = staticmethod(tf.sqrt)


class MAE(_OfErrors):
    """Mean absolute error.

    >>> mae = seqmask.metrics.MAE()
    >>> mae.update(predictions=tf.constant([[1., 7.]]), labels=tf.constant([[0., 0.]]), mask=None)
    >>> float(mae.result())
    4.0
    """

    _of_errors = staticmethod(tf.abs)
