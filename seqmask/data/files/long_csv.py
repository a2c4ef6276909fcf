"""Sequences in one long table: a CSV file with a row for each step."""

from __future__ import annotations

import itertools
import os
import re

import numpy as np
import tensorflow as tf

from seqmask.checks import PathLike
from seqmask.data import chunk as chunking
from seqmask.data.files.csv_rows import (Column, blocks, columns_of, decoded, fields_of,
                                         is_number, no_number)
from seqmask.data.schema import Field, Schema
from seqmask.data.stream import Stream

SAMPLE = 1000       # rows that say which columns are numbers


def open_csv(path: PathLike, *, sequence: str = 'sequence', time: str | None = None,
             labels: str | None = None, features: list[str] | None = None) -> Stream:
    """Opens a table with a row for each step for reading chunk by chunk.

    UTF-8 with commas; the first line names the columns, blank lines are passed over, a field in
    quotes may hold commas but no line breaks, and every line ends in a line break: one that does
    not was cut. The rows of a sequence stand together, in order. A sequence without steps cannot be
    said, and that whole lines are missing cannot be seen.

    The stream has 'inputs', float32; 'sequence', the name of each sequence, a string; 'time' per
    step, float64, if asked for; 'labels' per step, int64 if they are whole numbers in the first
    1,000 rows, else strings. Besides the chunks, it keeps the names of the sequences while reading.

    Args:
      path: Of the file.
      sequence: Name of the column that says which sequence a row belongs to.
      time: Name of the column of times, numbers that ascend strictly within a sequence.
      labels: Name of the column of labels.
      features: Names of the columns that are 'inputs', in this order. If None, they are all others
        whose fields are numbers in the first 1,000 rows, in the order of the header. A column that
        holds more numbers than anything else there is one of numbers: the first cell that is none
        is an error. Other columns are left out.

    Returns:
      `Stream`, whose `unused` names the columns that it leaves out.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If a column is missing, or there are no rows, for nothing says what they would
        hold; or, here or while iterating, if a line does not fit: the message names file and line.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'walks.csv')
    ...     with open(path, 'w') as file:
    ...         _ = file.write('sequence,x,y,label\\nann,1,2,0\\nann,3,4,1\\nbob,5,6,1\\n')
    ...     seqmask.data.open_csv(path, labels='label').to_sequences().sequence(1)['inputs']
    array([[5., 6.]], dtype=float32)
    """
    path = os.fsdecode(path)
    rows = itertools.chain.from_iterable(blocks(path))
    header = columns_of(path, rows)
    roles = {'sequence': sequence, 'time': time, 'labels': labels}
    for name in [name for name in roles.values() if name is not None] + list(features or []):
        if name not in header:
            raise ValueError(f'{path}: there is no column {name!r}; there are '
                             f'{", ".join(map(repr, header))}.')
    taken = [name for name in roles.values() if name is not None]
    if len(set(taken)) != len(taken):
        raise ValueError(f'sequence, time and labels must be different columns, got '
                         f'{", ".join(map(repr, taken))}.')
    numbers, sample = [], []
    for number, line in itertools.islice(rows, SAMPLE):
        numbers.append(number)
        sample.append(fields_of(path, number, line, len(header)))
    if not sample:
        raise ValueError(f'{path}: the file holds no rows, so nothing says what they would hold.')
    sample = dict(zip(header, zip(*sample)))
    if features is None:
        features = [name for name in header if name not in taken
                    and _is_of_numbers(path, name, numbers, sample[name])]
    if not features:
        raise ValueError(f'{path}: no column is left that holds numbers, for features; there are '
                         f'{", ".join(map(repr, header))}.')
    kinds = {sequence: tf.string, **({time: tf.float64} if time is not None else {})}
    if labels is not None:
        whole = all(re.fullmatch(r'\s*[+-]?\d+\s*', value) for value in sample[labels])
        kinds[labels] = tf.int64 if whole else tf.string
    kinds.update((name, tf.float32) for name in features)
    return _Table(path, [Column(name, kinds.get(name)) for name in header], roles,
                  list(features)).stream()


