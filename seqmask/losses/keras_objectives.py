"""What each version of Keras divides a masked loss by, to reproduce earlier results.

With values l[b, t], weights w[b, t] and R real steps among B x T, they minimize

  Keras 2.0 to 2.2.4            sum of w l / (R * share of nonzero weights)
  Keras 2.3 to 2.9              sum of w l / (B T), so more padding makes the loss smaller
  Keras 2.10 to 2.15, Keras 3   sum of w l / R
  seqmask                       sum of w l / sum of w

with sums over the real steps. Without weights all but the second are the mean over real steps.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.tally import Tally, step_mask, widen


def keras_mean(*, values: TensorLike, mask: TensorLike | None,
               weights: TensorLike | None = None) -> Tally:
    """The mean of a masked loss as Keras 3 computes it, from the values of any loss.

    mean = sum of w[b, t] * values[b, t] / number of real steps,   over the real steps

    So weights of 2 double it, unlike the other losses here, which divide by the sum of weights.

    Args:
      values: float [B, T], an element-wise loss; or any other shape that begins with B.
      mask: bool, of the shape of values. None means that all is real.
      weights: number, of the shape of values or [B]; or None. (Keras aligns [B] with the last axis,
        which fails, or gives wrong numbers if B = T.)

    Returns:
      `Tally` with Keras's mean; 0 where nothing is real.

    Raises:
      ValueError: If a shape does not fit.
      TypeError: If a dtype does not fit.

    Source: `reduce_weighted_values` of Keras 3, with reduction 'sum_over_batch_size'.

    >>> tally = seqmask.losses.keras_mean(
    ...     values=tf.constant([[1., 2., 9.]]), mask=tf.constant([[True, True, False]]),
    ...     weights=[[2., 2., 2.]])
    >>> float(tally.mean()) == (2 * 1 + 2 * 2) / 2
    True
    """
    values = widen(checks.floating('values', values, 'B, ...'))
    mask = step_mask(mask, 'values', values, [values.shape.rank])
    weighted = apply_mask(values, mask)
    if weights is not None:
        weighted *= apply_mask(_weights(weights, values), mask)
    return Tally(tf.reduce_sum(weighted), tf.reduce_sum(tf.cast(mask, values.dtype)))


def weighted_masked_objective(fn: Callable[..., tf.Tensor]) -> Callable[..., Tally]:
    """The objective of Keras 2.0 to 2.2.4, from a loss without weights and mask.

    score[b, t] = fn(y_true, y_pred)[b, t] * mask[b, t] / mean of mask
    score       = mean of score over the axes that weights lack
    objective   = mean of score * weights / mean of (weights != 0)

    All means include padded steps. Dividing by the mean of the mask corrects for that; but with a
    mask and weights [B, T] that are 0 in places, the objective depends on the padding, as in Keras.

    Args:
      fn: (y_true, y_pred) -> float [B, T], such as `tf.keras.losses.mse`.

    Returns:
      (y_true, y_pred, weights=None, mask=None) -> `Tally`, whose mean is the objective.
        y_true, y_pred: As fn takes them, [B, T] or [B, T, ...]. fn does not see masked values,
          which Keras multiplied by 0, so that NaN remained.
        weights: number [B] or [B, T], or None.
        mask: bool [B, T]. True = real; None means that all is.
      The mean is 0 where nothing is real or all weights are 0, which was NaN in Keras. Unlike those
      of other losses, tallies of several batches do not add up to that of one.

    Source: `weighted_masked_objective` of Keras 2.2.4; `_weighted_masked_objective` before 2.1.4.

    >>> objective = seqmask.losses.weighted_masked_objective(tf.keras.losses.mse)
    >>> tally = objective(tf.zeros([2, 2, 1]), tf.constant([[[1.], [2.]], [[3.], [float('nan')]]]),
    ...                   weights=[4., 0.], mask=tf.constant([[True, True], [True, False]]))
    >>> round(float(tally.mean()), 3) == round(4 * (1 ** 2 + 2 ** 2) / 3 / (1 / 2), 3)
    True
    """

    def objective(y_true, y_pred, weights=None, mask=None):
        score, mask = at_real_steps(fn, y_true, y_pred, mask)
        divisor = tf.reduce_sum(tf.cast(mask, score.dtype))
        if weights is not None:
            weights = _weights(weights, score)
            score *= apply_mask(weights, mask)
            divisor *= tf.reduce_mean(tf.cast(weights != 0, score.dtype))
        return Tally(tf.reduce_sum(score), divisor)

    return objective


def at_real_steps(fn: Callable[..., tf.Tensor], y_true: TensorLike, y_pred: TensorLike,
                  mask: TensorLike | None) -> tuple[tf.Tensor, tf.Tensor]:
    """A Keras loss that does not see the values at masked steps.

    Args:
      fn: (y_true, y_pred) -> float [B, ...].
      y_true, y_pred: As fn takes them.
      mask: bool, of the shape of fn's result, or [B] for whole sequences; None means that all is
        real.

    Returns:
      (fn(y_true, y_pred), 0 at masked steps; mask, of its shape).
    """
    y_true = checks.tensor('y_true', y_true, 'B, ...')
    y_pred = checks.floating('y_pred', y_pred, 'B, ...')
    if mask is not None:
        mask = checks.mask(mask, y_pred, 'y_pred')
        # Safe fills: Keras's losses take logarithms and divide by predictions only.
        y_true, y_pred = apply_mask(y_true, mask), apply_mask(y_pred, mask, fill=1)
    score = widen(checks.floating('fn(y_true, y_pred)', fn(y_true, y_pred), 'B, ...'))
    mask = step_mask(mask, 'fn(y_true, y_pred)', score, [score.shape.rank, 1])
    mask = apply_mask(tf.ones_like(score, tf.bool), mask)
    return apply_mask(score, mask), mask


def _weights(weights, values):
    """Weights [B] or of the shape of values, broadcast to the latter."""
    weights = checks.tensor('weights', tf.cast(weights, values.dtype), 'B, ...')
    if weights.shape.rank == 1 < values.shape.rank:
        weights = tf.reshape(weights, [-1] + [1] * (values.shape.rank - 1))
        return tf.broadcast_to(weights, tf.shape(values))
    return checks.same_shape('weights', weights, 'values', values)
