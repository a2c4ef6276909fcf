"""The summary and tables printed after training."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Sequence

import tensorflow as tf

from seqmask.runs.task import Task
from seqmask.variables import trainable_variables

NUMBERS = ('loss', 'baseline', 'squared_error', 'absolute_error')        # others are shares


def summary(task: Task, model: tf.Module, history: Sequence[dict[str, float]], best_epoch: int,
            seconds: float) -> str:
    """Four lines: the data, the model, the time that training took, the best epoch.

    Args:
      task: `Task`.
      model: `tf.Module`.
      history: List of dicts, as returned by `Trainer.fit`.
      best_epoch: int, from 1.
      seconds: float. Duration of this call of `Trainer.fit`, validation included.
    """
    train, valid, test = task.parts
    sequences, steps = task.units
    best = history[best_epoch - 1]
    measured = {name: value for name, value in best.items()
                if name == 'loss' or name.startswith('valid_')}
    trained = sum(row['seconds'] for row in history)
    speed = statistics.median(row['steps_per_second'] for row in history)
    rows = {
        'data': f'{len(train):,} {sequences} to train on, {int(train.lengths.sum()):,} {steps}; '
                f'{len(valid):,} to validate, {len(test):,} to test'
                + (f'; {task.described}' if task.described else ''),
        'model': f'{type(model).__name__}, {count_weights(model):,} weights',
        'training': f'{len(history)} epochs, {trained:.1f} s of training ({seconds:.1f} s in this '
                    f'start); {speed:,.0f} {steps} per second (median epoch)',
        'best epoch': f'{best_epoch}: ' + ', '.join(f'{name} {value:.4g}'
                                                    for name, value in measured.items())}
    return '\n'.join(f'{name:12}{text}' for name, text in rows.items())


def count_weights(model: tf.Module) -> int:
    """The number of a model's trainable weights."""
    return sum(variable.shape.num_elements() for variable in trainable_variables(model))


def table(measured: dict[str, dict[str, float]], columns: dict[str, str]) -> str:
    """A table of results: two lines of headings and a line per part.

    Args:
      measured: dict of part name -> result of `Trainer.evaluate`.
      columns: dict of metric name -> heading, its two lines separated by '/'. All but losses and
        errors are shown in percent; NaN, or a metric that a part lacks, as '-'.

    >>> print(seqmask.runs.table({'test': {'accuracy': 0.5, 'loss': 0.25}},
    ...                              {'accuracy': 'steps/right', 'loss': 'loss/in nats'}))
                           steps            loss
                           right         in nats
    test                  50.00%          0.2500
    """
    width = max([12] + [len(part) + 2 for part in measured])
    lines = [f'{"":{width}}' + ''.join(f'{heading.split("/")[line]:>16}'
                                       for heading in columns.values()) for line in range(2)]
    for part, values in measured.items():
        shown = (format(_shown(name, values.get(name, math.nan)), '>16') for name in columns)
        lines.append(f'{part:{width}}' + ''.join(shown))
    return '\n'.join(lines)


def _shown(name, value):
    return '-' if math.isnan(value) else f'{value:.4f}' if name in NUMBERS else f'{value:.2%}'


def list_files(workdir: str) -> str:
    """One line: what a workdir holds."""
    names = [f'{name}/' if os.path.isdir(os.path.join(workdir, name)) else name
             for name in sorted(os.listdir(workdir))
             if not name.startswith('.') and not name.endswith('.tmp')]
    return f'{"files":12}in {workdir}: {", ".join(names)}'
