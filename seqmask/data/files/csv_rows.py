"""Separated text: lines, rows and columns, and which line is wrong."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seqmask.checks import PathLike

BLOCK = 1 << 19     # bytes


class Column(NamedTuple):
    """A column: its name, and what its fields are; None is not looked at."""

    name: str
    dtype: tf.DType | None


def blocks(path: str, *, cut: bool = False) -> Iterator[list[tuple[int, bytes]]]:
    """The lines of a file, which may begin with the mark of UTF-8.

    Args:
      path: Of the file.
      cut: Whether the last line may lack its line break.

    Yields:
      Lists of (number of the line, from 1 on; bytes without the line break), none of them blank.

    Raises:
      ValueError: If the last line may not lack its line break and does, or a line is not UTF-8.
    """
    with open(path, 'rb') as file:
        rest, number = b'', 1
        if file.read(3) != b'\xef\xbb\xbf':     # the mark that some programs put in front of UTF-8
            file.seek(0)
        while True:
            block = file.read(BLOCK)
            if not block:
                if not rest:
                    return
                if not cut:
                    raise ValueError(f'{path}: line {number} does not end in a line break, so the '
                                     f'file may have been cut short. End it with one if it is '
                                     f'whole.')
                block = b'\n'
            *lines, rest = (rest + block).split(b'\n')
            rows = [(k, line.rstrip(b'\r')) for k, line in enumerate(lines, number)]
            try:
                b'\n'.join(lines).decode()
            except UnicodeDecodeError as error:
                raise _not_text(path, rows) from error
            number += len(lines)
            rows = [row for row in rows if row[1].strip()]
            if rows:
                yield rows


def csv_columns(path: PathLike) -> list[str]:
    """The names of a table's columns, as `open_csv` reads them: UTF-8, with or without its mark.

    Args:
      path: Of the file.

    Returns:
      List of strings; empty for an empty file.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If the first line is no line of a CSV file, or names a column twice; the message
        names file and line.
    """
    path = os.fsdecode(path)
    return columns_of(path, itertools.chain.from_iterable(blocks(path)))


def columns_of(path: str, rows: Iterator[tuple[int, bytes]]) -> list[str]:
    """As `csv_columns`, of the first of some rows of `blocks`, which is taken from them."""
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
    """The rows that stand in some lines.

    Args:
      path: Named in errors.
      lines: (number of the line, bytes), as `blocks` gives them.
      separator: Between fields. A field in quotes may hold it, or a line break if its other lines
        are among `lines`; of '::' there are no quotes.
      count: Fields that a row must have; None for as many as the first one has.

    Yields:
      (number of the row's last line, list of its fields).

    Raises:
      ValueError: If a row has another number of fields, or quotes are wrong; the message names the
        line.
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
    """The columns of some rows.

    Args:
      path: Named in errors.
      rows: List of (number of the line, bytes).
      columns: List of `Column`, one for each field of a row.

    Returns:
      Dict of name -> array [n]; strings are objects of bytes.

    Raises:
      ValueError: If a field is missing or no number, or a number is not finite; the message names
        the line and the column.
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
    """Whether a cell holds a number, NaN and inf among them."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def no_number(path: str, number: int, name: str, text: str) -> ValueError:
    """The error to raise for a cell of a column of features that holds something else."""
    return ValueError(f'{path}: line {number}: {name!r} must be a number, got {text!r}. Mend the '
                      f'cell, or leave the column out by naming all others in features '
                      f'(--features of a script).')


def _explain(path, number, line, columns):
    """Raises what is wrong with a line, if something is."""
    fields = fields_of(path, number, line, len(columns))
    for column, text in zip(columns, fields):
        if column.dtype is None:
            continue
        try:
            tf.io.decode_csv([f'"{text}"' if column.dtype == tf.string and '"' not in text
                              else text], [tf.constant([], column.dtype)])
        except tf.errors.OpError as error:
            if column.dtype == tf.float32:
                raise no_number(path, number, column.name, text) from error
            wanted = {tf.string: 'must not be empty', tf.int64: 'must be a whole number'}.get(
                column.dtype, 'must be a number')
            raise ValueError(f'{path}: line {number}: {column.name!r} {wanted}, got '
                             f'{text!r}.') from error
    try:
        tf.io.decode_csv([line], [tf.constant([''])] * len(columns))
    except tf.errors.OpError as error:
        raise ValueError(f'{path}: line {number} cannot be read as CSV: a field that holds quotes '
                         f'must stand in quotes, with each of them doubled.') from error


def _not_text(path, rows):
    for number, line in rows:
        try:
            line.decode()
        except UnicodeDecodeError:
            return ValueError(f'{path}: line {number} must be UTF-8.')
    return ValueError(f'{path}: the file must be UTF-8.')
