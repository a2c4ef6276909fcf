"""Which sequences go into which batch? NumPy on lengths alone, once an epoch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from seqmask import checks

# TensorFlow sets memory aside for as many sequences as a batch or a buffer may take, and what there
# is not ends the process.
MOST_SEQUENCES = 100_000_000
LONGEST = np.iinfo(np.int32).max - 1        # lengths are int32, and "above it" must be one, too


class BatchSize:
    """How many sequences a batch takes: `batch_size` of them, or as many as `max_steps` allow.

    The arguments are those of `Batches`, which describes them. One of batch_size and max_steps is
    None; a sequence of length 0 counts as one of length 1.
    """

    def __init__(self, batch_size: int | None, max_steps: int | None, count: str = 'padded',
                 multiple: int = 1):
        self.multiple = checks.size('multiple', multiple)
        self.count = checks.choice('count', count, ['padded', 'real'])
        if (batch_size is None) == (max_steps is None):
            raise ValueError(f'exactly one of batch_size and max_steps must be given, got '
                             f'batch_size={batch_size} and max_steps={max_steps}.')
        self.batch_size = self.max_steps = None
        if max_steps is not None:
            self.max_steps = checks.size('max_steps', max_steps)
        elif checks.size('batch_size', batch_size) < multiple:
            raise ValueError(f'batch_size must be at least multiple, which is {multiple}, got '
                             f'{batch_size}.')
        else:
            self.batch_size = self.rounded(batch_size)

    def rounded(self, number: int) -> int:
        """`number` down to a multiple, or itself where it is below one."""
        return int(number - number % self.multiple if number >= self.multiple else number)

    def ends(self, lengths: np.ndarray, drop_remainder: bool) -> list[int]:
        """Where each batch ends, ascending, if a bucket's sequences fill one after the other.

        A batch takes at least one sequence, so that one that alone exceeds the budget is not lost.
        drop_remainder leaves out the last sequences if they are fewer than batch_size or, with a
        budget, than multiple.
        """
        lengths = np.maximum(lengths, 1).astype(np.int64)
        totals = np.cumsum(lengths)
        whole = self.batch_size or self.multiple
        ends, end = [], 0
        while end < len(lengths):
            fitting = self._fitting(lengths, totals, end)
            number = self.rounded(fitting)
            if drop_remainder and end + fitting == len(lengths) and number < whole:
                break
            end += number
            ends.append(end)
        return ends

    def _fitting(self, lengths, totals, start):
        """How many sequences fit into a batch that starts with number `start`; at least 1."""
        if self.batch_size is not None:
            return min(self.batch_size, len(lengths) - start)
        if self.count == 'real':
            before = totals[start] - lengths[start]
            most = min(self.max_steps, int(totals[-1]))
            end = np.searchsorted(totals, before + most, side='right')
            return max(1, int(end) - start)
        width = 64      # enough for most batches; all sequences each time would take B^2
        while True:
            ahead = lengths[start:start + width]
            steps = np.maximum.accumulate(ahead) * np.arange(1, len(ahead) + 1)
            number = int(np.searchsorted(steps, self.max_steps, side='right'))
            if number < width:
                return max(1, number)
            width *= 4


def make_plan(lengths: np.ndarray, buckets: np.ndarray, size: BatchSize, *,
              rng: np.random.Generator, shuffle: bool, drop_remainder: bool) -> list[np.ndarray]:
    """The indices of each batch's sequences, int64 arrays; a batch never mixes buckets.

    lengths and buckets are int [B]; shuffle mixes the sequences, and the batches of all buckets.
    """
    order = rng.permutation(len(lengths)) if shuffle else np.arange(len(lengths))
    # A stable sort keeps the order within each bucket: one sort instead of a pass per bucket.
    order = order[np.argsort(buckets[order], kind='stable')].astype(np.int64)
    batches = []
    for members in np.split(order, np.flatnonzero(np.diff(buckets[order])) + 1):
        starts = [0, *size.ends(lengths[members], drop_remainder)]
        batches += [members[start:end] for start, end in zip(starts, starts[1:])]
    return [batches[k] for k in rng.permutation(len(batches))] if shuffle else batches


def make_boundaries(boundaries: int | str | Iterable[int] | None,
                    lengths: np.ndarray) -> list[int] | None:
    """The longest length of each bucket, ascending; None for a single bucket.

    boundaries are as `Batches` takes them; a number of buckets and 'exact' are chosen by lengths.
    """
    if boundaries is None:
        return None
    if isinstance(boundaries, str):
        checks.choice('bucket_boundaries', boundaries, ['exact'])
        return np.unique(lengths).tolist()
    if isinstance(boundaries, (int, np.integer)):
        number = checks.size('bucket_boundaries', boundaries)
        if not len(lengths):
            return []
        number = min(number, len(lengths))
        ranks = np.arange(1, number + 1) * len(lengths) // number     # 0 < rank, last = B
        return np.unique(np.sort(lengths)[np.maximum(ranks, 1) - 1]).tolist()
    if not isinstance(boundaries, Iterable):
        raise TypeError(f'bucket_boundaries must be None, an int or ascending lengths, got '
                        f'{boundaries!r}.')
    boundaries = [checks.size('each of bucket_boundaries', boundary) for boundary in boundaries]
    if not boundaries or any(low >= high for low, high in zip(boundaries, boundaries[1:])):
        raise ValueError(f'bucket_boundaries must be ascending lengths, got {boundaries}.')
    return sorted({min(boundary, LONGEST) for boundary in boundaries})


def find_buckets(lengths: np.ndarray, boundaries: list[int] | None, overflow: str,
                 before: int = 0) -> np.ndarray:
    """The bucket of each sequence, int [B]: the first whose boundary is at least its length.

    Raises:
      ValueError: If a sequence is longer than the last boundary and overflow is 'error'; `before`
        is the number of the first one here.
    """
    if not boundaries:
        return np.zeros(len(lengths), np.int64)
    buckets = np.searchsorted(boundaries, lengths, side='left')
    for i in np.flatnonzero(buckets == len(boundaries)):
        if overflow == 'error':
            raise ValueError(f'bucket_boundaries must cover every length; sequence {before + i} '
                             f'has {lengths[i]} steps, the last boundary is {boundaries[-1]}. '
                             f'Raise it, or put longer sequences into the last bucket: '
                             f"overflow='last'.")
    return np.minimum(buckets, len(boundaries) - 1)


def make_shard(shard: tuple[int, int] | None) -> tuple[int, int]:
    """`shard`, checked: (index, count) with 0 <= index < count; None is (0, 1), the whole."""
    if shard is None:
        return 0, 1
    if np.size(shard) != 2:
        raise ValueError(f'shard must be (index, count), got {shard}.')
    index = checks.size('index of shard', shard[0], minimum=0)
    count = checks.size('count of shard', shard[1], maximum=MOST_SEQUENCES)
    if index >= count:
        raise ValueError(f'shard must be (index, count) with index < count, got {shard}.')
    return index, count


def padding_share(batches: list[np.ndarray]) -> float:
    """Padded steps as a fraction of all steps; 0 without steps. `batches` are lists of lengths."""
    steps = sum(len(lengths) * int(lengths.max(initial=0)) for lengths in batches)
    real = sum(int(lengths.sum()) for lengths in batches)
    return (steps - real) / steps if steps else 0.0


def describe(batches: list[np.ndarray], batch_size: int | None) -> str:
    """'2 batches of 64 sequences, 3 to 14 steps; 2.1% of the steps are padding' and the like.

    `batches` are lists of lengths; batch_size is None where there is no such size.
    """
    if not batches:
        return 'no batches'
    sizes = [len(lengths) for lengths in batches]
    steps = np.concatenate(batches)
    few, many = min(sizes), max(sizes)
    sequences = f'{few} to {many} sequences'
    if few == many:
        sequences = f'{many} sequence{"s" * (many != 1)}'
    elif many == batch_size:
        sequences = f'{many} sequences (the last ones fewer)'
    short, long = steps.min(initial=np.iinfo(np.int32).max), steps.max(initial=0)
    length = f'{short} to {long}' if short < long else f'{long}'
    return (f'{len(batches)} batch{"es" * (len(batches) != 1)} of {sequences}, {length} '
            f'step{"s" * (length != "1")}; {padding_share(batches):.1%} of the steps are padding')
