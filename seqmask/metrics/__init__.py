"""How good is a model over many batches? Metrics in which every real step has the same weight.

Each metric is a `tf.Module`: `update(...)` adds a batch, `result()` is the value so far, `reset()`
forgets all batches. State is float64, because float32 cannot count beyond 2^24. Results are float32
scalars, 0 without any step (1 for the perplexity).

`tally(...)` takes the arguments of `update` and returns the batch's `seqmask.Tally` without
touching any state: a traced step can return it, and `metric.add` takes it, or a sum of several. All
arguments are keyword-only. Most metrics share these:

  logits: float [B, T, K]. The predicted class is the first one with the largest logit.
  labels: int [B, T], 0 <= labels < K at real steps.
  mask: bool, True = real: [B, T], or of another shape that begins with B; None means that every
    step is real. Masked values, NaN and labels out of range included, change nothing.
  weights: number, of the shape of mask or [B], or None. They multiply the total and the count.
  per: 'step' averages over steps; 'sequence' over sequences, each averaged over its steps first.

`SpanF1` and `EditDistance` take predicted classes instead of logits.
`metrics.matching` has the functions that match detections to events.

Each raises TypeError or ValueError if a dtype, a shape or an option does not fit, and
tf.errors.InvalidArgumentError if a class label at a real step is not in [0, K).
"""

from seqmask.metrics.average import Mean
from seqmask.metrics.classes import (Accuracy, ConfusionMatrix, ErrorRate, Perplexity,
                                     SequenceAccuracy)
from seqmask.metrics.decisions import F1, Precision, Recall
from seqmask.metrics.edit_distance import EditDistance
from seqmask.metrics.errors import MAE, RMSE
from seqmask.metrics.events import AveragePrecision
from seqmask.metrics.keras_metric import KerasMetric
from seqmask.metrics.ranking import ROCAUC
from seqmask.metrics.spans import SpanF1

__all__ = [
    'Accuracy', 'AveragePrecision', 'ConfusionMatrix', 'EditDistance', 'ErrorRate', 'F1',
    'KerasMetric', 'MAE', 'Mean', 'Perplexity', 'Precision', 'RMSE', 'ROCAUC', 'Recall',
    'SequenceAccuracy', 'SpanF1',
]
