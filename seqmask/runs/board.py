"""A run's curves for TensorBoard."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from seqmask.data.pipeline import untuned
from seqmask.runs.app import UserError
from seqmask.training import read_history

FOLDER = 'tensorboard'
PARTS = {'valid_': 'validation', '': 'train'}       # a name's beginning, and where it is shown


class Board:
    """Writes the rows of a history as scalars, each point once, however often a run is resumed.

      workdir/tensorboard/train/        loss, learning_rate, skipped, seconds, steps_per_second
      workdir/tensorboard/validation/   loss and what else is measured: valid_accuracy is 'accuracy'

    The step of a point is its epoch. What earlier starts wrote is read first; only what is missing
    is added, in a file beside theirs.

    Args:
      workdir: Folder of the run.

    Raises:
      UserError: If TensorBoard is not installed.
    """

    def __init__(self, workdir: str):
        require_tensorboard()
        self._folder = os.path.join(workdir, FOLDER)
        self._written = {part: points(os.path.join(self._folder, part)) for part in PARTS.values()}
        self._writers = {}

    def write(self, rows: Iterable[dict[str, float]]) -> None:
        """Adds what is missing of the rows, dicts with 'epoch'; it is on disk on return."""
        for row in rows:
            for name, value in row.items():
                start = next(start for start in PARTS if name.startswith(start))
                part, tag = PARTS[start], name[len(start):]
                if name != 'epoch' and (tag, row['epoch']) not in self._written[part]:
                    with self._writer(part).as_default():       # which flushes when it ends
                        tf.summary.scalar(tag, value, step=row['epoch'])
                    self._written[part].add((tag, row['epoch']))

    def close(self) -> None:
        """After the last row."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, part):
        if part not in self._writers:
            self._writers[part] = tf.summary.create_file_writer(os.path.join(self._folder, part))
        return self._writers[part]


@contextlib.contextmanager
def board_of(workdir: str, shown: bool) -> Iterator[list[Callable[[dict[str, float]], None]]]:
    """What `Trainer(on_epoch=...)` takes for a board in the workdir, if it is to be shown.

    TensorBoard wants points in their order: those of earlier starts come first.
    """
    if not shown:
        yield []
        return
    board = Board(workdir)
    try:
        board.write(read_history(workdir))
        yield [lambda row: board.write([row])]
    finally:
        board.close()


def require_tensorboard() -> None:
    """Asks for TensorBoard before time is spent.

    Raises:
      UserError: If it is not installed.
    """
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise UserError("--tensorboard needs TensorBoard, which is not installed: "
                        "pip install '.[tensorboard]', or leave the flag out.") from error


def points(folder: str) -> set[tuple[str, int]]:
    """The points that the event files of a folder hold: a set of (tag, step)."""
    found = set()
    for path in sorted(glob.glob(os.path.join(folder, '*.tfevents.*'))):
        try:
            for record in untuned(tf.data.TFRecordDataset(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                found.update((value.tag, event.step) for value in event.summary.value)
        except tf.errors.DataLossError:
            pass        # a killed run leaves half a record at a file's end; whole ones are read
    return found
