"""Sequences from one NumPy .npz file: chunk by chunk, or all at once."""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from seqmask.checks import PathLike
from seqmask.data import chunk as chunking
from seqmask.data.files.npz_archive import BUFFER, Archive
from seqmask.data.schema import Field, Schema, tensor_dtype
from seqmask.data.sequences import Sequences, as_tokens
from seqmask.data.stream import Stream

LAYOUTS = {'frames': ('[N, D]', 2), 'frames_packed': ('[N, D/8]', 2), 'tokens': ('[N]', 1),
           'inputs': ('[B, T, D]', 3)}


def read_npz(path: PathLike) -> Sequences:
    """Reads a collection of sequences.

    The file holds B sequences of N frames in all, either one after the other or padded:

      'frames' [N, D]            one sequence after the other; or instead of it
      'frames_packed' [N, D/8]   uint8, frames of bits as `np.packbits(frames, axis=1)` packs them
      'tokens' [N]               whole numbers or strings, one per step
      'lengths' [B]              int32 or int64, frames of each sequence, N in all

      'inputs' [B, T, D]         padded on the right; values in the padding are ignored; or tokens
                                 [B, T]
      'lengths' [B]              int32 or int64, 0 <= lengths <= T

    Lengths are not changed: a zero frame at the end of a sequence stays part of it. Any other
    record is a field. 'step_fields', strings, names those per step; all others are per sequence. In
    a file without 'step_fields' the shape decides: a first axis of N (padded: first axes of B, T)
    means per step, else one of B means per sequence. Integer 'labels' of less than 32 bits become
    int32, which losses take. 'label_names', which describes the collection, is ignored.

    Args:
      path: Of the file.

    Returns:
      `Sequences`.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If the file is damaged, does not hold what is described here or a frame that is
        not finite, or holds pickled objects: the message names the file and the record.
    """
    return _File(os.fsdecode(path), in_memory=True).stream().to_sequences()


def open_npz(path: PathLike) -> Stream:
    """Opens a file of sequences for reading chunk by chunk.

    The file is one that `read_npz` reads, with the same results. Opening reads all of it once, in
    constant memory, to compare every record's checksum and to add up the lengths: nothing of a
    damaged file is used. Each further pass reads the records side by side; an array in Fortran
    order goes through a temporary file.

    Args:
      path: Of the file.

    Returns:
      `Stream`.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: As of `read_npz`. While iterating, if a frame is not finite or the file has
        changed since it was opened.

    >>> path = seqmask.datasets.__path__[0] + '/japanese_vowels.npz'
    >>> print(seqmask.data.open_npz(path).schema)
    inputs  float32  [12]  per step
    labels  int32    []    per sequence
    split   uint8    []    per sequence
    """
    return _File(os.fsdecode(path)).stream()


