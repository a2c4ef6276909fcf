"""How wrong is each real step? Losses of logits, not probabilities, as a sum and its count.

A sigmoid or softmax taken beforehand loses the gradient where it saturates: at logit -50 with
label 1 it is -1 here, and 0 after a clipped float32 sigmoid.

Every loss returns a `seqmask.Tally` of its element-wise loss, which has the shape of the
predictions, without the axis K of softmax losses. `tally.mean()` is the loss to minimize, after
adding the tallies of micro-batches and replicas. All arguments are keyword-only; shared ones are:

  mask: bool, True = real. Of the shape of the element-wise loss, [B, T] or any other that begins
    with B, such as [users, items]; or without its last axis, if that holds features. None means
    that every step is real; then [B, T, D] has steps of D features, [B, T] and [B] have none.
    Masked values of logits, predictions, labels and weights change nothing, NaN and labels out of
    range included.
  weights: number, of the shape of mask (one per step) or [B] (one per sequence). They multiply the
    total and the count.
  per: 'step' averages over all real steps of the batch: long sequences weigh more. 'sequence'
    averages over each sequence, with its steps' weights, then over the sequences with any step.
  features: Reduction of the last axis if the mask lacks it: 'mean', an error per element, or 'sum',
    the nats of a whole frame.
  label_smoothing: number in [0, 1), s: this part of each label is spread evenly over the classes.

`ctc` takes the lengths of logits and labels instead of a mask, and no weights.

Element-wise losses and sums are float32 for float16, bfloat16 and float32, and float64 for float64.
Without any real step total, count and gradients are 0. Each loss raises

  TypeError: If a dtype does not fit.
  ValueError: If a shape or an option does not fit.
  tf.errors.InvalidArgumentError: If a class label at a real step is not in [0, K).
"""

from seqmask.losses.ctc import ctc, ctc_possible
from seqmask.losses.elementwise import (absolute_error, focal, huber, sigmoid_cross_entropy,
                                        softmax_cross_entropy, sparse_softmax_cross_entropy,
                                        squared_error)
from seqmask.losses.keras_objectives import keras_mean, weighted_masked_objective

__all__ = [
    'absolute_error', 'ctc', 'ctc_possible', 'focal', 'huber', 'keras_mean',
    'sigmoid_cross_entropy', 'softmax_cross_entropy', 'sparse_softmax_cross_entropy',
    'squared_error', 'weighted_masked_objective',
]
