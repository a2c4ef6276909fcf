"""A random division of a collection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seqmask.data.sequences import Sequences, require_sequences


def split(sequences: Sequences, fractions: Sequence[float], seed: int = 0) -> tuple[Sequences, ...]:
    """Divides a collection at random: every sequence goes to exactly one part.

    Part k ends at round(B * (fractions[0] + ... + fractions[k])) of the shuffled sequences; within
    a part they keep their order. The division depends on B, fractions and seed alone.

    Sequences that belong together, such as those of one patient, end up in different parts. If that
    matters, divide with `Sequences.select`.

    Args:
      sequences: `Sequences`.
      fractions: List of numbers >= 0 that sum to 1, one for each part.
      seed: int >= 0.

    Returns:
      Tuple of `Sequences`, one for each fraction. A part may be empty.

    Raises:
      TypeError: If sequences is not a `Sequences`.
      ValueError: If fractions are negative or do not sum to 1.

    >>> collection = seqmask.data.Sequences(np.zeros([10, 1]), np.ones(10, np.int32))
    >>> [len(part) for part in seqmask.data.split(collection, [0.8, 0.1, 0.1], seed=0)]
    [8, 1, 1]
    """
    require_sequences(sequences)
    shares = np.asarray(fractions, np.float64)
    if shares.ndim != 1 or not np.all(shares >= 0) or not abs(shares.sum() - 1) < 1e-6:
        raise ValueError(f'fractions must be numbers >= 0 that sum to 1, got {fractions}.')
    order = np.random.default_rng(seed).permutation(len(sequences))
    ends = np.rint(np.cumsum(shares) * len(sequences)).astype(np.int64)
    return tuple(sequences.select(np.sort(part)) for part in np.split(order, ends[:-1]))
