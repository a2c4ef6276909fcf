"""Pictures of a classifier or labeller: confusions, and predictions of some test sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqmask import data
from seqmask.runs.pictures import figures
from seqmask.runs.outputs import Classes
from seqmask.runs.task import Fitted


def draw_classes(workdir: str, fitted: Fitted, predicted: data.Sequences, *,
                 batch_size: int) -> None:
    """Draws a run into workdir/pictures: curves, lengths, confusion, predictions.

    Args:
      workdir: Folder.
      fitted: `Fitted`, of a task whose output is `Classes`.
      predicted: The test part's predictions, as returned by `Classes.predict`.
      batch_size: int; named in a title.
    """
    output, test = fitted.task.output, fitted.task.parts[2]
    counts = output.confusion_counts(predicted, test)
    examples = select(predicted, test, output)
    figures.save_run(workdir, fitted, batch_size, {
        'confusion': confusion(counts, output.names),
        'predictions': predictions(*examples, output.names)})


def select(predicted: data.Sequences, sequences: data.Sequences, output: Classes, *,
           number: int = 3) -> tuple[list[dict], list[dict]]:
    """Selects sequences to draw, as `figures.select_examples` does.

    Args:
      predicted: As returned by `predict_sequences`.
      sequences: `data.Sequences` with 'labels'.
      output: `Classes`.
      number: int. How many of each kind at most.

    Returns:
      (typical, worst), as `predictions` takes them.
    """
    labels, classes, names = output.labels_in(sequences), predicted.steps['predicted'], output.names
    wrong = labels != classes
    if output.per == 'step':
        ends = np.cumsum(sequences.lengths)
        mistakes = np.array([wrong[end - n:end].sum() for end, n in zip(ends, sequences.lengths)])
    else:
        mistakes = wrong.astype(int)

    def describe(i):
        example = {'inputs': sequences.sequence(i)['inputs'], 'right': not mistakes[i]}
        length = sequences.lengths[i]
        if output.per == 'step':
            example.update(labels=labels[ends[i] - length:ends[i]],
                           predicted=classes[ends[i] - length:ends[i]],
                           title=f'sequence {i}: {mistakes[i]} of {length} steps wrong')
        else:
            example['title'] = (
                f'sequence {i}: label {names[labels[i]]}, predicted {names[classes[i]]} '
                f'({predicted.steps["probability"][i]:.0%})')
        return example

    typical, worst = figures.select_examples(mistakes, sequences.lengths, number)
    return [describe(i) for i in typical], [describe(i) for i in worst]


def confusion(counts: np.ndarray, names: Sequence[str]) -> figures.Figure:
    """A confusion matrix: each cell coloured by its share of the row, and its count.

    Args:
      counts: int [K, K]. Rows are labels, columns predictions.
      names: Names of the K classes.
    """
    size = len(names)
    side = max(4.5, 0.32 * size + 2)
    figure, ((axis,),) = figures.grid(1, 1, width=side + 0.6, height=side)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axis.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    figure.colorbar(image, ax=axis, shrink=0.7, format=lambda share, _: f'{100 * share:.0f}',
                    label='share of the label\'s cases [%]')
    if size <= 40:
        for row, column in zip(*np.nonzero(counts)):
            axis.text(column, row, _short(counts[row, column]), ha='center', va='center',
                      fontsize=9 if size <= 12 else 6,
                      color='white' if shares[row, column] > 0.5 else
                      'black' if row == column else figures.WRONG)
        axis.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axis.set_yticks(range(size), names)
    axis.set_xlabel('predicted')
    axis.set_ylabel('label')
    total, right = int(counts.sum()), int(np.trace(counts))
    share = f', {right / total:.2%}' if total else ''
    axis.set_title(f'Test part: {right} of {total} right{share}')
    return figure


def predictions(typical: list[dict], worst: list[dict],
                names: Sequence[str]) -> figures.Figure:
    """A few sequences, each up to its own end, with labels and predictions.

    Args:
      typical: List of dicts, one per sequence: 'title'; 'inputs' [length, D]; 'right', bool; and
        for labels per step 'labels' and 'predicted', int [length].
      worst: The same for sequences with mistakes, for a second column; or [].
      names: Names of the K classes.

    Returns:
      Figure with a diagram per sequence: the features over time, as lines if there are at most 4,
      else as an image; above them the labels, as text if there is room, else as colours. Wrong
      steps and titles are red.
    """
    columns = [column for column in (typical, worst) if column]
    figure, axes = figures.grid(max(map(len, columns)), len(columns), width=6.5, height=2.7)
    inputs = [example['inputs'] for column in columns for example in column]
    longest, values = max(map(len, inputs)), np.concatenate(inputs)
    low, high = values.min(), max(values.max(), values.min() + 1e-6)
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
                            vmin=low, vmax=high)
                axis.set_ylabel('feature number')
            axis.set_xlim(-0.5, longest - 0.5)
            axis.axvline(len(inputs) - 0.5, color='grey', linestyle=':')
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set_xlabel('time step')
            # Leaves room for the band of labels.
            axis.set_title(example['title'], fontsize=10, loc='left',
                           pad=40 if 'labels' in example else 6,
                           color='black' if example['right'] else figures.WRONG)
            if 'labels' in example:
                colored = _label_steps(axis, example, names, longest) or colored
    if colored and len(names) <= 20:
        from matplotlib.patches import Patch
        colors = figures.palette(len(names))
        figure.legend([Patch(color=colors(k)) for k in range(len(names))], names, fontsize=8,
                      loc='outside lower center', ncols=10)
    figure.suptitle('Test sequences: left evenly spaced, right with the most mistakes (red)'
                    if worst else 'Test sequences, evenly spaced')
    return figure


def _label_steps(axis, example, names, longest):
    """Draws labels and predictions above the features; returns whether as colours."""
    wrong = example['labels'] != example['predicted']
    band = axis.inset_axes([0, 1.04, 1, 0.24], sharex=axis)
    room = 60 // max([1] + [len(names[k]) for k in example['labels']])
    if longest <= room:
        for height, classes in [(1, example['labels']), (0, example['predicted'])]:
            for step, k in enumerate(classes):
                band.text(step, height, names[k], ha='center', va='center', fontsize=9,
                          color=figures.WRONG if wrong[step] and not height else 'black',
                          fontweight='bold' if wrong[step] and not height else 'normal')
    else:
        band.imshow([example['predicted'], example['labels']], aspect='auto', origin='lower',
                    cmap=figures.palette(len(names)), interpolation='nearest', vmin=-0.5,
                    vmax=len(names) - 0.5, extent=[-0.5, len(wrong) - 0.5, -0.5, 1.5])
    for step in np.flatnonzero(wrong):
        axis.axvspan(step - 0.5, step + 0.5, color=figures.WRONG, alpha=0.15, linewidth=0)
    band.set_ylim(-0.5, 1.5)
    band.set_yticks([0, 1], ['predicted', 'label'], fontsize=8)
    band.tick_params(bottom=False, labelbottom=False, left=False)
    return longest > room


def _short(count):
    return str(count) if count < 10000 else f'{count / 1000:.0f}k'
