"""Losses and metrics over real steps only, for `compile`."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from seqmask.checks import TensorLike
from seqmask.losses.keras_objectives import at_real_steps
from seqmask.metrics import KerasMetric
from seqmask.tally import tally_up


@tf.keras.utils.register_keras_serializable('seqmask')
class MaskedLoss(tf.keras.losses.Loss):
    """A Keras loss over real steps only, divided by the sum of their weights.

    loss = sum of w[b, t] fn(y_true, y_pred)[b, t] / sum of w[b, t],   over the real steps

    A step is real where y_pred's mask is True and its weight is not 0. Without a mask, pass the
    real steps to `fit` as `sample_weight`: `sequence_mask(lengths, maxlen, tf.float32)`. Labels of
    other steps may be anything, NaN included. Keras instead divides by the number of steps whatever
    their weights, and by all of them if it sees no mask.

    Args:
      loss: Keras loss, its name, or a function (y_true, y_pred) -> [B, T].
      name: Shown by Keras.

    >>> loss = seqmask.keras.MaskedLoss('mse')
    >>> labels = tf.constant([[[1.], [3.], [float('nan')]]])
    >>> float(loss(labels, tf.zeros([1, 3, 1]), sample_weight=tf.constant([[1., 1., 0.]])))
    5.0
    """

    def __init__(self, loss: str | Callable[..., tf.Tensor], name: str = 'masked_loss'):
        super().__init__(name=name)
        self.loss = tf.keras.losses.get(loss)

    def __call__(self, y_true: TensorLike, y_pred: TensorLike,
                 sample_weight: TensorLike | None = None) -> tf.Tensor:
        fn = self.loss.call if isinstance(self.loss, tf.keras.losses.Loss) else self.loss
        values, mask = at_real_steps(fn, y_true, y_pred, _find_mask(y_pred, sample_weight))
        loss = tally_up(values, mask, sample_weight).mean()
        # Keras sums the gradients over the replicas.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def get_config(self) -> dict:
        return {'loss': tf.keras.losses.serialize(self.loss), 'name': self.name}

    @classmethod
    def from_config(cls, config: dict) -> MaskedLoss:
        return cls(tf.keras.losses.deserialize(config['loss']), config['name'])


@tf.keras.utils.register_keras_serializable('seqmask')
class MaskedMetric(tf.keras.metrics.Metric):
    """A Keras metric that sees the real steps only.

    Steps are real as in `MaskedLoss`. Pass it to `compile` in `weighted_metrics`, so that Keras
    gives it the `sample_weight`.

    Args:
      metric: Keras metric.
      name: Shown by Keras; by default that of the metric.

    >>> metric = seqmask.keras.MaskedMetric(tf.keras.metrics.MeanAbsoluteError())
    >>> metric.update_state(tf.constant([[[1.], [float('nan')]]]), tf.zeros([1, 2, 1]),
    ...                     sample_weight=tf.constant([[1., 0.]]))
    >>> float(metric.result())
    1.0
    """

    def __init__(self, metric: tf.keras.metrics.Metric, name: str | None = None):
        super().__init__(name=name or metric.name)
        self.metric = metric

    def update_state(self, y_true: TensorLike, y_pred: TensorLike,
                     sample_weight: TensorLike | None = None) -> None:
        KerasMetric(self.metric).update(predictions=y_pred, labels=y_true, weights=sample_weight,
                                        mask=_find_mask(y_pred, sample_weight))

    def result(self) -> tf.Tensor:
        return self.metric.result()

    def reset_state(self) -> None:
        self.metric.reset_state()

    def get_config(self) -> dict:
        return {'metric': tf.keras.metrics.serialize(self.metric), 'name': self.name}

    @classmethod
    def from_config(cls, config: dict) -> MaskedMetric:
        return cls(tf.keras.metrics.deserialize(config['metric']), config['name'])


def _find_mask(y_pred, sample_weight):
    """True where y_pred's mask is True and the weight is not 0; None without either."""
    mask = getattr(y_pred, '_keras_mask', None)
    if sample_weight is None:
        return mask
    weighted = tf.convert_to_tensor(sample_weight) != 0
    if mask is None:
        return weighted
    if weighted.shape.rank < mask.shape.rank:
        weighted = tf.reshape(weighted, [-1] + [1] * (mask.shape.rank - 1))
    return mask & weighted
