"""Yes or no at every step: how many of the detections are right, how much was found?

These are the same everywhere:

  logits: float [B, T]. A step is detected where its logit is at least the threshold.
  labels: number [B, T], 1 at the steps of an event, 0 elsewhere.
  threshold: number or variable, a logit; 0 is the probability 1/2.
"""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.metrics.average import Average
from seqmask.tally import Tally, real_steps, tally_up, widen


class _OfDecisions(Average):
    """A metric of one logit a step, a detection where it is at least `threshold`: `_counted`."""

    def __init__(self, threshold: float | tf.Variable = 0.0, per: str = 'step',
                 name: str | None = None):
        super().__init__(per, name)
        self.threshold = threshold

    def update(self, *, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
               weights: TensorLike | None = None) -> None:
        self.add(self.tally(logits=logits, labels=labels, mask=mask, weights=weights, per=self.per,
                            threshold=self.threshold))

    @classmethod
    def tally(cls, *, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
              weights: TensorLike | None = None, per: str = 'step',
              threshold: float | tf.Variable = 0.0) -> Tally:
        logits = widen(checks.floating('logits', logits, 'B, T'))
        labels = checks.tensor('labels', tf.cast(labels, logits.dtype), 'B, T')
        events = checks.same_shape('labels', labels, 'logits', logits) > 0.5
        mask = real_steps(mask, 'logits', logits, [2])
        detected = logits >= tf.cast(threshold, logits.dtype)
        hits, which = cls._counted(detected, events)
        return tally_up(tf.cast(hits, logits.dtype), mask & which, weights, per)


class Precision(_OfDecisions):
    """Part of the detected steps that are events.

    precision = hits / detections;   0 where nothing is detected, as the mean of a `Tally` is

    >>> precision = seqmask.metrics.Precision()
    >>> precision.update(logits=tf.constant([[3., 1., -2., 9.]]), labels=[[1, 0, 1, 1]],
    ...                  mask=tf.constant([[True, True, True, False]]))
    >>> float(precision.result())
    0.5
    """

    @staticmethod
    def _counted(detected, events):
        return events, detected


class Recall(_OfDecisions):
    """Part of the events' steps that are detected.

    recall = hits / steps of events;   0 where there is no event, as the mean of a `Tally` is

    >>> recall = seqmask.metrics.Recall()
    >>> recall.update(logits=tf.constant([[3., 1., -2., 9.]]), labels=[[1, 0, 1, 1]],
    ...               mask=tf.constant([[True, True, True, False]]))
    >>> float(recall.result())
    0.5
    """

    @staticmethod
    def _counted(detected, events):
        return detected, events


class F1(_OfDecisions):
    """The harmonic mean of precision and recall, step by step.

    F1 = 2 hits / (detections + steps of events);   0 where there are neither

    It is counted as such over all batches; the mean of their F1 would be something else.

    >>> f1 = seqmask.metrics.F1()
    >>> f1.update(logits=tf.constant([[3., 1., -2., 9.]]), labels=[[1, 0, 0, 1]],
    ...           mask=tf.constant([[True, True, True, False]]))
    >>> round(float(f1.result()), 5) == round(2 * 1 / (2 + 1), 5)
    True
    """

    def __init__(self, threshold: float | tf.Variable = 0.0, name: str | None = None):
        super().__init__(threshold, 'step', name)

    @classmethod
    def tally(cls, *, logits: TensorLike, labels: TensorLike, mask: TensorLike | None,
              weights: TensorLike | None = None, per: str = 'step',
              threshold: float | tf.Variable = 0.0) -> Tally:
        checks.choice('per', per, ['step'])
        of = dict(logits=logits, labels=labels, mask=mask, weights=weights, threshold=threshold)
        return Precision.tally(**of) + Recall.tally(**of)
