"""Do positive steps have higher scores than negative ones?"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from seqmask.checks import TensorLike
from seqmask.metrics.events import scores_of_steps


class ROCAUC(tf.Module):
    """Area under the ROC curve: true positive rate over false positive rate.

    AUC = share of the pairs of a positive and a negative step in which the positive one has the
          higher logit; ties count half

    Chance is 1/2, whatever the share of positives. NaN without a step of either class. Scores are
    kept in NumPy until `result()`, which needs all of them: `update` works eagerly only.

    >>> auc = seqmask.metrics.ROCAUC()
    >>> auc.update(logits=tf.constant([[3., 1., 2., 9.]]), labels=[[1, 1, 0, 0]],
    ...            mask=tf.constant([[True, True, True, False]]))
    >>> float(auc.result())
    0.5
    """

    def __init__(self, name: str | None = None):
        super().__init__(name=name)
        self.reset()

    def update(self, *, logits: TensorLike, labels: TensorLike, mask: TensorLike | None) -> None:
        """Adds a batch.

        Args:
          logits: float [B, T], or any other scores; not NaN at real steps.
          labels: number [B, T]. 0 or 1 at real steps.
          mask: bool [B, T], True = real; None means that every step is.
        """
        scores, positive, mask = scores_of_steps('ROCAUC', logits, labels, mask)
        for of, chosen in zip(self._scores, (~positive, positive)):
            of.append(scores[mask & chosen])

    def result(self) -> tf.Tensor:
        """float32 scalar; NaN without a step of each class."""
        of_zeros, of_ones = (np.concatenate(scores) for scores in self._scores)
        if not of_zeros.size or not of_ones.size:
            return tf.constant(np.nan, tf.float32)
        of_zeros.sort()
        below = np.searchsorted(of_zeros, of_ones, 'left')
        not_above = np.searchsorted(of_zeros, of_ones, 'right')
        pairs = of_zeros.size * of_ones.size
        return tf.constant((below.sum() + not_above.sum()) / (2 * pairs), tf.float32)

    def reset(self) -> None:
        self._scores = [np.zeros(0)], [np.zeros(0)]
