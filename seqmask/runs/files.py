"""Reads the user's file of sequences, checks it and divides it into parts."""

from __future__ import annotations

import os
import typing
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from seqmask import data
from seqmask.runs.app import UserError, user_errors
from seqmask.runs.labels import class_names, labels_of
from seqmask.runs.pairs import read_pairs
from seqmask.runs.record import Run
from seqmask.runs.task import Features

PARTS = ('train', 'validation', 'test')


def read_sequences(path: str, columns: dict[str, typing.Any] | None = None,
                   conll: dict[str, typing.Any] | None = None) -> tuple[data.Sequences, Features]:
    """Reads sequences from a file in any format that `seqmask.data` reads.

    Args:
      path: A .npz, .tfrecord, .csv, .parquet, .conll or .tsv file; the last one holds pairs of
        texts.
      columns: Of a table: arguments of `data.open_csv`, as from `asked_columns`. Without them the
        columns 'sequence', 'time', 'labels' and 'tokens', where there are such, are what their
        names say, and, without tokens, all other columns of numbers are features.
      conll: Arguments of `data.open_conll`; if given, a file with any other extension is read as
        columns of tokens and labels, too.

    Returns:
      (`data.Sequences` with float32 frames, or tokens; `Features`).

    Raises:
      UserError: If the file extension is unknown, or columns are named of a file that is not a
        table.
      FileNotFoundError: If there is no such file.
      ValueError: If the file is damaged or does not hold sequences, or a value exceeds float32's
        range.
    """
    ending = os.path.splitext(path)[1]
    if ending not in TABLES:
        for name in set(columns or {}) - {'labels_per'}:
            raise UserError(f'--{name} names a column of a table, {" or ".join(TABLES)}, got '
                            f'{path!r}.')
    if ending == '.conll' or conll is not None and ending not in (*READERS, *TABLES):
        return data.open_conll(path, **(conll or {})).to_sequences(), Features(conll=conll or {})
    if ending not in (*READERS, *TABLES):
        endings = ' or '.join([*READERS, *TABLES, '.conll'])
        raise UserError(f'{path!r} must end in {endings}, which says how to read it; got '
                        f'{ending!r}.')
    if ending in READERS:
        sequences, found = READERS[ending](path), Features()
    else:
        sequences, found = _read_table(path, *TABLES[ending], columns or {})
    try:
        return sequences.cast(np.float32), found
    except ValueError as error:
        raise ValueError(f'{path}: {error}') from error


def _read_table(path, names_of, read, columns):
    names = names_of(path)
    columns = {**{name: name for name in ('time', 'labels', 'tokens') if name in names}, **columns}
    columns = {'sequence': 'sequence', **columns}
    if columns.get('labels') is None:
        columns.pop('labels_per', None)
    try:
        stream = read(path, **columns)
    except ImportError as error:
        raise UserError(str(error)) from error
    if columns.get('labels') is not None:
        columns.setdefault('labels_per', 'step')
    asked = columns.get('features') is not None
    left_out = {name: 'not among --features' if asked else 'not numbers' for name in stream.unused}
    return stream.to_sequences(), Features({**columns, 'features': stream.features}, path, left_out)


READERS = {'.npz': data.read_npz, '.tsv': read_pairs,
           '.tfrecord': lambda path: data.open_tfrecord(path).to_sequences()}
TABLES = {'.csv': (data.csv_columns, data.open_csv),
          '.parquet': (data.parquet_columns, data.read_parquet)}


def read_parts(path: str, *, labels_per: str, num_classes: int, seed: int,
               columns: dict[str, typing.Any] | None = None, numbers: bool = False
               ) -> tuple[list[data.Sequences], list[str], Features]:
    """Reads labelled sequences and divides them.

    Args:
      path, columns: As in `read_sequences`; the file must hold `labels`.
      labels_per, num_classes: As in `labels_of`.
      seed: As in `divided`.
      numbers: Whether labels must be numbers; else text is the name of a class.

    Returns:
      ([train, valid, test] of `data.Sequences`, names of the classes, `Features`).

    Raises:
      UserError, FileNotFoundError, ValueError: As `read_sequences`, `labels_of` and `divided`.
    """
    columns = {'labels_per': labels_per, **(columns or {})}
    if columns['labels_per'] != labels_per:
        raise UserError(f'--labels_per must be {labels_per} here: this model has a label for each '
                        f'{labels_per}.')
    sequences, found = read_sequences(path, columns)
    names = None if numbers else class_names(sequences, labels_per, num_classes)
    if names is None:
        _, num_classes = labels_of(sequences, labels_per=labels_per, num_classes=num_classes,
                                   path=path)
        names = [str(k) for k in range(num_classes)]
    return divided(sequences, seed=seed), names, found


def divided(whole: data.Sequences, *, seed: int) -> list[data.Sequences]:
    """Divides sequences into parts for training, validation and testing.

    Args:
      whole: `data.Sequences`, optionally with `split` [B]: 0 train, 1 validation, 2 test. Without
        it, a tenth each is drawn for validation and for testing.
      seed: int, of the draw.

    Returns:
      [train, valid, test] of `data.Sequences`.

    Raises:
      UserError: If a value of `split` is none of these. A file without a validation part gives it
        every tenth sequence to train on, and says so.
    """
    if 'split' in whole.sequences:
        split = whole.sequences['split']
        for sequence in np.flatnonzero(~np.isin(split, range(len(PARTS)))):
            raise UserError(f'`split` must be 0 (train), 1 (validation) or 2 (test); that of '
                            f'sequence {sequence} is {split[sequence]}.')
        if (split == 0).any() and not (split == 1).any():
            tenth = np.zeros(len(split), bool)
            tenth[np.flatnonzero(split == 0)[9::10]] = True
            print(f'`split` has no validation part (1): every tenth sequence to train on, '
                  f'{tenth.sum()} of {np.count_nonzero(split == 0)}, is used for it.', flush=True)
            split = np.where(tenth, 1, split)
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
              columns: dict[str, typing.Any] | None = None,
              file: typing.TextIO | None = None) -> tuple[str, data.Sequences]:
    """Reads one part of a file as input for the model of a run.

    Args:
      path: As in `read_sequences`.
      part: 'train', 'validation' or 'test' of a file with `split`; 'all'; or None for 'test' if
        the file has `split`, else 'all'.
      run: `Run`; the file must have as many features as its model takes.
      workdir: Named in errors.
      columns: As in `read_sequences`; by default those of the run.
      file: Where it is printed what each column of a table is; by default stdout.

    Returns:
      (part, `data.Sequences`).

    Raises:
      UserError: If the part is empty, there is no `split` to select it by, the number of features
        is not the model's, or the run used --nomasked and this is not its own data.
    """
    if not run.masked and os.path.abspath(path) != os.path.abspath(run.held_out):
        raise UserError(f'{workdir!r} is a run with --nomasked, which is for comparison on its own '
                        f'data only. Train without that flag to use the model on {path!r}.')
    columns = dict(columns or {})
    ending = os.path.splitext(path)[1]
    with user_errors():
        if ending in TABLES and run.table:
            # What is only to be predicted has no labels.
            names = TABLES[ending][0](path)
            known = {role: name for role, name in run.table.items()
                     if role not in ('labels', 'time') or name in names}
            columns = {**known, **columns}
        sequences, found = read_sequences(path, columns, run.conll)
    found.print(file)
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
