"""The files of a run: checkpoints and the history, each written whole or not at all."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

import tensorflow as tf

from seqmask import checks
from seqmask.data.files.whole import write_whole
from seqmask.training.checkpoints import Checkpoints, fault_of, newest_complete, saved_epochs
from seqmask.training.lock import hold
from seqmask.variables import model_variables, untracked

HISTORY, LAST, BEST = 'history.csv', 'checkpoints', 'best'


class Workdir:
    """The files of one training run.

    `checkpoints/` holds the complete state after each of the newest finished epochs, `best/` the
    model of the best epoch up to each of these, `history.csv` one row per epoch. An epoch is
    finished once its checkpoint, which is written last, is complete. A restart removes the files
    that `best/` holds of a later epoch, and trains that epoch again.

    Args:
      path: Folder; created if missing.
      model: `tf.Module`.
      keep: int, at least 1. Number of checkpoints kept in `checkpoints/`.
      writes, **state: As of `Checkpoints`.

    Raises:
      BlockingIOError: If another process holds the folder. This object holds it while it lives.
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
        """Restores the state of the newest finished epoch; returns False if there is none yet.

        Logs a warning for each damaged checkpoint and falls back to the one before. Checksums are
        verified before anything is restored.

        Raises:
          ValueError: If the folder holds the state of another model or optimizer, or only damaged
            checkpoints.
        """
        epoch = newest_complete(os.path.join(self.path, LAST))
        if epoch is None:
            return False
        try:
            self._last.restore(epoch).assert_consumed()
        except (AssertionError, ValueError, tf.errors.NotFoundError) as error:
            raise ValueError(
                f'workdir {self.path!r} holds the checkpoint of another model or optimizer. Train '
                f'with the flags it was started with, or choose another workdir.') from error
        self._epoch = epoch
        self._best.keep(self._best_epochs(epoch))
        return True

    def save(self, epoch: int, is_best: bool, history: Sequence[dict[str, float]]) -> None:
        """Saves the state after an epoch. If it is killed half-way, a restart repeats the epoch."""
        if is_best:
            self._best.save(epoch)
        # Before the checkpoint: a restart drops an extra row, but could not restore a lost one.
        if self._writes:
            write_rows(os.path.join(self.path, HISTORY), history)
        self._last.save(epoch)
        self._epoch = epoch
        if self._writes:
            # Newer ones were damaged, and are trained again.
            kept = [saved for saved in self._last.epochs() if saved <= epoch][:self._keep]
            self._last.keep(kept)
            self._best.keep({max(self._best_epochs(saved), default=0) for saved in kept} - {0})

    def history(self, epochs: int) -> list[dict[str, float]]:
        """The saved rows of the first `epochs` epochs."""
        return read_rows(os.path.join(self.path, HISTORY))[:epochs]

    def restore_best(self) -> None:
        """Restores the model's variables from the best epoch; errors as of `restore_best`."""
        epoch = _best_epoch(self.path, self._epoch)
        self._best.restore(epoch).assert_existing_objects_matched()

    def replace_best(self) -> None:
        """Replaces the best epoch's checkpoint by the current model."""
        self._best.replace(_best_epoch(self.path, self._epoch) if self._writes else 0)

    def _best_epochs(self, last):
        """Epochs up to the last one given that were the best when they finished."""
        return [epoch for epoch in self._best.epochs() if epoch <= last]


class InMemory:
    """Replaces `Workdir` when nothing is written to disk: keeps the best epoch's weights."""

    def __init__(self, model: tf.Module):
        self._model = model

    def save(self, epoch: int, is_best: bool, history: Sequence[dict[str, float]]) -> None:
        if is_best:
            self.replace_best()

    def restore_best(self) -> None:
        for variable, value in zip(model_variables(self._model), self._weights):
            variable.assign(value)

    def replace_best(self) -> None:
        self._weights = [variable.numpy() for variable in model_variables(self._model)]


def restore_best(model: tf.Module, path: str) -> None:
    """Restores a workdir's best epoch into a model of the same architecture.

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
            epoch = _best_epoch(path, finished)
            try:
                checkpoint.restore(epoch).assert_consumed()
            except (AssertionError, ValueError) as error:
                raise ValueError(
                    f'{path!r} holds a model of other sizes than the one given.') from error
            return
        except (OSError, ValueError, tf.errors.OpError):
            # Tries again if a run in progress has replaced the files meanwhile.
            if _names_in(folder) == before:
                raise


def _names_in(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def _best_epoch(path, finished):
    """The best of the epochs up to `finished`; of all epochs if it is None."""
    folder = os.path.join(path, BEST)
    epoch = next((epoch for epoch in saved_epochs(folder)
                  if finished is None or epoch <= finished), None)
    if epoch is None:
        raise FileNotFoundError(f'{path!r} holds no trained model: no checkpoint in {folder!r}.')
    fault = fault_of(folder, epoch)
    if fault is not None:
        raise ValueError(f'the best model of {path!r} is damaged: {fault}. Restore {folder!r} '
                         f'from a backup, or train in another workdir.')
    return epoch


def read_history(path: str) -> list[dict[str, float]]:
    """The rows of a workdir's `history.csv`, one per epoch; empty if there is no such file yet.

    Raises:
      ValueError: If it holds anything but numbers; the message names the file.
    """
    try:
        return read_rows(os.path.join(path, HISTORY))
    except FileNotFoundError:
        return []


def write_rows(path: str, rows: Sequence[dict]) -> None:
    """Writes rows, dicts by column name, as a CSV file, atomically."""
    def write(file):
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, list(names), lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    write_whole(path, write)


def read_rows(path: str) -> list[dict[str, float]]:
    """Reads a CSV file of numbers, such as `history.csv`; a row omits its empty cells.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If it holds anything but numbers; the message names the file.
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
