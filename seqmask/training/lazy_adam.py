"""Adam that leaves alone what a gradient does not mention."""

from __future__ import annotations

import tensorflow as tf

from seqmask.checks import TensorLike


class LazyAdam(tf.keras.optimizers.Adam):
    """Adam that moves only the rows of a table that stand in its sparse gradient.

    m[i] <- beta_1 m[i] + (1 - beta_1) g[i]
    v[i] <- beta_2 v[i] + (1 - beta_2) g[i]^2
    w[i] <- w[i] - rate weight_decay w[i] - rate_t m[i] / (sqrt(v[i]) + epsilon)

    for the rows i of the gradient alone, a `tf.IndexedSlices`, and where rate_t corrects for the
    zeros that m and v began with, by the number of all steps. All other rows keep weight and
    moments bit for bit, and cost nothing: a step takes as long as it has rows. Keras's Adam goes
    on moving them by momentum, and goes through the whole table for it. Dense gradients are taken
    as Keras's Adam takes them; so are all of them where several replicas train, because their sum
    is dense.

    Args:
      learning_rate: float, or a Keras schedule.
      beta_1, beta_2, epsilon: As of Adam.
      weight_decay: float; None for none. Rows that are not in the gradient do not decay either.
      **options: As of every Keras optimizer, such as `clipnorm`.

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
        """Nothing yet: Keras would let whole tables decay. `update_step` does it, row by row."""

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices,
                    variable: tf.keras.Variable, learning_rate: TensorLike) -> None:
        rate = tf.cast(learning_rate, variable.dtype)
        decays = self.weight_decay is not None and self._use_weight_decay(variable)
        if not isinstance(gradient, tf.IndexedSlices):
            if decays:
                self.assign_sub(variable, rate * self.weight_decay * variable)
            super().update_step(gradient, variable, learning_rate)
            return
        rows, places = tf.unique(gradient.indices)      # a row may come in several parts
        values = tf.cast(gradient.values, variable.dtype)
        gradient = tf.cond(tf.size(rows) == tf.size(places), lambda: values,
                           lambda: tf.math.unsorted_segment_sum(values, places, tf.size(rows)))
        index = self._get_variable_index(variable)
        moment = self._moved(self._momentums[index], rows, gradient, self.beta_1)
        velocity = self._moved(self._velocities[index], rows, tf.square(gradient), self.beta_2)
        step = tf.cast(self.iterations, variable.dtype) + 1
        corrected = rate * tf.sqrt(1 - self.beta_2 ** step) / (1 - self.beta_1 ** step)
        now = tf.gather(variable, rows)
        change = corrected * moment / (tf.sqrt(velocity) + self.epsilon)
        if decays:
            change += rate * self.weight_decay * now
        self.assign(variable, tf.IndexedSlices(now - change, rows))     # faster than subtracting

    def _moved(self, slot, rows, towards, beta):
        """Takes the rows of a slot a step towards what came; returns them."""
        now = beta * tf.gather(slot.value, rows) + (1 - beta) * towards
        self.assign(slot, tf.IndexedSlices(now, rows))
        return now

    def get_config(self) -> dict:
        config = super().get_config()
        del config['amsgrad']
        return config
