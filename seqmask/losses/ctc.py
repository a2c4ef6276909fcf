"""Connectionist temporal classification: the loss of unaligned labels."""

from __future__ import annotations

import tensorflow as tf

from seqmask import alignment, checks, kernels
from seqmask.checks import TensorLike
from seqmask.tally import Tally, widen


def ctc(*, logits: TensorLike, lengths: TensorLike, labels: TensorLike, label_lengths: TensorLike,
        blank: int = 0, impossible: str = 'error', per: str = 'sequence') -> Tally:
    """-log of the probability of unaligned labels, summed over all their alignments to the steps.

    loss = -log sum over a of product over t < n of p[t, a_t],   p = softmax(logits), n = lengths[b]

    over the alignments a: one class per step, from which the labels result by merging equal
    neighbours and then dropping blanks. So an alignment needs a step for each label, and one for a
    blank between two equal labels.

    Computed by TensorFlow's CTC operation for CPUs, which is accurate to about 1e-8 for float64;
    under XLA, which does not support it, by `tf.nn.ctc_loss` of dense labels in float32. Second
    derivatives are refused.

    Args:
      logits: float [B, T, K]. Values at padded steps are ignored, NaN included.
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.
      labels: int [B, L]. In [0, K) and not the blank; anything in the padding.
      label_lengths: int32 [B]. 0 <= label_lengths <= L.
      blank: int. The class that means no label.
      impossible: For a sequence with too few steps for its labels: 'error', or 'skip', which
        leaves it out of total and count; `ctc_possible` finds them.
      per: 'sequence' counts the sequences with any step, 'label' their labels.

    Returns:
      `seqmask.Tally` in nats, float32; float64 for logits of float64.

    Raises:
      ValueError: If a rank, a static size or an option does not fit.
      TypeError: If a dtype does not fit.
      tf.errors.InvalidArgumentError: If a length does not fit (clipped under XLA), a label is not
        legal, or a sequence has too few steps and impossible='error'; the message names the
        sequences. Under XLA, which drops checks of values, these sequences are skipped.

    Source: A. Graves, S. Fernández, F. Gomez, J. Schmidhuber. Connectionist Temporal
      Classification: Labelling Unsegmented Sequence Data with Recurrent Neural Networks. ICML 2006.

    >>> tally = seqmask.losses.ctc(
    ...     logits=tf.zeros([1, 3, 2]), lengths=tf.constant([2]), labels=[[1, -9]],
    ...     label_lengths=tf.constant([1]))
    >>> round(float(tf.exp(-tally.total)), 5) == 3 / 4           # 11, 10 and 01 of four
    True
    """
    checks.choice('impossible', impossible, ['error', 'skip'])
    checks.choice('per', per, ['sequence', 'label'])
    logits, lengths, mask = alignment.real_logits(logits, lengths, blank)
    logits = widen(logits)
    num_classes = logits.shape[-1]
    labels, label_lengths = alignment.real_labels(labels, label_lengths, lengths, num_classes,
                                                  blank)
    possible = lengths >= alignment.steps_needed(labels, label_lengths)
    if impossible == 'error':
        logits = checks.after([checks.require(
            tf.reduce_all(possible), 'there must be a step for each label and one between equal '
            "labels; sequences with fewer, which impossible='skip' leaves out:",
            tf.where(~possible)[:, 0])], logits)
    of_blanks = -tf.reduce_sum(
        tf.where(mask, tf.nn.log_softmax(logits)[:, :, blank], 0.0), axis=1)
    aligned = possible & (label_lengths > 0)
    nats = (_compiled if kernels.inside_xla() else _on_cpu)(
        logits, lengths, labels, label_lengths, aligned, blank)
    nats = tf.where(aligned, nats, tf.where(possible, of_blanks, 0.0))
    counts = label_lengths if per == 'label' else tf.ones_like(lengths)
    counts = tf.where(possible & (lengths > 0), counts, 0)
    return Tally(tf.reduce_sum(nats), tf.cast(tf.reduce_sum(counts), logits.dtype))


def ctc_possible(*, lengths: TensorLike, labels: TensorLike,
                 label_lengths: TensorLike) -> tf.Tensor:
    """Whether each sequence has enough steps for its labels: one each, one between equal ones.

    Args:
      lengths, labels, label_lengths: As of `ctc`.

    Returns:
      bool [B].

    Raises:
      As `ctc`.

    >>> seqmask.losses.ctc_possible(lengths=tf.constant([2, 3]), labels=[[5, 5], [5, 5]],
    ...                             label_lengths=tf.constant([2, 2])).numpy()
    array([False,  True])
    """
    lengths = checks.lengths(lengths)
    labels = checks.tensor('labels', labels, 'B, L')
    label_lengths = checks.lengths(label_lengths, tf.shape(labels)[0], tf.shape(labels)[1],
                                   name='label_lengths')
    label_lengths = checks.same_shape('label_lengths', label_lengths, 'lengths', lengths)
    return lengths >= alignment.steps_needed(labels, label_lengths)


def _on_cpu(logits, lengths, labels, label_lengths, aligned, blank):
    """Nats [B] where `aligned`; arbitrary elsewhere.

    TensorFlow's operation refuses an empty batch, and rows without a label or a step. So there is
    one more of each than needed, and the other rows get a label and a step.
    """
    one_more = [[0, 1], [0, 1]]
    logits = tf.pad(logits, [*one_more, [0, 0]])
    labels = tf.pad(tf.where(labels > blank, labels - 1, labels), one_more)
    aligned = tf.pad(aligned, [[0, 1]])
    lengths = tf.where(aligned, tf.pad(lengths, [[0, 1]]), 1)
    label_lengths = tf.where(aligned, tf.pad(label_lengths, [[0, 1]]), 1)
    places = tf.where(tf.sequence_mask(label_lengths, tf.shape(labels)[1]))
    return tf.compat.v1.nn.ctc_loss(
        labels=tf.SparseTensor(places, tf.gather_nd(labels, places),
                               tf.shape(labels, tf.int64)),
        inputs=alignment.with_blank_last(logits, blank), sequence_length=lengths,
        time_major=False)[:-1]


def _compiled(logits, lengths, labels, label_lengths, aligned, blank):
    """The same with operations that XLA supports; with one row more, for empty batches."""
    labels = tf.pad(tf.where(aligned[:, None], labels, (blank + 1) % logits.shape[-1]),
                    [[0, 1], [0, 1]])
    nats = tf.nn.ctc_loss(
        labels, tf.pad(tf.cast(logits, tf.float32), [[0, 1], [0, 1], [0, 0]]),
        tf.pad(tf.where(aligned, label_lengths, 0), [[0, 1]]),
        tf.pad(tf.where(aligned, lengths, 0), [[0, 1]]), logits_time_major=False,
        blank_index=blank)
    return tf.cast(nats[:-1], logits.dtype)
