"""A chunk as `tf.train.SequenceExample`s, and back."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from seqmask.data.schema import Schema

SCHEMA, LAST = 'seqmask.schema', 'seqmask.records'
RAW = (tf.float64, tf.uint64)       # no list of tf.train.Feature holds them exactly


def encode(chunk: dict[str, np.ndarray], schema: Schema) -> Iterator[tf.train.SequenceExample]:
    """Yields a `tf.train.SequenceExample` for each sequence of a chunk."""
    end = 0
    encoders = {name: _encoder(field) for name, field in schema.fields.items()}
    for i, length in enumerate(chunk['lengths'].tolist()):
        example = tf.train.SequenceExample()
        example.context.feature['lengths'].int64_list.value.append(length)
        for name in schema.sequences:
            example.context.feature[name].CopyFrom(encoders[name](chunk[name][i]))
        first, end = end, end + length
        for name in schema.steps:
            example.feature_lists.feature_list[name].feature.extend(
                map(encoders[name], chunk[name][first:end]))
        yield example


def parse(path: str, before: int, records: tf.Tensor,
          schema: Schema) -> tuple[dict[str, tf.RaggedTensor], dict[str, tf.RaggedTensor]]:
    """(context, lists) of serialized records [b], the first of them number `before` of the file.

    Dicts of ragged tensors, [b, (values)] and [b, (T), (values)]. A record that is no
    SequenceExample, or a feature in another kind of list, is an error.
    """
    context = {'lengths': tf.int64, SCHEMA: tf.string, LAST: tf.int64,
               **{name: _stored(schema.fields[name]) for name in schema.sequences}}
    lists = {name: _stored(schema.fields[name]) for name in schema.steps}
    try:
        return tf.io.parse_sequence_example(records, *(
            {name: tf.io.RaggedFeature(dtype) for name, dtype in kinds.items()}
            for kinds in (context, lists)))[:2]
    except tf.errors.OpError as error:
        for k in range(len(records) if len(records) > 1 else 0):
            parse(path, before + k, records[k:k + 1], schema)
        raise ValueError(f'{path}: record {before} cannot be read: it is no '
                         f'tf.train.SequenceExample of these fields: '
                         f'{_kinds(schema)}.') from error


def decode(path: str, before: int, context: dict[str, tf.RaggedTensor],
           lists: dict[str, tf.RaggedTensor], schema: Schema) -> dict[str, np.ndarray]:
    """What `parse` returned, as a chunk; a wrong number of values or steps is an error."""
    lengths = lists['inputs'].row_lengths().numpy()
    stated = context['lengths']
    counts = stated.row_lengths().numpy()
    found = lengths.copy()          # of a record without 'lengths'
    found[counts > 0] = stated.values.numpy()[stated.row_starts().numpy()[counts > 0]]
    for k in np.flatnonzero((found != lengths) | (counts > 1)):
        raise ValueError(f"{path}: record {before + k} has 'lengths' "
                         f"{', '.join(map(str, stated[k].numpy()))} and {lengths[k]} frames.")
    chunk = {'lengths': lengths.astype(np.int32)}
    for name, field in schema.fields.items():
        size = 1 if field.dtype in RAW else int(np.prod(field.shape, dtype=np.int64))
        if field.per == 'sequence':
            values, entries = context[name].values, np.ones_like(lengths)
            each = context[name].row_lengths().numpy()
        else:
            entries = lists[name].row_lengths().numpy()
            for k in np.flatnonzero(entries != lengths):
                raise ValueError(f"{path}: record {before + k} has {entries[k]} steps of {name!r} "
                                 f"and {lengths[k]} of 'inputs'.")
            inner = lists[name].values
            values, each = inner.values, inner.row_lengths().numpy()
        for place in np.flatnonzero(each != size):
            k = np.searchsorted(np.cumsum(entries), place, side='right')
            raise ValueError(f'{path}: record {before + k} has {each[place]} values of {name!r} '
                             f'per {field.per}, not {size}.')
        where = f'{path}: record {before} or one of the {len(lengths) - 1} after it'
        chunk[name] = _decoded(where, name, values.numpy(), field, int(entries.sum()))
    return chunk


def _decoded(where, name, values, field, count):
    shape = (count, *field.shape)
    if field.dtype in RAW:
        dtype = np.dtype(field.dtype.as_numpy_dtype).newbyteorder('<')
        size = dtype.itemsize * int(np.prod(field.shape, dtype=np.int64))
        if any(len(value) != size for value in values):
            raise ValueError(f'{where} has entries of {name!r} that are not of {size} bytes.')
        values = np.frombuffer(b''.join(values), dtype).astype(dtype.newbyteorder('='))
        return values.reshape(shape)
    if field.dtype == tf.string:
        return values.reshape(shape)
    dtype = field.dtype.as_numpy_dtype
    # A number outside the dtype's range would become another one.
    with np.errstate(over='ignore'):
        cast = values.astype(dtype)
    if not np.array_equal(cast.astype(values.dtype), values, equal_nan=values.dtype.kind == 'f'):
        raise ValueError(f'{where} has values of {name!r} that do not fit {field.dtype.name}.')
    return cast.reshape(shape)


def _encoder(field):
    feature, train = tf.train.Feature, tf.train
    if field.dtype in RAW:
        dtype = np.dtype(field.dtype.as_numpy_dtype).newbyteorder('<')
        return lambda values: feature(bytes_list=train.BytesList(
            value=[np.asarray(values, dtype).tobytes()]))
    if field.dtype == tf.string:
        return lambda values: feature(bytes_list=train.BytesList(
            value=[v.encode() if isinstance(v, str) else bytes(v) for v in np.ravel(values)]))
    if field.dtype.is_floating:
        return lambda values: feature(float_list=train.FloatList(
            value=np.ravel(values).astype(np.float32).tolist()))
    return lambda values: feature(int64_list=train.Int64List(
        value=np.ravel(values).astype(np.int64).tolist()))


def _stored(field):
    if field.dtype == tf.string or field.dtype in RAW:
        return tf.string
    return tf.float32 if field.dtype.is_floating else tf.int64


def _kinds(schema):
    return ', '.join(f'{name!r} {_list(field)}' for name, field in schema.fields.items())


def _list(field):
    return {tf.string: 'bytes_list', tf.float32: 'float_list',
            tf.int64: 'int64_list'}[_stored(field)]
