"""What stays on disk: checkpoints and the history; each written whole or not at all."""

import csv
import os

import tensorflow as tf

HISTORY, LAST, BEST = 'history.csv', 'checkpoints', 'best'


class Workdir:
    """The files of one training run.

    `checkpoints/` holds the whole state after the newest finished epoch, `best/` the model of the
    best one, `history.csv` a row an epoch.

    Args:
      path: Folder; made if missing.
      model: `tf.Module`.
      state: Further objects and variables that make up the state, by name.
    """

    def __init__(self, path, model, **state):
        self.path = path
        os.makedirs(path, exist_ok=True)
        self._last = tf.train.CheckpointManager(
            tf.train.Checkpoint(model=model, **state), os.path.join(path, LAST), max_to_keep=2,
            checkpoint_name='epoch')
        self._best = tf.train.CheckpointManager(
            tf.train.Checkpoint(model=model), os.path.join(path, BEST), max_to_keep=1,
            checkpoint_name='epoch')

    def restore(self):
        """Puts the newest finished epoch's state back; False if there is none yet.

        Raises:
          ValueError: If the folder holds the state of another model or optimizer.
        """
        newest = self._last.latest_checkpoint
        if newest is None:
            return False
        try:
            self._last.checkpoint.restore(newest).assert_consumed()
        except (AssertionError, ValueError, tf.errors.NotFoundError) as error:
            raise ValueError(
                f'workdir {self.path!r} holds the checkpoint of another model or optimizer. Train '
                f'with the flags it was started with, or choose another workdir.') from error
        return True

    def save(self, epoch, is_best, history):
        """Keeps the state after an epoch. What a kill leaves half-done, a restart does again."""
        if is_best:
            self._best.save(checkpoint_number=epoch)
        # A row too many is dropped at a restart; one too few would be lost.
        write_rows(os.path.join(self.path, HISTORY), history)
        self._last.save(checkpoint_number=epoch)

    def history(self, epochs):
        """The rows of the first `epochs` epochs, as they were saved."""
        return read_rows(os.path.join(self.path, HISTORY))[:epochs]

    def restore_best(self):
        """Puts the best epoch's variables back into the model."""
        restored = self._best.checkpoint.restore(self._best.latest_checkpoint)
        restored.assert_existing_objects_matched()


def restore_best(model, path):
    """Puts the best epoch's variables of a workdir into a model built alike.

    Args:
      model: `tf.Module`.
      path: The workdir.

    Raises:
      FileNotFoundError: If the folder holds no best checkpoint.
      ValueError: If it is of another model.
    """
    newest = tf.train.latest_checkpoint(os.path.join(path, BEST))
    if newest is None:
        raise FileNotFoundError(f'{path!r} holds no trained model: no checkpoint in '
                                f'{os.path.join(path, BEST)!r}.')
    try:
        tf.train.Checkpoint(model=model).restore(newest).assert_consumed()
    except (AssertionError, ValueError) as error:
        raise ValueError(f'{path!r} holds a model of other sizes than the one given.') from error


def write_rows(path, rows):
    """Writes rows, dicts by name, as a CSV file that appears at once and whole."""
    def write(file):
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, list(names), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    write_whole(path, write)


def read_rows(path):
    """The rows of a CSV file of numbers, such as `history.csv`; names without a number left out.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If it holds anything else; the message names the file.
    """
    with open(path, newline='', encoding='utf-8') as file:
        try:
            return [{name: _number(text) for name, text in row.items() if text}
                    for row in csv.DictReader(file)]
        except (ValueError, TypeError, AttributeError, csv.Error) as error:
            raise ValueError(f'{path!r} must be a CSV file of numbers: {error}.') from error


def write_whole(path, write):
    """Writes a text file such that it appears at once and whole: `write(file)`, then a rename."""
    temporary = f'{path}.{os.getpid()}.tmp'
    try:
        with open(temporary, 'w', newline='', encoding='utf-8') as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _number(text):
    number = float(text)
    return int(number) if text.lstrip('-').isdigit() else number
