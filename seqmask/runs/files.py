"""Reads the user's file of sequences, checks it and divides it into parts."""

from __future__ import annotations

import os
import typing
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from seqmask import data
from seqmask.runs.app import UserError, user_errors
from seqmask.runs.labels import labels_of
from seqmask.runs.record import Run
from seqmask.runs.task import Features

PARTS = ('train', 'validation', 'test')


def read_sequences(path: str, features: list[str] | None = None,
                   conll: dict[str, typing.Any] | None = None) -> tuple[data.Sequences, Features]:
    """Reads sequences from a file in any format that `seqmask.data` reads.

    Args:
      path: A .npz, .tfrecord, .csv or .conll file. A table has the columns of `data.open_csv`:
        'sequence', optionally 'time', 'labels' and 'tokens'; without tokens, all other numeric
        columns are features.
      features: Feature columns of a .csv; None for all numeric ones.
      conll: Arguments of `data.open_conll`; if given, a file with any other extension is read as
        columns of tokens and labels, too.

    Returns:
      (`data.Sequences` with float32 frames, or tokens; `Features`).

    Raises:
      UserError: If the file extension is unknown, or features are given for a file that is not a
        table.
      FileNotFoundError: If there is no such file.
      ValueError: If the file is damaged or does not hold sequences, or a value exceeds float32's
        range.
    """
    ending = os.path.splitext(path)[1]
    if features and ending != '.csv':
        raise UserError(f'--features selects columns of a .csv, got {path!r}.')
    if ending == '.conll' or conll is not None and ending not in READERS:
        return data.open_conll(path, **(conll or {})).to_sequences(), Features(conll=conll or {})
    if ending not in READERS:
        endings = ' or '.join([*READERS, '.conll'])
        raise UserError(f'{path!r} must end in {endings}, which says how to read it; got '
                        f'{ending!r}.')
    sequences, found = READERS[ending](path, features)
    try:
        return sequences.cast(np.float32), found
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def _read_table(path, features):
    columns = data.csv_columns(path)
    roles = {name: name for name in ('time', 'labels', 'tokens') if name in columns}
    stream = data.open_csv(path, **roles, features=features)
    left_out = [name for name in columns if name == roles.get('time') or name in stream.unused]
    return stream.to_sequences(), Features(stream.features, path, left_out)


READERS = {'.npz': lambda path, _: (data.read_npz(path), Features()),
           '.tfrecord': lambda path, _: (data.open_tfrecord(path).to_sequences(), Features()),
           '.csv': _read_table}


def read_parts(path: str, *, labels_per: str, num_classes: int, seed: int,
               features: list[str] | None = None
               ) -> tuple[list[data.Sequences], list[str], Features]:
    """Reads labelled sequences and divides them.

    Args:
      path, features: As in `read_sequences`; the file must hold `labels`.
      labels_per, num_classes: As in `labels_of`.
      seed: As in `divided`.

    Returns:
      ([train, valid, test] of `data.Sequences`, names of the classes, `Features`).

    Raises:
      UserError, FileNotFoundError, ValueError: As `read_sequences`, `labels_of` and `divided`.
    """
    sequences, found = read_sequences(path, features)
    _, num_classes = labels_of(sequences, labels_per=labels_per, num_classes=num_classes,
                               path=path)
    return divided(sequences, seed=seed), [str(k) for k in range(num_classes)], found


def divided(whole: data.Sequences, *, seed: int) -> list[data.Sequences]:
    """Divides sequences into parts for training, validation and testing.

    Args:
      whole: `data.Sequences`, optionally with `split` [B]: 0 train, 1 validation, 2 test. Without
        it, a tenth each is drawn for validation and for testing.
      seed: int, of the draw.

    Returns:
      [train, valid, test] of `data.Sequences`.

    Raises:
      UserError: If a value of `split` is none of these.
    """
    if 'split' in whole.sequences:
        split = whole.sequences['split']
        for sequence in np.flatnonzero(~np.isin(split, range(len(PARTS)))):
            raise UserError(f'`split` must be 0 (train), 1 (validation) or 2 (test); that of '
                            f'sequence {sequence} is {split[sequence]}.')
        return [whole.select(split == part) for part in range(len(PARTS))]
    return list(data.split(whole, [0.8, 0.1, 0.1], seed=seed))


def limited(parts: Sequence[data.Sequences], limit: int) -> Sequence[data.Sequences]:
    """Cuts each part to its first `limit` sequences, 0 for all; refuses parts without steps."""
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
    """Reads one part of a file as input for the model of a run.

    Args:
      path: As in `read_sequences`.
      part: 'train', 'validation' or 'test' of a file with `split`; 'all'; or None for 'test' if
        the file has `split`, else 'all'.
      run: `Run`; the file must have as many features as its model takes.
      workdir: Named in errors.
      features: As in `read_sequences`; by default those of the run.

    Returns:
      (part, `data.Sequences`).

    Raises:
      UserError: If the part is empty, there is no `split` to select it by, the number of features
        is not the model's, or the run used --nomasked and this is not its own data.
    """
    if not run.masked and os.path.abspath(path) != os.path.abspath(run.held_out):
        raise UserError(f'{workdir!r} is a run with --nomasked, which is for comparison on its own '
                        f'data only. Train without that flag to use the model on {path!r}.')
    if features is None and path.endswith('.csv'):
        features = run.features
    with user_errors():
        sequences, found = read_sequences(path, features, run.conll)
    found.print_left_out()
    if _kind(sequences) != _kind_of_model(run):
        raise UserError(f'{path!r} has {_kind(sequences)} per step; the model in {workdir!r} was '
                        f'trained on {_kind_of_model(run)}.')
    if part is None:
        part = 'test' if 'split' in sequences.sequences else 'all'
    if part != 'all':
        if 'split' not in sequences.sequences:
            raise UserError(f'{path!r} has no `split` to select --part={part} by: leave --part out '
                            f'to use all of it.')
        sequences = sequences.select(sequences.sequences['split'] == PARTS.index(part))
    if not len(sequences):
        raise UserError(f'{path!r} has no sequences in part {part!r}.')
    return part, sequences


def _kind(sequences):
    if not sequences.are_tokens:
        return f'{sequences.frames.shape[1]} features'
    return 'a word' if sequences.frames.dtype.kind == 'U' else "a token's number"


def _kind_of_model(run):
    dtype, _ = run.trainer.model.fields['inputs']
    if dtype.is_floating:
        return f'{run.input_size} features'
    return 'a word' if dtype == tf.string else "a token's number"


def refuse_existing(path: str, *, overwrite: bool) -> None:
    """Checks that an output file can be written.

    Raises:
      UserError: If it exists and must not be overwritten, or its folder does not exist or is not
        writable.
    """
    if os.path.exists(path) and not overwrite:
        raise UserError(f'{path!r} exists. Choose another --output, or pass --overwrite.')
    folder = os.path.dirname(path) or '.'
    if not os.path.isdir(folder):
        raise UserError(f'there is no folder {folder!r} to write {path!r} into.')
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f'{path!r} cannot be written: the folder {folder!r} is not writable. '
                        f'Choose another --output.')