class _File:
    """A verified file, and the role of each of its records."""

    def __init__(self, path, in_memory=False):
        self._path, self._in_memory = path, in_memory
        self._archive = Archive(path, in_memory=in_memory)
        self._records = self._archive.records
        try:
            self._arrange()
        except (TypeError, ValueError) as error:
            raise ValueError(f'{path}: {error}') from error

    def stream(self):
        return Stream(self._schema, self._chunks, source=self._path, num_sequences=self._number)

    def _arrange(self):
        fields = dict(self._records)
        fields.pop('label_names', None)
        shown = ', '.join(map(repr, sorted(fields)))
        if 'lengths' not in fields:
            raise ValueError(f"record 'lengths' is missing; there are {shown or 'no records'}.")
        lengths = fields.pop('lengths')
        layouts = [name for name in LAYOUTS if name in fields]
        if len(layouts) != 1:
            raise ValueError(f"one record 'frames', 'frames_packed', 'tokens' or 'inputs' is "
                             f"needed, got {', '.join(map(repr, layouts)) or 'none of them'} among "
                             f'{shown}.')
        self._layout, = layouts
        frames = fields.pop(self._layout)
        of_inputs = self._inputs_field(frames)
        leading = frames.shape[:len(frames.shape) - len(of_inputs.shape)]
        self._padded = self._layout == 'inputs'
        self._maxlen = frames.shape[1] if self._padded else None
        self._check_lengths(lengths, frames.shape[0])
        self._number, = lengths.shape
        schema = {'inputs': of_inputs}
        per_step = self._step_fields(fields)
        for name, record in fields.items():
            schema[name] = _field(name, record, leading, lengths.shape, per_step)
        self._schema = Schema({name: schema[name] for name in
                               sorted(schema, key=lambda name: schema[name].per != 'step')})

    def _inputs_field(self, record):
        """The field 'inputs', from its record: tokens, or features."""
        legend, rank = LAYOUTS[self._layout]
        kind, dtype = record.dtype.kind, record.dtype
        if len(record.shape) == rank - (self._layout == 'inputs') and (
                self._layout == 'tokens' or self._layout == 'inputs' and kind in 'iuUS'):
            if kind not in 'iuUS':
                raise ValueError(f"record 'tokens' must be whole numbers or strings, got {dtype}.")
            return Field(tf.int32 if kind in 'iu' else tf.string, (), 'step')
        if len(record.shape) != rank:
            raise ValueError(f'record {self._layout!r} must have shape {legend}, got shape '
                             f'{record.shape}.')
        if self._layout == 'frames_packed' and dtype != np.uint8:
            raise ValueError(f"record 'frames_packed' must be uint8, got {dtype}.")
        if kind not in 'biu' and dtype.newbyteorder('=') not in (np.float16, np.float32,
                                                                 np.float64):
            raise ValueError(f'record {self._layout!r} must be numbers, float16, float32 or '
                             f'float64, got {dtype}.')
        size = record.shape[-1] * (8 if self._layout == 'frames_packed' else 1)
        return Field(tensor_dtype('inputs', dtype) if kind == 'f' else tf.float32, (size,), 'step')

    def _step_fields(self, fields):
        if 'step_fields' not in fields:
            return None
        record = fields.pop('step_fields')
        if record.dtype.kind != 'U' or len(record.shape) != 1:
            raise ValueError(f"record 'step_fields' must be strings of rank 1, got {record.dtype} "
                             f'of shape {record.shape}.')
        with self._archive.readers({'step_fields': 'step_fields'}) as readers:
            names = readers['step_fields'](record.shape[0]).tolist()
        for name in names:
            if name not in fields:
                raise ValueError(f"record {name!r} is missing, which 'step_fields' names.")
        return set(names)

    def _check_lengths(self, record, size):
        """`size` is the number of frames, or of padded sequences."""
        # An empty list is float64 to NumPy.
        if record.dtype.newbyteorder('=') not in (np.int32, np.int64) and record.shape != (0,):
            raise ValueError(f"record 'lengths' must be int32 or int64, got {record.dtype}.")
        if len(record.shape) != 1:
            raise ValueError(f"record 'lengths' must have rank 1 [B], got shape {record.shape}.")
        if self._padded and record.shape != (size,):
            raise ValueError(f"record 'lengths' must have one entry for each of the {size} "
                             f'sequences [B], got shape {record.shape}.')
        highest = self._maxlen if self._padded else size
        total = 0
        with self._archive.readers({'lengths': 'lengths'}) as readers:
            for first in range(0, record.shape[0], BUFFER):
                lengths = readers['lengths'](min(BUFFER, record.shape[0] - first))
                for i in np.flatnonzero((lengths < 0) | (lengths > highest)):
                    legend = 'T' if self._padded else 'N'
                    raise ValueError(
                        f"record 'lengths' must be in 0..{legend}; that of sequence {first + i} is "
                        f'{lengths[i]}, and {legend} is {highest}.')
                total += int(lengths.sum(dtype=np.int64))
        if not self._padded and total != size:
            raise ValueError(f'lengths must sum to the number of frames; {record.shape[0]} lengths '
                             f'sum to {total}, and there are {size} frames.')

    def _chunks(self):
        records = {**{name: name for name in ['lengths', *self._schema.fields]},
                   'inputs': self._layout}
        most = chunking.most_steps(self._schema)
        together = chunking.MOST_SEQUENCES
        if self._padded:
            together = max(1, min(together, most // max(1, self._maxlen)))
        if self._in_memory:         # one chunk, which is joined to no other
            together = max(1, self._number)
        may_be_infinite = self._records[self._layout].dtype.kind == 'f'
        with self._archive.readers(records) as readers:
            for before in range(0, self._number, together):
                lengths = readers['lengths'](min(together, self._number - before))
                cuts = [(0, together)] if self._in_memory else chunking.cuts(lengths, most)
                for first, last in cuts:
                    part = lengths[first:last].astype(np.int32)
                    chunk = self._chunk(readers, part)
                    wrong = may_be_infinite and chunking.not_finite(chunk['inputs'], part)
                    if wrong:
                        sequence, step, value = wrong
                        raise ValueError(
                            f'{self._path}: record {self._layout!r} must be finite; sequence '
                            f'{before + first + sequence} holds {value} at step {step}.')
                    yield chunk

    def _chunk(self, readers, lengths):
        chunk = {'lengths': lengths}
        real = np.arange(self._maxlen) < lengths[:, None] if self._padded else None
        for name, field in self._schema.fields.items():
            if field.per == 'sequence':
                values = readers[name](len(lengths))
            elif self._padded:
                values = readers[name](len(lengths))[real]
            else:
                values = readers[name](int(lengths.sum()))
            if name == 'inputs' and self._layout == 'frames_packed':
                values = np.unpackbits(values, axis=1)
            if name == 'inputs' and not field.shape:
                values = as_tokens(f'record {self._layout!r}', values)
            if field.dtype != tf.string:
                values = values.astype(field.dtype.as_numpy_dtype, copy=False)
            chunk[name] = values
        return chunk


def _field(name, record, leading, batch, per_step):
    if record.dtype.kind not in 'biufUS':
        raise TypeError(f'record {name!r} must be numbers, bool or strings, got {record.dtype}.')
    dtype = record.dtype
    if name == 'labels' and dtype.kind in 'iu' and np.can_cast(dtype, np.int32):
        dtype = np.dtype(np.int32)
    fits = record.shape[:len(leading)] == leading
    if fits if per_step is None else name in per_step:
        if not fits:
            raise ValueError(f'record {name!r} must have an entry for each step, first axes '
                             f'{leading}, got shape {record.shape}.')
        return Field(tensor_dtype(name, dtype), record.shape[len(leading):], 'step')
    if record.shape[:1] == batch:
        return Field(tensor_dtype(name, dtype), record.shape[1:], 'sequence')
    raise ValueError(f'record {name!r} must have first axes {leading}, an entry for each step, or '
                     f'{batch}, one for each sequence; got shape {record.shape}.')
