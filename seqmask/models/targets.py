"""Kinds of targets per step: their losses and metrics."""

from __future__ import annotations

import typing

import tensorflow as tf

from seqmask import known, losses
from seqmask.layers import CRF
from seqmask.metrics import (F1, MAE, RMSE, Accuracy, ErrorRate, Mean, Precision, Recall,
                             SequenceAccuracy)
from seqmask.models.protocol import scored_steps
from seqmask.tally import Tally

Batch = typing.Dict[str, tf.Tensor]


class Classes:
    """One class per step, int [B, T], from logits [B, T, K]."""

    def loss(self, logits: tf.Tensor, batch: Batch) -> Tally:
        return losses.sparse_softmax_cross_entropy(**scored_steps(logits, batch))

    def measure(self, logits: tf.Tensor, batch: Batch) -> dict[str, Tally]:
        return {'loss': self.loss(logits, batch), **_right(scored_steps(logits, batch))}


class Chain(typing.NamedTuple):
    """One class per step, the classes of a sequence jointly."""
    crf: CRF

    def loss(self, logits: tf.Tensor, batch: Batch) -> Tally:
        return self.crf.loss(logits=logits, labels=batch['labels'], lengths=batch['lengths'],
                             per='step')

    def measure(self, logits: tf.Tensor, batch: Batch) -> dict[str, Tally]:
        labels, _ = self.crf.decode(logits, batch['lengths'])
        as_logits = known.with_sizes_of(tf.one_hot(labels, self.crf.num_classes), logits)
        return {'loss': self.loss(logits, batch), **_right(scored_steps(as_logits, batch))}


class Binary(typing.NamedTuple):
    """K binary targets per step, number [B, T, K], from one logit each."""
    features: str

    def loss(self, logits: tf.Tensor, batch: Batch) -> Tally:
        return losses.sigmoid_cross_entropy(**scored_steps(logits, batch), features=self.features)

    def measure(self, logits: tf.Tensor, batch: Batch) -> dict[str, Tally]:
        scored = scored_steps(tf.cast(logits, tf.float32), batch)
        yes = tf.cast(scored['labels'], tf.float32) > 0.5
        right = tf.cast((scored['logits'] >= 0) == yes, tf.float32)
        # Each logit counts as a step.
        width = logits.shape[-1]
        rows = [tf.shape(logits)[0], tf.shape(logits)[1] * width]
        each = {'logits': tf.reshape(scored['logits'], rows),
                'labels': tf.reshape(scored['labels'], rows),
                'mask': tf.repeat(scored['mask'], width, axis=1)}
        return {'loss': self.loss(logits, batch),
                'accuracy': Mean.tally(values=right, mask=scored['mask']),
                'precision': Precision.tally(**each), 'recall': Recall.tally(**each),
                'f1': F1.tally(**each)}


class Numbers(typing.NamedTuple):
    """K numbers per step, [B, T, K]."""
    error: str
    features: str

    def loss(self, outputs: tf.Tensor, batch: Batch) -> Tally:
        of = {'squared': losses.squared_error, 'absolute': losses.absolute_error,
              'huber': losses.huber}[self.error]
        return of(**_errors(outputs, batch), features=self.features)

    def measure(self, outputs: tf.Tensor, batch: Batch) -> dict[str, Tally]:
        scored = _errors(outputs, batch)
        return {'loss': self.loss(outputs, batch), 'squared_error': RMSE.tally(**scored),
                'absolute_error': MAE.tally(**scored)}


def _right(scored):
    return {'accuracy': Accuracy.tally(**scored),
            'sequence_error': ErrorRate.tally(**scored, per='sequence'),
            'sequence_accuracy': SequenceAccuracy.tally(**scored)}


def _errors(outputs, batch):
    scored = scored_steps(outputs, batch)
    return {'predictions': scored.pop('logits'), **scored}
