"""Adam for large tables: only the rows in the gradient are updated."""

from __future__ import annotations

import tensorflow as tf

from seqmask.checks import TensorLike
from seqmask.training.gradients import map_values, sum_rows


class LazyAdam(tf.keras.optimizers.Adam):
    """Adam that updates only the rows of a table that its sparse gradient contains.

    m[i] <- beta_1 m[i] + (1 - beta_1) g[i]
    v[i] <- beta_2 v[i] + (1 - beta_2) g[i]^2
    w[i] <- w[i] - rate weight_decay w[i] - rate_t m[i] / (sqrt(v[i]) + epsilon)

    for the rows i of the gradient, a `tf.IndexedSlices`, with rate_t corrected for the zero
    initialization of m and v by the number of all steps. All other rows keep weight and moments bit
    for bit, so the cost of a step is proportional to its rows. Keras's Adam keeps moving them by
    momentum, and visits the whole table to do so. Dense gradients are applied as in Keras's Adam.
    With several replicas all gradients are dense, because their sum is.

    Args:
      learning_rate: float, or a Keras schedule.
      beta_1, beta_2, epsilon: As in Adam.
      weight_decay: float; None for none. Rows that are not in the gradient do not decay either.
      **options: Those of every Keras optimizer, such as `clipnorm`.

    Source: Kingma, Ba. Adam: a method for stochastic optimization. ICLR 2015; Loshchilov, Hutter.
      Decoupled weight decay regularization. ICLR 2019.

    >>> table = tf.Variable([[1.], [1.]])
    >>> optimizer = seqmask.training.LazyAdam(0.1)
    >>> optimizer.build([table])
    >>> for row in [0, 1, 1]:
    ...     optimizer.apply([tf.IndexedSlices(tf.constant([[2.]]), tf.constant([row]),
    ...                                       tf.constant([2, 1]))], [table])
    ...     print(table.numpy()[0].round(3))
    [0.9]
    [0.9]
    [0.9]
    """

    def __init__(self,
                 learning_rate: float | tf.keras.optimizers.schedules.LearningRateSchedule = 0.001,
                 beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-7,
                 weight_decay: float | None = None, name: str = 'lazy_adam', **options):
        if options.pop('amsgrad', False):
            raise ValueError('LazyAdam has no amsgrad: leave it out, or use Adam.')
        super().__init__(learning_rate, beta_1, beta_2, epsilon, weight_decay=weight_decay,
                         name=name, **options)

    def _apply_weight_decay(self, variables):
        """Does nothing, where Keras decays whole tables: `update_step` decays row by row."""

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices,
                    variable: tf.keras.Variable, learning_rate: TensorLike) -> None:
        rate = tf.cast(learning_rate, variable.dtype)
        decays = self.weight_decay is not None and self._use_weight_decay(variable)
        if not isinstance(gradient, tf.IndexedSlices):
            if decays:
                self.assign_sub(variable, rate * self.weight_decay * variable)
            super().update_step(gradient, variable, learning_rate)
            return
        gradient = sum_rows(map_values(lambda values: tf.cast(values, variable.dtype), gradient))
        rows, gradient = gradient.indices, gradient.values
        index = self._get_variable_index(variable)
        moment = self._update_slot(self._momentums[index], rows, gradient, self.beta_1)
        velocity = self._update_slot(self._velocities[index], rows, tf.square(gradient),
                                     self.beta_2)
        step = tf.cast(self.iterations, variable.dtype) + 1
        corrected = rate * tf.sqrt(1 - self.beta_2 ** step) / (1 - self.beta_1 ** step)
        before = tf.gather(variable, rows)
        change = corrected * moment / (tf.sqrt(velocity) + self.epsilon)
        if decays:
            change += rate * self.weight_decay * before
        self.assign(variable, tf.IndexedSlices(before - change, rows))   # faster than subtracting

    def _update_slot(self, slot, rows, target, beta):
        """Moves the rows of a slot towards the target; returns their new values."""
        values = beta * tf.gather(slot.value, rows) + (1 - beta) * target
        self.assign(slot, tf.IndexedSlices(values, rows))
        return values

    def get_config(self) -> dict:
        config = super().get_config()
        del config['amsgrad']
        return config
