"""A run in pictures: its curves, its lengths, its mistakes. Needs matplotlib.

Each function makes a `matplotlib.figure.Figure` of its own; pyplot, with its windows and its global
state, is never imported.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Callable, Sequence

import numpy as np

from seqmask.data.files.whole import whole_file
from seqmask.runs.app import UserError

FOLDER = 'pictures'
TRAIN, VALID, WRONG = 'tab:blue', 'tab:orange', 'crimson'
Figure = typing.Any     # matplotlib.figure.Figure, which need not be installed


def require_matplotlib() -> None:
    """Asks for matplotlib before time is spent.

    Raises:
      UserError: If it is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise UserError("--plots needs matplotlib, which is not installed: "
                        "pip install '.[plots]', or leave the flag out.") from error


def save(figure: Figure, workdir: str, name: str) -> str:
    """Writes a figure as workdir/pictures/name.png, whole or not at all; returns the path."""
    os.makedirs(os.path.join(workdir, FOLDER), exist_ok=True)
    path = os.path.join(workdir, FOLDER, f'{name}.png')
    with whole_file(path) as unfinished:
        figure.savefig(unfinished, format='png', dpi=120)
    return path


def curves(history: Sequence[dict[str, float]], best_epoch: int, unit: str = 'nats') -> Figure:
    """Loss and metrics over epochs, the best epoch marked.

    Args:
      history: List of dicts, as `Trainer.fit` returns it.
      best_epoch: int, from 1.
      unit: Of the loss.

    Returns:
      Figure with one diagram for the loss, and one for each metric; what is always in [0, 1] is
      shown in percent.
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
            seen = [(row['epoch'], row[key]) for row in history if key in row]
            values += [value for _, value in seen]
            if seen:
                # A single epoch has no line to see.
                axis.plot(*zip(*seen), color=color, label=label,
                          marker='o' if len(seen) < 3 else None)
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
    """How long the sequences are, and what padding them costs.

    Args:
      lengths: int [B]. Time steps.
      padding_share: Padded steps as a fraction of all in the batches, in [0, 1].
      batch_size: int; named in the title.

    Returns:
      Figure with a histogram.
    """
    figure, ((axis,),) = grid(1, 1, width=7, height=4)
    low, high = int(lengths.min()), int(lengths.max())
    width = -(-(high - low + 1) // 40)      # whole steps, so that no bar covers more than another
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


def confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Which class was taken for which.

    Args:
      counts: int [K, K]. Rows are the labels, columns what was taken for them.
      names: K names.

    Returns:
      Figure: the share of each label's cases by colour, their number in the field.
    """
    size = len(names)
    side = max(4.5, 0.32 * size + 2)
    figure, ((axis,),) = grid(1, 1, width=side + 0.6, height=side)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    figure.colorbar(image, ax=axis, shrink=0.7, format=lambda share, _: f'{100 * share:.0f}',
                    label='share of the label\'s cases [%]')
    if size <= 40:
        for row, column in zip(*np.nonzero(counts)):
            axis.text(column, row, _short(counts[row, column]), ha='center', va='center',
                      fontsize=9 if size <= 12 else 6,
                      color='white' if shares[row, column] > 0.5 else
                      'black' if row == column else WRONG)
        axis.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axis.set_yticks(range(size), names)
    axis.set_xlabel('predicted')
    axis.set_ylabel('label')
    total = int(counts.sum())
    right = int(np.trace(counts))
    share = f', {right / total:.2%}' if total else ''
    axis.set_title(f'Test part: {right} of {total} right{share}')
    return figure


