"""A chunk: a few hundred sequences as flat NumPy arrays, the unit in which sources are read.

A dict: 'lengths' int32 [b]; each field per step [n, ...], n = sum of lengths, one sequence after
the other; each field per sequence [b, ...]. Strings are str or bytes, whichever the source gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from seqmask.checks import TensorLike
from seqmask.data.schema import Schema
from seqmask.data.sequences import Sequences, place_of

MOST_SEQUENCES = 256
MOST_BYTES = 1 << 21


def most_steps(schema: Schema) -> int:
    """The most steps of a chunk; only a single sequence may be longer."""
    size = sum(field.dtype.size * int(np.prod(field.shape)) for field in schema.fields.values()
               if field.per == 'step')
    return max(1, MOST_BYTES // max(1, size))


def cuts(lengths: np.ndarray, steps: int) -> Iterator[tuple[int, int]]:
    """Where chunks of at most so many steps begin and end: (first sequence, last + 1) of each."""
    ends = np.cumsum(lengths, dtype=np.int64)
    first = 0
    while first < len(lengths):
        before = ends[first] - lengths[first]
        last = int(np.searchsorted(ends, before + steps, side='right'))
        last = min(max(last, first + 1), first + MOST_SEQUENCES)
        yield first, last
        first = last


def empty(schema: Schema) -> dict[str, np.ndarray]:
    """A chunk without sequences."""
    chunk = {name: np.zeros((0, *field.shape), _array_dtype(field))
             for name, field in schema.fields.items()}
    return {**chunk, 'lengths': np.zeros([0], np.int32)}


def fitted(chunk: dict[str, np.ndarray], schema: Schema) -> dict[str, np.ndarray]:
    """A chunk in the schema's dtypes, strings as objects of bytes, as TensorFlow takes them."""
    return {'lengths': chunk['lengths'],
            **{name: _bytes(chunk[name]) if field.dtype == tf.string
               else np.asarray(chunk[name], _array_dtype(field))
               for name, field in schema.fields.items()}}


def joined(chunks: Iterable[dict[str, np.ndarray]], schema: Schema, source: str) -> Sequences:
    """`Sequences` of all chunks."""
    parts = {name: [] for name in ['lengths', *schema.fields]}
    for chunk in chunks:
        for name, values in parts.items():
            values.append(readable(name, chunk[name], source))
    none = empty(schema)
    # Empty parts are left out: an empty array of strings does not say of which kind they are.
    parts = {name: [part for part in values if len(part)] or [none[name]]
             for name, values in parts.items()}
    arrays = {name: np.concatenate(values) if len(values) > 1 else values[0]
              for name, values in parts.items()}
    for name, field in schema.fields.items():
        if field.dtype == tf.string:
            arrays[name] = readable(name, arrays[name], source)
    return Sequences(arrays['inputs'], arrays['lengths'],
                     {name: arrays[name] for name in schema.steps if name != 'inputs'},
                     {name: arrays[name] for name in schema.sequences})


def readable(name: str, values: TensorLike, source: str) -> np.ndarray:
    """Objects of bytes as NumPy's str; anything else unchanged."""
    values = np.asarray(values)
    if values.dtype.kind != 'O':
        return values
    try:
        flat = [bytes(value).decode() for value in values.ravel()]
    except UnicodeDecodeError as error:
        raise ValueError(f'{source}: {name!r} must be UTF-8 to be kept in memory or in an npz, got '
                         f'{bytes(error.object)!r}.') from error
    return np.array(flat, dtype=str).reshape(values.shape)


def not_finite(frames: np.ndarray, lengths: np.ndarray) -> tuple[int, int, float] | None:
    """(sequence, step in it, value) of the first value that is not finite; None if all are."""
    finite = frames.dtype.kind != 'f' or np.isfinite(frames)
    if np.all(finite):
        return None
    frame, feature = np.argwhere(~finite)[0]
    return *place_of(frame, lengths), frames[frame, feature]


def _array_dtype(field):
    return field.dtype.as_numpy_dtype       # object for strings


def _bytes(values):
    values = np.asarray(values)
    if values.dtype.kind == 'U':
        values = np.char.encode(values, 'utf-8') if values.size else values.astype('S')
    return values.astype(object)
