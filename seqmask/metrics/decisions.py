"""Binary detection at every step: precision, recall and F1.

They share these arguments:

  logits: float [B, T]. A step is detected where its logit is at least the threshold.
  labels: number [B, T], 1 at the steps of an event, 0 elsewhere.
  threshold: number or variable, a logit; 0 is the probability 1/2.
"""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.metrics.average import Average
from seqmask.tally import Tally, labels_like, step_mask, tally_up, widen


class _DetectionMetric(Average):
    """Base of metrics of one logit per step; `_hits_among` says what to average over what."""

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
        events = labels_like(logits, 'logits', labels) > 0.5
        mask = step_mask(mask, 'logits', logits, [2])
        detected = logits >= tf.cast(threshold, logits.dtype)
        hits, steps = cls._hits_among(detected, events)
        return tally_up(tf.cast(hits, logits.dtype), mask & steps, weights, per)


class Precision(_DetectionMetric):
    """Share of the detected steps that are events.

    precision = hits / detections;   0 without detections, like the mean of any `Tally`

    >>> precision = seqmask.metrics.Precision()
    >>> precision.update(logits=tf.constant([[3., 1., -2., 9.]]), labels=[[1, 0, 1, 1]],
    ...                  mask=tf.constant([[True, True, True, False]]))
    >>> float(precision.result())
    0.5
    """

    @staticmethod
    def _hits_among(detected, events):
        return events, detected


class Recall(_DetectionMetric):
    """Share of the events' steps that are detected.

    recall = hits / steps of events;   0 without events, like the mean of any `Tally`

    >>> recall = seqmask.metrics.Recall()
    >>> recall.update(logits=tf.constant([[3., 1., -2., 9.]]), labels=[[1, 0, 1, 1]],
    ...               mask=tf.constant([[True, True, True, False]]))
    >>> float(recall.result())
    0.5
    """

    @staticmethod
    def _hits_among(detected, events):
        return detected, events


class F1(_DetectionMetric):
    """The harmonic mean of precision and recall, step by step.

    F1 = 2 hits / (detections + steps of events);   0 without either

    Hits are counted over all batches; the mean of the batches' F1 would differ.

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
        batch = dict(logits=logits, labels=labels, mask=mask, weights=weights, threshold=threshold)
        return Precision.tally(**batch) + Recall.tally(**batch)
