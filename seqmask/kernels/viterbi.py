"""The labelling of a linear chain with the highest score. Arguments as of `chain`."""

from __future__ import annotations

import tensorflow as tf

from seqmask.kernels.chain import Scores


def best_labelling(logits: tf.Tensor, lengths: tf.Tensor, mask: tf.Tensor,
                   scores: Scores) -> tuple[tf.Tensor, tf.Tensor]:
    """(labels int32 [B, T], 0 at padded steps; their score [B]).

    Ties go to the lower label, from the last step on. `logits` and `scores` have one dtype, float32
    or float64.
    """
    # One padded step more, because TensorFlow cannot stack zero steps.
    x = tf.transpose(tf.pad(logits, [[0, 0], [0, 1], [0, 0]]), [1, 0, 2])       # [T + 1, B, K]
    count = tf.shape(x)[0] if x.shape[0] is None else x.shape[0]
    batch = tf.shape(x)[1]

    def forward(t, best, came_from, bests):
        best_t = best + x[t]
        through = best_t[:, :, None] + scores.transitions               # [B, from, to]
        return (t + 1, tf.reduce_max(through, axis=1),
                came_from.write(t, tf.argmax(through, axis=1, output_type=tf.int32)),
                bests.write(t, best_t))

    arrays = [tf.TensorArray(dtype, count, element_shape=x.shape[1:], clear_after_read=False)
              for dtype in (tf.int32, x.dtype)]
    _, _, came_from, bests = tf.while_loop(
        lambda t, *_: t < count, forward, (0, tf.zeros_like(x[0]) + scores.start, *arrays),
        maximum_iterations=count)
    came_from, bests = came_from.stack(), bests.stack()

    last = tf.transpose(mask & ~tf.pad(mask, [[0, 0], [0, 1]])[:, 1:])          # [T, B]
    last = tf.pad(last, [[0, 1], [0, 0]])
    at_end = tf.reduce_sum(tf.where(last[:, :, None], bests, 0.0), axis=0) + scores.end
    score = tf.where(lengths > 0, tf.reduce_max(at_end, axis=-1), 0.0)
    ends_in = tf.argmax(at_end, axis=-1, output_type=tf.int32)          # [B]

    def backward(t, label, labels):
        label = tf.where(last[t], ends_in, tf.gather(came_from[t], label, batch_dims=1))
        return t - 1, label, labels.write(t, label)

    _, _, labels = tf.while_loop(
        lambda t, *_: t >= 0, backward,
        (count - 1, tf.zeros([batch], tf.int32),
         tf.TensorArray(tf.int32, count, element_shape=[x.shape[1]])), maximum_iterations=count)
    labels = tf.transpose(labels.stack()[:-1])
    return tf.where(mask, labels, 0), score
