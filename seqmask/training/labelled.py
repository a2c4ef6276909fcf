"""What the scripts that train on classes share: from parts to tables, predictions, pictures."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Sequence

import tensorflow as tf
from absl import flags

from seqmask import data
from seqmask.training import pictures
from seqmask.training.distribute import is_chief
from seqmask.training.predictions import (confusion_counts, examples, predict_sequences,
                                          prediction_rows)
from seqmask.training.summary import table
from seqmask.training.task import finish, fit_task
from seqmask.training.workdir import write_rows

PREDICTIONS = 'predictions.csv'


def train_and_report(script: types.ModuleType, make_model: Callable[[], tf.Module],
                     arguments: dict, parts: Sequence[data.Sequences], names: Sequence[str],
                     columns: dict[str, str], *, labels_per: str, monitor: str = 'accuracy',
                     mode: str = 'max', strategy: tf.distribute.Strategy | None = None) -> None:
    """Trains as `fit_task` does, and tells what came out for each class.

    The workdir receives predictions.csv, and pictures/ if the flags say so.

    Args:
      script, make_model, arguments: As of `fit_task`.
      parts: [train, valid, test] of `data.Sequences`, with 'labels'.
      names: Of the K classes.
      columns: dict of the names that `measure` gives to the headings of the table.
      labels_per: 'step' or 'sequence': what each label is of.
      monitor, mode, strategy: As of `fit_task`.

    Raises:
      UserError: If the flags ask for what is not installed, or do not fit the workdir.
    """
    fitted = fit_task(script, make_model, arguments, parts, described=f'{len(names)} classes',
                      labels_per=labels_per, names=names, columns=columns, monitor=monitor,
                      mode=mode, strategy=strategy)
    strategy = fitted.trainer.strategy
    if is_chief(strategy):
        _report(fitted, parts, names, columns, labels_per)
    finish(strategy)


def _report(fitted, parts, names, columns, labels_per):
    values = flags.FLAGS
    print(table(fitted.measured, columns), flush=True)
    said = {name: predict_sequences(fitted.trainer, part, labels_per=labels_per)
            for name, part in fitted.held_out.items()}
    _write_predictions(os.path.join(values.workdir, PREDICTIONS), said, parts[1:], names,
                       labels_per)
    if values.plots:
        _draw(values, fitted, parts, said['test'], names, labels_per)


def _write_predictions(path, said, held_out, names, labels_per):
    rows = []
    for (part, predictions), sequences in zip(said.items(), held_out):
        fields = sequences.steps if labels_per == 'step' else sequences.sequences
        rows += prediction_rows(predictions, names, labels_per=labels_per, labels=fields['labels'],
                                part=part)
    write_rows(path, rows)


def _draw(values, fitted, parts, predictions, names, labels_per):
    train, _, test = parts
    counts = confusion_counts(predictions, test, len(names), labels_per=labels_per)
    figures = {
        'curves': pictures.curves(fitted.history, fitted.trainer.best_epoch),
        'lengths': pictures.lengths(
            train.lengths, fitted.batches.padding_share(), values.batch_size),
        'confusion': pictures.confusion(counts, names),
        'predictions': pictures.predictions(
            *examples(predictions, test, names, labels_per=labels_per), names)}
    for name, figure in figures.items():
        pictures.save(figure, values.workdir, name)
