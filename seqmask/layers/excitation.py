"""Gates that scale the features of a whole sequence."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks, noise
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.operands import mean_over_time, real_only


class SqueezeExcite(tf.Module):
    """Scales each feature of a sequence by a gate that sees the whole sequence.

    mean = average of x[b, t] over t < n
    gate = sigmoid(relu(mean W1 + b1) W2 + b2)
    out[b, t] = gate x[b, t] for t < n;   0 after it;   n = lengths[b]

    Variables: `squeeze` [D, D / ratio], `squeeze_bias`, `excite` [D / ratio, D], `excite_bias`.

    Args:
      input_size: D.
      ratio: How many times narrower the hidden layer is; it has at least one unit.
      dtype: Of weights, inputs and outputs.
      seed: int; the same seed gives the same weights.

    Source: Hu, Shen, Sun. Squeeze-and-Excitation Networks. CVPR 2018.

    >>> gates = seqmask.SqueezeExcite(input_size=4, ratio=2, seed=0)
    >>> gates(tf.zeros([1, 3, 4]), tf.constant([2])).shape
    TensorShape([1, 3, 4])
    """

    def __init__(self, input_size: int, *, ratio: int = 16, dtype: str | tf.DType = 'float32',
                 seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.width('input_size', input_size)
        self.dtype = checks.float_dtype('dtype', dtype)
        width = max(1, input_size // checks.size('ratio', ratio))
        seeds = noise.seeds(seed, 2)
        he = tf.keras.initializers.HeNormal(seeds[0])([input_size, width])
        glorot = tf.keras.initializers.GlorotUniform(seeds[1])([width, input_size])
        self.squeeze = tf.Variable(tf.cast(he, self.dtype), name='squeeze')
        self.squeeze_bias = tf.Variable(tf.zeros([width], self.dtype), name='squeeze_bias')
        self.excite = tf.Variable(tf.cast(glorot, self.dtype), name='excite')
        self.excite_bias = tf.Variable(tf.zeros([input_size], self.dtype), name='excite_bias')

    def __call__(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """Scales the real steps.

        Args and errors: As of `mean_pool`.

        Returns:
          float [B, T, D], 0 at padded steps.
        """
        inputs, lengths, mask = real_only(inputs, lengths, self.input_size, self.dtype)
        mean = mean_over_time(inputs, lengths)
        hidden = tf.nn.relu(tf.matmul(mean, self.squeeze) + self.squeeze_bias)
        gate = tf.sigmoid(tf.matmul(hidden, self.excite) + self.excite_bias)    # [B, D]
        return apply_mask(inputs * gate[:, None], mask)
