"""What the scripts that train on classes share: from a task to tables, predictions, pictures."""

from __future__ import annotations

import os

from absl import flags

from seqmask.runs.fitting import finish, fit
from seqmask.runs.pictures import figures
from seqmask.runs.predictions import (confusion_counts, examples, predict_sequences,
                                      prediction_rows)
from seqmask.runs.report import table
from seqmask.runs.task import Task
from seqmask.training import is_chief
from seqmask.training.workdir import write_rows

PREDICTIONS = 'predictions.csv'


def train_and_report(task: Task) -> None:
    """Trains as `fit` does, and prints how well each part was labelled.

    The workdir receives predictions.csv, and pictures/ if the flags say so.

    Args:
      task: `Task` with classes, whose parts have 'labels'.

    Raises:
      UserError: If the flags ask for what is not installed, or do not fit the workdir.
    """
    fitted = fit(task)
    if is_chief(task.strategy):
        _report(fitted, flags.FLAGS)
    finish(task.strategy)


def _report(fitted, values):
    task = fitted.task
    print(table(fitted.measured, task.columns), flush=True)
    predicted = {name: predict_sequences(fitted.trainer, part, labels_per=task.labels_per)
                 for name, part in fitted.held_out.items()}
    _write_predictions(os.path.join(values.workdir, PREDICTIONS), predicted, task)
    if values.plots:
        _draw(values, fitted, predicted['test'])


def _write_predictions(path, predicted, task):
    rows = []
    for (part, predictions), sequences in zip(predicted.items(), task.parts[1:]):
        fields = sequences.steps if task.labels_per == 'step' else sequences.sequences
        rows += prediction_rows(predictions, task.names, labels_per=task.labels_per,
                                labels=fields['labels'], part=part)
    write_rows(path, rows)


def _draw(values, fitted, predictions):
    task = fitted.task
    train, _, test = task.parts
    counts = confusion_counts(predictions, test, len(task.names), labels_per=task.labels_per)
    drawn = {
        'curves': figures.curves(fitted.history, fitted.trainer.best_epoch),
        'lengths': figures.lengths(
            train.lengths, fitted.batches.padding_share(), values.batch_size),
        'confusion': figures.confusion(counts, task.names),
        'predictions': figures.predictions(
            *examples(predictions, test, task.names, labels_per=task.labels_per), task.names)}
    for name, figure in drawn.items():
        figures.save(figure, values.workdir, name)
