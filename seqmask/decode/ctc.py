"""Decoding of connectionist temporal classification (CTC): from logits to labels.

Shared arguments:

  logits: float [B, T, K]. Values at padded steps are ignored, NaN included.
  lengths: int32 [B]. Time steps, 0 <= lengths <= T.
  blank: int. The class that means no label.

Both return (labels int32 [B, T], 0 in the padding; label_lengths int32 [B]; log probabilities [B],
float32, or float64 for logits of float64; 0 at length 0), and raise

  ValueError: If a rank or a static size does not fit.
  TypeError: If a dtype does not fit.
  tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
"""

from __future__ import annotations

import tensorflow as tf

from seqmask import alignment, checks
from seqmask.checks import TensorLike
from seqmask.lengths import move_padding_right
from seqmask.tally import widen


def ctc_best_path(logits: TensorLike, lengths: TensorLike,
                  blank: int = 0) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Labels of the most likely alignment, which are not always the most likely labels.

    a_t = argmax over k of logits[b, t, k] for t < lengths[b]; equal neighbours are merged, then
    blanks are dropped. The log probability is that of this alignment alone.

    Source: A. Graves, S. Fernández, F. Gomez, J. Schmidhuber. Connectionist Temporal
      Classification: Labelling Unsegmented Sequence Data with Recurrent Neural Networks. ICML 2006,
      section 3.2.

    >>> logits = tf.one_hot([[1, 1, 0, 1, 2, 2]], 3)
    >>> labels, label_lengths, _ = seqmask.decode.ctc_best_path(logits, tf.constant([5]))
    >>> labels.numpy(), label_lengths.numpy()
    (array([[1, 1, 2, 0, 0, 0]], dtype=int32), array([3], dtype=int32))
    """
    logits, _, mask = alignment.real_logits(logits, lengths, blank)
    logits = widen(logits)
    best = tf.argmax(logits, axis=-1, output_type=tf.int32)             # [B, T]
    before = tf.pad(best, [[0, 0], [1, 0]], constant_values=-1)[:, :-1]
    labels, label_lengths = move_padding_right(
        best, mask & (best != blank) & (best != before))
    highest = tf.reduce_max(tf.nn.log_softmax(logits), axis=-1)
    return labels, label_lengths, tf.reduce_sum(tf.where(mask, highest, 0.0), axis=1)


def ctc_beam_search(logits: TensorLike, lengths: TensorLike, *, width: int,
                    blank: int = 0) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The most likely labels, summed over their alignments, found by beam search.

    At each step the `width` most likely prefixes of labels are kept, each with the sum over its
    alignments; the log probability is that sum, which is log p(labels) for a wide beam. It is
    TensorFlow's own search for CPUs, which neither XLA nor TensorFlow Lite's built-in operations
    support: use `ctc_best_path` there.

    Args:
      width: int. Number of prefixes kept.

    Source: A. Graves, N. Jaitly. Towards End-to-End Speech Recognition with Recurrent Neural
      Networks. ICML 2014, algorithm 1, without a language model.

    >>> logits = tf.math.log([[[0.6, 0.4], [0.6, 0.4]]])                # blank, 1
    >>> [int(n) for decoded in [seqmask.decode.ctc_best_path(logits, [2]),
    ...                         seqmask.decode.ctc_beam_search(logits, [2], width=4)]
    ...  for n in decoded[1]]                                           # 0.36 against 0.64
    [0, 1]
    """
    checks.size('width', width)
    logits, lengths, mask = alignment.real_logits(logits, lengths, blank)
    logits = widen(logits)
    # One step and one row more: it refuses empty batches.
    padded = tf.transpose(tf.pad(alignment.with_blank_last(logits, blank),
                                 [[0, 1], [0, 1], [0, 0]]), [1, 0, 2])
    (found,), scores = tf.nn.ctc_beam_search_decoder(
        padded, tf.pad(lengths, [[0, 1]]), beam_width=width, top_paths=1)
    values = tf.cast(found.values, tf.int32)
    values = tf.where(values >= blank, values + 1, values)
    label_lengths = tf.math.unsorted_segment_sum(
        tf.ones_like(values), found.indices[:, 0], tf.size(lengths))
    labels = tf.scatter_nd(found.indices, values, tf.shape(mask, tf.int64))
    return tf.ensure_shape(labels, logits.shape[:2]), label_lengths, scores[:-1, 0]
