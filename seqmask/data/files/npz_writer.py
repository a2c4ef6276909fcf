"""Sequences to one NumPy .npz file; a stream by way of temporary files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from seqmask.checks import PathLike
from seqmask.data import chunk as chunking
from seqmask.data.files.whole import whole_file
from seqmask.data.sequences import Sequences
from seqmask.data.stream import Stream, as_stream


def write_npz(path: PathLike, sequences: Sequences | Stream) -> None:
    """Writes sequences to a file, which `read_npz` and `open_npz` read back unchanged.

    The file appears whole or not at all: an earlier one of that name stays until the new one is
    complete. A stream is read once, a chunk at a time, into temporary files in the same folder, as
    large as its arrays.

    Args:
      path: Of the file; it is used as it is, no ending is added.
      sequences: `Sequences` or `Stream`.

    Raises:
      TypeError: If sequences is neither, or NumPy cannot write a stream's dtype.
      ValueError: If the stream's source is damaged; the message names it.
      OSError: If the file cannot be written.
    """
    path = os.fsdecode(path)
    in_memory = isinstance(sequences, Sequences)
    with contextlib.ExitStack() as stack:
        unfinished = stack.enter_context(whole_file(path))
        if in_memory:
            steps = list(sequences.steps)
            layout = 'tokens' if sequences.are_tokens else 'frames'
            arrays = {layout: sequences.frames, 'lengths': sequences.lengths,
                      **sequences.steps, **sequences.sequences}
            records = {name: _writer(array) for name, array in arrays.items()}
        else:
            stream = as_stream(sequences)
            steps = stream.schema.steps[1:]
            folder = os.path.dirname(os.path.abspath(path))
            records = stack.enter_context(_spooled(stream, folder))
        records['step_fields'] = _writer(np.array(steps, dtype=str))
        # Not np.savez: there, a field called 'file' would collide with an argument.
        with zipfile.ZipFile(unfinished, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, write in records.items():
                with archive.open(f'{name}.npy', 'w', force_zip64=True) as record:
                    write(record)


def _writer(array):
    return lambda record: np.lib.format.write_array(record, np.asarray(array), allow_pickle=False)


@contextlib.contextmanager
def _spooled(stream: Stream, folder: str) -> Iterator[dict[str, Callable[[BinaryIO], None]]]:
    """The records of a stream, read once: dict of name -> function that writes it to a file.

    An .npy record begins with its shape, and a zip archive takes one record after the other; so
    each field first goes to a temporary file of its own, which has no name and so leaves nothing.
    """
    with contextlib.ExitStack() as stack:
        layout = 'frames' if stream.schema.fields['inputs'].shape else 'tokens'
        fields = {layout: 'inputs', 'lengths': 'lengths',
                  **{name: name for name in stream.schema.fields if name != 'inputs'}}
        empty = chunking.empty(stream.schema)
        spools = {record: _Spool(stack.enter_context(tempfile.TemporaryFile(dir=folder)),
                                 record, empty[name], stream.source)
                  for record, name in fields.items()}
        for chunk in stream.chunks():
            for record, name in fields.items():
                spools[record].add(chunk[name])
        yield {record: spool.write for record, spool in spools.items()}


class _Spool:
    """An array that arrives in parts, kept in a file."""

    def __init__(self, file, name, empty, source):
        if empty.dtype.kind not in 'biufO':
            raise TypeError(f'{name!r} must be of a dtype that NumPy can write to a file, got '
                            f'{empty.dtype}. Cast it.')
        self._file, self._name, self._source = file, name, source
        # That of strings is as wide as the longest of them.
        self._dtype = None if empty.dtype == object else empty.dtype
        self._shape = empty.shape[1:]
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
