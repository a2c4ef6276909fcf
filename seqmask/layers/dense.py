"""The same linear map at every step."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks, kernels, known, noise
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.operands import steps_or_vectors


class Dense(tf.Module):
    """A linear map of each step, or of each vector.

    out[b, t] = inputs[b, t] W + b for t < lengths[b];   0 after it
    out[b] = inputs[b] W + b for vectors, which have no time axis and no lengths

    Variables: `kernel` [D, output_size] (Glorot uniform), `bias` [output_size] (zeros).

    Args:
      input_size: D.
      output_size: Width of the outputs.
      dtype: Of weights, inputs and outputs.
      seed: int; the same seed gives the same weights.

    >>> dense = seqmask.Dense(input_size=2, output_size=3, seed=0)
    >>> dense.bias.assign_add(tf.ones([3])).shape
    TensorShape([3])
    >>> dense(tf.zeros([1, 2, 2]), tf.constant([1])).numpy().tolist()
    [[[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]]
    >>> dense(tf.zeros([1, 2])).numpy().tolist()
    [[1.0, 1.0, 1.0]]
    """

    def __init__(self, input_size: int, output_size: int, *, dtype: str | tf.DType = 'float32',
                 seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.width('input_size', input_size)
        self.output_size = checks.width('output_size', output_size)
        self.dtype = checks.float_dtype('dtype', dtype)
        kernel = tf.keras.initializers.GlorotUniform(noise.seeds(seed, 1)[0])
        self.kernel = tf.Variable(tf.cast(kernel([input_size, output_size]), self.dtype),
                                  name='kernel')
        self.bias = tf.Variable(tf.zeros([output_size], self.dtype), name='bias')

    def __call__(self, inputs: TensorLike, lengths: TensorLike | None = None) -> tf.Tensor:
        """Maps the real steps, or the vectors.

        Args:
          inputs: float [B, T, D], values at padded steps are ignored, NaN included; or float
            [B, D], vectors.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T; None for vectors.

        Returns:
          float [B, T, output_size], 0 at padded steps; or float [B, output_size].

        Raises:
          ValueError: If a rank or a static size does not fit, or [B, T, D] come without lengths.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
        """
        inputs, mask = steps_or_vectors(inputs, lengths, self.input_size, self.dtype)
        outputs = known.with_sizes_of(tf.tensordot(inputs, self.kernel, 1) + self.bias, inputs)
        return outputs if mask is None else apply_mask(outputs, mask)

    def stages(self) -> list[kernels.Stage] | None:
        """What `StepRunner` runs in C++; None if the dtype is not float32."""
        if self.dtype != tf.float32:
            return None
        return [kernels.Stage('dense', self.input_size, self.output_size,
                              (self.kernel, self.bias))]
