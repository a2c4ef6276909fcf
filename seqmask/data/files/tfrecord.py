"""Sequences in TFRecord files of `tf.train.SequenceExample`."""

from __future__ import annotations

import contextlib
import errno
import os

import tensorflow as tf

from seqmask.checks import PathLike
from seqmask.data import chunk as chunking
from seqmask.data.files.tfrecord_codec import LAST, SCHEMA, decode, encode, parse
from seqmask.data.files.whole import whole_file
from seqmask.data.pipeline import untuned
from seqmask.data.schema import Field, Schema
from seqmask.data.sequences import Sequences
from seqmask.data.stream import Stream, as_stream

LISTS = {'float_list': tf.float32, 'int64_list': tf.int64, 'bytes_list': tf.string}


def open_tfrecord(path: PathLike | list[PathLike]) -> Stream:
    """Opens files of `tf.train.SequenceExample` for reading chunk by chunk.

    A record is a sequence. Its context holds the fields per sequence and, optionally, 'lengths',
    one int64, which must be the number of frames. Its feature lists hold 'inputs', D floats or
    one token (int64 or bytes) at each step, and the fields per step. A file of `write_tfrecord`
    gives back exactly what was written. In other files the first record that has a frame defines
    the schema: float_list is float32, int64_list int64, bytes_list strings, one value a scalar,
    several a vector. Features that it does not have are ignored in later records.

    Damaged records, and those that do not fit the schema, are found when they are reached. A file
    of `write_tfrecord` states the number of records in the last one; in others it goes unnoticed if
    records at the end are missing.

    Args:
      path: Of the file, or a list of them, read one after the other; each may be compressed by
        GZIP.

    Returns:
      `Stream`.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If the first file holds no records, without which there is no schema; or, here or
        while iterating, if one is damaged or not as described: the message names the file and the
        record, from 0.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'data.tfrecord')
    ...     seqmask.data.write_tfrecord(path, seqmask.data.from_lists([[[1.], [2.]], [[3.]]]))
    ...     seqmask.data.open_tfrecord(path).to_sequences().lengths
    array([2, 1], dtype=int32)
    """
    one = isinstance(path, (str, bytes, os.PathLike))
    paths = [os.fsdecode(part) for part in ([path] if one else path)]
    if not paths:
        raise ValueError('path must name at least one file, got none.')
    for part in paths:
        if not tf.io.gfile.exists(part):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), part)
    schema = _schema_of(paths[0])

    def chunks():
        for part in paths:
            yield from _chunks(part, schema)

    return Stream(schema, chunks, source=', '.join(paths))


def write_tfrecord(path: PathLike, sequences: Sequences | Stream) -> None:
    """Writes sequences to a TFRecord file, which `open_tfrecord` reads back unchanged.

    One `tf.train.SequenceExample` per sequence, as `open_tfrecord` describes it. float64 and
    uint64, for which it has no lists, become the little-endian bytes of each entry. The context of
    the first record also holds the schema as JSON, 'seqmask.schema', and that of the last one the
    number of records, 'seqmask.records'; other readers ignore them.

    The file appears whole or not at all: an earlier one of that name stays until the new one is
    complete. A stream is read once, a chunk at a time.

    Args:
      path: Of the file; it is used as it is, no ending is added.
      sequences: `Sequences` or `Stream`.

    Raises:
      TypeError: If sequences is neither.
      ValueError: If there are no sequences, which the format cannot express, a field has one of
        these two names, or the stream's source is damaged.
      OSError: If the file cannot be written.
    """
    path = os.fsdecode(path)
    stream = as_stream(sequences)
    for name in (SCHEMA, LAST):
        if name in stream.schema.fields:
            raise ValueError(f'{name!r} is reserved in a TFRecord file. Rename the field.')
    with whole_file(path) as unfinished, _writer(path, unfinished) as write:
        waiting, number = None, 0
        for chunk in stream.chunks():
            for example in encode(chunk, stream.schema):
                if number == 0:
                    example.context.feature[SCHEMA].bytes_list.value.append(
                        stream.schema.to_json().encode())
                else:
                    write(waiting.SerializeToString())
                waiting, number = example, number + 1
        if waiting is None:
            raise ValueError(f'{path}: a TFRecord file without records has no schema; got no '
                             f'sequences. Write an npz.')
        waiting.context.feature[LAST].int64_list.value.append(number)
        write(waiting.SerializeToString())


@contextlib.contextmanager
def _writer(path, unfinished):
    """Gives a function that writes a record; TensorFlow's errors become OSErrors."""
    def checked(call, *arguments):
        try:
            return call(*arguments)
        except tf.errors.OpError as error:
            problem = error.message.removeprefix(f'{unfinished}; ')
            raise OSError(f'{path} cannot be written: {problem}.') from error

    writer = checked(tf.io.TFRecordWriter, unfinished)
    try:
        yield lambda record: checked(writer.write, record)
    finally:
        checked(writer.close)


