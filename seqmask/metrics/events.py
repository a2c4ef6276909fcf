"""Detection of rare events at all thresholds, step by step or event by event."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.lengths import lengths_from_mask
from seqmask.metrics.matching import find_events, find_peaks, match_events
from seqmask.tally import labels_like, step_mask


class Scores(NamedTuple):
    """Precision, recall and F1 at a threshold; NaN where undefined."""
    precision: float
    recall: float
    f1: float


class PrecisionRecall(NamedTuple):
    """The precision-recall curve.

    Attributes:
      thresholds: float64 [P]. The distinct scores, descending; detections reach the threshold.
      hits: int64 [P]. Correct detections at each threshold.
      detections: int64 [P]. All detections at each threshold.
      events: int. Number of events.
    """
    thresholds: np.ndarray
    hits: np.ndarray
    detections: np.ndarray
    events: int

    @property
    def precision(self) -> np.ndarray:
        """float64 [P]: hits / detections."""
        return self.hits / self.detections

    @property
    def recall(self) -> np.ndarray:
        """float64 [P]: hits / events; NaN if there is no event."""
        return _ratio(self.hits, self.events)

    @property
    def average_precision(self) -> float:
        """sum over n of (recall[n] - recall[n - 1]) precision[n]; NaN if there is no event.

        The area under the curve as a step function: interpolating linearly would overestimate it.
        """
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision)
                     if self.events else np.nan)

    def at(self, threshold: float) -> Scores:
        """`Scores` at any threshold. Precision is NaN without a detection."""
        above = np.count_nonzero(self.thresholds >= threshold)
        hits, detections = (
            (int(self.hits[above - 1]), int(self.detections[above - 1])) if above else (0, 0))
        return Scores(float(_ratio(hits, detections)), float(_ratio(hits, self.events)),
                      float(_ratio(2 * hits, detections + self.events)))

    def best_f1(self) -> float:
        """The threshold with the highest F1; of several, the highest threshold.

        Raises:
          ValueError: If there are no events or no scores.
        """
        self._require_events()
        return self._just_below(np.argmax(2 * self.hits / (self.detections + self.events)))

    def for_precision(self, precision: float) -> float:
        """The threshold with the highest recall among those that reach a precision.

        Args:
          precision: number in (0, 1].

        Raises:
          ValueError: If there are no events, or no threshold with a hit reaches that precision; the
            message gives the highest precision.
        """
        self._require_events()
        if not 0 < precision <= 1:
            raise ValueError(f'precision must be in (0, 1], got {precision}.')
        eligible = np.flatnonzero((self.precision >= precision) & (self.hits > 0))
        if not eligible.size:
            raise ValueError(f'no threshold has a precision of {precision:g}: the highest is '
                             f'{self.precision.max():.3g}.')
        # Of those with that recall, the one with the fewest false alarms.
        best = eligible[self.hits[eligible] == self.hits[eligible].max()]
        return self._just_below(best[0])

    def _require_events(self):
        if not self.events or not len(self.thresholds):
            raise ValueError(f'there must be events and scores to choose a threshold, got '
                             f'{self.events} events and {len(self.thresholds)} distinct scores.')

    def _just_below(self, k):
        # Half-way to the next score, so that rounding differences do not lose this one.
        score, lower = self.thresholds[k], self.thresholds[min(k + 1, len(self.thresholds) - 1)]
        return float((score + lower) / 2 if np.isfinite(lower) else score)


class AveragePrecision(tf.Module):
    """Area under the precision-recall curve, and the curve itself.

    AP = sum over n of (recall[n] - recall[n - 1]) precision[n],   from the highest score down

    With tolerance=None each real step is a detection with its score, correct if its label is 1.
    With a tolerance events are counted: an event is a run of labels 1, a detection a peak of the
    score (`find_peaks`), and they are matched one to one (`match_events`). Unmatched detections are
    false alarms, unmatched events are missed. Each row must then be a whole sequence: an event cut
    in two would count twice.

    It is NaN, not 0, without any event. Scores are kept in NumPy until `result()`, because the
    curve needs all of them, so `update` works eagerly only. `Precision`, `Recall` and `F1` work in
    a graph, at one threshold.

    Args:
      tolerance: int, steps; None to evaluate step by step.

    >>> metric = seqmask.metrics.AveragePrecision()
    >>> metric.update(logits=tf.constant([[3., 2., 1.]]), labels=[[1, 0, 1]], mask=None)
    >>> round(float(metric.result()), 5) == round(1 / 2 * 1 / 1 + 1 / 2 * 2 / 3, 5)
    True
    >>> metric.curve().at(1.5)
    Scores(precision=0.5, recall=0.5, f1=0.5)
    """

    def __init__(self, tolerance: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.tolerance = (None if tolerance is None
                          else checks.size('tolerance', tolerance, minimum=0))
        self.reset()

    def update(self, *, logits: TensorLike, labels: TensorLike, mask: TensorLike | None) -> None:
        """Adds a batch.

        Args:
          logits: float [B, T], or any other scores; not NaN at real steps.
          labels: number [B, T]. 0 or 1 at real steps.
          mask: bool [B, T], True = real; None means that every step is. With a tolerance each row's
            real steps must come first, as in `sequence_mask`.
        """
        scores, positive, real = scores_of_steps('AveragePrecision', logits, labels, mask)
        if self.tolerance is None:
            self._add(scores[real], positive[real], np.count_nonzero(positive[real]))
            return
        peaks = find_peaks(scores, real, self.tolerance).numpy()
        for b, length in enumerate(lengths_from_mask(real).numpy()):
            events, steps = find_events(positive[b, :length]), np.flatnonzero(peaks[b])
            matched = match_events(steps, scores[b, steps], events, self.tolerance)
            self._add(scores[b, steps], matched >= 0, len(events))

    def _add(self, scores, correct, events):
        self._scores.append(scores)
        self._correct.append(correct)
        self._events += int(events)

    def result(self) -> tf.Tensor:
        """float32 scalar; NaN if there was no event."""
        return tf.constant(self.curve().average_precision, tf.float32)

    def curve(self) -> PrecisionRecall:
        """`PrecisionRecall` of all batches so far."""
        scores, correct = np.concatenate(self._scores), np.concatenate(self._correct)
        order = np.argsort(-scores, kind='stable')
        scores, hits = scores[order], np.cumsum(correct[order])
        # One threshold per group of equal scores.
        last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True)[:len(scores)])
        return PrecisionRecall(scores[last], hits[last], last + 1, self._events)

    def reset(self) -> None:
        self._scores, self._correct, self._events = [np.zeros(0)], [np.zeros(0, bool)], 0


def scores_of_steps(metric: str, logits: TensorLike, labels: TensorLike,
                    mask: TensorLike | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checked operands in NumPy, [B, T] each: scores float64, labels bool, mask.

    Args:
      metric: Name of the metric, for errors.
      logits, labels, mask: As of `AveragePrecision.update`.
    """
    logits = checks.floating('logits', logits, 'B, T')
    labels = labels_like(logits, 'logits', labels)
    mask = step_mask(mask, 'logits', logits, [2])
    if not tf.executing_eagerly():
        raise TypeError(f'{metric} keeps scores in NumPy: call update outside of tf.function. '
                        f'Precision, Recall and F1 work inside.')
    real, scores, positive = mask.numpy(), logits.numpy().astype(np.float64), labels.numpy()
    checks.require(not np.isnan(scores[real]).any(), 'logits must not be NaN at real steps; '
                   'rows with NaN:', np.flatnonzero((np.isnan(scores) & real).any(axis=1)))
    checks.require(np.isin(positive[real], (0, 1)).all(), 'labels must be 0 or 1 at real '
                   'steps, got', np.unique(positive[real].astype(np.float64)))
    return scores, positive > 0, real


def _ratio(part, whole):
    return part / whole if whole else np.full(np.shape(part), np.nan)
