"""Zero-padded batches in an order that is a function of seed and epoch alone."""

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.data.sequences import Sequences


class Batches:
    """A collection as padded batches, again and again.

    Each batch is a dict of tensors: 'inputs' [B, T, D], T being the longest length in the batch;
    'lengths' int32 [B]; each field per step [B, T, ...], zeros (or empty strings) in the padding;
    each field per sequence [B, ...]. Every sequence comes exactly once in an epoch.

    The order is a pure function of (seed, epoch), so that a resumed run sees what it would have
    seen. The object counts nothing: iterating it gives epoch 0 each time; a training loop asks for
    `at_epoch(epoch)`. Iterations do not disturb each other.

    With buckets, a batch holds sequences of one bucket only, so of similar lengths, which saves
    padding. Without shuffling the buckets follow one another; with it, their batches are mixed.

    Args:
      sequences: `Sequences`.
      batch_size: int. Sequences in a batch; the last of each bucket may have fewer.
      shuffle: Whether each epoch has an order of its own; otherwise all have that of `sequences`.
      seed: int >= 0.
      bucket_boundaries: None for a single bucket; or ascending ints, the longest length of each
        bucket; or an int, for that many buckets of about as many sequences each.
      overflow: What to do with a sequence longer than the last boundary: 'error', or 'last' to put
        it into the last bucket.
      drop_remainder: Whether to leave out, in each bucket and epoch, the last sequences that do not
        fill a batch.

    Raises:
      TypeError: If an argument's type does not fit.
      ValueError: If an argument's value does not fit, or a sequence is longer than the last
        boundary; the message names it.

    >>> collection = seqmask.data.Sequences.from_list([np.ones([n, 1]) for n in [3, 1, 2]])
    >>> for batch in seqmask.data.Batches(collection, 2):
    ...     print(batch['inputs'].shape, batch['lengths'].numpy())
    (2, 3, 1) [3 1]
    (1, 2, 1) [2]
    """

    def __init__(self, sequences, batch_size, *, shuffle=False, seed=0, bucket_boundaries=None,
                 overflow='error', drop_remainder=False):
        if not isinstance(sequences, Sequences):
            raise TypeError(f'sequences must be a Sequences, got {type(sequences).__name__}.')
        self.batch_size = checks.size('batch_size', batch_size)
        self.shuffle = shuffle
        self.seed = checks.size('seed', seed, minimum=0)
        self.drop_remainder = drop_remainder
        checks.choice('overflow', overflow, ['error', 'last'])
        self._lengths = sequences.lengths
        self.bucket_boundaries = _boundaries(bucket_boundaries, self._lengths)
        self._buckets = _buckets(self._lengths, self.bucket_boundaries, overflow)
        # On the CPU, where tf.data runs: from a GPU they would travel back in every epoch.
        with tf.device('CPU'):
            self._per_sequence = {name: tf.constant(values) for name, values in
                                  {'lengths': sequences.lengths, **sequences.sequences}.items()}
            self._per_step = {name: tf.RaggedTensor.from_row_lengths(tf.constant(values),
                                                                     sequences.lengths)
                              for name, values in
                              {'inputs': sequences.frames, **sequences.steps}.items()}

    def __len__(self):
        """Number of batches, the same in every epoch."""
        sizes = np.bincount(self._buckets)
        whole, rest = np.divmod(sizes, self.batch_size)
        return int(whole.sum() if self.drop_remainder else (whole + (rest > 0)).sum())

    def __iter__(self):
        return iter(self.at_epoch(0))

    @property
    def dataset(self):
        """Epoch 0 as a `tf.data.Dataset`."""
        return self.at_epoch(0)

    @property
    def element_spec(self):
        """`tf.TypeSpec` of a batch, B and T unknown: `tf.function(input_signature=[...])`."""
        return self.dataset.element_spec

    def at_epoch(self, epoch):
        """The batches of one epoch.

        Args:
          epoch: int >= 0.

        Returns:
          `tf.data.Dataset` of dicts, padded in the background.
        """
        plan = self.plan(epoch)
        with tf.device('CPU'):
            indices = tf.RaggedTensor.from_row_lengths(
                np.concatenate([*plan, np.zeros([0], np.int64)]),
                np.array([len(batch) for batch in plan], np.int64))
            dataset = tf.data.Dataset.from_tensor_slices(indices)
            dataset = dataset.map(self._batch).prefetch(2)
        # Rewriting this short pipeline takes longer than the rewriting saves in an epoch.
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False
        return dataset.with_options(options)

    def plan(self, epoch=0):
        """Which sequences stand in which batch.

        Args:
          epoch: int >= 0.

        Returns:
          List of int64 arrays: the indices of each batch's sequences.
        """
        rng = np.random.default_rng([self.seed, checks.size('epoch', epoch, minimum=0)])
        count = len(self._lengths)
        order = rng.permutation(count) if self.shuffle else np.arange(count)
        batches = []
        for bucket in np.unique(self._buckets):
            members = order[self._buckets[order] == bucket].astype(np.int64)
            rest = len(members) % self.batch_size if self.drop_remainder else 0
            batches += [members[start:start + self.batch_size]
                        for start in range(0, len(members) - rest, self.batch_size)]
        if self.shuffle:
            batches = [batches[k] for k in rng.permutation(len(batches))]
        return batches

    def padding_share(self, epoch=0):
        """Padded steps as a fraction of all steps in an epoch's batches.

        share = sum over batches of (B * T - sum of lengths) / sum over batches of B * T

        Args:
          epoch: int >= 0.

        Returns:
          float; 0 where there are no steps.
        """
        lengths = [self._lengths[batch] for batch in self.plan(epoch)]
        steps = sum(len(batch) * int(batch.max()) for batch in lengths)
        real = sum(int(batch.sum()) for batch in lengths)
        return (steps - real) / steps if steps else 0.0

    @tf.autograph.experimental.do_not_convert
    def _batch(self, indices):
        batch = {name: tf.gather(values, indices).to_tensor()
                 for name, values in self._per_step.items()}
        batch.update({name: tf.gather(values, indices)
                      for name, values in self._per_sequence.items()})
        return batch


def _boundaries(boundaries, lengths):
    if boundaries is None:
        return None
    if isinstance(boundaries, (int, np.integer)):
        number = checks.size('bucket_boundaries', boundaries)
        if not len(lengths):
            return []
        ranks = np.arange(1, number + 1) * len(lengths) // number     # 0 < rank, last = B
        return np.unique(np.sort(lengths)[np.maximum(ranks, 1) - 1]).tolist()
    boundaries = [checks.size('each of bucket_boundaries', boundary) for boundary in boundaries]
    if not boundaries or any(low >= high for low, high in zip(boundaries, boundaries[1:])):
        raise ValueError(f'bucket_boundaries must be ascending lengths, got {boundaries}.')
    return boundaries


def _buckets(lengths, boundaries, overflow):
    """The bucket of each sequence: the first whose boundary is not below its length."""
    if not boundaries:
        return np.zeros(len(lengths), np.int64)
    buckets = np.searchsorted(boundaries, lengths, side='left')
    for i in np.flatnonzero(buckets == len(boundaries)):
        if overflow == 'error':
            raise ValueError(f'bucket_boundaries must cover every length; sequence {i} has '
                             f'{lengths[i]} steps, the last boundary is {boundaries[-1]}. Raise '
                             f"it, or put longer sequences into the last bucket: overflow='last'.")
    return np.minimum(buckets, len(boundaries) - 1)
