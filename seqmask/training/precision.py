"""Mixed precision: the model computes in half precision, its weights are trained in float32."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from seqmask.training.gradients import map_values

HALF = (tf.bfloat16, tf.float16)


class MixedPrecision(tf.Module):
    """An optimizer of float32 master weights, for a model in bfloat16 or float16.

    w_32 <- step(w_32, g_32);   w <- w_32 rounded

    The model computes with half-precision weights. Loss sums, counts, the division of the gradient
    and the optimizer's state are float32. Weights that are float32 already, such as those of batch
    norm, are their own masters. A float16 gradient below 6e-8 would underflow to 0, so the loss is
    multiplied by `scale` before differentiation, and the gradient divided by it in float32. A
    non-finite step is skipped and halves the scale; `growth_steps` finite ones double it. bfloat16
    has the range of float32, and a scale of 1.

    Args:
      optimizer: Keras optimizer.
      growth_steps: int. Consecutive finite steps after which the float16 scale doubles.
      initial_scale: First float16 scale.

    Source: Micikevicius et al. Mixed Precision Training. ICLR 2018.

    >>> weight = tf.Variable(1.0, dtype=tf.bfloat16)
    >>> optimizer = seqmask.training.MixedPrecision(tf.keras.optimizers.SGD(0.001))
    >>> optimizer.build([weight])
    >>> for _ in range(4):      # 1 - 0.001 rounds to 1 in bfloat16; 1 - 4 * 0.001 does not
    ...     optimizer.apply([tf.constant(1.0)], [weight])
    >>> optimizer.round_masters([weight])
    >>> float(weight)
    0.99609375
    """

    def __init__(self, optimizer: tf.keras.optimizers.Optimizer, *, growth_steps: int = 2000,
                 initial_scale: float = 2.0 ** 15):
        super().__init__(name='mixed_precision')
        self.optimizer = optimizer
        self._growth_steps = growth_steps
        self._initial_scale = initial_scale
        self.masters = None

    def build(self, variables: Sequence[tf.Variable]) -> None:
        """Makes the masters of a model's trainable variables."""
        if self.masters is not None:
            return
        self.masters = [tf.Variable(tf.cast(v, tf.float32), trainable=False, name='master')
                        if v.dtype in HALF else v for v in variables]
        scaled = any(v.dtype == tf.float16 for v in variables)
        self._scale = tf.Variable(self._initial_scale if scaled else 1.0, trainable=False)
        self._finite_steps = tf.Variable(0, trainable=False)
        self._growth = self._growth_steps if scaled else None
        self.optimizer.build(self.masters)

    @property
    def learning_rate(self) -> tf.keras.Variable | tf.Tensor:
        return self.optimizer.learning_rate

    @property
    def iterations(self) -> tf.keras.Variable:
        return self.optimizer.iterations

    @property
    def scale(self) -> tf.Tensor:
        """Factor of the loss before differentiation, a float32 scalar."""
        return tf.convert_to_tensor(self._scale)

    @property
    def may_recover(self) -> bool:
        """Whether a step that is not finite may be finite at a smaller scale."""
        return float(self.scale) > 1

    def apply(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices],
              variables: Sequence[tf.Variable]) -> None:
        """Updates the masters by gradients that have been divided by the scale."""
        self.optimizer.apply([map_values(lambda g: tf.cast(g, tf.float32), gradient)
                              for gradient in gradients], self.masters)

    def round_masters(self, variables: Sequence[tf.Variable]) -> None:
        """Assigns the rounded masters to the model's weights."""
        for variable, master in zip(variables, self.masters):
            if variable is not master:
                variable.assign(tf.cast(master, variable.dtype))

    def update_scale(self, finite: tf.Tensor) -> None:
        """Halves the scale after a non-finite step; doubles it after `growth_steps` finite ones."""
        if self._growth is None:
            return
        steps = tf.where(finite, self._finite_steps + 1, 0)
        grown = steps >= self._growth
        # At scale 1 a smaller one would not help.
        self._scale.assign(tf.where(finite, tf.where(grown, 2 * self._scale, self._scale),
                                    tf.maximum(self._scale / 2, 1.0)))
        self._finite_steps.assign(tf.where(grown, 0, steps))
