"""From sequences to what comes next in them."""

from __future__ import annotations

import numpy as np

from seqmask import checks
from seqmask.data.sequences import Sequences


def next_step(sequences: Sequences, horizon: int = 1) -> Sequences:
    """Each step's label is the frame `horizon` steps later: inputs and targets to predict it.

    inputs[b, t] = frames[b, t],  labels[b, t] = frames[b, t + horizon],
    for t < lengths[b] - horizon, the new lengths;   length 0 where there are no more steps

    Lengths say what is real, not the frames: frames of silence, all zero, stay.

    Args:
      sequences: `Sequences`.
      horizon: int. Steps.

    Returns:
      `Sequences` whose `labels` are [N, D], one of each step. Fields keep their values: per step
      those of the inputs, per sequence all.

    Raises:
      TypeError: If sequences is not a `Sequences`, or horizon no int.
      ValueError: If horizon is below 1, or there are 'labels' already.

    >>> collection = seqmask.data.Sequences([[1.], [2.], [0.], [9.]], lengths=[3, 1])
    >>> ahead = seqmask.data.next_step(collection)
    >>> ahead.lengths, ahead.frames.ravel(), ahead.steps['labels'].ravel()
    (array([2, 0], dtype=int32), array([1., 2.]), array([2., 0.]))
    """
    if not isinstance(sequences, Sequences):
        raise TypeError(f'sequences must be a Sequences, got {type(sequences).__name__}.')
    checks.size('horizon', horizon)
    if 'labels' in (*sequences.steps, *sequences.sequences):
        raise ValueError("sequences have 'labels' already: make them anew without, "
                         'seqmask.data.Sequences(sequences.frames, sequences.lengths).')
    lengths = np.maximum(sequences.lengths - horizon, 0)
    ends = np.cumsum(sequences.lengths, dtype=np.int64)
    left = np.repeat(ends, sequences.lengths) - np.arange(len(sequences.frames))   # to the end
    seen = np.flatnonzero(left > horizon)
    return Sequences(
        sequences.frames[seen], lengths,
        steps={**{name: values[seen] for name, values in sequences.steps.items()},
               'labels': sequences.frames[seen + horizon]},
        sequences=sequences.sequences)
