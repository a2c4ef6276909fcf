"""Sequences in a long table: a CSV file with one row per step."""

from __future__ import annotations

import itertools
import os
import re

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.checks import PathLike
from seqmask.data import chunk as chunking
from seqmask.data.dataframe import one_per_sequence
from seqmask.data.files.csv_rows import (Column, columns_of, decoded, fields_of, is_number,
                                         lines_of, not_a_number)
from seqmask.data.schema import Field, Schema
from seqmask.data.sequences import as_tokens
from seqmask.data.stream import Stream
from seqmask.data.times import is_iso, seconds_in

SAMPLE = 1000       # rows that decide which columns are numbers


def open_csv(path: PathLike, *, sequence: str = 'sequence', time: str | None = None,
             labels: str | None = None, features: list[str] | None = None,
             tokens: str | None = None, labels_per: str = 'step') -> Stream:
    """Opens a table with one row per step for reading chunk by chunk.

    UTF-8 with commas. The first line names the columns; blank lines are skipped; a quoted field may
    hold commas but no line breaks; every line ends in a line break, and one that does not was cut
    short. The rows of a sequence are contiguous and in order. The format cannot express a sequence
    without steps, and does not show that whole lines are missing.

    The stream has 'inputs', float32 features or tokens; 'sequence', the name of each sequence, a
    string; 'time' per step, float64, if asked for; 'labels' per step, int64 if they are whole
    numbers in the first 1,000 rows, else strings; the same goes for tokens, as int32. While it is
    read, the names of all sequences so far are in memory.

    Args:
      path: Of the file.
      sequence: Name of the column that names the sequence of a row.
      time: Name of the column of times, numbers or dates in ISO 8601, which become seconds since
        1970; strictly ascending within a sequence.
      labels: Name of the column of labels.
      features: Names of the columns of 'inputs', in this order. If None, all other columns of
        numbers, in the order of the header: those in which most of the non-empty fields in the
        first 1,000 rows are numbers. Anything else in such a column is an error.
      tokens: Name of the column of tokens, which are 'inputs' then; features, if they are named,
        become a field 'features' per step.
      labels_per: 'step'; or 'sequence', if all rows of a sequence have the same label.

    Returns:
      `Stream`; its `features` lists the feature columns, and `unused` the columns left out.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If a column is missing or there are no rows, without which there is no schema;
        or, here or while iterating, if a line does not fit: the message names file and line.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'walks.csv')
    ...     with open(path, 'w') as file:
    ...         _ = file.write('sequence,x,y,label\\nann,1,2,0\\nann,3,4,1\\nbob,5,6,1\\n')
    ...     seqmask.data.open_csv(path, labels='label').to_sequences().sequence(1)['inputs']
    array([[5., 6.]], dtype=float32)
    """
    path = os.fsdecode(path)
    checks.choice('labels_per', labels_per, ('step', 'sequence'))
    rows = itertools.chain.from_iterable(lines_of(path))
    header = columns_of(path, rows)
    roles = {'sequence': sequence, 'time': time, 'labels': labels, 'tokens': tokens}
    for name in [name for name in roles.values() if name is not None] + list(features or []):
        if name not in header:
            raise ValueError(f'{path}: there is no column {name!r}; there are '
                             f'{", ".join(map(repr, header))}.')
    taken = [name for name in roles.values() if name is not None]
    if len(set(taken)) != len(taken):
        raise ValueError(f'{", ".join(name for name, of in roles.items() if of)} must be different '
                         f'columns, got {", ".join(map(repr, taken))}.')
    numbers, sample = [], []
    for number, line in itertools.islice(rows, SAMPLE):
        numbers.append(number)
        sample.append(fields_of(path, number, line, len(header)))
    if not sample:
        raise ValueError(f'{path}: the file has no rows, so its schema is unknown.')
    sample = dict(zip(header, zip(*sample)))
    if features is None and tokens is None:
        features = [name for name in header if name not in taken
                    and _is_numeric(path, name, numbers, sample[name])]
    if not features and tokens is None:
        raise ValueError(f'{path}: no column of numbers is left for features; there are '
                         f'{", ".join(map(repr, header))}.')
    kinds = {sequence: tf.string}
    if time is not None:
        are_dates = any(is_iso(text) and not is_number(text) for text in sample[time])
        kinds[time] = tf.string if are_dates else tf.float64
    for name in (labels, tokens):
        if name is not None:
            whole = all(re.fullmatch(r'\s*[+-]?\d+\s*', value) for value in sample[name])
            kinds[name] = tf.int64 if whole else tf.string
    kinds.update((name, tf.float32) for name in features or [])
    return _Table(path, [Column(name, kinds.get(name)) for name in header], roles,
                  list(features or []), labels_per).stream()


def _is_numeric(path, name, lines, fields):
    """Whether most fields of a column are numbers; empty ones are left for `decoded` to refuse."""
    filled = [(line, field) for line, field in zip(lines, fields) if field.strip()]
    others = [(line, field) for line, field in filled if not is_number(field)]
    if len(filled) <= 2 * len(others):
        return False
    for line, field in others:
        raise not_a_number(path, line, name, field)
    return True


