"""Figures that every kind of run has, and what the others are made of. Needs matplotlib.

Each function makes a `matplotlib.figure.Figure` of its own; pyplot, with its windows and its global
state, is never imported.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Callable, Sequence

import numpy as np

from seqmask.data.files.whole import whole_file
from seqmask.runs.task import Fitted

FOLDER = 'pictures'
TRAIN, VALID, WRONG = 'tab:blue', 'tab:orange', 'crimson'
Figure = typing.Any     # matplotlib.figure.Figure, which need not be installed


def save_run(workdir: str, fitted: Fitted, batch_size: int, own: dict[str, Figure], *,
             history: Sequence[dict[str, float]] | None = None, unit: str = 'nats') -> None:
    """Saves the curves and lengths of a run, and its own figures, into workdir/pictures.

    Args:
      workdir: Folder.
      fitted: `Fitted`.
      batch_size: int; named in a title.
      own: dict of file name -> figure.
      history: The rows to draw, by default all of `fitted.history`.
      unit: Unit of the loss.
    """
    drawn = {
        'curves': curves(fitted.history if history is None else history,
                         fitted.trainer.best_epoch, unit),
        'lengths': lengths(fitted.task.parts[0].lengths, fitted.batches.padding_share(),
                           batch_size), **own}
    os.makedirs(os.path.join(workdir, FOLDER), exist_ok=True)
    for name, figure in drawn.items():
        with whole_file(os.path.join(workdir, FOLDER, f'{name}.png')) as unfinished:
            figure.savefig(unfinished, format='png', dpi=120)


def select_examples(mistakes: np.ndarray, lengths: np.ndarray,
                    number: int) -> tuple[np.ndarray, np.ndarray]:
    """Selects sequences to draw: evenly spaced ones, then those with the most mistakes.

    Args:
      mistakes: [B]. Their number, or another error; sequences with 0 are not among the worst.
      lengths: int [B]. Sequences of length 0 are not selected.
      number: int. How many of each kind at most.

    Returns:
      (typical, worst), int arrays of indices without a common element.
    """
    filled = np.flatnonzero(lengths)
    typical = filled[np.unique(np.linspace(0, len(filled) - 1, number).astype(int))]
    rest = np.setdiff1d(filled[mistakes[filled] > 0], typical)
    return typical, rest[np.argsort(-mistakes[rest], kind='stable')][:number]


def curves(history: Sequence[dict[str, float]], best_epoch: int, unit: str = 'nats') -> Figure:
    """Loss and metrics over epochs, the best epoch marked.

    Args:
      history: List of dicts, as returned by `Trainer.fit`.
      best_epoch: int, from 1.
      unit: Unit of the loss.

    Returns:
      Figure with a diagram for the loss and for each metric; metrics in [0, 1] are in percent.
    """
    metrics = dict.fromkeys(name[len('valid_'):] for row in history for name in row
                            if name.startswith('valid_') and name != 'valid_loss')
    names = ['loss', *metrics]
    columns = min(2, len(names))
    figure, axes = grid(-(-len(names) // columns), columns, width=5, height=3.2)
    for axis in axes.flat[len(names):]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, names):
        values = []
        for key, color, label in [(name, TRAIN, 'training'),
                                  (f'valid_{name}', VALID, 'validation')]:
            points = [(row['epoch'], row[key]) for row in history if key in row]
            values += [value for _, value in points]
            if points:
                # A single epoch makes no visible line.
                axis.plot(*zip(*points), color=color, label=label,
                          marker='o' if len(points) < 3 else None)
        axis.axvline(best_epoch, color='grey', linestyle=':', label=f'best epoch, {best_epoch}')
        axis.set_xlabel('epoch')
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        if name == 'loss':
            axis.set_ylabel(f'loss [{unit}]')
            axis.set_ylim(bottom=min(0, *values))
            axis.legend()
        elif all(0 <= value <= 1 for value in values):
            low, high = axis.get_ylim()
            axis.set_ylim(max(low, -0.02), min(high, 1.02))
            axis.set_ylabel(name.replace('_', ' ') + ' [%]')
            axis.yaxis.set_major_formatter(lambda value, _: f'{100 * value:.6g}')
        else:
            axis.set_ylabel(name.replace('_', ' '))
    figure.suptitle('Training and validation, epoch by epoch')
    return figure


def lengths(lengths: np.ndarray, padding_share: float, batch_size: int) -> Figure:
    """Histogram of the lengths, with the share of padding in the title.

    Args:
      lengths: int [B]. Time steps.
      padding_share: Padded steps as a fraction of all steps in the batches, in [0, 1].
      batch_size: int; named in the title.
    """
    figure, ((axis,),) = grid(1, 1, width=7, height=4)
    low, high = int(lengths.min()), int(lengths.max())
    width = -(-(high - low + 1) // 40)      # in whole steps, so that all bars cover equally many
    axis.hist(lengths, bins=np.arange(low, high + width + 1, width) - 0.5, color=TRAIN,
              edgecolor='white', linewidth=0.5)
    median = float(np.median(lengths))
    axis.axvline(median, color='black', linestyle=':', label=f'median, {median:g} steps')
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel('length [time steps]')
    axis.set_ylabel('sequences' if width == 1 else f'sequences in {width} steps')
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.legend()
    axis.set_title(f'{len(lengths)} sequences to train on, {low} to {high} steps\n'
                   f'{padding_share:.1%} of the steps in batches of {batch_size} are padding')
    return figure


def palette(size: int) -> Callable[..., tuple]:
    from matplotlib import colormaps
    return colormaps['tab20' if size > 10 else 'tab10'].resampled(size)


def grid(rows: int, columns: int, *, width: float,
         height: float) -> tuple[Figure, np.ndarray]:
    """A figure with a grid of diagrams of the given size in inches."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(columns * width, rows * height), layout='constrained')
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_features(axis: typing.Any, inputs: np.ndarray) -> None:
    """A sequence over time: lines of at most 4 features, else an image; tokens as text.

    Args:
      axis: matplotlib's.
      inputs: [length, D], or tokens [length].
    """
    if inputs.ndim == 1:
        for step, token in enumerate(inputs):
            axis.text(step, 0, str(token), ha='center', va='center')
        axis.set_ylim(-1, 1)
        axis.set_yticks([])
    elif inputs.shape[1] <= 4:
        axis.set_prop_cycle(color=['black', 'dimgrey', 'darkgrey', 'silver'])
        axis.plot(inputs, marker='.' if len(inputs) < 40 else None)
        axis.set_ylabel('features')
    else:
        axis.imshow(inputs.T, aspect='auto', cmap='Greys', interpolation='nearest')
        axis.set_ylabel('feature number')
