"""Writes a run's history as TensorBoard curves."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from seqmask.data.pipeline import untuned
from seqmask.training import read_history

FOLDER = 'tensorboard'
PARTS = {'valid_': 'validation', '': 'train'}       # prefix of a name in history.csv -> subfolder


class Board:
    """Writes the rows of a history as scalars, each point once, however often a run is resumed.

      workdir/tensorboard/train/        loss, learning_rate, skipped, seconds, steps_per_second
      workdir/tensorboard/validation/   loss and metrics: valid_accuracy becomes 'accuracy'

    The step of a point is its epoch. Existing event files are read first; missing points are added
    in a new file beside them. Needs the package tensorboard.
    """

    def __init__(self, workdir: str):
        self._folder = os.path.join(workdir, FOLDER)
        self._written = {part: points(os.path.join(self._folder, part)) for part in PARTS.values()}
        self._writers = {}

    def write(self, rows: Iterable[dict[str, float]]) -> None:
        """Adds the missing points of the rows, dicts with 'epoch', and flushes them to disk."""
        for row in rows:
            for name, value in row.items():
                prefix = next(prefix for prefix in PARTS if name.startswith(prefix))
                part, tag = PARTS[prefix], name[len(prefix):]
                if name != 'epoch' and (tag, row['epoch']) not in self._written[part]:
                    with self._writer(part).as_default():       # flushes on exit
                        tf.summary.scalar(tag, value, step=row['epoch'])
                    self._written[part].add((tag, row['epoch']))

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _writer(self, part):
        if part not in self._writers:
            self._writers[part] = tf.summary.create_file_writer(os.path.join(self._folder, part))
        return self._writers[part]


@contextlib.contextmanager
def board_callbacks(workdir: str,
                    enabled: bool) -> Iterator[list[Callable[[dict[str, float]], None]]]:
    """Context of the callbacks that `Trainer(on_epoch=...)` needs to write a board."""
    if not enabled:
        yield []
        return
    board = Board(workdir)
    try:
        board.write(read_history(workdir))      # TensorBoard wants points in order
        yield [lambda row: board.write([row])]
    finally:
        board.close()


def points(folder: str) -> set[tuple[str, int]]:
    """The points in the event files of a folder: a set of (tag, step)."""
    found = set()
    for path in sorted(glob.glob(os.path.join(folder, '*.tfevents.*'))):
        try:
            for record in untuned(tf.data.TFRecordDataset(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                found.update((value.tag, event.step) for value in event.summary.value)
        except tf.errors.DataLossError:
            pass        # a killed run leaves a truncated record at the end; the others were read
    return found
