"""How many steps were skipped because they were not finite, and how many are too many?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from seqmask import checks

LOOK = 'Look for NaN or huge values in the features, or lower the learning rate.'


class Skipped:
    """Counts the steps skipped in a row, across epochs and restarts; `limit` of them end training.

    Attributes:
      in_a_row: int64 variable that checkpoints save.
    """

    def __init__(self, limit: int):
        self._limit = checks.size('max_skipped', limit)
        self.in_a_row = tf.Variable(0, dtype=tf.int64, trainable=False)

    def count(self, applied: bool) -> None:
        """Counts one step.

        Raises:
          FloatingPointError: If it reaches the limit.
        """
        if applied:
            if int(self.in_a_row.numpy()):
                self.in_a_row.assign(0)
            return
        self.in_a_row.assign_add(1)
        if int(self.in_a_row.numpy()) >= self._limit:
            raise FloatingPointError(
                f'{self._limit} steps in a row had a loss or a gradient that was not finite; '
                f'the weights are as they were before. {LOOK}')


def require_applied(history: Sequence[dict[str, float]]) -> None:
    """Raises an error for a run none of whose steps was applied.

    Args:
      history: As `Trainer.fit` returns it. The loss of an epoch without an applied step is NaN.

    Raises:
      FloatingPointError: If the loss of every epoch is NaN.
    """
    if history and all(np.isnan(row['loss']) for row in history):
        raise FloatingPointError(
            f'nothing was learned: each step of all {len(history)} epochs {_reason(history)}')


def _reason(history):
    if not any(row['skipped'] for row in history):
        return 'had only empty sequences: the training data has no real step.'
    return (f'had a loss or a gradient that was not finite, and was skipped. {LOOK} In float16, '
            f'train for more steps: its scale takes some to adapt.')
