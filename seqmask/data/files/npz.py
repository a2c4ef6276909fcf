"""Sequences in one NumPy .npz file."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile

import numpy as np

from seqmask.checks import PathLike
from seqmask.data.chunk import not_finite
from seqmask.data.files.npz_archive import records_of
from seqmask.data.files.npz_spool import spooled
from seqmask.data.files.whole import whole_file
from seqmask.data.sequences import Sequences
from seqmask.data.stream import Stream, as_stream


def read_npz(path: PathLike) -> Sequences:
    """Reads a collection of sequences.

    The file holds the sequences either one after the other or padded, B sequences, N frames in all:

      'frames' [N, D]            one sequence after the other; or instead of it
      'frames_packed' [N, D/8]   uint8, frames of bits as `np.packbits(frames, axis=1)` packs them
      'lengths' [B]              int32 or int64, frames of each sequence, N in all

      'inputs' [B, T, D]         padded on the right; what stands in the padding is ignored
      'lengths' [B]              int32 or int64, 0 <= lengths <= T

    Lengths are kept as they are read: a zero frame at the end of a sequence stays part of it. Any
    other record is a field. 'step_fields', strings, names the fields that have an entry for each
    step; every other field has one for each sequence. In a file without 'step_fields' the size says
    it: a first axis of N (padded: first axes of B, T) means per step, else one of B means per
    sequence. Where both fit, it is per step. Whole-number 'labels' of less than 32 bits become
    int32, which losses take. 'label_names' describes the collection, not its sequences: it is not
    read.

    Args:
      path: Of the file.

    Returns:
      `Sequences`.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If the file is damaged or does not hold what is described here: the message names
        the file and the record. Nothing of a damaged file is used. Frames must be finite, and
        pickled objects are refused.
    """
    path = os.fsdecode(path)
    with open(path, 'rb') as file:
        records = records_of(path, file, _array)
    try:
        return _collection(records)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{path}: {error}') from error


def write_npz(path: PathLike, sequences: Sequences | Stream) -> None:
    """Writes a collection of sequences, so that `read_npz` and `open_npz` give it back.

    The file appears whole or not at all: an earlier one of that name stays until the new one is
    complete. A stream is read once, a chunk at a time, by way of temporary files beside the new
    one, as large as its arrays.

    Args:
      path: Of the file; it is used as it is, no ending is added.
      sequences: `Sequences` or `Stream`.

    Raises:
      TypeError: If sequences is neither, or a stream's dtype is none of NumPy's.
      ValueError: If the stream's source is damaged; the message names it.
      OSError: If the file cannot be written.
    """
    path = os.fsdecode(path)
    in_memory = isinstance(sequences, Sequences)
    with contextlib.ExitStack() as stack:
        unfinished = stack.enter_context(whole_file(path))
        if in_memory:
            steps = list(sequences.steps)
            arrays = {'frames': sequences.frames, 'lengths': sequences.lengths,
                      **sequences.steps, **sequences.sequences}
            records = {name: _writer(array) for name, array in arrays.items()}
        else:
            stream = as_stream(sequences)
            steps = stream.schema.steps[1:]
            folder = os.path.dirname(os.path.abspath(path))
            records = stack.enter_context(spooled(stream, folder))
        records['step_fields'] = _writer(np.array(steps, dtype=str))
        # Not np.savez: there, a field called 'file' would collide with an argument.
        with zipfile.ZipFile(unfinished, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, write in records.items():
                with archive.open(f'{name}.npy', 'w', force_zip64=True) as record:
                    write(record)


def _writer(array):
    return lambda record: np.lib.format.write_array(record, np.asarray(array), allow_pickle=False)


def _array(archive, member):
    """A record's array; its checksum is compared before it is parsed."""
    return np.lib.format.read_array(io.BytesIO(archive.read(member)), allow_pickle=False)


