"""What does CTC take? Logits of steps and unaligned labels, checked."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks, known
from seqmask.checks import TensorLike
from seqmask.lengths import sequence_mask


def real_logits(logits: TensorLike, lengths: TensorLike,
                blank: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Checked operands: logits, 0 at padded steps, lengths and mask; K >= 2, blank in [0, K)."""
    logits = checks.floating('logits', logits, 'B, T, K')
    checks.size('blank', blank, minimum=0)
    num_classes = logits.shape[-1]
    if num_classes is None:
        raise ValueError('logits must have a known number of classes K, got shape '
                         f'{checks.shown(logits.shape)}. Set it with tf.ensure_shape.')
    if num_classes < 2 or blank >= num_classes:
        raise ValueError(f'logits must have a class besides the blank, and blank must be in '
                         f'[0, K); K and blank are {num_classes} and {blank}.')
    batch, maxlen = known.sizes(logits)
    lengths = checks.lengths(lengths, batch=batch, maxlen=maxlen)
    mask = sequence_mask(lengths, maxlen)
    logits = tf.where(mask[:, :, None], logits, tf.zeros([], logits.dtype))
    return known.with_sizes_of(logits, mask), lengths, mask


def real_labels(labels: TensorLike, label_lengths: TensorLike, lengths: tf.Tensor,
                num_classes: int, blank: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Checked operands: labels int32 [B, L], 0 in the padding, and label_lengths."""
    labels = checks.tensor('labels', labels, 'B, L')
    if not labels.dtype.is_integer:
        raise TypeError(f'labels must be integers in [0, K), got {labels.dtype.name}.')
    batch, maxlen = known.sizes(labels)
    label_lengths = checks.lengths(label_lengths, batch, maxlen, name='label_lengths')
    label_lengths = checks.same_shape('label_lengths', label_lengths, 'lengths', lengths)
    real = tf.sequence_mask(label_lengths, maxlen)
    labels = tf.where(real, tf.cast(labels, tf.int32), 0)
    legal = (labels >= 0) & (labels < num_classes) & (labels != blank) | ~real
    return checks.after([checks.require(
        tf.reduce_all(legal), f'labels must be in [0, {num_classes}) and not the blank, {blank}; '
        'the sequences that have others:', tf.where(tf.reduce_any(~legal, axis=1))[:, 0])],
        labels), label_lengths


def with_blank_last(logits: tf.Tensor, blank: int) -> tf.Tensor:
    """Logits whose last class is the blank, as TensorFlow's CTC operations for CPUs expect."""
    return tf.concat([logits[:, :, :blank], logits[:, :, blank + 1:],
                      logits[:, :, blank:blank + 1]], axis=-1)


def steps_needed(labels: tf.Tensor, label_lengths: tf.Tensor) -> tf.Tensor:
    """Fewest steps of an alignment, int32 [B]: one per label, and a blank between equal ones."""
    real = tf.sequence_mask(label_lengths, tf.shape(labels)[1])
    equal = (labels[:, 1:] == labels[:, :-1]) & real[:, 1:]
    return label_lengths + tf.math.count_nonzero(equal, axis=1, dtype=tf.int32)
