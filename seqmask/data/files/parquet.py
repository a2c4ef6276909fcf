"""Sequences in a Parquet file with one row per step."""

from __future__ import annotations

import os
import typing

from seqmask.checks import PathLike
from seqmask.data.dataframe import from_dataframe
from seqmask.data.stream import Stream


def read_parquet(path: PathLike, **columns: typing.Any) -> Stream:
    """Reads a Parquet file into memory, as `from_dataframe` reads a table.

    Args:
      path: Of the file.
      **columns: `sequence`, `time`, `labels`, `labels_per`, `features`, `tokens`, as of
        `from_dataframe`.

    Returns:
      `Stream`.

    Raises:
      ImportError: If pyarrow is not installed.
      FileNotFoundError: If there is no such file.
      ValueError: As of `from_dataframe`, or if the file is damaged; the message names it.
    """
    try:
        stream = from_dataframe(_file(path).read(), **columns)
    except ValueError as error:
        raise ValueError(f'{os.fsdecode(path)}: {error}') from error
    stream.source = os.fsdecode(path)
    return stream


def parquet_columns(path: PathLike) -> list[str]:
    """The names of a Parquet file's columns. Raises as `read_parquet`."""
    return list(_file(path).schema_arrow.names)


def _file(path):
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError('a Parquet file is read by pyarrow, which is not installed: pip install '
                          'pyarrow.') from error
    path = os.fsdecode(path)
    with open(path, 'rb'):
        pass                # a missing file is noticed here, and named
    try:
        return pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f'{path}: {error}') from error
