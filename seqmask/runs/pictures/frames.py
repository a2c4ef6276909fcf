"""Pictures of predicted frames: true and predicted curves of some test sequences."""

from __future__ import annotations

import numpy as np

from seqmask import data
from seqmask.runs.outputs import Frames
from seqmask.runs.pictures import figures
from seqmask.runs.task import Fitted

MOST = 4        # features that are drawn


def draw_frames(workdir: str, fitted: Fitted, predicted: data.Sequences, *,
                batch_size: int) -> None:
    """Draws a run into workdir/pictures: curves, lengths, frames.

    Args:
      workdir: Folder.
      fitted: `Fitted`, of a task whose output is `Frames`.
      predicted: The test part's predictions, as returned by `Frames.predict`.
      batch_size: int; named in a title.
    """
    output = fitted.task.output
    examples = select(predicted, fitted.task.labelled()[2], output)
    draw = rolls if output.binary else curves
    figures.save_run(
        workdir, fitted, batch_size, {'frames': draw(*examples, output)},
        unit=output.loss_unit or 'error of a feature')


def select(predicted: data.Sequences, sequences: data.Sequences, output: Frames,
           number: int = 3) -> tuple[list[dict], list[dict]]:
    """Selects sequences to draw, as `figures.select_examples` does by their mean squared error.

    Args:
      predicted: As returned by `Frames.predict`.
      sequences: As returned by `Frames.labelled`.
      output: `Frames`.
      number: int. How many of each kind at most.

    Returns:
      (typical, worst): lists of dicts, 'number', 'true' and 'predicted' [length, D].
    """
    scale = np.maximum(sequences.steps['labels'].std(axis=0), 1e-6)
    squares = np.square((predicted.frames - sequences.steps['labels']) / scale).mean(axis=1)
    ends = np.cumsum(sequences.lengths)
    errors = np.array([squares[end - n:end].mean() if n else 0.0
                       for end, n in zip(ends, sequences.lengths)])

    def describe(i):
        return {'number': i, 'true': sequences.sequence(i)['labels'],
                'predicted': predicted.sequence(i)['inputs']}

    typical, worst = figures.select_examples(errors, sequences.lengths, number)
    return [describe(i) for i in typical], [describe(i) for i in worst]


def curves(typical: list[dict], worst: list[dict], output: Frames) -> figures.Figure:
    """True and predicted numbers over time, each sequence up to its own end.

    Args:
      typical, worst: As returned by `select`.
      output: `Frames`.

    Returns:
      Figure with a row of diagrams per sequence, one for each of the first features. A prediction
      is drawn at the step that it is for.
    """
    examples = typical + worst
    features = range(min(MOST, examples[0]['true'].shape[1]))
    figure, axes = figures.grid(len(examples), len(features), width=3.4, height=1.9)
    longest = max(len(example['true']) for example in examples)
    for row, example in enumerate(examples):
        steps = output.horizon + np.arange(len(example['true']))
        for axis, feature in zip(axes[row], features):
            for name, color in (('true', 'black'), ('predicted', figures.VALID)):
                axis.plot(steps, example[name][:, feature], color=color, label=name,
                          marker='.' if longest < 40 else None)
            axis.set_xlim(output.horizon - 0.5, output.horizon + longest - 0.5)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(alpha=0.3)
            axis.set_title(f'sequence {example["number"]}, feature {output.names[feature]}',
                           fontsize=9, loc='left',
                           color='black' if row < len(typical) else figures.WRONG)
    for axis in axes[-1]:
        axis.set_xlabel('time step')
    _finish(figure, axes[0, 0], worst)
    return figure


def rolls(typical: list[dict], worst: list[dict], output: Frames) -> figures.Figure:
    """True frames of 0 and 1 beside predicted probabilities, as images; arguments as of `curves`.
    """
    examples = typical + worst
    figure, axes = figures.grid(len(examples), 2, width=5.5, height=2.2)
    longest = max(len(example['true']) for example in examples)
    for row, example in enumerate(examples):
        end = output.horizon + len(example['true']) - 0.5
        for axis, name in zip(axes[row], ('true', 'predicted')):
            values = example[name]
            axis.imshow(values.T, aspect='auto', cmap='Greys', interpolation='nearest', vmin=0,
                        vmax=1, origin='lower',
                        extent=[output.horizon - 0.5, end, -0.5, values.shape[1] - 0.5])
            axis.set_xlim(output.horizon - 0.5, output.horizon + longest - 0.5)
            axis.axvline(end, color='grey', linestyle=':')
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set_title(f'sequence {example["number"]}, {name}', fontsize=9, loc='left',
                           color='black' if row < len(typical) else figures.WRONG)
        axes[row, 0].set_ylabel('feature number')
    for axis in axes[-1]:
        axis.set_xlabel('time step')
    _finish(figure, None, worst)
    return figure


def _finish(figure, labelled, worst):
    if labelled is not None:
        figure.legend(*labelled.get_legend_handles_labels(), loc='outside lower center', ncols=2,
                      fontsize=9)
    figure.suptitle('Test sequences: first evenly spaced, then with the largest errors (red)'
                    if worst else 'Test sequences, evenly spaced')
