"""Losses and metrics over real steps only, for `compile`."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import tensorflow as tf

from seqmask.checks import TensorLike
from seqmask.keras.lost_mask import where_mask_ended
from seqmask.lengths import sequence_mask
from seqmask.losses.keras_objectives import at_real_steps
from seqmask.masking import from_ragged
from seqmask.metrics import KerasMetric
from seqmask.tally import tally_up

# Keras's losses that compare the whole last axis, so that a weight for one element means nothing.
OF_VECTORS = {'categorical_crossentropy', 'categorical_focal_crossentropy', 'categorical_hinge',
              'circle', 'cosine_similarity', 'dice', 'kl_divergence',
              'sparse_categorical_crossentropy', 'tversky'}


@tf.keras.utils.register_keras_serializable('seqmask')
class MaskedLoss(tf.keras.losses.Loss):
    """A Keras loss over real steps only, divided by the sum of their weights.

    loss = sum of w[b, t] fn(y_true, y_pred)[b, t] / sum of w[b, t],   over the real steps

    A step is real where y_pred's mask is True and its weight is not 0. Without a mask, pass the
    real steps to `fit` as `sample_weight`: `sequence_mask(lengths, maxlen, tf.float32)`. Labels of
    other steps may be anything, NaN included. Keras instead divides by the number of steps whatever
    their weights, and by all of them if it sees no mask.

    A mask that ended within the model, as in an encoder that returns one vector, is warned of once,
    with the layer's name, when `fit` or `evaluate` traces the model; unless there are weights
    for each step. Weights may also be those of elements, of the shape of y_pred: 1 where a rating
    is known, 0 elsewhere. Labels that are a `tf.RaggedTensor` are real where they exist.

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
        self._warned = False

    def __call__(self, y_true: TensorLike, y_pred: TensorLike,
                 sample_weight: TensorLike | None = None) -> tf.Tensor:
        y_pred = tf.convert_to_tensor(y_pred)
        y_true, mask, weights = _of_real_steps(y_true, y_pred, sample_weight)
        fn = self.loss.call if isinstance(self.loss, tf.keras.losses.Loss) else self.loss
        if mask is not None and mask.shape.rank == y_pred.shape.rank > 1:
            fn = self._of_elements(fn)
        values, real = at_real_steps(fn, y_true, y_pred, mask)
        of_steps = y_pred.shape.rank > 2 and values.shape.rank > 1
        if of_steps and (mask is None or mask.shape.rank == 1):
            self._warn_if_mask_ended(y_pred)
        loss = tally_up(values, real, weights).mean()
        # Keras sums the gradients over the replicas.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def _of_elements(self, fn):
        """The loss without its average over the last axis: each element is one of its own axis."""
        name = getattr(getattr(self.loss, 'fn', self.loss), '__name__', '')
        if name in OF_VECTORS:
            raise ValueError(f'{name} compares the whole last axis of y_pred, so weights and mask '
                             f'must lack that axis: give one for each step, not for each element.')

        def of_elements(y_true, y_pred):
            values = fn(y_true[..., None], y_pred[..., None])
            return values[..., 0] if values.shape.rank > y_pred.shape.rank else values

        return of_elements

    def _warn_if_mask_ended(self, y_pred):
        layer = None if self._warned else where_mask_ended(y_pred)
        if layer is not None:
            self._warned = True
            warnings.warn(
                f'MaskedLoss {self.name!r} counts the padding: the mask ended at the layer '
                f'{layer!r}, so there is none on the predictions. Pass it to the layers above, '
                f'layer(x, lengths=lengths), or pass fit a sample_weight for each step, 0 in the '
                f'padding (or 1 everywhere, if all steps of the predictions are real).')

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
        y_pred = tf.convert_to_tensor(y_pred)
        y_true, mask, weights = _of_real_steps(y_true, y_pred, sample_weight)
        KerasMetric(self.metric).update(predictions=y_pred, labels=y_true, weights=weights,
                                        mask=mask)

    def result(self) -> tf.Tensor:
        return self.metric.result()

    def reset_state(self) -> None:
        self.metric.reset_state()

    def get_config(self) -> dict:
        return {'metric': tf.keras.metrics.serialize(self.metric), 'name': self.name}

    @classmethod
    def from_config(cls, config: dict) -> MaskedMetric:
        return cls(tf.keras.metrics.deserialize(config['metric']), config['name'])


def _of_real_steps(y_true, y_pred, weights):
    """(y_true, mask, weights) of predictions [B, T, ...]: padded, and real where all of them are.

    The mask is None if nothing tells which steps are real; else it has the rank of y_pred's mask
    or that of the weights, whichever is higher.
    """
    maxlen = tf.shape(y_pred)[1] if y_pred.shape.rank > 1 else None
    masks = [getattr(y_pred, '_keras_mask', None)]
    if isinstance(y_true, tf.RaggedTensor):
        y_true, lengths = from_ragged(y_true, maxlen)
        masks.append(sequence_mask(lengths, maxlen))
    if weights is not None:
        if isinstance(weights, tf.RaggedTensor):
            weights, _ = from_ragged(weights, maxlen)
        weights = tf.convert_to_tensor(weights)
        if weights.shape.rank == y_pred.shape.rank > 1 and weights.shape[-1] == 1:
            weights = tf.squeeze(weights, -1)
        masks.append(tf.cast(weights, tf.bool))
    masks = [mask for mask in masks if mask is not None]
    return y_true, _all_of(masks) if masks else None, weights


def _all_of(masks):
    """Where all masks are True, each with axes of 1 for those that it lacks."""
    rank = max(mask.shape.rank for mask in masks)
    wide = [tf.reshape(mask, tf.concat([tf.shape(mask), [1] * (rank - mask.shape.rank)], axis=0))
            for mask in masks]
    return functools.reduce(tf.logical_and, wide)
