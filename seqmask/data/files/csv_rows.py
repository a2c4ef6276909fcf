"""Separated text as rows and columns; an error names the line."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seqmask.checks import PathLike

BUFFER = 1 << 19        # bytes


class Column(NamedTuple):
    """A column: its name, and the dtype of its fields; None where they are ignored."""

    name: str
    dtype: tf.DType | None


def lines_of(path: str, *, cut: bool = False) -> Iterator[list[tuple[int, bytes]]]:
    """The lines of a UTF-8 file but the blank ones, as lists of (number from 1, bytes).

    Only with `cut` may the last line lack its line break.
    """
    with open(path, 'rb') as file:
        rest, number = b'', 1
        if file.read(3) != b'\xef\xbb\xbf':     # the byte order mark, which is allowed
            file.seek(0)
        while True:
            block = file.read(BUFFER)
            if not block:
                if not rest:
                    return
                if not cut:
                    raise ValueError(f'{path}: line {number} does not end in a line break, so the '
                                     f'file may have been cut short. End it with one if it is '
                                     f'whole.')
                block = b'\n'
            *lines, rest = (rest + block).split(b'\n')
            try:
                b'\n'.join(lines).decode()
            except UnicodeDecodeError as error:
                wrong = number + error.object.count(b'\n', 0, error.start)
                raise ValueError(f'{path}: line {wrong} must be UTF-8.') from error
            rows = [(k, line.rstrip(b'\r')) for k, line in enumerate(lines, number)
                    if line.strip()]
            number += len(lines)
            if rows:
                yield rows


def csv_columns(path: PathLike) -> list[str]:
    """The names of a table's columns, as `open_csv` reads them.

    Args:
      path: Of the file.

    Returns:
      List of strings; empty for an empty file.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If the first line is not CSV, or names a column twice; the message names file and
        line.
    """
    path = os.fsdecode(path)
    return columns_of(path, itertools.chain.from_iterable(lines_of(path)))


def columns_of(path: str, rows: Iterator[tuple[int, bytes]]) -> list[str]:
    """As `csv_columns`; takes the header from an iterator of lines."""
    first = next(rows, None)
    if first is None:
        return []
    number, header = next(rows_of(path, [first]))
    if len(set(header)) != len(header):
        raise ValueError(f'{path}: line {number} must name each column once, got '
                         f'{", ".join(map(repr, header))}.')
    return header


def rows_of(path: str, lines: Iterable[tuple[int, bytes]], *, separator: str = ',',
            count: int | None = None) -> Iterator[tuple[int, list[str]]]:
    """Rows of `count` fields, or as many as the first row has: (number of its last line, fields).

    A quoted field may hold the separator and line breaks, but not where the separator is '::'.
    """
    number = 0

    def texts():
        nonlocal number
        for number, line in lines:
            yield line.decode() + '\n'

    rows = ((text[:-1].split(separator) for text in texts()) if len(separator) > 1 else
            csv.reader(texts(), delimiter=separator, strict=True))
    try:
        for fields in rows:
            count = len(fields) if count is None else count
            if len(fields) != count:
                raise ValueError(f'{path}: line {number} must have {count} fields, as the first '
                                 f'line has, got {len(fields)}.')
            yield number, fields
    except csv.Error as error:
        raise ValueError(f'{path}: line {number} cannot be read as CSV: {error}.') from error


def fields_of(path: str, number: int, line: bytes, count: int | None = None) -> list[str]:
    """The fields of one line, of which there must be `count`."""
    return next(rows_of(path, [(number, line)], count=count))[1]


def decoded(path: str, rows: list[tuple[int, bytes]],
            columns: list[Column]) -> dict[str, np.ndarray]:
    """Lines as columns: dict of name -> array [n]; strings are objects of bytes.

    A field that is missing, no number or not finite is an error that names line and column.
    """
    defaults = [tf.constant([''] if column.dtype is None else [], column.dtype or tf.string)
                for column in columns]
    try:
        values = tf.io.decode_csv([line for _, line in rows], defaults)
    except tf.errors.OpError as error:
        for number, line in rows:
            _explain(path, number, line, columns)
        raise ValueError(f'{path}: line {rows[0][0]} or one of the {len(rows) - 1} after it cannot '
                         f'be read as CSV.') from error
    found = {}
    for column, value in zip(columns, values):
        found[column.name] = value = value.numpy()
        if column.dtype is not None and column.dtype.is_floating:
            for k in np.flatnonzero(~np.isfinite(value)):
                raise ValueError(f'{path}: line {rows[k][0]}: {column.name!r} must be finite, got '
                                 f'{value[k]}.')
    return found


def is_number(text: str) -> bool:
    """Whether a field holds a number, which may be NaN or inf; 1_0 is one only in Python."""
    try:
        float(text)
    except ValueError:
        return False
    return '_' not in text


def not_a_number(path: str, number: int, name: str, text: str) -> ValueError:
    """The error for a field of a feature column that holds something else."""
    mend = 'Correct the field' if text.strip() else 'Fill it, for example with the value before it'
    return ValueError(f'{path}: line {number}: {name!r} must be a number, got {text!r}. {mend}, or '
                      f'leave the column out by naming all others in features (--features of a '
                      f'script).')


def _explain(path, number, line, columns):
    """Raises the error of a line, if it has one."""
    fields = fields_of(path, number, line, len(columns))
    for column, text in zip(columns, fields):
        if column.dtype is None:
            continue
        try:
            tf.io.decode_csv([f'"{text}"' if column.dtype == tf.string and '"' not in text
                              else text], [tf.constant([], column.dtype)])
        except tf.errors.OpError as error:
            if column.dtype == tf.float32:
                raise not_a_number(path, number, column.name, text) from error
            expected = {tf.string: 'must not be empty', tf.int64: 'must be a whole number'}.get(
                column.dtype, 'must be a number')
            raise ValueError(f'{path}: line {number}: {column.name!r} {expected}, got '
                             f'{text!r}.') from error
    try:
        tf.io.decode_csv([line], [tf.constant([''])] * len(columns))
    except tf.errors.OpError as error:
        raise ValueError(f'{path}: line {number} cannot be read as CSV: a field that holds quotes '
                         f'must itself be quoted, with each of them doubled.') from error