def predictions(usual: list[dict], mistaken: list[dict], names: Sequence[str]) -> Figure:
    """A few sequences, each up to its own end, with their labels and what was predicted.

    Args:
      usual: List of dicts, one a sequence: 'title'; 'inputs' [length, D]; 'right', bool; and for a
        label per step 'labels' and 'predicted', int [length].
      mistaken: The same, of sequences with mistakes, for a second column; or [].
      names: Of the K classes.

    Returns:
      Figure with a diagram for each sequence: the features over time, as lines if they are few,
      else as an image; above them the labels, as words where there is room, else in colours. Steps
      and titles that are wrong are red.
    """
    columns = [column for column in (usual, mistaken) if column]
    figure, axes = grid(max(map(len, columns)), len(columns), width=6.5, height=2.7)
    examples = [example for column in columns for example in column]
    longest = max(len(example['inputs']) for example in examples)
    whole = np.concatenate([example['inputs'] for example in examples])
    colored = False
    for column, examples in enumerate(columns):
        for axis in axes[len(examples):, column]:
            axis.set_axis_off()
        for axis, example in zip(axes[:, column], examples):
            inputs = example['inputs']
            if inputs.shape[1] <= 4:
                axis.set_prop_cycle(color=['black', 'dimgrey', 'darkgrey', 'silver'])
                axis.plot(inputs, marker='.' if longest < 40 else None)
                axis.set_ylabel('features')
            else:
                axis.imshow(inputs.T, aspect='auto', cmap='Greys', interpolation='nearest',
                            vmin=whole.min(), vmax=max(whole.max(), whole.min() + 1e-6))
                axis.set_ylabel('feature number')
            axis.set_xlim(-0.5, longest - 0.5)
            axis.axvline(len(inputs) - 0.5, color='grey', linestyle=':')
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set_xlabel('time step')
            # Above the band of labels, if there is one.
            axis.set_title(example['title'], fontsize=10, loc='left',
                           pad=40 if 'labels' in example else 6,
                           color='black' if example['right'] else WRONG)
            if 'labels' in example:
                colored = _label_steps(axis, example, names, longest) or colored
    if colored and len(names) <= 20:
        from matplotlib.patches import Patch
        shown = palette(len(names))
        figure.legend([Patch(color=shown(k)) for k in range(len(names))], names, fontsize=8,
                      loc='outside lower center', ncols=10)
    figure.suptitle('Test sequences: left as they come, right with the most mistakes (red)'
                    if mistaken else 'Test sequences as they come')
    return figure


def _label_steps(axis, example, names, longest):
    """Above the features: labels and predictions. Returns whether they are in colours."""
    wrong = example['labels'] != example['predicted']
    band = axis.inset_axes([0, 1.04, 1, 0.24], sharex=axis)
    room = 60 // max([1] + [len(names[k]) for k in example['labels']])
    if longest <= room:
        for height, classes in [(1, example['labels']), (0, example['predicted'])]:
            for step, k in enumerate(classes):
                band.text(step, height, names[k], ha='center', va='center', fontsize=9,
                          color=WRONG if wrong[step] and not height else 'black',
                          fontweight='bold' if wrong[step] and not height else 'normal')
    else:
        band.imshow([example['predicted'], example['labels']], aspect='auto', origin='lower',
                    cmap=palette(len(names)), interpolation='nearest', vmin=-0.5,
                    vmax=len(names) - 0.5, extent=[-0.5, len(wrong) - 0.5, -0.5, 1.5])
    for step in np.flatnonzero(wrong):
        axis.axvspan(step - 0.5, step + 0.5, color=WRONG, alpha=0.15, linewidth=0)
    band.set_ylim(-0.5, 1.5)
    band.set_yticks([0, 1], ['predicted', 'label'], fontsize=8)
    band.tick_params(bottom=False, labelbottom=False, left=False)
    return longest > room


def palette(size: int) -> Callable[..., tuple]:
    from matplotlib import colormaps
    return colormaps['tab20' if size > 10 else 'tab10'].resampled(size)


def grid(rows: int, columns: int, *, width: float,
         height: float) -> tuple[Figure, np.ndarray]:
    """A figure of diagrams, each of a size in inches."""
    from matplotlib.figure import Figure
    figure = Figure(figsize=(columns * width, rows * height), layout='constrained')
    return figure, figure.subplots(rows, columns, squeeze=False)


def _short(count):
    return str(count) if count < 10000 else f'{count / 1000:.0f}k'
