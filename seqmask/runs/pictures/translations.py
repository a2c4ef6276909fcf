"""Pictures of a model from sequence to sequence: what it attends to while it writes."""

from __future__ import annotations

import numpy as np

from seqmask import data
from seqmask.models.protocol import inputs_of
from seqmask.runs.outputs import Translations
from seqmask.runs.outputs.transcriptions import edits
from seqmask.runs.pictures import figures
from seqmask.runs.task import Fitted


def draw_translations(workdir: str, fitted: Fitted, predicted: data.Sequences, *,
                      batch_size: int) -> None:
    """Draws a run into workdir/pictures: curves, lengths, attention.

    Args:
      workdir: Folder.
      fitted: `Fitted`, of a task whose output is `Translations`.
      predicted: The test part's predictions, as returned by `Translations.predict`.
      batch_size: int; named in a title.
    """
    examples = attended(fitted, predicted)
    figures.save_run(workdir, fitted, batch_size, {'attention': attention(examples)})


def attended(fitted: Fitted, predicted: data.Sequences, number: int = 4) -> list[dict]:
    """Examples for `attention`: the longest of evenly spaced test sequences, and wrong ones."""
    output: Translations = fitted.task.output
    sequences, found = fitted.task.labelled()[2], predicted.sequences
    wrong = edits(predicted, sequences)
    chosen = np.concatenate(figures.select_examples(wrong, sequences.lengths, number // 2))
    part = sequences.select(chosen)
    batch = next(iter(data.Batches(data.Sequences(part.frames, part.lengths), len(chosen))))
    model = fitted.trainer.model
    weights = model.alignment({
        'inputs': inputs_of(model, batch), 'lengths': batch['lengths'],
        'labels': found['predicted'][chosen],
        'label_lengths': found['predicted_lengths'][chosen]}).numpy()
    examples = []
    for k, i in enumerate(chosen):
        count = found['predicted_lengths'][i]
        steps = sequences.sequence(i)['inputs']
        fields = sequences.sequences
        examples.append({
            'number': i, 'edits': wrong[i], 'weights': weights[k, :count + 1, :len(steps)],
            'steps': steps.astype(str).tolist() if sequences.are_tokens else None,
            'written': [output.names[label] for label in found['predicted'][i][:count]] + ['end'],
            'label': output.text(fields['labels'][i], fields['label_lengths'][i])})
    return examples


def attention(examples: list[dict]) -> figures.Figure:
    """A few sequences: how much each label that was written attended to each step.

    Args:
      examples: List of dicts: 'number'; 'weights' [written, steps]; 'steps', names of the steps, or
        None; 'written', names of the labels and of the end; 'label', the true text; 'edits'.

    Returns:
      Figure with a map per sequence. Titles of mistaken sequences are red.
    """
    columns = min(2, len(examples))
    figure, axes = figures.grid(-(-len(examples) // columns), columns, width=5, height=4)
    for axis in axes.flat[len(examples):]:
        axis.set_axis_off()
    for axis, example in zip(axes.flat, examples):
        axis.imshow(example['weights'], cmap='Blues', vmin=0, vmax=1, aspect='auto')
        if example['steps'] is not None:
            axis.set_xticks(range(len(example['steps'])), example['steps'])
        axis.set_yticks(range(len(example['written'])), example['written'])
        axis.set_xlabel('input')
        mistaken = example['edits'] > 0
        axis.set_title(f'sequence {example["number"]}'
                       + (f': {example["label"]}, {example["edits"]} edits' if mistaken else ''),
                       fontsize=10, loc='left', color=figures.WRONG if mistaken else 'black')
    figure.suptitle('Test sequences: what each label that is written attends to (wrong ones red)')
    return figure
