"""Which epoch was the best so far, by the monitored metric?"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import tensorflow as tf

from seqmask import checks


class Best:
    """The best epoch so far, in variables that checkpoints save.

    Args:
      monitor, mode: As of `Trainer`.

    Attributes:
      epoch: int64 variable. From 1; 0 before the first.
      value: float64 variable. Of `monitor`, negated for mode 'max'.
    """

    def __init__(self, monitor: str, mode: str):
        self.monitor = monitor
        self._sign = {'min': 1, 'max': -1}[checks.choice('mode', mode, ('min', 'max'))]
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.value = tf.Variable(float('inf'), dtype=tf.float64, trainable=False)

    def require_monitored(self, metrics: Collection[str]) -> None:
        """Checks that `monitor` is one of the metrics; passes if none are known yet."""
        if metrics:
            checks.choice('monitor', self.monitor, metrics)

    def require_finished(self) -> None:
        """Raises a ValueError if no epoch was finished yet."""
        if not int(self.epoch.numpy()):
            raise ValueError('there is no best epoch yet: call fit first.')

    def update(self, row: dict[str, float]) -> bool:
        """Adds a row of the history; returns whether it is the best so far.

        Raises:
          ValueError: If the row lacks the monitored metric.
        """
        metrics = {name.removeprefix('valid_'): value for name, value in row.items()
                   if name.startswith('valid_')} or {'loss': row['loss']}
        self.require_monitored(metrics)
        value = self._sign * metrics[self.monitor]
        value = float('inf') if np.isnan(value) else value
        is_best = not int(self.epoch.numpy()) or value < float(self.value.numpy())
        if is_best:
            self.epoch.assign(row['epoch'])
            self.value.assign(value)
        return is_best