def _is_of_numbers(path, name, lines, cells):
    """Whether a column is one of numbers; where some are missing, that is an error later on."""
    stated = [(line, cell) for line, cell in zip(lines, cells) if cell.strip()]
    others = [(line, cell) for line, cell in stated if not is_number(cell)]
    if len(stated) <= 2 * len(others):
        return False
    for line, cell in others:
        raise no_number(path, line, name, cell)
    return True


class _Table:
    """The rows of a file, put together into sequences."""

    def __init__(self, path, columns, roles, features):
        self._path, self._columns, self._roles, self._features = path, columns, roles, features
        kinds = {column.name: column.dtype for column in columns}
        fields = {'inputs': Field(tf.float32, (len(features),), 'step')}
        for field in ('time', 'labels'):
            if roles[field] is not None:
                fields[field] = Field(kinds[roles[field]], (), 'step')
        self._schema = Schema({**fields, 'sequence': Field(tf.string, (), 'sequence')})
        self._most = chunking.most_steps(self._schema)

    def stream(self):
        unused = [column.name for column in self._columns if column.dtype is None]
        without = f' without {", ".join(map(repr, unused))}' if unused else ''
        return Stream(self._schema, self._chunks, source=self._path + without, unused=unused)

    def _chunks(self):
        seen, last_id, last_time = {}, None, None
        open_parts = []         # of the sequence that the next block may go on with
        for part in self._parts():
            ids, lines = part['sequence'], part.pop('lines')
            starts = np.flatnonzero(np.append([ids[0] != last_id], ids[1:] != ids[:-1]))
            for start in starts:
                name, line = ids[start], int(lines[start])
                if name in seen:
                    raise ValueError(
                        f'{self._path}: line {line}: sequence {name.decode()!r} comes again, after '
                        f'other rows; it began in line {seen[name]}. Sort the rows by sequence.')
                seen[name] = line
            if 'time' in part:
                self._check_times(part['time'], starts, lines, last_time)
                last_time = part['time'][-1]
            last_id = ids[-1]
            if starts.size:
                yield from self._closed(open_parts, part, starts)
                open_parts = [{name: values[starts[-1]:] for name, values in part.items()}]
            else:
                open_parts.append(part)
        yield from self._closed(open_parts, None, np.array([], int))

    def _check_times(self, times, starts, lines, last_time):
        before = np.append([-np.inf if last_time is None else last_time], times[:-1])
        before[starts] = -np.inf
        for k in np.flatnonzero(times <= before):
            raise ValueError(f'{self._path}: line {lines[k]}: time must ascend within a sequence, '
                             f'got {times[k]} after {before[k]}.')

    def _closed(self, open_parts, part, starts):
        """Chunks of what is complete: open_parts, and all sequences of part but the last."""
        if part is not None:
            open_parts = open_parts + [{name: values[:starts[-1]]
                                        for name, values in part.items()}]
        # The first may go on from before; every start but the last ends with the next.
        before = sum(len(piece['sequence']) for piece in open_parts[:-1]) if part is not None else 0
        joined = {name: np.concatenate([piece[name] for piece in open_parts])
                  for name in open_parts[0]} if open_parts else {}
        if not joined or not len(joined['sequence']):
            return
        begins = np.unique(np.append([0], starts[:-1] + before))
        lengths = np.diff(np.append(begins, len(joined['sequence']))).astype(np.int32)
        for first, last in chunking.cuts(lengths, self._most):
            real = slice(begins[first], begins[first] + int(lengths[first:last].sum()))
            chunk = {name: values[real] for name, values in joined.items()}
            yield {**chunk, 'lengths': lengths[first:last],
                   'sequence': joined['sequence'][begins[first:last]]}

    def _parts(self):
        """The columns of some rows at a time, as the schema names them, and their lines."""
        header_passed = False
        for rows in blocks(self._path):
            rows = rows[0 if header_passed else 1:]
            header_passed = True
            if rows:
                columns = decoded(self._path, rows, self._columns)
                yield {'lines': np.array([number for number, _ in rows]),
                       'inputs': np.stack([columns[name] for name in self._features], axis=1),
                       **{field: columns[name] for field, name in self._roles.items()
                          if name is not None}}
