"""What a decoder reads and writes while it is taught: labels one step late, and their end."""

from __future__ import annotations

import typing

import tensorflow as tf

from seqmask import checks, known, noise
from seqmask.checks import TensorLike
from seqmask.lengths import sequence_mask


class Lesson(typing.NamedTuple):
    """Labels as a decoder learns them, with an end that is the model's own.

    Attributes:
      previous: int32 [B, L + 1]. The label before each step; the end before the first.
      targets: int32 [B, L + 1]. The label of each step; the end at the last; 0 in the padding.
      lengths: int32 [B]. Steps: one more than labels.
    """
    previous: tf.Tensor
    targets: tf.Tensor
    lengths: tf.Tensor

    def sampled(self, guessed: tf.Tensor, stream: tf.random.Generator, share: float) -> tf.Tensor:
        """`previous`, where a share of the labels is replaced by the model's guesses.

        Args:
          guessed: int32 [B, L + 1], of `targets`.
          stream: Of `noise.generator`.
          share: float in [0, 1).
        """
        late = tf.concat([self.previous[:, :1], guessed[:, :-1]], axis=1)
        kept = noise.dropout_mask(stream, tf.shape(late), share, tf.float32) > 0
        return known.with_sizes_of(tf.where(kept, self.previous, late), self.previous)


def lesson(labels: TensorLike, label_lengths: TensorLike, end: int) -> Lesson:
    """Labels one step late, and with their end.

    Args:
      labels: int [B, L], in [0, end); anything in the padding.
      label_lengths: int32 [B].
      end: int. The end symbol.

    Raises:
      ValueError: If a rank or a static size does not fit.
      TypeError: If a dtype does not fit.
      tf.errors.InvalidArgumentError: If a label is not in [0, end), or a length does not fit.
    """
    labels = checks.tensor('labels', labels, 'B, L')
    if not labels.dtype.is_integer:
        raise TypeError(f'labels must be integers in [0, K), got {labels.dtype.name}.')
    batch, size = tf.shape(labels)[0], tf.shape(labels)[1]
    lengths = checks.lengths(label_lengths, batch, size, name='label_lengths')
    mask = sequence_mask(lengths, size)
    labels = tf.where(mask, tf.cast(labels, tf.int64), 0)
    labels = tf.cast(checks.after([checks.require(
        tf.reduce_all((labels >= 0) & (labels < end)),
        'labels must be in [0, K), K = num_classes; K, the lowest and the highest label are',
        end, tf.reduce_min(labels), tf.reduce_max(labels))], labels), tf.int32)
    targets = tf.pad(labels, [[0, 0], [0, 1]])
    targets = tf.where(tf.range(size + 1) == lengths[:, None], end, targets)
    previous = tf.concat([tf.fill([batch, 1], end), labels], axis=1)
    return Lesson(previous, targets, lengths + 1)
