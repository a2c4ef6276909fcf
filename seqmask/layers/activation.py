"""Any function of a step."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.operands import steps_or_vectors


class Activation(tf.Module):
    """Any function of a step, with silence in the padding afterwards.

    out[b, t] = function(x[b, t]) for t < lengths[b];   0 after it
    out[b] = function(x[b]) for vectors, which have no time axis and no lengths

    exp, sigmoid and softmax make something of nothing, so they need a mask after them. A padded
    step is handed a copy of its sequence's first one: no pole at 0 gets into a gradient.

    Args:
      function: float [..., D] -> float [..., anything], step by step, such as `tf.exp`, or
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

        Args:
          inputs: float [B, T, D], values at padded steps are ignored, NaN included; or float
            [B, D], vectors.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T; None for vectors.

        Returns:
          float [B, T, ...], 0 at padded steps; or float [B, ...].

        Raises:
          ValueError: If a rank or a static size does not fit, or [B, T, D] come without lengths.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
        """
        inputs, mask = steps_or_vectors(inputs, lengths)
        if mask is None:
            return self.function(inputs)
        some = apply_mask(inputs[:, :1], mask[:, :1], fill=1)    # ones where nothing is real
        outputs = self.function(tf.where(mask[:, :, None], inputs, tf.stop_gradient(some)))
        return apply_mask(outputs, mask)
