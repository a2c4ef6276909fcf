"""A source of sequences that need not fit into memory, readable again and again."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from seqmask.data import chunk as chunking
from seqmask.data.pipeline import untuned
from seqmask.data.schema import Schema
from seqmask.data.sequences import Sequences, require_sequences


class Stream:
    """Sequences in the order of their source.

    Each call of `examples()` or `chunks()` reads from the beginning; at most a few chunks of some
    hundred sequences are in memory, whatever the source's size.

    A damaged source is a ValueError while it is read, from `chunks()` and all that use it
    (`to_sequences`, `write_npz`, `write_tfrecord`, `StreamBatches`). In `examples()`, and whatever
    is built upon it, `tf.data` raises a `tf.errors.OpError` instead; `error` is the exception.

    Attributes:
      schema: `Schema`.
      source: String. What is read, for errors.
      num_sequences: int, or None if it is unknown.
      features: List of strings. Columns of a table that make up 'inputs', in this order.
      unused: List of strings. Columns of a table that are not in any field.
      error: The exception that ended the latest pass of `tf.data`, or None.

    Args:
      schema: `Schema`.
      chunks: Function without arguments that returns an iterable of chunks from the beginning. A
        chunk is a dict of NumPy arrays: 'lengths' int32 [b], each field per step [n, ...], n = sum
        of lengths, each field per sequence [b, ...].
      source, num_sequences, features, unused: The attributes.

    >>> stream = seqmask.data.Stream.from_sequences(
    ...     seqmask.data.Sequences(np.float32([[1.], [2.], [3.]]), [2, 1]))
    >>> print(stream)
    memory: 2 sequences
    inputs  float32  [1]  per step
    >>> for example in stream.examples():
    ...     print(example['lengths'].numpy(), example['inputs'].numpy().tolist())
    2 [[1.0], [2.0]]
    1 [[3.0]]
    """

    def __init__(self, schema: Schema, chunks: Callable[[], Iterable[dict[str, np.ndarray]]], *,
                 source: str, num_sequences: int | None = None, features: Iterable[str] = (),
                 unused: Iterable[str] = ()):
        if not isinstance(schema, Schema):
            raise TypeError(f'schema must be a Schema, got {type(schema).__name__}.')
        self.schema = schema
        self.source = source
        self.num_sequences = num_sequences
        self.features = list(features)
        self.unused = list(unused)
        self.error = None
        self._chunks = chunks

    @classmethod
    def from_sequences(cls, sequences: Sequences) -> Stream:
        """A collection in memory as a stream; its arrays are not copied.

        Args:
          sequences: `Sequences`.

        Returns:
          `Stream`.

        Raises:
          TypeError: If it is no `Sequences`, or a dtype is none of TensorFlow's.
        """
        require_sequences(sequences)
        schema = Schema.of(sequences)
        steps = chunking.most_steps(schema)

        def chunks():
            before = 0
            for first, last in chunking.cuts(sequences.lengths, steps):
                lengths = sequences.lengths[first:last]
                real = slice(before, before + int(lengths.sum()))
                before = real.stop
                yield {'inputs': sequences.frames[real], 'lengths': lengths,
                       **{name: values[real] for name, values in sequences.steps.items()},
                       **{name: values[first:last]
                          for name, values in sequences.sequences.items()}}

        return cls(schema, chunks, source='memory', num_sequences=len(sequences))

    def chunks(self) -> Iterator[dict[str, np.ndarray]]:
        """The sequences, a chunk at a time, for NumPy.

        Returns:
          Iterator of chunks, as the argument of the class describes them.

        Raises:
          ValueError: While iterating, if the source is damaged; the message names it.
        """
        return iter(self._chunks())

    def examples(self) -> tf.data.Dataset:
        """The sequences, one at a time, for `tf.data`.

        Returns:
          `tf.data.Dataset` of dicts with the specs of `schema.element_spec`: unpadded, in the order
          of the source, which each iteration reads from the beginning.

        Raises:
          tf.errors.OpError: While iterating, if reading raises an exception, which `error` then is.
        """
        return Reading(self).examples()

    def to_sequences(self) -> Sequences:
        """All of it, in memory.

        Returns:
          `Sequences`.

        Raises:
          ValueError: If the source is damaged; the message names it.

        >>> stream = seqmask.data.from_lists([[[1.], [2.]], [[3.]]])
        >>> stream.to_sequences().lengths
        array([2, 1], dtype=int32)
        """
        return chunking.joined(self.chunks(), self.schema, self.source)

    def direct_examples(self) -> tf.data.Dataset | None:
        """The examples without a pass through Python, if the source is a dataset itself."""
        return None

    def __str__(self) -> str:
        number = 'sequences' if self.num_sequences is None else f'{self.num_sequences} sequences'
        return f'{self.source}: {number}\n{self.schema}'


class Reading:
    """A stream in `tf.data`, which keeps only an exception's text; `error` is the exception."""

    def __init__(self, stream: Stream):
        self.error = None
        self._stream = stream

    def examples(self) -> tf.data.Dataset:
        """The dataset that `Stream.examples` returns."""
        direct = self._stream.direct_examples()
        self._is_direct = direct is not None
        if self._is_direct:
            return direct
        spec = {name: tf.TensorSpec([None, *field.shape], field.dtype)
                for name, field in self._stream.schema.fields.items()}
        spec['lengths'] = tf.TensorSpec([None], tf.int32)
        with tf.device('CPU'):
            dataset = tf.data.Dataset.from_generator(self._chunks, output_signature=spec)
            # One chunk is read while another is unbatched.
            dataset = dataset.prefetch(1).flat_map(self._unbatched)
            if self._stream.num_sequences is not None:
                dataset = dataset.apply(tf.data.experimental.assert_cardinality(
                    self._stream.num_sequences))
        return untuned(dataset)

    def raising(self, dataset: tf.data.Dataset) -> Iterator:
        """The elements of a dataset made from `examples`; raises what reading raised, unchanged."""
        try:
            yield from dataset
        except tf.errors.OpError:
            if self.error is None:
                if self._is_direct:
                    collections.deque(self._stream.chunks(), 0)     # names the element
                raise
        if self.error is not None:      # out here, where its context stays its own
            raise self.error

    def _chunks(self):
        self.error = self._stream.error = None
        try:
            for chunk in self._stream.chunks():
                yield chunking.fitted(chunk, self._stream.schema)
        except Exception as error:
            self.error = self._stream.error = error
            raise

    @tf.autograph.experimental.do_not_convert
    def _unbatched(self, chunk):
        schema, lengths = self._stream.schema, chunk['lengths']
        ends = tf.cumsum(tf.cast(lengths, tf.int64))

        @tf.autograph.experimental.do_not_convert
        def one(i):
            real = slice(ends[i] - tf.cast(lengths[i], tf.int64), ends[i])
            return {'inputs': chunk['inputs'][real], 'lengths': lengths[i],
                    **{name: chunk[name][real] for name in schema.steps},
                    **{name: chunk[name][i] for name in schema.sequences}}

        return tf.data.Dataset.range(tf.size(lengths, tf.int64)).map(one)


def as_stream(source: Sequences | Stream) -> Stream:
    """`source` as a `Stream`; it may be `Sequences`."""
    if isinstance(source, Sequences):
        return Stream.from_sequences(source)
    if not isinstance(source, Stream):
        raise TypeError(f'sequences must be a Sequences or a Stream, got '
                        f'{type(source).__name__}.')
    return source
