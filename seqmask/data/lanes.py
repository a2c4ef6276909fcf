"""Long sequences in chunks, one after the other in the lanes of a batch."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.data.pipeline import EpochDatasets, untuned
from seqmask.data.plan import MOST_SEQUENCES
from seqmask.data.sequences import Sequences, require_sequences


class Lanes(EpochDatasets):
    """A collection cut into chunks of time, for truncated back-propagation through time.

    A batch has `num_lanes` rows. A row holds the next `chunk_size` steps of a sequence, or what is
    left of it; the next batch continues where this one ended. When a sequence has ended, the next
    one starts in its row, in a chunk of its own, which 'starts' marks. Every step comes exactly
    once in an epoch, so only last chunks and lanes without further sequences are padded.

    Each batch is a dict of tensors: 'inputs' [B, T, D], T <= chunk_size being the longest chunk in
    the batch; 'lengths' int32 [B]; 'starts' bool [B], True where a sequence begins; each field per
    step [B, T, ...]; each field per sequence [B, ...], repeated in all chunks of the sequence, and
    zeros (or empty strings) in an empty lane. Sequences of length 0 have no chunk.

    The order is a pure function of (seed, epoch), as that of `Batches`.

    Args:
      sequences: `Sequences`.
      num_lanes: int. B.
      chunk_size: int. Time steps.
      shuffle: Whether each epoch has its own order.
      seed: int >= 0.

    Raises:
      TypeError: If an argument's type does not fit.
      ValueError: If an argument's value does not fit.

    >>> collection = seqmask.data.Sequences.from_list([np.ones([n, 1]) for n in [5, 2, 1]])
    >>> for batch in seqmask.data.Lanes(collection, num_lanes=2, chunk_size=3):
    ...     print(batch['lengths'].numpy(), batch['starts'].numpy())
    [3 2] [ True  True]
    [2 1] [False  True]
    """

    def __init__(self, sequences: Sequences, num_lanes: int, chunk_size: int, *,
                 shuffle: bool = False, seed: int = 0):
        require_sequences(sequences)
        self.num_lanes = checks.size('num_lanes', num_lanes, maximum=MOST_SEQUENCES)
        self.chunk_size = checks.size('chunk_size', chunk_size)
        self.shuffle = shuffle
        self.seed = checks.size('seed', seed, minimum=0)
        self._lengths = sequences.lengths
        self._first = np.cumsum(sequences.lengths, dtype=np.int64) - sequences.lengths
        with tf.device('CPU'):
            self._per_step = {name: tf.constant(values) for name, values in
                              {'inputs': sequences.frames, **sequences.steps}.items()}
            self._per_sequence = {name: tf.constant(values) for name, values
                                  in sequences.sequences.items()}

    def __len__(self) -> int:
        """Number of batches in epoch 0; in another order it may differ by a few."""
        return len(self.plan(0)[0])

    def at_epoch(self, epoch: int) -> tf.data.Dataset:
        sequences, offsets, lengths = self.plan(epoch)
        with tf.device('CPU'):
            dataset = tf.data.Dataset.from_tensor_slices((
                sequences, self._first_steps(sequences, offsets), lengths,
                (offsets == 0) & (lengths > 0)))
            return untuned(dataset.map(self._batch).prefetch(2))

    def plan(self, epoch: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is in each lane of each batch.

        Args:
          epoch: int >= 0.

        Returns:
          (sequences, offsets, lengths), arrays [batches, B]: which sequence, from which of its
          steps on, and how many steps; length 0 in an empty lane.
        """
        rng, count = self._rng(epoch), len(self._lengths)
        order = rng.permutation(count) if self.shuffle else np.arange(count)
        order = order[self._lengths[order] > 0]
        size = min(self.chunk_size, int(self._lengths.max(initial=1)))
        chunks = -(-self._lengths // size)
        free = np.zeros(self.num_lanes, np.int64)       # the first batch in which a lane is free
        lane, start = np.zeros(len(order), np.int64), np.zeros(len(order), np.int64)
        for k, sequence in enumerate(order):
            lane[k] = free.argmin()
            start[k] = free[lane[k]]
            free[lane[k]] += chunks[sequence]
        shape = [free.max(initial=0), self.num_lanes]
        sequences, offsets = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        lengths = np.zeros(shape, np.int32)
        each = chunks[order]
        number = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)    # of its chunk
        at = np.repeat(start, each) + number, np.repeat(lane, each)
        sequences[at] = np.repeat(order, each)
        offsets[at] = number * size
        lengths[at] = np.minimum(self._lengths[sequences[at]] - offsets[at], size)
        return sequences, offsets, lengths

    def padding_share(self, epoch: int = 0) -> float:
        """Padded steps as a fraction of all steps in an epoch's batches; 0 where there are none."""
        lengths = self.plan(epoch)[2]
        steps = int(lengths.max(axis=1, initial=0).sum()) * self.num_lanes
        return (steps - int(lengths.sum())) / steps if steps else 0.0

    def _first_steps(self, sequences, offsets):
        return (self._first[sequences] if len(self._first) else sequences) + offsets

    @tf.autograph.experimental.do_not_convert
    def _batch(self, sequences, first, lengths, starts):
        ends = first + tf.cast(lengths, tf.int64)
        rows = tf.ragged.range(first, ends)
        batch = {name: tf.gather(values, rows).to_tensor()
                 for name, values in self._per_step.items()}
        real = lengths > 0
        for name, values in self._per_sequence.items():
            taken = tf.gather(values, sequences)
            shape = tf.concat([[tf.size(real)], tf.ones([tf.rank(taken) - 1], tf.int32)], axis=0)
            batch[name] = tf.where(tf.reshape(real, shape), taken, tf.zeros_like(taken))
        return {**batch, 'lengths': lengths, 'starts': starts}
