"""Element-wise losses, summed over the real steps; `seqmask.losses` describes what they share."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.tally import Tally, labels_like, step_mask, tally_up, widen


def sparse_softmax_cross_entropy(*, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
                                 weights: TensorLike | None = None, per: str = 'step',
                                 label_smoothing: float = 0.0) -> Tally:
    """Cross-entropy of one class per step, in nats.

    loss = -(1 - s) log p[label] - s / K sum over k of log p[k],   p = softmax(logits)

    Args:
      logits: float [B, T, K].
      labels: int [B, T]. 0 <= labels < K at real steps.
      mask, weights, per, label_smoothing: As in `seqmask.losses`; mask [B, T].

    >>> tally = seqmask.losses.sparse_softmax_cross_entropy(
    ...     logits=tf.constant([[[0., 100.], [float('nan'), 0.]]]), labels=tf.constant([[0, -7]]),
    ...     mask=tf.constant([[True, False]]))
    >>> float(tally.total), float(tally.count)
    (100.0, 1.0)
    """
    smoothing = checks.fraction('label_smoothing', label_smoothing)
    logits, mask = _classes(logits, mask)
    labels = checks.class_labels(labels, logits, mask)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    if smoothing:
        # The cross-entropy of uniform labels: the mean over k of -log p[k].
        uniform = tf.reduce_logsumexp(logits, axis=-1) - tf.reduce_mean(logits, axis=-1)
        losses = (1 - smoothing) * losses + smoothing * uniform
    return tally_up(losses, mask, weights, per)


def softmax_cross_entropy(*, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
                          weights: TensorLike | None = None, per: str = 'step',
                          label_smoothing: float = 0.0) -> Tally:
    """Cross-entropy of a distribution over classes at each step, in nats.

    loss = -sum over k of ((1 - s) labels[k] + s / K) log p[k],   p = softmax(logits)

    Args:
      logits: float [B, T, K].
      labels: number [B, T, K]. At real steps each sums to 1.
      mask, weights, per, label_smoothing: As in `seqmask.losses`; mask [B, T].

    >>> tally = seqmask.losses.softmax_cross_entropy(
    ...     logits=tf.constant([[[0., 80.]]]), labels=[[[0.75, 0.25]]], mask=None)
    >>> float(tally.mean()) == 0.75 * 80 + 0.25 * 0
    True
    """
    smoothing = checks.fraction('label_smoothing', label_smoothing)
    logits, mask = _classes(logits, mask)
    labels = apply_mask(labels_like(logits, 'logits', labels), mask)
    num_classes = tf.cast(tf.shape(logits)[-1], logits.dtype)
    labels = (1 - smoothing) * labels + smoothing / num_classes
    return tally_up(tf.nn.softmax_cross_entropy_with_logits(labels, logits), mask, weights, per)


def sigmoid_cross_entropy(*, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
                          weights: TensorLike | None = None, per: str = 'step',
                          features: str = 'mean', label_smoothing: float = 0.0,
                          pos_weight: float = 1.0) -> Tally:
    """Cross-entropy of independent binary labels, in nats.

    loss = -pos_weight y log p - (1 - y) log(1 - p),   p = sigmoid(logits)
    y = (1 - s) labels + s / 2

    Args:
      logits: float [B, T] or [B, T, D].
      labels: number, of the shape of logits. In [0, 1] at real steps.
      mask, weights, per, features, label_smoothing: As in `seqmask.losses`.
      pos_weight: number > 0. Weight of a label of 1, relative to a label of 0.

    >>> tally = seqmask.losses.sigmoid_cross_entropy(
    ...     logits=tf.constant([[-50., 50.]]), labels=[[1, 1]], mask=None)
    >>> float(tally.total), float(tally.count)
    (50.0, 2.0)
    """
    smoothing = checks.fraction('label_smoothing', label_smoothing)
    pos_weight = checks.positive('pos_weight', pos_weight)
    logits, labels, mask = _elements('logits', logits, labels, mask)
    labels = (1 - smoothing) * labels + smoothing / 2
    # tf.nn.weighted_cross_entropy_with_logits has the gradient 1 - y at logit 0, not 1 / 2 - y.
    losses = (pos_weight * labels * tf.math.softplus(-logits)
              + (1 - labels) * tf.math.softplus(logits))
    return tally_up(losses, mask, weights, per, features)


def focal(*, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
          weights: TensorLike | None = None, per: str = 'step', features: str = 'mean',
          gamma: float = 2.0, alpha: float | None = None) -> Tally:
    """Sigmoid cross-entropy that down-weights labels that are predicted well.

    loss = alpha y f(logits) + (1 - alpha) (1 - y) f(-logits)
    f(z) = (1 - p)^gamma * -log p,   p = sigmoid(z)

    Args:
      logits: float [B, T] or [B, T, D].
      labels: number, of the shape of logits. y, in [0, 1] at real steps.
      mask, weights, per, features: As in `seqmask.losses`.
      gamma: number >= 0. 0 is plain cross-entropy.
      alpha: number in (0, 1), the weight of labels of 1; None for weight 1 on both.

    Source: T. Lin, P. Goyal, R. Girshick, K. He, P. Dollár, Focal Loss for Dense Object Detection,
      2017, eq. 5.

    >>> tally = seqmask.losses.focal(
    ...     logits=tf.constant([[-100., 100.]]), labels=[[1, 1]], mask=None, gamma=0.5)
    >>> float(tally.total)
    100.0
    """
    gamma = checks.positive('gamma', gamma, or_zero=True)
    positive_weight = negative_weight = 1.0
    if alpha is not None:
        positive_weight = checks.positive('alpha', checks.fraction('alpha', alpha))
        negative_weight = 1 - positive_weight
    logits, labels, mask = _elements('logits', logits, labels, mask)

    def modulated(z):
        # 1 - sigmoid(z) = exp(-softplus(z)); for gamma < 1 a power of it has no gradient at 0.
        return tf.exp(-gamma * tf.math.softplus(z)) * tf.math.softplus(-z)

    losses = (positive_weight * labels * modulated(logits)
              + negative_weight * (1 - labels) * modulated(-logits))
    return tally_up(losses, mask, weights, per, features)


def squared_error(*, predictions: TensorLike, labels: TensorLike, mask: TensorLike | None,
                  weights: TensorLike | None = None, per: str = 'step',
                  features: str = 'mean') -> Tally:
    """loss = (predictions - labels)^2

    Args:
      predictions: float [B, T] or [B, T, D].
      labels: number, of the shape of predictions.
      mask, weights, per, features: As in `seqmask.losses`.

    >>> tally = seqmask.losses.squared_error(
    ...     predictions=tf.constant([[1., 2.]]), labels=[[4., 9.]],
    ...     mask=tf.constant([[True, False]]))
    >>> float(tally.mean()) == (1 - 4) ** 2
    True
    """
    predictions, labels, mask = _elements('predictions', predictions, labels, mask)
    return tally_up(tf.square(predictions - labels), mask, weights, per, features)


def absolute_error(*, predictions: TensorLike, labels: TensorLike, mask: TensorLike | None,
                   weights: TensorLike | None = None, per: str = 'step',
                   features: str = 'mean') -> Tally:
    """loss = |predictions - labels|

    Args: As `squared_error`.

    >>> tally = seqmask.losses.absolute_error(
    ...     predictions=tf.constant([[1., 2.]]), labels=[[4., 9.]],
    ...     mask=tf.constant([[True, False]]))
    >>> float(tally.mean()) == abs(1 - 4)
    True
    """
    predictions, labels, mask = _elements('predictions', predictions, labels, mask)
    return tally_up(tf.abs(predictions - labels), mask, weights, per, features)


def huber(*, predictions: TensorLike, labels: TensorLike, mask: TensorLike | None,
          weights: TensorLike | None = None, per: str = 'step', features: str = 'mean',
          delta: float = 1.0) -> Tally:
    """Squared near the label, linear far from it.

    loss = e^2 / 2 where e <= delta, delta (e - delta / 2) elsewhere;   e = |predictions - labels|

    Args: As `squared_error`, and
      delta: number > 0.

    >>> tally = seqmask.losses.huber(
    ...     predictions=tf.constant([[1., 5.]]), labels=[[0., 0.]], mask=None, delta=2.)
    >>> float(tally.total) == 1 / 2 + 2 * (5 - 2 / 2)
    True
    """
    delta = checks.positive('delta', delta)
    predictions, labels, mask = _elements('predictions', predictions, labels, mask)
    error = tf.abs(predictions - labels)
    near = tf.minimum(error, delta)     # covers both cases without squaring a large error
    return tally_up(near * (error - near / 2), mask, weights, per, features)


def _classes(logits, mask):
    """Logits [..., K], widened and masked, and the mask of their steps."""
    logits = widen(checks.floating('logits', logits, 'B, K, ...'))
    mask = step_mask(mask, 'logits', logits, [logits.shape.rank - 1])
    return apply_mask(logits, mask), mask


def _elements(name, outputs, labels, mask):
    """Outputs and labels of one shape, widened and masked, and the mask of their steps."""
    outputs = widen(checks.floating(name, outputs, 'B, ...'))
    labels = labels_like(outputs, name, labels)
    mask = step_mask(mask, name, outputs)
    return apply_mask(outputs, mask), apply_mask(labels, mask), mask