def _collection(records):
    records = dict(records)
    records.pop('label_names', None)
    lengths = _required(records, 'lengths')
    layouts = [name for name in ('frames', 'frames_packed', 'inputs') if name in records]
    if len(layouts) != 1:
        raise ValueError(f"one record 'frames', 'frames_packed' or 'inputs' is needed, got "
                         f"{', '.join(map(repr, layouts)) or 'none of them'} "
                         f"among {', '.join(map(repr, sorted(records))) or 'no records'}.")
    name = layouts[0]
    frames = records.pop(name)
    stated = _stated(records)
    if frames.ndim != (3 if name == 'inputs' else 2):
        legend = {'frames': '[N, D]', 'frames_packed': '[N, D/8]', 'inputs': '[B, T, D]'}[name]
        raise ValueError(f'record {name!r} must have shape {legend}, got shape {frames.shape}.')
    real = None
    if name == 'frames_packed':
        if frames.dtype != np.uint8:
            raise ValueError(f"record 'frames_packed' must be uint8, got {frames.dtype}.")
        frames = np.unpackbits(frames, axis=1).astype(np.float32)
    elif name == 'inputs':
        real = _real_steps(frames, lengths)                  # [B, T]
        frames = frames[real]                                # [N, D]
    per_step, per_sequence = {}, {}
    for field, values in records.items():
        if field == 'labels' and values.dtype.kind in 'iu' and np.can_cast(values.dtype, np.int32):
            values = values.astype(np.int32)
        leading = (len(frames),) if real is None else real.shape
        fits = values.shape[:len(leading)] == leading
        is_per_step = fits if stated is None else field in stated
        if is_per_step:
            if not fits:
                raise ValueError(f'record {field!r} must have an entry for each step, first axes '
                                 f'{leading}, got shape {values.shape}.')
            per_step[field] = values if real is None else values[real]
        elif values.shape[:1] == lengths.shape[:1]:
            per_sequence[field] = values
        else:
            raise ValueError(f'record {field!r} must have first axes {leading}, an entry for each '
                             f'step, or {lengths.shape[:1]}, one for each sequence; '
                             f'got shape {values.shape}.')
    collection = Sequences(frames, lengths, per_step, per_sequence)
    _require_finite(name, collection)
    return collection


def _required(records, name):
    if name not in records:
        raise ValueError(f'record {name!r} is missing; there are '
                         f'{", ".join(map(repr, sorted(records))) or "no records"}.')
    return records.pop(name)


def _stated(records):
    """The names in 'step_fields', or None where the file does not say."""
    if 'step_fields' not in records:
        return None
    names = records.pop('step_fields')
    if names.dtype.kind != 'U' or names.ndim != 1:
        raise ValueError(f"record 'step_fields' must be strings of rank 1, got {names.dtype} "
                         f'of shape {names.shape}.')
    for name in names:
        if name not in records:
            raise ValueError(f"record {str(name)!r} is missing, which 'step_fields' names.")
    return set(names.tolist())


def _real_steps(inputs, lengths):
    if lengths.shape != inputs.shape[:1]:
        raise ValueError(f"record 'lengths' must have one entry for each of the {len(inputs)} "
                         f'sequences [B], got shape {lengths.shape}.')
    if lengths.dtype not in (np.int32, np.int64):
        raise ValueError(f"record 'lengths' must be int32 or int64, got {lengths.dtype}.")
    for i in np.flatnonzero((lengths < 0) | (lengths > inputs.shape[1])):
        raise ValueError(f"record 'lengths' must be in 0..T; that of sequence {i} is {lengths[i]}, "
                         f'and T is {inputs.shape[1]}.')
    return np.arange(inputs.shape[1]) < lengths[:, None]


def _require_finite(name, collection):
    wrong = not_finite(collection.frames, collection.lengths)
    if wrong:
        sequence, step, value = wrong
        raise ValueError(f'record {name!r} must be finite; sequence {sequence} holds {value} at '
                         f'step {step}.')
