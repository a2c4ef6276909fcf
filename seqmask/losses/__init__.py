"""How wrong is each real step? Logits in, never probabilities; a sum and its count out.

A sigmoid or a softmax taken beforehand loses the gradient where it saturates: at logit -50 with
label 1 it is -1 here, and 0 after a float32 sigmoid that has been clipped.

Every loss returns a `seqmask.Tally`; `tally.mean()` is the loss to minimise, and tallies of
micro-batches and replicas add up first. All arguments go by keyword. These are the same everywhere:

  mask: bool, True = real. Of the shape of the element-wise loss, [B, T] or any other that begins
    with B, such as [users, items]. Where steps have features it may lack that last axis. None says
    that every step is real; then [B, T, D] has steps of D features, [B, T] and [B] have none. What
    stands at masked places of logits, predictions, labels and weights changes nothing, NaN and
    labels out of range included.
  weights: number, of the shape of mask (a weight for each step) or [B] (for each sequence). They
    multiply the total and the count.
  per: 'step' averages over all real steps of the batch: long sequences weigh more. 'sequence'
    averages each sequence, with its steps' weights, and then over the sequences that have any step.
  features: Where the mask lacks the last axis: 'mean' takes the average over it, an error per
    element; 'sum' adds up, the nats of a whole frame.
  label_smoothing: number in [0, 1), s: this part of each label is spread evenly over the classes.

Sums are float32 for float16, bfloat16 and float32, in which the element-wise loss is taken too, and
float64 for float64. Without any real step total, count and gradients are 0. Each loss raises

  TypeError: If a dtype does not fit.
  ValueError: If a shape or an option does not fit.
  tf.errors.InvalidArgumentError: If a class label at a real step is not in [0, K).
"""

from seqmask.losses.elementwise import (absolute_error, focal, huber, sigmoid_cross_entropy,
                                        softmax_cross_entropy, sparse_softmax_cross_entropy,
                                        squared_error)
from seqmask.losses.keras_objectives import keras_mean, weighted_masked_objective

__all__ = [
    'absolute_error', 'focal', 'huber', 'keras_mean', 'sigmoid_cross_entropy',
    'softmax_cross_entropy', 'sparse_softmax_cross_entropy', 'squared_error',
    'weighted_masked_objective',
]
