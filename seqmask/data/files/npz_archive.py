"""The zip archive of an .npz file: is it undamaged, and which arrays does it hold?"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

BUFFER = 1 << 20     # bytes


class Record(NamedTuple):
    """The member of an array in the archive, and what its header says."""

    member: str
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype


class Archive:
    """An .npz file of which every record has been read once, which compares its checksum.

    Args:
      path: Of the file.
      in_memory: Whether to keep what was read, so that it is decompressed only once.

    Attributes:
      path: String.
      records: Dict of name -> `Record`.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If it is damaged; the message names the file and the record.
    """

    def __init__(self, path: str, *, in_memory: bool = False):
        self.path = path
        self._contents = {} if in_memory else None      # name -> bytes
        with open(path, 'rb') as file:
            self._state = _state(file)
            self.records = _verified_records(path, file, self._contents)

    @contextlib.contextmanager
    def readers(self,
                records: Mapping[Any, str]) -> Iterator[dict[Any, Callable[[int], np.ndarray]]]:
        """Opens records, a dict of key -> name, for reading side by side.

        Yields a dict of the same keys -> function that returns the record's next `count` entries.
        A file that has changed since it was verified is a ValueError.
        """
        with contextlib.ExitStack() as stack:
            readers = {}
            for key, name in records.items():
                if self._contents is not None:
                    rows = _array(self.records[name], self._contents[name])
                    readers[key] = _from_array(rows)
                    continue
                file = stack.enter_context(open(self.path, 'rb'))
                if _state(file) != self._state:
                    raise ValueError(f'{self.path}: the file has changed since it was opened. '
                                     f'Open it again.')
                archive = stack.enter_context(zipfile.ZipFile(file))
                record = self.records[name]
                opened = stack.enter_context(archive.open(record.member))
                try:
                    _header(opened)
                    if record.fortran_order and len(record.shape) > 1:
                        readers[key] = _from_map(record, opened, stack)
                    else:
                        readers[key] = _from_file(self.path, name, record, opened)
                except (EOFError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
                    raise _unread(self.path, f'record {name!r} cannot be read', error) from error
            yield readers


def _state(file):
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_size, found.st_mtime_ns


def _verified_records(path, file, contents):
    """Dict of name -> `Record`; each is read to its end, and put into `contents` unless None."""
    records = {}
    where = 'not an .npz file, or a damaged one'
    # For damaged bytes zipfile, zlib and NumPy raise a dozen types; all of them mean the same.
    try:
        with zipfile.ZipFile(file) as archive:
            if len(archive.namelist()) != _number_of_records(file, archive):
                raise ValueError('its directory is incomplete')
            for member in archive.namelist():
                name = member[:-len('.npy')] if member.endswith('.npy') else member
                where = f'record {name!r} cannot be read'
                if name in records:
                    raise ValueError('there are two of that name')
                records[name], content = _verified(archive, member, contents is not None)
                if contents is not None:
                    contents[name] = content
    except Exception as error:
        raise _unread(path, where, error) from error
    return records


def _number_of_records(file, archive):
    """As the end of the archive states it: zipfile misses records if the directory is damaged."""
    file.seek(-22 - len(archive.comment), os.SEEK_END)
    return int.from_bytes(file.read(12)[10:], 'little')


def _unread(path, where, error):
    """The ValueError to raise for whatever zipfile, zlib or NumPy raised."""
    words = ' '.join(str(error).split()) or type(error).__name__
    return ValueError(f'{path}: {where}: {words.rstrip(".")}.')


def _verified(archive, member, keep):
    """(a record's header, its bytes or b''), once all was read and its checksum compared."""
    with archive.open(member) as record:
        found = Record(member, *_header(record))
        content = record.read() if keep else b''
        size = len(content) or sum(map(len, iter(lambda: record.read(BUFFER), b'')))
    entries = math.prod(found.shape)
    if min(found.shape, default=0) < 0 or size != entries * found.dtype.itemsize:
        raise ValueError(f'it holds {size} bytes, not {found.dtype} of shape {found.shape}')
    return found, content


def _header(file):
    """(shape, whether in Fortran order, dtype); leaves the file at the data."""
    version = np.lib.format.read_magic(file)
    # Version 3 differs from 2 only in the encoding of the names in structured dtypes.
    read = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f'version {version} of the .npy format is unknown')
    shape, fortran_order, dtype = read(file)
    if dtype.hasobject:
        raise ValueError('Object arrays cannot be loaded')
    return shape, fortran_order, dtype


def _from_file(path, name, record, file):
    shape = record.shape[1:]
    size = record.dtype.itemsize * int(np.prod(shape, dtype=np.int64))

    def take(count):
        try:
            data = file.read(count * size)
        except (EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
            raise _unread(path, f'record {name!r} cannot be read', error) from error
        if len(data) != count * size:
            raise ValueError(f'{path}: record {name!r} ends early.')
        values = np.frombuffer(data, record.dtype) if size else np.zeros(0, record.dtype)
        return _native(values.reshape((count, *shape)))

    return take


def _from_map(record, file, stack):
    """Reads rows of an array in Fortran order from a memory map of all of it, decompressed."""
    if 0 in record.shape:
        return lambda count: np.zeros((count, *record.shape[1:]), record.dtype.newbyteorder('='))
    unpacked = stack.enter_context(tempfile.TemporaryFile())
    shutil.copyfileobj(file, unpacked, BUFFER)
    unpacked.flush()
    return _from_array(np.memmap(unpacked, record.dtype, 'r', shape=record.shape, order='F'))


def _array(record, content):
    values = (np.frombuffer(content, record.dtype) if record.dtype.itemsize else
              np.zeros(math.prod(record.shape), record.dtype))
    return values.reshape(record.shape, order='F' if record.fortran_order else 'C')


def _from_array(rows):
    position = 0

    def take(count):
        nonlocal position
        position += count
        return _native(np.array(rows[position - count:position], order='C'))

    return take


def _native(values):
    return values.astype(values.dtype.newbyteorder('='), copy=False)
