"""Later frames as labels."""

from __future__ import annotations

import numpy as np

from seqmask import checks
from seqmask.data.sequences import Sequences


def next_step(sequences: Sequences, horizon: int = 1) -> Sequences:
    """Sequences in which the label of each step is the frame `horizon` steps later.

    inputs[b, t] = frames[b, t],  labels[b, t] = frames[b, t + horizon],
    for t < lengths[b] - horizon, the new length (0 if that is negative)

    Frames that are all zero, such as silence, are kept: lengths alone decide.

    Args:
      sequences: `Sequences`.
      horizon: int. Steps.

    Returns:
      `Sequences` with 'labels' [N, D] per step. Other fields per step are cropped like the inputs,
      fields per sequence are kept.

    Raises:
      TypeError: If sequences is not a `Sequences`, or horizon is not an int.
      ValueError: If horizon is below 1, or a field is already named 'labels'.

    >>> collection = seqmask.data.Sequences([[1.], [2.], [0.], [9.]], lengths=[3, 1])
    >>> ahead = seqmask.data.next_step(collection)
    >>> ahead.lengths, ahead.frames.ravel(), ahead.steps['labels'].ravel()
    (array([2, 0], dtype=int32), array([1., 2.]), array([2., 0.]))
    """
    if not isinstance(sequences, Sequences):
        raise TypeError(f'sequences must be a Sequences, got {type(sequences).__name__}.')
    checks.size('horizon', horizon)
    if 'labels' in (*sequences.steps, *sequences.sequences):
        raise ValueError("sequences already have a field 'labels'. Leave it out: "
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
