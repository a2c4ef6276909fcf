"""Shared by training scripts: from a task to a table, predictions and pictures."""

from __future__ import annotations

import os
import typing
from collections.abc import Callable

from absl import flags

from seqmask.runs.fitting import finish, fit
from seqmask.runs.outputs import named
from seqmask.runs.report import table
from seqmask.runs.task import Fitted, Task
from seqmask.training import is_chief
from seqmask.training.workdir import write_rows


Table = typing.Dict[str, typing.Dict[str, float]]


def train_and_report(task: Task, draw: Callable[..., None],
                     measured: Callable[[Fitted], Table] = lambda fitted: fitted.measured) -> None:
    """Trains as `fit` does, prints a table and writes predictions.csv, with --plots also pictures/.

    Args:
      task: `Task` with an output.
      draw: (workdir, fitted, predictions of the test part, batch_size=) -> None, such as
        `draw_classes`.
      measured: (fitted) -> lines of the table, as `table` takes them.

    Raises:
      UserError, BlockingIOError: As `fit`.
    """
    fitted = fit(task)
    if is_chief(task.strategy):
        print(table(measured(fitted), task.columns), flush=True)
        _write(fitted, draw, flags.FLAGS)
    finish(task.strategy)


def _write(fitted, draw, values):
    output, rows, predicted = fitted.task.output, [], {}
    for (part, batches), sequences in zip(fitted.held_out.items(), fitted.task.labelled()[1:]):
        predicted[part] = output.predict(fitted.trainer, batches)
        rows += named(output.rows(predicted[part], sequences, part=part), sequences)
    write_rows(os.path.join(values.workdir, 'predictions.csv'), rows)
    if values.plots:
        draw(values.workdir, fitted, predicted['test'], batch_size=values.batch_size)
