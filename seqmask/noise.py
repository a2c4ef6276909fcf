"""Which random numbers, from which seed?"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from seqmask.checks import TensorLike


def seeds(seed: int | None, count: int) -> list[int]:
    """`count` independent seeds from one; from fresh entropy where seed is None."""
    return [int(s) for s in np.random.SeedSequence(seed).generate_state(count, np.uint32) >> 1]


def generator(seed: int) -> tf.random.Generator:
    """A random generator whose state is a variable, so that a checkpoint saves and resumes it."""
    return tf.random.Generator.from_seed(seed)


def dropout_mask(stream: tf.random.Generator, shape: TensorLike, rate: float,
                 dtype: str | tf.DType) -> tf.Tensor:
    """The multiplier of dropout: 0 with probability `rate`, else 1 / (1 - rate)."""
    if tf.distribute.has_strategy():
        # Replicas may have different numbers of rows, but a checkpoint keeps one state for all of
        # them, so each draw advances the generator by the same amount.
        drawn = tf.random.stateless_uniform(shape, stream.make_seeds(1)[:, 0])
    else:
        drawn = stream.uniform(shape)
    kept = drawn >= rate
    return tf.where(kept, tf.cast(1 / (1 - rate), dtype), tf.zeros([], dtype))
