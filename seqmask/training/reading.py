"""A person's file as sequences: read, checked, and divided into parts."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

import numpy as np

from seqmask import data
from seqmask.training.app import UserError, user_errors
from seqmask.training.record import Run

PARTS = ('train', 'validation', 'test')


def read_sequences(path: str) -> data.Sequences:
    """Reads sequences from a file of any kind that `seqmask.data` reads.

    Args:
      path: Of a .npz, .tfrecord or .csv file. The columns of a table are those of `data.open_csv`:
        'sequence', optionally 'time' and 'labels'; all others that hold numbers are features.

    Returns:
      `data.Sequences` with float32 frames.

    Raises:
      UserError: If the ending is unknown.
      FileNotFoundError: If there is no such file.
      ValueError: If the file is damaged or does not hold sequences.
    """
    ending = os.path.splitext(path)[1]
    if ending not in READERS:
        raise UserError(f'{path!r} must end in {" or ".join(READERS)}, which says how to read it; '
                        f'got {ending!r}.')
    whole = READERS[ending](path)
    return data.Sequences(whole.frames.astype(np.float32), whole.lengths, whole.steps,
                          whole.sequences)


def _read_table(path):
    with open(path, newline='', encoding='utf-8') as file:
        header = next(csv.reader(file), [])
    roles = {name: name for name in ('time', 'labels') if name in header}
    return data.open_csv(path, **roles).to_sequences()


READERS = {'.npz': data.read_npz, '.tfrecord': lambda path: data.open_tfrecord(path).to_sequences(),
           '.csv': _read_table}


def labels_of(sequences: data.Sequences, *, labels_per: str, num_classes: int,
              path: str) -> tuple[np.ndarray, int]:
    """The labels of sequences read from a file, checked.

    Args:
      sequences: `data.Sequences`.
      labels_per: 'step' or 'sequence': what each label is of.
      num_classes: int, or 0 to take the highest label.
      path: Named in errors.

    Returns:
      (int [N] or [B], number of classes).

    Raises:
      UserError: If there are none, or one is out of range.
    """
    fields, of_each = {'step': (sequences.steps, 'frame'),
                       'sequence': (sequences.sequences, 'sequence')}[labels_per]
    labels = fields.get('labels')
    if labels is None or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f'{path!r} must hold `labels`, a whole number for each {of_each}.')
    num_classes = num_classes or int(labels.max(initial=0)) + 1
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        sequence = wrong[0]
        if labels_per == 'step':
            sequence = np.searchsorted(np.cumsum(sequences.lengths), wrong[0], side='right')
        raise UserError(f'labels must be in [0, {num_classes}); sequence {sequence} of {path!r} '
                        f'has {labels[wrong[0]]}.')
    return labels, num_classes


def read_parts(path: str, *, labels_per: str, num_classes: int,
               seed: int) -> tuple[list[data.Sequences], list[str]]:
    """Reads labelled sequences and divides them.

    Args:
      path: As `read_sequences` takes it, with `labels`; and optionally `split` [B]: 0 train, 1
        validation, 2 test; otherwise a tenth each is drawn for validation and test.
      labels_per: 'step' or 'sequence': what each label is of.
      num_classes: int, or 0 to take the highest label.
      seed: int, of the draw.

    Returns:
      ([train, valid, test] of `data.Sequences`, names of the classes).

    Raises:
      UserError: If the labels or the ending do not fit.
      ValueError: If the file does not.
    """
    whole = read_sequences(path)
    _, num_classes = labels_of(whole, labels_per=labels_per, num_classes=num_classes, path=path)
    return divided(whole, seed=seed), [str(k) for k in range(num_classes)]


def divided(whole: data.Sequences, *, seed: int) -> list[data.Sequences]:
    """The parts of sequences read from a file.

    Args:
      whole: `data.Sequences`, optionally with `split` [B]: 0 train, 1 validation, 2 test; otherwise
        a tenth each is drawn for validation and test.
      seed: int, of the draw.

    Returns:
      [train, valid, test] of `data.Sequences`.

    Raises:
      UserError: If a sequence is of none of these.
    """
    if 'split' in whole.sequences:
        split = whole.sequences['split']
        for sequence in np.flatnonzero(~np.isin(split, range(len(PARTS)))):
            raise UserError(f'`split` must be 0 (train), 1 (validation) or 2 (test); that of '
                            f'sequence {sequence} is {split[sequence]}.')
        return [whole.select(split == part) for part in range(len(PARTS))]
    return list(data.split(whole, [0.8, 0.1, 0.1], seed=seed))


def limited(parts: Sequence[data.Sequences], limit: int) -> Sequence[data.Sequences]:
    """The first `limit` sequences of each part, all if it is 0; none may be empty."""
    total = sum(len(part) for part in parts)
    if limit:
        parts = [part.select(np.arange(min(limit, len(part)))) for part in parts]
    for part, verb in zip(parts, ['train', 'validate', 'test']):
        if not len(part) or not part.lengths.sum():
            raise UserError(f'there is nothing to {verb} on: {len(part)} of the {total} '
                            f'sequences, {part.lengths.sum()} steps.')
    return parts


def read_part(path: str, part: str | None, run: Run, *,
              workdir: str) -> tuple[str, data.Sequences]:
    """Reads the sequences of one part that the model of a run is to be shown.

    Args:
      path: As `read_sequences` takes it.
      part: 'train', 'validation' or 'test' of a file with `split`; 'all'; or None for 'test' where
        the file has `split`, else all.
      run: `Run`; its model's input size must fit.
      workdir: Named in errors.

    Returns:
      (part, `data.Sequences`).

    Raises:
      UserError: If the part is empty, there is no `split` to choose it by, the features are not as
        many as the model's, or the run was one of --nomasked and this is not its own data.
    """
    if not run.masked and os.path.abspath(path) != os.path.abspath(run.held_out):
        raise UserError(f'{workdir!r} is a run of --nomasked, which is for comparison on its own '
                        f'data only. Train without that flag to use the model on {path!r}.')
    with user_errors():
        sequences = read_sequences(path)
    if sequences.frames.shape[1] != run.input_size:
        raise UserError(f'{path!r} has {sequences.frames.shape[1]} features a step; the model of '
                        f'{workdir!r} was trained on {run.input_size}.')
    if part is None:
        part = 'test' if 'split' in sequences.sequences else 'all'
    if part != 'all':
        if 'split' not in sequences.sequences:
            raise UserError(f'{path!r} holds no `split` to choose --part={part} by: leave --part '
                            f'out to take all of it.')
        sequences = sequences.select(sequences.sequences['split'] == PARTS.index(part))
    if not len(sequences):
        raise UserError(f'{path!r} has no sequences in part {part!r}.')
    return part, sequences


def refuse_existing(path: str, *, overwrite: bool) -> None:
    """Before a file is written.

    Raises:
      UserError: If it exists and may not be replaced, or its folder does not exist.
    """
    if os.path.exists(path) and not overwrite:
        raise UserError(f'{path!r} exists. Choose another --output, or pass --overwrite.')
    folder = os.path.dirname(path) or '.'
    if not os.path.isdir(folder):
        raise UserError(f'there is no folder {folder!r} to write {path!r} into.')
