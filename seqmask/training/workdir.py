"""What stays on disk: checkpoints and the history; each written whole or not at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

import tensorflow as tf

from seqmask import checks
from seqmask.data.files.whole import write_whole
from seqmask.training.checkpoints import Checkpoints, fault_of, newest_whole, saved_epochs
from seqmask.training.lock import hold
from seqmask.variables import untracked

HISTORY, LAST, BEST = 'history.csv', 'checkpoints', 'best'


class Workdir:
    """The files of one training run.

    `checkpoints/` holds the whole state after each of the newest finished epochs, `best/` the model
    of the best one of each of these, `history.csv` a row an epoch. An epoch is finished once its
    checkpoint is whole, the last file to be written: what `best/` holds of a later epoch does not
    count, and a restart removes it before the epoch is made again.

    Args:
      path: Folder; made if missing.
      model: `tf.Module`.
      keep: int, at least 1. Epochs whose state stays in `checkpoints/`, the newest ones.
      writes: Whether this process keeps what it saves; of several workers the chief alone does, and
        the others take part in saving.
      state: Further objects and variables that make up the state, by name.

    Raises:
      BlockingIOError: If another process writes to the folder. It is free for others when this
        object is gone, or the process.
    """

    def __init__(self, path: str, model: tf.Module, *, keep: int = 2, writes: bool = True,
                 **state):
        self.path = path
        self._keep, self._writes = checks.size('keep', keep), writes
        os.makedirs(path, exist_ok=True)
        self._lock = hold(path) if writes else None
        self._last = Checkpoints(os.path.join(path, LAST), writes, model=model, **untracked(model),
                                 **state)
        self._best = Checkpoints(os.path.join(path, BEST), writes, model=model,
                                 **untracked(model))
        self._epoch = 0

    def restore(self) -> bool:
        """Puts the newest finished epoch's state back; False if there is none yet.

        Each damaged checkpoint is told in a warning, and the one before is taken. Nothing is
        restored before it is known to be whole.

        Raises:
          ValueError: If the folder holds the state of another model or optimizer, or if all its
            checkpoints are damaged.
        """
        epoch = newest_whole(os.path.join(self.path, LAST))
        if epoch is None:
            return False
        try:
            self._last.restore(epoch).assert_consumed()
        except (AssertionError, ValueError, tf.errors.NotFoundError) as error:
            raise ValueError(
                f'workdir {self.path!r} holds the checkpoint of another model or optimizer. Train '
                f'with the flags it was started with, or choose another workdir.') from error
        self._epoch = epoch
        self._best.keep(self._bests())
        return True

    def save(self, epoch: int, is_best: bool, history: Sequence[dict[str, float]]) -> None:
        """Keeps the state after an epoch. What a kill leaves half-done, a restart does again."""
        if is_best:
            self._best.save(epoch)
        # A row too many is dropped at a restart; one too few would be lost.
        if self._writes:
            write_rows(os.path.join(self.path, HISTORY), history)
        self._last.save(epoch)
        self._epoch = epoch
        if self._writes:
            # What is newer was damaged, and is made again.
            kept = [saved for saved in self._last.epochs() if saved <= epoch][:self._keep]
            self._last.keep(kept)
            self._best.keep({max(self._bests(saved), default=0) for saved in kept} - {0})

    def history(self, epochs: int) -> list[dict[str, float]]:
        """The rows of the first `epochs` epochs, as they were saved."""
        return read_rows(os.path.join(self.path, HISTORY))[:epochs]

    def restore_best(self) -> None:
        """Puts the best epoch's variables back into the model.

        Raises:
          FileNotFoundError: If they were not saved.
          ValueError: If their checkpoint is damaged; the message names the file.
        """
        epoch = _best_epoch(self.path, self._epoch)
        self._best.restore(epoch).assert_existing_objects_matched()

    def replace_best(self) -> None:
        """Keeps the model as it is now in place of the best epoch's."""
        self._best.replace(_best_epoch(self.path, self._epoch) if self._writes else 0)

    def _bests(self, epoch=None):
        """Epochs that were the best in their time, up to one; by default to the last finished."""
        last = self._epoch if epoch is None else epoch
        return [best for best in self._best.epochs() if best <= last]


def restore_best(model: tf.Module, path: str) -> None:
    """Puts the best epoch's variables of a workdir into a model built alike.

    Args:
      model: `tf.Module`.
      path: The workdir.

    Raises:
      FileNotFoundError: If the folder holds no best checkpoint.
      ValueError: If it is damaged, naming the file, or of another model.
    """
    folder = os.path.join(path, BEST)
    checkpoint = Checkpoints(folder, model=model, **untracked(model))
    while True:
        before = _names_in(folder)
        try:
            finished = max(saved_epochs(os.path.join(path, LAST)), default=None)
            _restore_alike(checkpoint, path, _best_epoch(path, finished))
            return
        except (OSError, ValueError, tf.errors.OpError):
            # Not if a run in progress has put a better one in its place meanwhile.
            if _names_in(folder) == before:
                raise


def _restore_alike(checkpoint, path, epoch):
    try:
        checkpoint.restore(epoch).assert_consumed()
    except (AssertionError, ValueError) as error:
        raise ValueError(f'{path!r} holds a model of other sizes than the one given.') from error


def _names_in(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _best_epoch(path, finished):
    """The best of the epochs up to `finished`; of all where it is None."""
    folder = os.path.join(path, BEST)
    epoch = next((epoch for epoch in saved_epochs(folder)
                  if finished is None or epoch <= finished), None)
    if epoch is None:
        raise FileNotFoundError(f'{path!r} holds no trained model: no checkpoint in {folder!r}.')
    fault = fault_of(folder, epoch)
    if fault is not None:
        raise ValueError(f'the best model of {path!r} is damaged: {fault}. Put {folder!r} back '
                         f'from a copy, or train anew in another workdir.')
    return epoch


def read_history(path: str) -> list[dict[str, float]]:
    """The rows of a workdir's `history.csv`, one an epoch; none if there is no such file yet.

    Raises:
      ValueError: If it holds anything but numbers; the message names the file.
    """
    try:
        return read_rows(os.path.join(path, HISTORY))
    except FileNotFoundError:
        return []


def write_rows(path: str, rows: Sequence[dict]) -> None:
    """Writes rows, dicts by name, as a CSV file that appears at once and whole."""
    def write(file):
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, list(names), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    write_whole(path, write)


def read_rows(path: str) -> list[dict[str, float]]:
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


def _number(text):
    number = float(text)
    return int(number) if text.lstrip('-').isdigit() else number
