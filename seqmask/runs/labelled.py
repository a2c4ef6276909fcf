"""Shared by scripts that train on classes: from a task to tables, predictions, pictures."""

from __future__ import annotations

import os

from absl import flags

from seqmask.runs.fitting import finish, fit
from seqmask.runs.pictures.classes import draw_classes
from seqmask.runs.predictions import labels_in, predict_sequences, prediction_rows
from seqmask.runs.report import table
from seqmask.runs.task import Task
from seqmask.training import is_chief
from seqmask.training.workdir import write_rows


def train_and_report(task: Task) -> None:
    """Trains as `fit` does, prints a table and writes predictions.csv, with --plots also pictures/.

    Args:
      task: `Task` with classes, whose parts have 'labels'.

    Raises:
      UserError, BlockingIOError: As `fit`.
    """
    fitted = fit(task)
    if is_chief(task.strategy):
        _report(fitted, flags.FLAGS)
    finish(task.strategy)


def _report(fitted, values):
    task = fitted.task
    print(table(fitted.measured, task.columns), flush=True)
    rows, predicted = [], {}
    for (part, batches), sequences in zip(fitted.held_out.items(), task.parts[1:]):
        predicted[part] = predict_sequences(fitted.trainer, batches, labels_per=task.labels_per)
        rows += prediction_rows(predicted[part], task.names, labels_per=task.labels_per,
                                labels=labels_in(sequences, task.labels_per), part=part)
    write_rows(os.path.join(values.workdir, 'predictions.csv'), rows)
    if values.plots:
        draw_classes(values.workdir, fitted, predicted['test'], batch_size=values.batch_size)
