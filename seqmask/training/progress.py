"""What a user sees during training."""

from __future__ import annotations

import sys

import tensorflow as tf

from seqmask.tally import Tally


class EpochProgress:
    """A progress bar on a terminal; one plain line per epoch elsewhere.

    Epochs count from 1. `steps` is the number of steps per epoch, None if unknown.
    """

    def __init__(self, epoch: int, epochs: int, steps: int | None, shown: bool = True):
        self._shown = shown
        self._title = f'epoch {epoch}/{epochs}'
        self._bar = None
        if shown and sys.stdout.isatty():
            self._bar = tf.keras.utils.Progbar(steps, stateful_metrics=['loss'])

    def update(self, step: int, loss: Tally) -> None:
        """Shows step number `step`, from 1, and the mean of `loss`, the `Tally` so far."""
        if self._bar is not None:
            self._bar.update(step, [('loss', float(loss.mean()))], finalize=False)

    def close(self, values: dict[str, float]) -> None:
        """Ends the epoch, and shows its row of the history."""
        if not self._shown:
            return
        shown = '  '.join(f'{name} {_short(value)}' for name, value in values.items()
                          if name != 'epoch')
        start = '\r\033[K' if self._bar is not None else ''      # overwrites the bar
        print(f'{start}{self._title}  {shown}', flush=True)


def _short(value):
    return f'{value:.4g}' if isinstance(value, float) else str(value)
