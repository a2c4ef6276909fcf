"""How many labels have to be replaced, inserted or deleted?"""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.metrics.average import Average
from seqmask.tally import Tally


class EditDistance(Average):
    """Errors per label: character, word or phoneme error rate; and the share of wrong sequences.

    rate = sum over b of d(labels[b], predictions[b]) / number of labels

    where d is the least number of replaced, inserted and deleted labels (Levenshtein distance). It
    may exceed 1. Arguments of `update`:

      labels: int [B, L]; anything in the padding.
      label_lengths: int32 [B].
      predictions: int [B, M]; anything in the padding.
      prediction_lengths: int32 [B].

    Raises TypeError or ValueError if a dtype or a shape does not fit, and
    tf.errors.InvalidArgumentError if a length does not. Not under XLA, which does not support
    TensorFlow's edit distance.

    >>> metric = seqmask.metrics.EditDistance()
    >>> metric.update(labels=[[3, 1, 2], [4, 0, 0]], label_lengths=[3, 1],
    ...               predictions=[[3, 2], [4, -9]], prediction_lengths=[2, 1])
    >>> float(metric.result()), float(metric.sequences_wrong())
    (0.25, 0.5)
    """

    def __init__(self, name: str | None = None):
        super().__init__('step', name)
        self._wrong = Average()

    def update(self, *, labels: TensorLike, label_lengths: TensorLike, predictions: TensorLike,
               prediction_lengths: TensorLike) -> None:
        of = dict(labels=labels, label_lengths=label_lengths, predictions=predictions,
                  prediction_lengths=prediction_lengths)
        self.add(self.tally(**of))
        self._wrong.add(self.wrong_tally(**of))

    @staticmethod
    def distances(*, labels: TensorLike, label_lengths: TensorLike, predictions: TensorLike,
                  prediction_lengths: TensorLike) -> tf.Tensor:
        """Errors of each sequence: float32 [B].

        >>> seqmask.metrics.EditDistance.distances(
        ...     labels=[[3, 1], [4, 0]], label_lengths=[2, 1],
        ...     predictions=[[3, 5], [4, 2]], prediction_lengths=[2, 2]).numpy()
        array([1., 1.], dtype=float32)
        """
        return _distances(labels, label_lengths, predictions, prediction_lengths)[0]

    @staticmethod
    def tally(*, labels: TensorLike, label_lengths: TensorLike, predictions: TensorLike,
              prediction_lengths: TensorLike) -> Tally:
        """`Tally` of errors per label."""
        distances, lengths = _distances(labels, label_lengths, predictions, prediction_lengths)
        return Tally(tf.reduce_sum(distances), tf.cast(tf.reduce_sum(lengths), tf.float32))

    @staticmethod
    def wrong_tally(*, labels: TensorLike, label_lengths: TensorLike, predictions: TensorLike,
                    prediction_lengths: TensorLike) -> Tally:
        """`Tally` of sequences with any error; those without labels count, too."""
        distances, _ = _distances(labels, label_lengths, predictions, prediction_lengths)
        return Tally(tf.math.count_nonzero(distances, dtype=tf.float32),
                     tf.cast(tf.size(distances), tf.float32))

    def sequences_wrong(self) -> tf.Tensor:
        """Share of sequences with any error, float32 scalar."""
        return self._wrong.result()

    def reset(self) -> None:
        super().reset()
        self._wrong.reset()


def _distances(labels, label_lengths, predictions, prediction_lengths):
    """(Distances float32 [B], label_lengths)."""
    labels, label_lengths = _sparse('labels', labels, 'label_lengths', label_lengths)
    predictions, prediction_lengths = _sparse('predictions', predictions, 'prediction_lengths',
                                              prediction_lengths)
    checks.same_shape('prediction_lengths', prediction_lengths, 'label_lengths', label_lengths)
    distances = tf.edit_distance(predictions, labels, normalize=False)
    return distances[:-1], label_lengths


def _sparse(name, values, name_of_lengths, lengths):
    """Values as a SparseTensor with one row more, because `tf.edit_distance` refuses empty batches.
    """
    values = checks.tensor(name, values, 'B, L')
    if not values.dtype.is_integer:
        raise TypeError(f'{name} must be integers, got {values.dtype.name}.')
    shape = tf.shape(values, tf.int64)
    lengths = checks.lengths(lengths, tf.shape(values)[0], tf.shape(values)[1],
                             name=name_of_lengths)
    places = tf.where(tf.sequence_mask(lengths, shape[1]))
    return tf.SparseTensor(places, tf.cast(tf.gather_nd(values, places), tf.int64),
                           shape + [1, 1]), lengths
