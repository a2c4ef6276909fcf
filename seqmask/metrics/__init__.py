"""How well does it do, over many batches? A real step counts alike in whatever batch it came.

Each metric is a `tf.Module`: `update(...)` adds a batch, `result()` is the value so far, `reset()`
forgets all batches. The state is float64, because float32 cannot count beyond 2^24; results are
float32 scalars, and that of no step at all is 0 (the perplexity 1).

`tally(...)` takes the arguments of `update` and gives the batch's `seqmask.Tally` without touching
any state: a traced step can return it, and `metric.add(tally)` takes their sum. All arguments go by
keyword. These are the same everywhere:

  logits: float [B, T, K]. The class is the largest; of equals, the first.
  labels: int [B, T] for logits, 0 <= labels < K at real steps.
  mask: bool, True = real: [B, T], or of another shape that begins with B; None says that every step
    is real. What stands at masked places, NaN and labels out of range included, changes nothing.
  weights: number, of the shape of mask or [B], or None. They multiply the sum and the count.
  per: 'step' averages over steps; 'sequence' over sequences, each averaged over its steps first.

`metrics.matching` has functions that say which detection belongs to which event.

Each raises TypeError or ValueError if a dtype, a shape or an option does not fit, and
tf.errors.InvalidArgumentError if a class label at a real step is not in [0, K).
"""

from seqmask.metrics.average import Mean
from seqmask.metrics.classes import (Accuracy, ConfusionMatrix, ErrorRate, Perplexity,
                                     SequenceAccuracy)
from seqmask.metrics.decisions import F1, Precision, Recall
from seqmask.metrics.errors import MAE, RMSE
from seqmask.metrics.events import AveragePrecision
from seqmask.metrics.keras_metric import KerasMetric

__all__ = [
    'Accuracy', 'AveragePrecision', 'ConfusionMatrix', 'ErrorRate', 'F1', 'KerasMetric', 'MAE',
    'Mean', 'Perplexity', 'Precision', 'RMSE', 'Recall', 'SequenceAccuracy',
]
