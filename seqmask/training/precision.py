"""Weights that compute in half precision, and are trained in float32."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

HALF = (tf.bfloat16, tf.float16)


class MixedPrecision(tf.Module):
    """An optimizer of the float32 masters of a model in bfloat16 or float16.

    w_32 <- step(w_32, g_32);   w <- w_32 rounded

    The model computes with its half-precision weights; the sums of losses, their counts, the
    division of the gradient and the optimizer's state are float32. Weights that are float32
    themselves, those of batch norm for instance, are their own masters. A float16 gradient below
    6e-8 would be 0, so the loss is multiplied by `scale` before it is differentiated, and the
    gradient divided by it, in float32: the scale is halved when a step is not finite, and such a
    step skipped, and doubled after `growth_steps` finite ones. bfloat16 has the range of float32,
    and a scale of 1.

    Args:
      optimizer: Keras optimizer.
      growth_steps: int. Finite steps after which the scale of float16 is doubled.
      initial_scale: Of float16.

    Source: Micikevicius et al. Mixed Precision Training. ICLR 2018.

    >>> weight = tf.Variable(1.0, dtype=tf.bfloat16)
    >>> optimizer = seqmask.training.MixedPrecision(tf.keras.optimizers.SGD(0.001))
    >>> optimizer.build([weight])
    >>> for _ in range(4):      # 1 - 0.001 is 1 in bfloat16; four such steps are not nothing
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
        """By what the loss is multiplied before it is differentiated, a float32 scalar."""
        return tf.convert_to_tensor(self._scale)

    @property
    def may_mend(self) -> bool:
        """Whether a step that is not finite may be finite on a smaller scale."""
        return float(self.scale) > 1

    def apply(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices],
              variables: Sequence[tf.Variable]) -> None:
        """One step of the masters, from gradients that are divided by the scale already."""
        self.optimizer.apply([_float32(g) for g in gradients], self.masters)

    def round_masters(self, variables: Sequence[tf.Variable]) -> None:
        """Gives the model its weights: the masters, rounded."""
        for variable, master in zip(variables, self.masters):
            if variable is not master:
                variable.assign(tf.cast(master, variable.dtype))

    def update_scale(self, finite: tf.Tensor) -> None:
        """After each step: halves the scale of one that is not finite."""
        if self._growth is None:
            return
        steps = tf.where(finite, self._finite_steps + 1, 0)
        grown = steps >= self._growth
        # Not below 1: what is not finite without a scale is no matter of scale.
        self._scale.assign(tf.where(finite, tf.where(grown, 2 * self._scale, self._scale),
                                    tf.maximum(self._scale / 2, 1.0)))
        self._finite_steps.assign(tf.where(grown, 0, steps))


def _float32(gradient):
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(tf.cast(gradient.values, tf.float32), gradient.indices,
                                gradient.dense_shape)
    return tf.cast(gradient, tf.float32)
