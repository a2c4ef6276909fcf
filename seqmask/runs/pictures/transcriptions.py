"""Pictures of a transcriber: sequences, and the labels at the steps where they are read."""

from __future__ import annotations

import numpy as np

from seqmask import data
from seqmask.runs.outputs import Transcriptions
from seqmask.runs.outputs.transcriptions import edits
from seqmask.runs.pictures import figures
from seqmask.runs.task import Fitted


def draw_transcriptions(workdir: str, fitted: Fitted, predicted: data.Sequences, *,
                        batch_size: int) -> None:
    """Draws a run into workdir/pictures: curves, lengths, transcriptions.

    Args:
      workdir: Folder.
      fitted: `Fitted`, of a task whose output is `Transcriptions`.
      predicted: The test part's predictions, as returned by `Transcriptions.predict`.
      batch_size: int; named in a title.
    """
    examples = select(predicted, fitted.task.labelled()[2], fitted.task.output)
    figures.save_run(workdir, fitted, batch_size, {'transcriptions': transcriptions(*examples)})


def select(predicted: data.Sequences, sequences: data.Sequences, output: Transcriptions,
           number: int = 4) -> tuple[list[dict], list[dict]]:
    """Selects sequences to draw, as `figures.select_examples` does by their edits.

    Args:
      predicted: As returned by `Transcriptions.predict`.
      sequences: As returned by `Transcriptions.labelled`.
      output: `Transcriptions`.
      number: int. How many of each kind at most.

    Returns:
      (typical, worst), as `transcriptions` takes them.
    """
    wrong, fields = edits(predicted, sequences), sequences.sequences

    def describe(i):
        logits = predicted.sequence(i)['inputs']
        best = logits.reshape([len(logits) * output.slots, -1]).argmax(axis=1)
        emitted = (best != len(output.names)) & (best != np.append(-1, best[:-1]))
        return {'inputs': sequences.sequence(i)['inputs'], 'edits': wrong[i], 'number': i,
                'label': output.text(fields['labels'][i], fields['label_lengths'][i]),
                'read': [((slot + 0.5) / output.slots - 0.5, output.names[best[slot]])
                         for slot in np.flatnonzero(emitted)]}

    typical, worst = figures.select_examples(wrong, sequences.lengths, number)
    return [describe(i) for i in typical], [describe(i) for i in worst]


def transcriptions(typical: list[dict], worst: list[dict]) -> figures.Figure:
    """A few sequences, each up to its own end, and what is read at which step.

    Args:
      typical: List of dicts, one per sequence: 'number'; 'inputs' [length, D], or tokens [length];
        'label', the true text; 'read', list of (time, name of the label that begins there);
        'edits'.
      worst: The same for sequences with mistakes, for a second column; or [].

    Returns:
      Figure with a diagram per sequence: the features over time, above them each label at the step
      where the best path emits it. Titles of mistaken sequences are red.
    """
    columns = [column for column in (typical, worst) if column]
    figure, axes = figures.grid(max(map(len, columns)), len(columns), width=8, height=2.2)
    longest = max(len(example['inputs']) for column in columns for example in column)
    for column, examples in enumerate(columns):
        for axis in axes[len(examples):, column]:
            axis.set_axis_off()
        for axis, example in zip(axes[:, column], examples):
            figures.draw_features(axis, example['inputs'])
            axis.set_xlim(-0.5, longest - 0.5)
            axis.axvline(len(example['inputs']) - 0.5, color='grey', linestyle=':')
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.set_xlabel('time step')
            mistaken = example['edits'] > 0
            for step, name in example['read']:
                axis.axvline(step, ymin=0.9, ymax=1.02, color=figures.TRAIN, linewidth=1,
                             clip_on=False)
                axis.text(step, 1.03, name, transform=axis.get_xaxis_transform(), ha='center',
                          va='bottom', fontsize=10, color=figures.TRAIN, fontweight='bold')
            axis.set_title(f'sequence {example["number"]}: {example["label"]}'
                           + (f', {example["edits"]} edits' if mistaken else ''), fontsize=10,
                           loc='left', pad=20, color=figures.WRONG if mistaken else 'black')
    figure.suptitle('Test sequences, and above them what is read where: left evenly spaced, right '
                    'with the most edits (red)' if worst else
                    'Test sequences, evenly spaced, and above them what is read where')
    return figure
