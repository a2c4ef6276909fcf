"""Zero-padded batches in an order that is a function of seed and epoch alone."""

from __future__ import annotations

import functools
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.data import plan as planning
from seqmask.data.pipeline import EpochDatasets, untuned
from seqmask.data.sequences import Sequences, require_sequences


class Batches(EpochDatasets):
    """A collection as padded batches, epoch after epoch.

    Each batch is a dict of tensors: 'inputs' [B, T, D], T being the longest length in the batch;
    'lengths' int32 [B]; each field per step [B, T, ...], zeros (or empty strings) in the padding;
    each field per sequence [B, ...]. Every sequence comes exactly once in an epoch.

    The order is a pure function of (seed, epoch), so a resumed run gets the same batches. Iterating
    gives epoch 0 each time; a training loop calls `at_epoch(epoch)`. Concurrent iterations are
    independent.

    With buckets, a batch holds sequences of one bucket only, so of similar lengths, which saves
    padding. Without shuffling the buckets follow one another; with it, their batches are mixed.

    A budget, `max_steps`, fills each batch with as many sequences as fit, in the order of the
    epoch. It takes precedence over `multiple`: if fewer than `multiple` fit, the batch has those.
    Only a sequence that alone exceeds the budget does so, in a batch of its own; none is lost.

    Args:
      sequences: `Sequences`.
      batch_size: int. Sequences in a batch; the last of each bucket may have fewer. Either this or
        max_steps is given.
      shuffle: Whether each epoch has its own order; otherwise all have that of `sequences`.
      seed: int >= 0.
      bucket_boundaries: None for a single bucket; ascending ints, the longest length of each
        bucket; an int, for that many buckets of about as many sequences each; or 'exact', for
        batches of equal lengths, without any padding.
      overflow: What to do with a sequence longer than the last boundary: 'error', or 'last' to put
        it into the last bucket.
      drop_remainder: Whether to leave out, in each bucket and epoch, the last sequences that do not
        fill a batch; with a budget, fewer than `multiple`.
      max_steps: int. Steps in a batch, at most.
      count: What max_steps counts: 'padded', the B * T steps of the batch, or 'real', the sum of
        its lengths. A sequence of length 0 counts as one of length 1.
      multiple: int. The number of sequences in a batch is rounded down to a multiple of it; only
        the last batch of a bucket may have fewer.
      shard: (index, count) for one of `count` workers, which share each batch: this one takes its
        sequences index, index + count, ... All have the same number of batches, and together those
        of a single worker. A part may be empty: [0, 0, D].

    Raises:
      TypeError: If an argument's type does not fit.
      ValueError: If an argument's value does not fit, or a sequence is longer than the last
        boundary; the message names it.

    >>> collection = seqmask.data.Sequences.from_list([np.ones([n, 1]) for n in [3, 1, 2]])
    >>> for batch in seqmask.data.Batches(collection, 2):
    ...     print(batch['inputs'].shape, batch['lengths'].numpy())
    (2, 3, 1) [3 1]
    (1, 2, 1) [2]
    >>> seqmask.data.Batches(collection, max_steps=4).report()
    '2 batches of 1 to 2 sequences, 1 to 3 steps; 14.3% of the steps are padding'
    """

    def __init__(self, sequences: Sequences, batch_size: int | None = None, *,
                 shuffle: bool = False, seed: int = 0,
                 bucket_boundaries: int | str | Iterable[int] | None = None,
                 overflow: str = 'error', drop_remainder: bool = False,
                 max_steps: int | None = None, count: str = 'padded', multiple: int = 1,
                 shard: tuple[int, int] | None = None):
        require_sequences(sequences)
        self._size = planning.BatchSize(batch_size, max_steps, count, multiple)
        self.batch_size = self._size.batch_size
        self.shuffle = shuffle
        self.seed = checks.size('seed', seed, minimum=0)
        self.drop_remainder = drop_remainder
        self.shard = planning.make_shard(shard)
        checks.choice('overflow', overflow, ['error', 'last'])
        self._lengths = sequences.lengths
        self.bucket_boundaries = planning.make_boundaries(bucket_boundaries, self._lengths)
        self._buckets = planning.find_buckets(self._lengths, self.bucket_boundaries, overflow)
        # On the CPU, where tf.data runs: from a GPU they would be copied back in every epoch.
        with tf.device('CPU'):
            self._per_sequence = {name: tf.constant(values) for name, values in
                                  {'lengths': sequences.lengths, **sequences.sequences}.items()}
            self._per_step = {name: tf.RaggedTensor.from_row_lengths(tf.constant(values),
                                                                     sequences.lengths)
                              for name, values in
                              {'inputs': sequences.frames, **sequences.steps}.items()}

    def __len__(self) -> int:
        """Number of batches in epoch 0; with `batch_size` every epoch has as many.

        With a budget and shuffling, that of other epochs may differ by a few.
        """
        return self._num_batches

    def at_epoch(self, epoch: int) -> tf.data.Dataset:
        checks.size('epoch', epoch, minimum=0)
        # Making it takes as long as some training steps.
        return self._dataset_of(epoch) if self.shuffle else self._unshuffled

    @functools.cached_property
    def _unshuffled(self):
        return self._dataset_of(0)

    def _dataset_of(self, epoch):
        plan = self.plan(epoch)
        with tf.device('CPU'):
            indices = tf.RaggedTensor.from_row_lengths(
                np.concatenate([*plan, np.zeros([0], np.int64)]),
                np.array([len(batch) for batch in plan], np.int64))
            dataset = tf.data.Dataset.from_tensor_slices(indices)
            dataset = dataset.map(self._batch).prefetch(2)
        # Optimizing this short pipeline takes longer than it saves in an epoch.
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        return untuned(dataset, options)

    def plan(self, epoch: int = 0) -> list[np.ndarray]:
        """Which sequences are in which batch, of this worker's part.

        Args:
          epoch: int >= 0.

        Returns:
          List of int64 arrays: the indices of each batch's sequences.
        """
        index, count = self.shard
        return [batch[index::count] for batch in planning.make_plan(
            self._lengths, self._buckets, self._size, rng=self._rng(epoch), shuffle=self.shuffle,
            drop_remainder=self.drop_remainder)]

    @functools.cached_property
    def _num_batches(self):
        return len(self.plan(0))

    def padding_share(self, epoch: int = 0) -> float:
        """Padded steps as a fraction of all steps in an epoch's batches, of this worker's part.

        share = sum over batches of (B * T - sum of lengths) / sum over batches of B * T

        Args:
          epoch: int >= 0.

        Returns:
          float; 0 where there are no steps.
        """
        return planning.padding_share([self._lengths[batch] for batch in self.plan(epoch)])

    def report(self, epoch: int = 0) -> str:
        """One line on an epoch's batches, of this worker's part: how many, how long, how padded.

        Args:
          epoch: int >= 0.

        Returns:
          String.
        """
        return planning.describe([self._lengths[batch] for batch in self.plan(epoch)],
                                 self.batch_size if self.shard == (0, 1) else None)

    @tf.autograph.experimental.do_not_convert
    def _batch(self, indices):
        batch = {name: tf.gather(values, indices).to_tensor()
                 for name, values in self._per_step.items()}
        batch.update({name: tf.gather(values, indices)
                      for name, values in self._per_sequence.items()})
        return batch
