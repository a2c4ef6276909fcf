"""Metrics of logits and class labels."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.metrics.average import Average
from seqmask.tally import Tally, step_mask, tally_up, widen


class _ClassMetric(Average):
    """Base of metrics that average `_per_step(logits, labels)`, float [B, T]."""

    def update(self, *, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
               weights: TensorLike | None = None) -> None:
        self.add(self.tally(logits=logits, labels=labels, mask=mask, weights=weights, per=self.per))

    @classmethod
    def tally(cls, *, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
              weights: TensorLike | None = None, per: str = 'step') -> Tally:
        logits, labels, mask = _classes(logits, labels, mask)
        return tally_up(cls._per_step(logits, labels), mask, weights, per)


class Accuracy(_ClassMetric):
    """Share of the real steps whose largest logit is the label's.

    >>> accuracy = seqmask.metrics.Accuracy()
    >>> accuracy.update(logits=tf.constant([[[0., 1.], [1., 0.], [1., 0.]]]),
    ...                 labels=tf.constant([[1, 1, -9]]), mask=tf.constant([[True, True, False]]))
    >>> float(accuracy.result())
    0.5
    """

    @staticmethod
    def _per_step(logits, labels):
        return tf.cast(_predicted(logits) == labels, logits.dtype)


class ErrorRate(_ClassMetric):
    """Share of the real steps whose largest logit is not the label's.

    ErrorRate(per='sequence') is the mean error per sequence, such as that of the letters of a word.

    >>> error = seqmask.metrics.ErrorRate(per='sequence')
    >>> error.update(logits=tf.constant([[[0., 1.], [1., 0.]], [[1., 0.], [0., 0.]]]),
    ...              labels=tf.constant([[1, 1], [1, 0]]),
    ...              mask=tf.constant([[True, True], [True, False]]))
    >>> float(error.result()) == (1 / 2 + 1) / 2
    True
    """

    @staticmethod
    def _per_step(logits, labels):
        return tf.cast(_predicted(logits) != labels, logits.dtype)


class SequenceAccuracy(_ClassMetric):
    """Share of the sequences without a wrong step; empty sequences do not count.

    >>> accuracy = seqmask.metrics.SequenceAccuracy()
    >>> accuracy.update(logits=tf.constant([[[0., 1.], [1., 0.]], [[1., 0.], [0., 0.]]]),
    ...                 labels=tf.constant([[1, 0], [1, 0]]),
    ...                 mask=tf.constant([[True, True], [True, False]]))
    >>> float(accuracy.result())
    0.5
    """

    def __init__(self, name: str | None = None):
        super().__init__('sequence', name)

    @staticmethod
    def tally(*, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
              weights: TensorLike | None = None, per: str = 'sequence') -> Tally:
        """`Tally` of correct sequences; weights [B]."""
        checks.choice('per', per, ['sequence'])
        logits, labels, mask = _classes(logits, labels, mask)
        inner = list(range(1, mask.shape.rank))
        correct = tf.reduce_all((_predicted(logits) == labels) | ~mask, axis=inner)
        return tally_up(tf.cast(correct, logits.dtype), tf.reduce_any(mask, axis=inner), weights)


class Perplexity(_ClassMetric):
    """exp of the mean cross-entropy; K for a random guess. Its tally is in nats.

    >>> perplexity = seqmask.metrics.Perplexity()
    >>> perplexity.update(logits=tf.zeros([1, 2, 4]), labels=tf.constant([[3, 1]]), mask=None)
    >>> round(float(perplexity.result()), 5)
    4.0
    """

    _finish = staticmethod(tf.exp)

    @staticmethod
    def _per_step(logits, labels):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


class ConfusionMatrix(tf.Module):
    """Counts of real steps by label and predicted class.

    >>> confusion = seqmask.metrics.ConfusionMatrix(num_classes=2)
    >>> confusion.update(logits=tf.constant([[[0., 1.], [1., 0.], [0., 1.]]]),
    ...                  labels=tf.constant([[1, 1, 0]]), mask=tf.constant([[True, True, False]]))
    >>> confusion.result().numpy()
    array([[0, 0],
           [1, 1]])
    """

    def __init__(self, num_classes: int, name: str | None = None):
        super().__init__(name=name)
        self.num_classes = checks.size('num_classes', num_classes)
        self.counts = tf.Variable(tf.zeros([num_classes, num_classes], tf.int64), trainable=False,
                                  name='counts')

    def update(self, *, logits: TensorLike, labels: TensorLike, mask: TensorLike | None) -> None:
        logits, labels, mask = _classes(logits, labels, mask)
        checks.axis_size('logits', logits, -1, self.num_classes, 'K')
        cells = labels * self.num_classes + _predicted(logits)
        # Masked steps add 0; selecting the others would have no static shape for XLA.
        counts = tf.math.unsorted_segment_sum(
            tf.cast(mask, tf.int64), cells, self.num_classes ** 2)
        self.counts.assign_add(tf.reshape(counts, self.counts.shape))

    def result(self) -> tf.Tensor:
        """int64 [K, K]. Rows are labels, columns predicted classes."""
        return tf.identity(self.counts)

    def reset(self) -> None:
        self.counts.assign(tf.zeros_like(self.counts))


def _classes(logits, labels, mask):
    """Logits, widened and masked, class labels, and the mask of their steps."""
    logits = widen(checks.floating('logits', logits, 'B, K, ...'))
    mask = step_mask(mask, 'logits', logits, [logits.shape.rank - 1])
    return apply_mask(logits, mask), checks.class_labels(labels, logits, mask), mask


def _predicted(logits):
    return tf.argmax(logits, axis=-1, output_type=tf.int64)
