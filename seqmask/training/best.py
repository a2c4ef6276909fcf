"""Which epoch was the best so far, by what is monitored?"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import tensorflow as tf

from seqmask import checks


class Best:
    """The best epoch so far, in variables, which checkpoints keep.

    Args:
      monitor: A name of what is measured on validation data; or on training data, the 'loss', where
        there is none. NaN is never better.
      mode: 'min' or 'max': which is better.

    Attributes:
      epoch: int64 variable. From 1; 0 before the first.
      value: float64 variable. Of `monitor`, negated where more is better.
    """

    def __init__(self, monitor: str, mode: str):
        self.monitor = monitor
        self._sign = {'min': 1, 'max': -1}[checks.choice('mode', mode, ('min', 'max'))]
        self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.value = tf.Variable(float('inf'), dtype=tf.float64, trainable=False)

    def require_monitored(self, measured: Collection[str]) -> None:
        """Refuses a monitor that is none of what is measured; nothing if that is not known yet."""
        if measured:
            checks.choice('monitor', self.monitor, measured)

    def update(self, row: dict[str, float]) -> bool:
        """Takes a row of the history into account; returns whether it is the best so far.

        Raises:
          ValueError: If the row does not hold what is monitored.
        """
        measured = {name.removeprefix('valid_'): value for name, value in row.items()
                    if name.startswith('valid_')} or {'loss': row['loss']}
        self.require_monitored(measured)
        value = self._sign * measured[self.monitor]
        value = float('inf') if np.isnan(value) else value
        is_best = not int(self.epoch) or value < float(self.value)
        if is_best:
            self.epoch.assign(row['epoch'])
            self.value.assign(value)
        return is_best
