"""A person's file as sequences: read, checked, and divided into parts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

import numpy as np

from seqmask import data
from seqmask.data.sequences import place_of
from seqmask.runs.app import UserError, user_errors
from seqmask.runs.record import Run

PARTS = ('train', 'validation', 'test')

# Labels that nobody announced may go as far with few samples; with more, as there are samples.
FEW_CLASSES = 1000


def read_sequences(path: str, features: list[str] | None = None) -> data.Sequences:
    """Reads sequences from a file of any kind that `seqmask.data` reads.

    Args:
      path: Of a .npz, .tfrecord or .csv file. The columns of a table are those of `data.open_csv`:
        'sequence', optionally 'time' and 'labels'; all others that hold numbers are features. What
        is left out of the features is printed.
      features: Of a .csv, the columns of the features instead; None for no choice.

    Returns:
      `data.Sequences` with float32 frames.

    Raises:
      UserError: If the ending is unknown, or features are chosen of what is no table.
      FileNotFoundError: If there is no such file.
      ValueError: If the file is damaged or does not hold sequences, or a value is beyond float32's
        range.
    """
    ending = os.path.splitext(path)[1]
    if ending not in READERS:
        raise UserError(f'{path!r} must end in {" or ".join(READERS)}, which says how to read it; '
                        f'got {ending!r}.')
    if features and ending != '.csv':
        raise UserError(f'--features chooses columns of a .csv, got {path!r}.')
    whole = READERS[ending](path, features)
    try:
        return whole.cast(np.float32)
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def _read_table(path, features):
    columns = data.csv_columns(path)
    roles = {name: name for name in ('time', 'labels') if name in columns}
    stream = data.open_csv(path, **roles, features=features)
    sequences = stream.to_sequences()
    left_out = [name for name in columns if name == roles.get('time') or name in stream.unused]
    if left_out:
        print(f'{path}: left out of the features: {", ".join(map(repr, left_out))}', flush=True)
    return sequences


READERS = {'.npz': lambda path, _: data.read_npz(path),
           '.tfrecord': lambda path, _: data.open_tfrecord(path).to_sequences(),
           '.csv': _read_table}


def labels_of(sequences: data.Sequences, *, labels_per: str, num_classes: int,
              path: str) -> tuple[np.ndarray, int]:
    """The labels of sequences read from a file, checked.

    Args:
      sequences: `data.Sequences`.
      labels_per: 'step' or 'sequence': what each label is of.
      num_classes: int, or 0 to take the highest label, which must then be below the number of
        labels, or below 1,000 where they are fewer.
      path: Named in errors.

    Returns:
      (int [N] or [B], number of classes).

    Raises:
      UserError: If there are none, or one is out of range; the message names the sequence.
    """
    fields, of_each = {'step': (sequences.steps, 'frame'),
                       'sequence': (sequences.sequences, 'sequence')}[labels_per]
    labels = fields.get('labels')
    if labels is None or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f'{path!r} must hold `labels`, a whole number for each {of_each}'
                        f'{_first_other(labels, sequences, labels_per)}.')
    most, highest = max(FEW_CLASSES, len(labels)), int(labels.max(initial=0))
    if not num_classes and highest >= most:
        raise UserError(f'{len(labels)} labels are expected to be below {most}; '
                        f'{_sequence_of(labels.argmax(), sequences, labels_per)} of {path!r} has '
                        f'{highest}. Mend it, or, if it is right, say how many classes there are: '
                        f'--num_classes.')
    num_classes = num_classes or highest + 1
    for wrong in np.flatnonzero((labels < 0) | (labels >= num_classes))[:1]:
        raise UserError(f'labels must be in [0, {num_classes}); '
                        f'{_sequence_of(wrong, sequences, labels_per)} of {path!r} has '
                        f'{labels[wrong]}.')
    return labels, num_classes


def _sequence_of(label, sequences, labels_per):
    """Which sequence a label is of: its number, and its name if it has one."""
    number = place_of(label, sequences.lengths)[0] if labels_per == 'step' else label
    names = sequences.sequences.get('sequence')         # of a table
    return f'sequence {number}' + ('' if names is None else f' ({str(names[number])!r})')


def _first_other(labels, sequences, labels_per):
    """The first label that is no whole number, of a table's, which then are all strings."""
    if labels is None or labels.ndim != 1 or labels.dtype.kind != 'U':
        return ''
    for k, label in enumerate(labels):
        if not re.fullmatch(r'\s*[+-]?\d+\s*', label):
            return f'; {_sequence_of(k, sequences, labels_per)} has {str(label)!r}'
    return ''


def read_parts(path: str, *, labels_per: str, num_classes: int, seed: int,
               features: list[str] | None = None) -> tuple[list[data.Sequences], list[str]]:
    """Reads labelled sequences and divides them.

    Args:
      path: As `read_sequences` takes it, with `labels`; and optionally `split` [B]: 0 train, 1
        validation, 2 test; otherwise a tenth each is drawn for validation and test.
      labels_per: 'step' or 'sequence': what each label is of.
      num_classes: int, or 0 to take the highest label.
      seed: int, of the draw.
      features: As of `read_sequences`.

    Returns:
      ([train, valid, test] of `data.Sequences`, names of the classes).

    Raises:
      UserError: If the labels or the ending do not fit.
      ValueError: If the file does not.
    """
    whole = read_sequences(path, features)
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


def read_part(path: str, part: str | None, run: Run, *, workdir: str,
              features: list[str] | None = None) -> tuple[str, data.Sequences]:
    """Reads the sequences of one part that the model of a run is to be shown.

    Args:
      path: As `read_sequences` takes it.
      part: 'train', 'validation' or 'test' of a file with `split`; 'all'; or None for 'test' where
        the file has `split`, else all.
      run: `Run`; its model's input size must fit.
      workdir: Named in errors.
      features: As of `read_sequences`; by default those that the run was told.

    Returns:
      (part, `data.Sequences`).

    Raises:
      UserError: If the part is empty, there is no `split` to choose it by, the features are not as
        many as the model's, or the run was one of --nomasked and this is not its own data.
    """
    if not run.masked and os.path.abspath(path) != os.path.abspath(run.held_out):
        raise UserError(f'{workdir!r} is a run of --nomasked, which is for comparison on its own '
                        f'data only. Train without that flag to use the model on {path!r}.')
    if features is None and path.endswith('.csv'):
        features = run.features
    with user_errors():
        sequences = read_sequences(path, features)
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
      UserError: If it exists and may not be replaced, or its folder does not exist or may not be
        written into.
    """
    if os.path.exists(path) and not overwrite:
        raise UserError(f'{path!r} exists. Choose another --output, or pass --overwrite.')
    folder = os.path.dirname(path) or '.'
    if not os.path.isdir(folder):
        raise UserError(f'there is no folder {folder!r} to write {path!r} into.')
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f'{path!r} cannot be written: you may not write into the folder '
                        f'{folder!r}. Choose another --output.')