def _chunks(path, schema):
    """The records of a file, parsed and compared with the schema; `before` counts those so far."""
    before, has_schema, ended = 0, False, False
    for records in _records(path):
        context, lists = parse(path, before, records, schema)
        chunk = decode(path, before, context, lists, schema)
        for k, text in _marks(context[SCHEMA]):
            if before + k:
                raise ValueError(f'{path}: record {before + k} is the first of another file. Pass '
                                 f'a list of paths instead of concatenating files.')
            if Schema.from_json(text.decode()) != schema:
                raise ValueError(f'{path}: record 0 has other fields than the first file.')
            has_schema = True
        if ended:
            raise ValueError(f'{path}: record {before} comes after the last one.')
        for k, number in _marks(context[LAST]):
            if (number, k + 1) != (before + k + 1, len(records)):
                raise ValueError(f'{path}: record {before + k} is marked as the last of {number}, '
                                 f'which it is not.')
            ended = True
        before += len(records)
        wrong = chunking.not_finite(chunk['inputs'], chunk['lengths'])
        if wrong:
            sequence, step, value = wrong
            raise ValueError(f"{path}: 'inputs' must be finite; record "
                             f'{before - len(records) + sequence} holds {value} at step {step}.')
        yield chunk
    if has_schema and not ended:
        raise ValueError(f'{path}: the file is cut short: it ends after record {before - 1}, which '
                         f'is not marked as the last.')
    if not before:
        raise _empty(path)


def _marks(ragged):
    """(record in the chunk, value) of each value."""
    rows, values = ragged.value_rowids().numpy(), ragged.values.numpy()
    return zip(rows.tolist(), values.tolist())


def _records(path):
    """Tensors of at most a few hundred serialized records each, fewer if they are long."""
    try:
        sizes = list(_file(path).take(16).map(tf.strings.length).as_numpy_iterator())
        together = chunking.MOST_BYTES // max([1, *sizes])
        yield from _file(path).batch(min(max(together, 1), chunking.MOST_SEQUENCES))
    except tf.errors.OpError:
        # TensorFlow knows the byte, not the record: read again, up to the one that fails.
        before = 0
        with contextlib.suppress(tf.errors.OpError):
            for _ in _file(path):
                before += 1
        raise _unreadable(path, before, 'the file is damaged or cut short there') from None


def _file(path):
    with tf.io.gfile.GFile(path, 'rb') as file:
        is_zipped = file.read(2) == b'\x1f\x8b'
    return untuned(tf.data.TFRecordDataset(path, 'GZIP' if is_zipped else None,
                                           buffer_size=1 << 20))


def _schema_of(path):
    number, example = 0, None
    for records in _records(path):
        for record in records.numpy():
            example = tf.train.SequenceExample()
            try:
                example.ParseFromString(record)
            except Exception as error:      # protobuf's own type, which TensorFlow does not name
                raise _unreadable(path, number, 'it is no tf.train.SequenceExample') from error
            try:
                if number == 0 and SCHEMA in example.context.feature:
                    text = example.context.feature[SCHEMA].bytes_list.value[0]
                    return Schema.from_json(text.decode())
                if 'inputs' not in example.feature_lists.feature_list:
                    names = ', '.join(map(repr, sorted(example.feature_lists.feature_list)))
                    raise ValueError(f"it has no feature list 'inputs'; there are "
                                     f"{names or 'none'}")
                if example.feature_lists.feature_list['inputs'].feature:
                    return _inferred(example)
            except (IndexError, TypeError, ValueError) as error:
                raise _unreadable(path, number, str(error).rstrip('.')) from error
            number += 1
    if example is None:
        raise _empty(path)
    raise ValueError(f'{path}: no record has a frame, so the number of features is unknown.')


def _inferred(example):
    fields = {name: _field(name, parts.feature[0] if parts.feature else None, 'step')
              for name, parts in sorted(example.feature_lists.feature_list.items())}
    fields.update({name: _field(name, feature, 'sequence')
                   for name, feature in sorted(example.context.feature.items())
                   if name != 'lengths'})
    return Schema(fields)


def _field(name, feature, per):
    kind = feature.WhichOneof('kind') if feature is not None else None
    if kind is None:
        raise ValueError(f'{name!r} has no values, so its dtype is unknown')
    count = len(getattr(feature, kind).value)
    is_features = name == 'inputs' and kind == 'float_list'
    return Field(LISTS[kind], (count,) if is_features or count != 1 else (), per)


def _unreadable(path, number, what):
    return ValueError(f'{path}: record {number} cannot be read: {what}.')


def _empty(path):
    return ValueError(f'{path}: the file holds no records, so its schema is unknown.')
