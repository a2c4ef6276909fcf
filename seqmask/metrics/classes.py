"""Of logits and class labels: how many are right?"""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.metrics.average import Average
from seqmask.tally import Tally, real_steps, tally_up, widen


class _OfClasses(Average):
    """A metric of logits and class labels, `_of_steps` of them."""

    def update(self, *, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
               weights: TensorLike | None = None) -> None:
        self.add(self.tally(logits=logits, labels=labels, mask=mask, weights=weights, per=self.per))

    @classmethod
    def tally(cls, *, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
              weights: TensorLike | None = None, per: str = 'step') -> Tally:
        logits, labels, mask = _classes(logits, labels, mask)
        return tally_up(cls._of_steps(logits, labels), mask, weights, per)


class Accuracy(_OfClasses):
    """Part of the real steps whose largest logit is that of the label.

    >>> accuracy = seqmask.metrics.Accuracy()
    >>> accuracy.update(logits=tf.constant([[[0., 1.], [1., 0.], [1., 0.]]]),
    ...                 labels=tf.constant([[1, 1, -9]]), mask=tf.constant([[True, True, False]]))
    >>> float(accuracy.result())
    0.5
    """

    @staticmethod
    def _of_steps(logits, labels):
        return tf.cast(_largest(logits) == labels, logits.dtype)


class ErrorRate(_OfClasses):
    """Part of the real steps whose largest logit is not that of the label.

    ErrorRate(per='sequence') is the mean error per sequence: of the letters of a word, say.

    >>> error = seqmask.metrics.ErrorRate(per='sequence')
    >>> error.update(logits=tf.constant([[[0., 1.], [1., 0.]], [[1., 0.], [0., 0.]]]),
    ...              labels=tf.constant([[1, 1], [1, 0]]),
    ...              mask=tf.constant([[True, True], [True, False]]))
    >>> float(error.result()) == (1 / 2 + 1) / 2
    True
    """

    @staticmethod
    def _of_steps(logits, labels):
        return tf.cast(_largest(logits) != labels, logits.dtype)


class SequenceAccuracy(_OfClasses):
    """Part of the sequences all of whose real steps are right; those without steps do not count.

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
        """`Tally` of right sequences; weights [B]."""
        checks.choice('per', per, ['sequence'])
        logits, labels, mask = _classes(logits, labels, mask)
        inner = list(range(1, mask.shape.rank))
        right = tf.reduce_all((_largest(logits) == labels) | ~mask, axis=inner)
        return tally_up(tf.cast(right, logits.dtype), tf.reduce_any(mask, axis=inner), weights)


class Perplexity(_OfClasses):
    """exp of the mean cross-entropy; K for a guess at random. Its tally is in nats.

    >>> perplexity = seqmask.metrics.Perplexity()
    >>> perplexity.update(logits=tf.zeros([1, 2, 4]), labels=tf.constant([[3, 1]]), mask=None)
    >>> round(float(perplexity.result()), 5)
    4.0
    """

    _finish = staticmethod(tf.exp)

    @staticmethod
    def _of_steps(logits, labels):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


class ConfusionMatrix(tf.Module):
    """How many real steps of each class were taken for each class.

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
        of_classes = labels * self.num_classes + _largest(logits)
        # Masked places count 0, for label 0; a gather would not have a static shape for XLA.
        counts = tf.math.unsorted_segment_sum(
            tf.cast(mask, tf.int64), of_classes, self.num_classes ** 2)
        self.counts.assign_add(tf.reshape(counts, self.counts.shape))

    def result(self) -> tf.Tensor:
        """int64 [K, K]. Rows are the labels, columns what was taken for them."""
        return tf.identity(self.counts)

    def reset(self) -> None:
        self.counts.assign(tf.zeros_like(self.counts))


def _classes(logits, labels, mask):
    """Logits, wide and selected, class labels and the mask of their steps."""
    logits = widen(checks.floating('logits', logits, 'B, K, ...'))
    mask = real_steps(mask, 'logits', logits, [logits.shape.rank - 1])
    return apply_mask(logits, mask), checks.class_labels(labels, logits, mask), mask


def _largest(logits):
    return tf.argmax(logits, axis=-1, output_type=tf.int64)
