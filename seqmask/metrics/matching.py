"""One-to-one matching of detections and events, within a tolerance."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.tally import step_mask
from seqmask.windows import windows

__all__ = ['find_events', 'find_peaks', 'match_events']


def find_peaks(scores: TensorLike, mask: TensorLike | None, tolerance: int) -> tf.Tensor:
    """Steps whose score is the highest among the real steps within the tolerance.

    out[b, t] = scores[b, t] >  scores[b, u] for t - tolerance <= u < t
            and scores[b, t] >= scores[b, u] for t < u <= t + tolerance,   u real

    So the first of equal scores is the peak. Padded steps are never peaks.

    Args:
      scores: float [B, T]. Values at padded steps are ignored, NaN included.
      mask: bool [B, T], True = real; None means that every step is.
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
    mask = step_mask(mask, 'scores', scores, [2])
    low = scores.dtype.as_numpy_dtype(-np.inf)
    scores = apply_mask(scores, mask, fill=low)
    near = windows(scores, 2 * tolerance + 1, fill=low)         # [B, T, 2 tolerance + 1]
    before, after = near[:, :, :tolerance], near[:, :, tolerance + 1:]
    return (mask & tf.reduce_all(scores[:, :, None] > before, axis=-1)
            & tf.reduce_all(scores[:, :, None] >= after, axis=-1))


def find_events(labels: TensorLike) -> np.ndarray:
    """The events of one sequence: maximal runs of positive labels.

    Args:
      labels: number or bool [n], of the real steps.

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
    """Matches detections and events one to one, the highest scores first.

    A detection can match an event from `tolerance` steps before its first step to `tolerance` steps
    after its last. Detections are visited by falling score, equal ones by step; one is matched if
    all earlier ones can stay matched, to other events if necessary. So at every threshold the
    detections above it match as many events as possible, and lowering it never removes a match.

    Args:
      steps: int [P]. Steps of the detections.
      scores: number [P].
      events: int [E, 2]. First and last step of each, as returned by `find_events`.
      tolerance: int. Steps.

    Returns:
      int64 [P]. The index of each detection's event, -1 for a false alarm.

    >>> seqmask.metrics.matching.match_events(
    ...     [3, 9, 5], [0.9, 0.8, 0.7], [[4, 5]], tolerance=2).tolist()
    [0, -1, -1]
    """
    steps, events = np.asarray(steps, np.int64), np.reshape(events, [-1, 2])
    matched = np.full(len(steps), -1)
    matched_by = {}                     # event -> detection
    for detection in np.argsort(-np.asarray(scores, np.float64), kind='stable'):
        _augment(detection, steps, events, tolerance, matched, matched_by)
    return matched


def _augment(detection, steps, events, tolerance, matched, matched_by):
    """Matches one more detection, along an augmenting path found by breadth-first search."""
    reached_from, queue = {}, [detection]
    for current in queue:               # grows by the detections that would have to change event
        distance = np.maximum(events[:, 0] - steps[current], steps[current] - events[:, 1])
        near = np.flatnonzero(distance <= tolerance)
        for event in near[np.argsort(distance[near], kind='stable')]:
            if event in reached_from:
                continue
            reached_from[event] = current
            if event in matched_by:
                queue.append(matched_by[event])
                continue
            while event != -1:          # back along the path to the new detection
                current = reached_from[event]
                matched_by[event], matched[current], event = current, event, matched[current]
            return
