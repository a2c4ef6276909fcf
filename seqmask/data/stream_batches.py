"""Zero-padded batches of a stream that need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.data import plan as planning
from seqmask.data.pipeline import untuned
from seqmask.data.stream import Reading, Stream


class StreamBatches:
    """A stream as padded batches, epoch after epoch; what `Batches` is to a collection in memory.

    Each batch is a dict of tensors: 'inputs' [B, T, D], T being the longest length in the batch;
    'lengths' int32 [B]; each field per step [B, T, ...], zeros (or empty strings) in the padding;
    each field per sequence [B, ...]. Every sequence comes exactly once in an epoch. At most
    `shuffle_buffer` sequences and one batch per bucket are in memory.

    The order is a pure function of (seed, epoch) and the source, so a resumed run gets the same
    batches. Iterating gives epoch 0 each time; a training loop calls `at_epoch(epoch)`.

    What needs all lengths ahead is left to `Batches`: exact lengths, and a budget of real steps. A
    budget, `max_steps`, gives each bucket its own batch size, max_steps // boundary, at least 1, so
    it needs buckets.

    Args:
      stream: `Stream`.
      batch_size: int. Sequences in a batch; the last of each bucket may have fewer. Either this or
        max_steps is given.
      max_steps: int. Padded steps, B * T, in a batch, at most. It takes precedence over `multiple`.
        Only a sequence that alone exceeds it does so, in a batch of its own.
      multiple: int. Batch sizes are rounded down to a multiple of it; only the last batch of each
        bucket may have any size.
      shuffle_buffer: int. Each sequence is drawn from the next so many; 0 to keep the order of the
        source. A sorted source needs a buffer that holds all of it.
      seed: int >= 0.
      bucket_boundaries: None for a single bucket; ascending ints, the longest length of each
        bucket; or an int, for that many buckets of about as many sequences each, chosen once from
        the first `sample` sequences.
      sample: int. A later sequence may be longer than any of these: see overflow.
      overflow: What to do with a sequence longer than the last boundary: 'error', when it is
        reached; or 'last' to put it into the last bucket, with max_steps into a batch of its own.
      drop_remainder: Whether to leave out, in each bucket and epoch, the last sequences that do not
        fill a batch.
      shard: (index, count) for one of `count` workers, as of `Batches`; each reads the source.

    Raises:
      TypeError: If an argument's type does not fit.
      ValueError: If an argument's value does not fit. While iterating, if the source is damaged or
        a sequence is longer than the last boundary; the message has its number, from 0, in the
        source. Any exception of the source is raised unchanged.

    >>> stream = seqmask.data.from_lists([[[1.]], [[2.], [3.]], [[4.], [5.], [6.]]])
    >>> for batch in seqmask.data.StreamBatches(stream, 2):
    ...     print(batch['inputs'].shape, batch['lengths'].numpy())
    (2, 2, 1) [1 2]
    (1, 3, 1) [3]
    """

    def __init__(self, stream: Stream, batch_size: int | None = None, *,
                 max_steps: int | None = None, count: str = 'padded', multiple: int = 1,
                 shuffle_buffer: int = 0, seed: int = 0,
                 bucket_boundaries: int | Iterable[int] | None = None, sample: int = 10_000,
                 overflow: str = 'error', drop_remainder: bool = False,
                 shard: tuple[int, int] | None = None):
        if not isinstance(stream, Stream):
            raise TypeError(f'stream must be a Stream, got {type(stream).__name__}.')
        self._size = planning.BatchSize(batch_size, max_steps, count, multiple)
        if batch_size is not None:
            checks.size('batch_size of a stream', batch_size, maximum=planning.MOST_SEQUENCES)
        self.batch_size = self._size.batch_size
        if count == 'real':
            raise ValueError("count must be 'padded' for a stream, got 'real': a budget of real "
                             'steps needs all lengths ahead. Read it into Sequences, for Batches.')
        if isinstance(bucket_boundaries, str):
            raise ValueError(f'bucket_boundaries of a stream must be None, an int or ascending '
                             f'lengths, got {bucket_boundaries!r}: batches of equal lengths need '
                             f'all lengths ahead. Read it into Sequences, for Batches.')
        if max_steps is not None and bucket_boundaries is None:
            raise ValueError('max_steps of a stream needs bucket_boundaries, got None: each bucket '
                             'has a batch size of its own. Pass their number, say 8.')
        self.shuffle_buffer = checks.size('shuffle_buffer', shuffle_buffer, minimum=0,
                                          maximum=planning.MOST_SEQUENCES)
        self.seed = checks.size('seed', seed, minimum=0)
        self.overflow = checks.choice('overflow', overflow, ['error', 'last'])
        self.drop_remainder = drop_remainder
        self.shard = planning.make_shard(shard)
        first = np.zeros([0], np.int32)
        if isinstance(bucket_boundaries, (int, np.integer)):
            first = _first_lengths(stream, checks.size('sample', sample))
        self.bucket_boundaries = planning.make_boundaries(bucket_boundaries, first)
        self._stream = stream
        if self.bucket_boundaries and overflow == 'error':
            self._stream = Stream(stream.schema, lambda: self._covered(stream),
                                  source=stream.source, num_sequences=stream.num_sequences)

    def __len__(self) -> int:
        """Number of batches, if it is known: for a known number of sequences in one bucket."""
        number = self._stream.num_sequences
        if number is None or self.bucket_boundaries is not None:
            raise TypeError('the number of batches of this stream is not known ahead; report() '
                            'counts them in one pass.')
        whole, rest = divmod(number, self.batch_size)
        return whole + (rest > 0 and not self.drop_remainder)

    def __iter__(self) -> Iterator[dict[str, tf.Tensor]]:
        return iter(self.at_epoch(0))

    @property
    def dataset(self) -> tf.data.Dataset:
        """Epoch 0 as a `tf.data.Dataset`: see `StreamEpoch.dataset`."""
        return self.at_epoch(0).dataset

    @property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        """`tf.TypeSpec` of a batch, B and T unknown: `tf.function(input_signature=[...])`."""
        return {name: tf.TensorSpec([None, *spec.shape], spec.dtype)
                for name, spec in self._stream.schema.element_spec.items()}

    @property
    def error(self) -> Exception | None:
        """The exception that ended the latest pass of `tf.data` over the stream, or None."""
        return self._stream.error

    def at_epoch(self, epoch: int) -> StreamEpoch:
        """The batches of one epoch.

        Args:
          epoch: int >= 0.

        Returns:
          `StreamEpoch`: iterable of dicts, read and padded in the background.
        """
        epoch = checks.size('epoch', epoch, minimum=0)
        return StreamEpoch(self._stream, self.element_spec,
                           lambda examples: self._batched(examples, epoch))

    def report(self, epoch: int = 0) -> str:
        """One line on an epoch's batches, of this worker's part: how many, how long, how padded.

        It reads the stream once.

        Args:
          epoch: int >= 0.

        Returns:
          String.
        """
        epoch = checks.size('epoch', epoch, minimum=0)
        lengths = StreamEpoch(self._stream, None, lambda examples: self._batched(
            examples.map(_length_alone), epoch))
        return planning.describe([batch['lengths'].numpy() for batch in lengths],
                                 self.batch_size if self.shard == (0, 1) else None)

    def _batched(self, examples, epoch):
        per_step = [name for name, spec in examples.element_spec.items()
                    if spec.shape.rank and spec.shape[0] is None]
        with tf.device('CPU'):
            if self.shuffle_buffer:
                examples = self._shuffled(examples, epoch)
            batches = self._padded(examples)
            if self.shard != (0, 1):
                batches = batches.map(lambda batch: self._part(batch, per_step))
            batches = batches.prefetch(2)
        options = tf.data.Options()
        options.deterministic = True
        return untuned(batches, options)

    def _shuffled(self, examples, epoch):
        buffer, seed = self.shuffle_buffer, self.seed

        @tf.autograph.experimental.do_not_convert
        def shuffle(_):
            # Else tf.data would mix in the program's global seed. In a function this seeds only the
            # function's own graph.
            tf.random.set_seed(seed)
            return examples.shuffle(buffer, seed=epoch, reshuffle_each_iteration=False)

        return tf.data.Dataset.from_tensors(0).flat_map(shuffle)

    def _padded(self, examples):
        boundaries = self.bucket_boundaries
        if not boundaries and not self.drop_remainder:
            return examples.padded_batch(self.batch_size or 1)
        # TensorFlow's boundaries are the first lengths above a bucket; its last bucket is open.
        above = [boundary + 1 for boundary in boundaries or []]
        if self.batch_size:
            above, sizes = above[:-1], [self.batch_size] * max(1, len(above))
        else:
            most = min(self._size.max_steps, planning.MOST_SEQUENCES)
            sizes = [self._size.rounded(max(1, most // boundary))
                     for boundary in np.maximum(boundaries, 1)] + [1]
        return examples.bucket_by_sequence_length(
            _length_of, above, sizes, drop_remainder=self.drop_remainder)

    @tf.autograph.experimental.do_not_convert
    def _part(self, batch, per_step):
        index, count = self.shard
        part = {name: values[index::count] for name, values in batch.items()}
        maxlen = tf.reduce_max(tf.concat([part['lengths'], [0]], axis=0))
        return {name: values[:, :maxlen] if name in per_step else values
                for name, values in part.items()}

    def _covered(self, stream):
        """The chunks of a stream, each sequence compared with the last boundary."""
        before = 0
        for chunk in stream.chunks():
            planning.find_buckets(chunk['lengths'], self.bucket_boundaries, 'error', before)
            before += len(chunk['lengths'])
            yield chunk


class StreamEpoch:
    """The batches of one epoch of a stream, which each iteration reads from the beginning.

    Iterating raises the exception of the source itself, with its cause.
    """

    def __init__(self, stream: Stream, element_spec: dict[str, tf.TensorSpec],
                 batched: Callable[[tf.data.Dataset], tf.data.Dataset]):
        self.element_spec = element_spec
        self._stream, self._batched = stream, batched

    def __iter__(self) -> Iterator[dict[str, tf.Tensor]]:
        reading = Reading(self._stream)
        return reading.raising(self._batched(reading.examples()))

    @property
    def dataset(self) -> tf.data.Dataset:
        """The epoch as a `tf.data.Dataset`, whose errors are `StreamBatches.error`."""
        return self._batched(self._stream.examples())


@tf.autograph.experimental.do_not_convert
def _length_of(example):
    return example['lengths']


@tf.autograph.experimental.do_not_convert
def _length_alone(example):
    return {'lengths': example['lengths']}


def _first_lengths(stream, number):
    lengths, found = [np.zeros([0], np.int32)], 0
    for chunk in stream.chunks():
        lengths.append(chunk['lengths'])
        found += len(chunk['lengths'])
        if found >= number:
            break
    return np.concatenate(lengths)[:number]
