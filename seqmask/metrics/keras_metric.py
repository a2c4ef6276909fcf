"""Keras metrics of real steps."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.tally import step_mask


class KerasMetric(tf.Module):
    """Any Keras metric, updated with the real steps only.

    keras_metric.update_state(labels[mask], predictions[mask], sample_weight=weights[mask])

    >>> metric = seqmask.metrics.KerasMetric(tf.keras.metrics.MeanAbsoluteError())
    >>> metric.update(predictions=tf.constant([[[1.], [float('nan')]]]),
    ...               labels=tf.zeros([1, 2, 1]), mask=tf.constant([[True, False]]))
    >>> float(metric.result())
    1.0
    """

    def __init__(self, keras_metric: tf.keras.metrics.Metric, name: str | None = None):
        super().__init__(name=name)
        if not isinstance(keras_metric, tf.keras.metrics.Metric):
            raise TypeError(f'keras_metric must be a Keras metric, got {keras_metric!r}.')
        self.keras_metric = keras_metric
        self._track()

    def update(self, *, predictions: TensorLike, labels: TensorLike, mask: TensorLike | None,
               weights: TensorLike | None = None) -> None:
        """Adds a batch; predictions and labels [B, T, ...] as the Keras metric takes them."""
        predictions = checks.tensor('predictions', predictions, 'B, ...')
        labels = checks.tensor('labels', labels, 'B, ...')
        rank = labels.shape.rank
        mask = step_mask(mask, 'labels', labels, [min(2, rank), *range(1, rank + 1)])
        mask = checks.prefix('mask', mask, 'predictions', predictions)
        places = tf.where(mask)
        if weights is not None:
            weights = checks.prefix('weights', checks.tensor('weights', weights, 'B, ...'),
                                    'mask', mask)
            weights = tf.gather_nd(weights, places[:, :weights.shape.rank])
        if predictions.shape.rank == mask.shape.rank:
            # Keras averages over the last axis: it must not hold the steps.
            predictions, labels = predictions[..., None], labels[..., None]
        self.keras_metric.update_state(tf.gather_nd(labels, places),
                                       tf.gather_nd(predictions, places), sample_weight=weights)
        self._track()

    def result(self) -> tf.Tensor:
        return self.keras_metric.result()

    def reset(self) -> None:
        self.keras_metric.reset_state()

    def _track(self):
        # Keras metrics are not tf.Modules, and some create variables at the first update.
        self.state = [variable.value for variable in self.keras_metric.variables]
