"""Any function of one step."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.operands import steps_or_vectors


class Activation(tf.Module):
    """Any function of one step, masked afterwards.

    out[b, t] = function(x[b, t]) for t < lengths[b];   0 after it
    out[b] = function(x[b]) for vectors, which have no time axis and no lengths

    exp, sigmoid and softmax map 0 to something else, so they need a mask after them. A padded step
    passes a copy of its sequence's first step, so that a pole at 0 never enters the gradient.

    Args:
      function: float [..., D] -> float [..., any size], step by step, such as `tf.exp`, or
        `tf.nn.softmax` over the features; or a name that `tf.keras.activations.get` knows.

    >>> log = seqmask.Activation(tf.math.log)
    >>> log(tf.constant([[[1.], [0.]]]), tf.constant([1])).numpy().ravel()
    array([0., 0.], dtype=float32)
    """

    def __init__(self, function: Callable[..., tf.Tensor] | str, name: str | None = None):
        super().__init__(name=name)
        self.function = tf.keras.activations.get(function)

    def __call__(self, inputs: TensorLike, lengths: TensorLike | None = None) -> tf.Tensor:
        """Applies the function to the real steps, or to the vectors.

        Args and errors: As of `Dense`.

        Returns:
          float [B, T, ...], 0 at padded steps; or float [B, ...].
        """
        inputs, mask = steps_or_vectors(inputs, lengths)
        if mask is None:
            return self.function(inputs)
        first = apply_mask(inputs[:, :1], mask[:, :1], fill=1)    # ones in an empty sequence
        outputs = self.function(tf.where(mask[:, :, None], inputs, tf.stop_gradient(first)))
        return apply_mask(outputs, mask)