class _Table:
    """The rows of a file, grouped into sequences."""

    def __init__(self, path, columns, roles, features, labels_per):
        self._path, self._columns, self._roles, self._features = path, columns, roles, features
        self._labels_per = labels_per
        kinds = {column.name: column.dtype for column in columns}
        fields = {}
        if features:
            fields['inputs'] = Field(tf.float32, (len(features),), 'step')
        if roles['tokens'] is not None:
            kind = kinds[roles['tokens']]
            beside = {'features': fields['inputs']} if features else {}
            fields = {'inputs': Field(tf.int32 if kind == tf.int64 else kind, (), 'step'), **beside}
        if roles['time'] is not None:
            fields['time'] = Field(tf.float64, (), 'step')
        if roles['labels'] is not None:
            fields['labels'] = Field(kinds[roles['labels']], (), labels_per)
        self._schema = Schema({**fields, 'sequence': Field(tf.string, (), 'sequence')})
        self._most = chunking.most_steps(self._schema)

    def stream(self):
        unused = [column.name for column in self._columns if column.dtype is None]
        without = f' without {", ".join(map(repr, unused))}' if unused else ''
        return Stream(self._schema, self._chunks, source=self._path + without,
                      features=self._features, unused=unused)

    def _chunks(self):
        seen, last_id, last_time = {}, None, None
        pieces = []         # rows of the sequence that may not be complete yet
        for part in self._parts():
            ids, lines = part['sequence'], part['lines']
            starts = np.flatnonzero(np.append([ids[0] != last_id], ids[1:] != ids[:-1]))
            for start in starts:
                name, line = ids[start], int(lines[start])
                if name in seen:
                    raise ValueError(
                        f'{self._path}: line {line}: sequence {name.decode()!r} resumes after '
                        f'other rows; it began in line {seen[name]}. Sort the rows by sequence.')
                seen[name] = line
            if 'time' in part:
                self._check_times(part['time'], starts, lines, last_time)
                last_time = part['time'][-1]
            last_id = ids[-1]
            if starts.size:
                end = starts[-1]        # the last sequence may continue in the next part
                pieces.append({name: values[:end] for name, values in part.items()})
                yield from self._grouped(pieces)
                part, pieces = {name: values[end:] for name, values in part.items()}, []
            pieces.append(part)
        if pieces:
            yield from self._grouped(pieces)

    def _check_times(self, times, starts, lines, last_time):
        before = np.append([-np.inf if last_time is None else last_time], times[:-1])
        before[starts] = -np.inf
        for k in np.flatnonzero(times <= before):
            raise ValueError(f'{self._path}: line {lines[k]}: time must ascend within a sequence, '
                             f'got {times[k]} after {before[k]}.')

    def _seconds(self, texts, rows):
        seconds = np.array([seconds_in(text.decode()) for text in texts.tolist()])
        for k in np.flatnonzero(np.isnan(seconds)):
            raise ValueError(f'{self._path}: line {rows[k][0]}: {self._roles["time"]!r} must be a '
                             f'date in ISO 8601, as in the lines before, got '
                             f'{texts[k].decode()!r}.')
        return seconds

    def _grouped(self, pieces):
        """Chunks of the rows of whole sequences."""
        rows = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        ids = rows['sequence']
        starts = np.flatnonzero(np.append([True] * len(ids[:1]), ids[1:] != ids[:-1]))
        lengths = np.diff(np.append(starts, len(ids))).astype(np.int32)
        lines, whole = rows.pop('lines'), {'sequence': ids[starts]}
        if self._labels_per == 'sequence' and 'labels' in rows:
            whole['labels'] = one_per_sequence(
                f'{self._path}: {self._roles["labels"]!r}', rows.pop('labels'), lengths,
                lambda k: f'line {lines[k]}')
        for first, last in chunking.cuts(lengths, self._most):
            real = slice(starts[first], starts[first] + int(lengths[first:last].sum()))
            yield {**{name: values[real] for name, values in rows.items()},
                   **{name: values[first:last] for name, values in whole.items()},
                   'lengths': lengths[first:last]}

    def _parts(self):
        """The columns of a few rows at a time, by their names in the schema, and 'lines'."""
        header_passed = False
        for rows in lines_of(self._path):
            rows = rows[0 if header_passed else 1:]
            header_passed = True
            if rows:
                columns = decoded(self._path, rows, self._columns)
                part = {field: columns[name] for field, name in self._roles.items()
                        if name is not None}
                if self._features:
                    part['features'] = np.stack([columns[name] for name in self._features], axis=1)
                part['inputs'] = part.pop('tokens' if 'tokens' in part else 'features')
                if 'time' in part and part['time'].dtype == object:
                    part['time'] = self._seconds(part['time'], rows)
                if self._schema.fields['inputs'].dtype == tf.int32:
                    part['inputs'] = as_tokens('tokens', part['inputs'])
                yield {'lines': np.array([number for number, _ in rows]), **part}
