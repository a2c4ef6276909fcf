"""Dropout of features in training."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks, known, noise
from seqmask.checks import TensorLike
from seqmask.operands import steps_or_vectors


class Dropout(tf.Module):
    """Drops features at random and scales up the others.

    out[b, t] = inputs[b, t] m / (1 - rate),  m = 0 with probability rate, else 1, when training
    out[b, t] = inputs[b, t]                                                      otherwise

    for t < lengths[b];   0 after it. With per='element', every element draws its own m; with
    per='sequence', all steps of a sequence share one draw (Gal and Ghahramani, 2016); with
    per='step', all features of a step do, so whole steps are dropped. A vector, without time axis
    and lengths, counts as a sequence of one step.

    Args:
      rate: Fraction of the features dropped, in [0, 1).
      per: 'element', 'sequence' or 'step'.
      seed: int; the same seed gives the same draws.

    Source: Srivastava et al. Dropout. JMLR 2014.

    >>> dropout = seqmask.Dropout(0.5, per='sequence', seed=0)
    >>> outputs = dropout(tf.ones([1, 3, 4]), tf.constant([2]), training=True)
    >>> sorted(set(outputs[0, :2].numpy().ravel().tolist())), float(tf.reduce_sum(outputs[0, 2]))
    ([0.0, 2.0], 0.0)
    """

    def __init__(self, rate: float, *, per: str = 'element', seed: int | None = None,
                 name: str | None = None):
        super().__init__(name=name)
        self.rate = checks.fraction('rate', rate)
        self.per = checks.choice('per', per, ('element', 'sequence', 'step'))
        if rate:
            self._noise = noise.generator(noise.seeds(seed, 1)[0])

    def __call__(self, inputs: TensorLike, lengths: TensorLike | None = None, *,
                 training: bool = False) -> tf.Tensor:
        """Drops features of the real steps, or of the vectors, when training.

        Args and errors: As of `Dense`, and
          training: Whether to drop.

        Returns:
          float [B, T, D], 0 at padded steps; or float [B, D].
        """
        inputs, _ = steps_or_vectors(inputs, lengths)
        if not training or not self.rate:
            return inputs
        batch, *steps, width = tf.unstack(tf.shape(inputs))
        shape = {'element': [batch, *steps, width], 'sequence': [batch, *[1] * len(steps), width],
                 'step': [batch, *steps, 1]}[self.per]
        kept = noise.dropout_mask(self._noise, shape, self.rate, inputs.dtype)
        return known.with_sizes_of(inputs * kept, inputs)
