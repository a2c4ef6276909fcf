"""How a stream gets into the zip archive behind an .npz file."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from seqmask.data import chunk as chunking
from seqmask.data.stream import Stream


@contextlib.contextmanager
def spooled(stream: Stream, folder: str) -> Iterator[dict[str, Callable[[BinaryIO], None]]]:
    """The records of a stream, read once.

    An .npy record begins with its shape, and a zip archive takes one record after the other; so
    each field first goes to a temporary file of its own.

    Args:
      stream: `Stream`.
      folder: Where the temporary files are to be; they have no names, so nothing is left of them.

    Yields:
      Dict of name -> function that writes the .npy record to a file.
    """
    with contextlib.ExitStack() as stack:
        fields = {'frames': 'inputs', 'lengths': 'lengths',
                  **{name: name for name in stream.schema.fields if name != 'inputs'}}
        none = chunking.empty(stream.schema)
        spools = {record: _Spool(stack.enter_context(tempfile.TemporaryFile(dir=folder)),
                                 record, none[name], stream.source)
                  for record, name in fields.items()}
        for chunk in stream.chunks():
            for record, name in fields.items():
                spools[record].add(chunk[name])
        yield {record: spool.write for record, spool in spools.items()}


class _Spool:
    """An array that becomes known part by part, kept in a file."""

    def __init__(self, file, name, none, source):
        if none.dtype.kind not in 'biufO':
            raise TypeError(f'{name!r} must be of a dtype that NumPy can write to a file, got '
                            f'{none.dtype}. Cast it.')
        self._file, self._name, self._source = file, name, source
        # The longest string says how wide all are.
        self._dtype = None if none.dtype == object else none.dtype
        self._shape = none.shape[1:]
        self._entries, self._parts = 0, 0

    def add(self, values):
        values = chunking.readable(self._name, values, self._source)
        if len(values):
            self._dtype = np.result_type(self._dtype or values.dtype, values.dtype)
            np.lib.format.write_array(self._file, np.ascontiguousarray(values), allow_pickle=False)
            self._entries += len(values)
            self._parts += 1

    def write(self, record):
        dtype = self._dtype or np.dtype('U1')
        np.lib.format.write_array_header_2_0(record, {
            'descr': np.lib.format.dtype_to_descr(dtype), 'fortran_order': False,
            'shape': (self._entries, *self._shape)})
        self._file.seek(0)
        for _ in range(self._parts):
            values = np.lib.format.read_array(self._file, allow_pickle=False)
            record.write(values.astype(dtype).tobytes())
