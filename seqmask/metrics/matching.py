"""Which detection belongs to which event? One to one, within a tolerance."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.tally import real_steps
from seqmask.windows import windows

__all__ = ['find_events', 'find_peaks', 'match_events']


def find_peaks(scores: TensorLike, mask: TensorLike | None, tolerance: int) -> tf.Tensor:
    """Steps whose score is the highest of all real ones within the tolerance.

    out[b, t] = scores[b, t] >  scores[b, u] for t - tolerance <= u < t
            and scores[b, t] >= scores[b, u] for t < u <= t + tolerance,   u real

    So of equal scores the first is the peak. Padded steps are none.

    Args:
      scores: float [B, T]. Values at padded steps are ignored, NaN included.
      mask: bool [B, T], True = real; None says that every step is.
      tolerance: int. Steps; 0 makes each real step a peak.

    Returns:
      bool [B, T].

    Raises:
      TypeError: If a dtype does not fit.
      ValueError: If a shape does not fit.

    >>> seqmask.metrics.matching.find_peaks(
    ...     tf.constant([[1., 3., 2., 2., 5.]]), tf.constant([[True] * 4 + [False]]), 1).numpy()
    array([[False,  True, False, False, False]])
    """
    checks.size('tolerance', tolerance, minimum=0)
    scores = checks.floating('scores', scores, 'B, T')
    mask = real_steps(mask, 'scores', scores, [2])
    low = scores.dtype.as_numpy_dtype(-np.inf)
    scores = apply_mask(scores, mask, fill=low)
    seen = windows(scores, 2 * tolerance + 1, fill=low)         # [B, T, 2 tolerance + 1]
    before, after = seen[:, :, :tolerance], seen[:, :, tolerance + 1:]
    return (mask & tf.reduce_all(scores[:, :, None] > before, axis=-1)
            & tf.reduce_all(scores[:, :, None] >= after, axis=-1))


def find_events(labels: TensorLike) -> np.ndarray:
    """The events of one sequence: runs of positive labels, each as long as it can be.

    Args:
      labels: number or bool [n]. Of the real steps.

    Returns:
      int64 [E, 2]. First and last step of each event.

    >>> seqmask.metrics.matching.find_events([0, 1, 1, 0, 1]).tolist()
    [[1, 2], [4, 4]]
    """
    positive = np.concatenate([[False], np.asarray(labels) > 0.5, [False]])
    starts = np.flatnonzero(positive[1:] & ~positive[:-1])
    ends = np.flatnonzero(positive[:-1] & ~positive[1:]) - 1
    return np.stack([starts, ends], axis=1)


def match_events(steps: TensorLike, scores: TensorLike, events: TensorLike,
                 tolerance: int) -> np.ndarray:
    """Matches detections to events, each to one at most, those of the highest scores first.

    A detection may stand for an event if it lies at most `tolerance` steps before its first step or
    after its last. The detections are taken in the order of their scores, of equal ones the first
    step first; one is matched if all those that were matched before it can stay so, to another
    event if need be. Therefore at every threshold the detections above it are matched to as many
    events as can be, and a lower threshold never takes a match away.

    Args:
      steps: int [P]. Of the detections.
      scores: number [P].
      events: int [E, 2]. First and last step of each, as `find_events` gives them.
      tolerance: int. Steps.

    Returns:
      int64 [P]. The number of each detection's event, -1 for a false alarm.

    >>> seqmask.metrics.matching.match_events(
    ...     [3, 9, 5], [0.9, 0.8, 0.7], [[4, 5]], tolerance=2).tolist()
    [0, -1, -1]
    """
    steps, events = np.asarray(steps, np.int64), np.reshape(events, [-1, 2])
    matched = np.full(len(steps), -1)
    holder = {}                         # of each event that is taken, the detection
    for detection in np.argsort(-np.asarray(scores, np.float64), kind='stable'):
        _join(detection, steps, events, tolerance, matched, holder)
    return matched


def _join(detection, steps, events, tolerance, matched, holder):
    """Finds an event for one more detection, moving others on if need be: an augmenting path."""
    asked_by, asking = {}, [detection]
    for one in asking:                  # grows by those who would have to move on
        distance = np.maximum(events[:, 0] - steps[one], steps[one] - events[:, 1])
        near = np.flatnonzero(distance <= tolerance)
        for event in near[np.argsort(distance[near], kind='stable')]:
            if event in asked_by:
                continue
            asked_by[event] = one
            if event in holder:
                asking.append(holder[event])
                continue
            while event != -1:          # back to the one who asked first
                one = asked_by[event]
                holder[event], matched[one], event = one, event, matched[one]
            return
