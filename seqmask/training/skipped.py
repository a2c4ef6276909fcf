"""Which steps were skipped because they were not finite, and when is it too many?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from seqmask import checks

LOOK = 'Look for NaN or huge values in the features, or lower the learning rate.'


class Skipped:
    """Counts the steps skipped in a row, over the ends of epochs and over restarts.

    Args:
      limit: How many of them end training.

    Attributes:
      in_a_row: int64 variable, which checkpoints keep.
    """

    def __init__(self, limit: int):
        self._limit = checks.size('max_skipped', limit)
        self.in_a_row = tf.Variable(0, dtype=tf.int64, trainable=False)

    def count(self, applied: bool) -> None:
        """Takes a step into account.

        Raises:
          FloatingPointError: If it is one skipped step too many.
        """
        if applied:
            if int(self.in_a_row):
                self.in_a_row.assign(0)
        elif int(self.in_a_row.assign_add(1)) >= self._limit:
            raise FloatingPointError(
                f'{self._limit} steps in a row had a loss or a gradient that was not finite; '
                f'the weights are as they were before. {LOOK}')


def require_applied(history: Sequence[dict[str, float]]) -> None:
    """Refuses a run none of whose steps was applied: the loss of such an epoch is NaN.

    Args:
      history: A dict an epoch, as `Trainer.fit` returns it.

    Raises:
      FloatingPointError: If the loss of each epoch is NaN.
    """
    if history and all(np.isnan(row['loss']) for row in history):
        raise FloatingPointError(
            f'nothing was learnt: each step of all {len(history)} epochs had a loss or a gradient '
            f'that was not finite, and was skipped. {LOOK} In float16, train for more steps: its '
            f'scale takes some to fit.')
