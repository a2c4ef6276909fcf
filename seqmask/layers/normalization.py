"""Normalisation with statistics of real steps."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks, known
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.operands import real_only, steps_or_vectors


class BatchNorm(tf.Module):
    """Normalises each feature over all real steps of the batch.

    out[b, t] = gamma (x[b, t] - mean) / sqrt(variance + epsilon) + beta      for t < lengths[b]

    and 0 after it. In training, mean and variance are those of the batch's N = sum of lengths real
    steps, over all replicas; in inference they are moving averages, updated in training by

    averaged <- momentum averaged + 1;    moving <- moving + (statistic - moving) / averaged

    unless the batch has no real step. `averaged` is the effective number of batches averaged. It
    starts at 0, so the first batch replaces the initial averages, and converges to
    1 / (1 - momentum), where the update is moving <- momentum moving + (1 - momentum) statistic;
    until then this is Adam's bias correction. To continue training from imported averages, assign
    1 / (1 - momentum) to `averaged`, as `keras.from_keras` and `keras.from_pytorch` do.

    This is the only layer whose outputs depend on batch-mates, and only in training: each
    micro-batch (`training.train_step`) has its own statistics.

    Variables: `gamma`, `beta`, `moving_mean`, `moving_variance`, float32 [D] (float64 for float64);
    `averaged`, a scalar of that dtype.

    Args:
      input_size: D.
      momentum: Of the moving averages, in [0, 1). They cover about the last 1 / (1 - momentum)
        batches, during which the layers below should not change much.
      epsilon: Added to the variance.
      dtype: Of inputs and outputs; statistics of float16 and bfloat16 are computed in float32.

    Source: Ioffe, Szegedy. Batch Normalization. ICML 2015. Correction: Kingma, Ba. Adam. ICLR 2015.

    >>> norm = seqmask.BatchNorm(1, epsilon=0.0)
    >>> outputs = norm(tf.constant([[[1.], [3.], [9.]]]), tf.constant([2]), training=True)
    >>> outputs.numpy().ravel()                     # mean 2, variance 1
    array([-1.,  1.,  0.], dtype=float32)
    """

    def __init__(self, input_size: int, *, momentum: float = 0.9, epsilon: float = 1e-3,
                 dtype: str | tf.DType = 'float32', name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.width('input_size', input_size)
        self.momentum = checks.fraction('momentum', momentum)
        self.epsilon = checks.positive('epsilon', epsilon, or_zero=True)
        self.dtype = checks.float_dtype('dtype', dtype)
        wide = _wide(self.dtype)
        self.gamma = tf.Variable(tf.ones([input_size], wide), name='gamma')
        self.beta = tf.Variable(tf.zeros([input_size], wide), name='beta')
        average = {'trainable': False, 'aggregation': tf.VariableAggregation.MEAN,
                   'synchronization': tf.VariableSynchronization.ON_READ}
        self.moving_mean = tf.Variable(tf.zeros([input_size], wide), name='moving_mean', **average)
        self.moving_variance = tf.Variable(tf.ones([input_size], wide), name='moving_variance',
                                           **average)
        self.averaged = tf.Variable(tf.zeros([], wide), name='averaged', **average)

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Normalises the real steps.

        Args and errors: As of `mean_pool`, and
          training: Whether to use the batch's statistics and update the moving averages.

        Returns:
          float [B, T, D], 0 at padded steps.
        """
        inputs, _, mask = real_only(inputs, lengths, self.input_size, self.dtype)
        x = tf.cast(inputs, self.gamma.dtype)
        if training:
            mean, variance = self._statistics(x, mask)
        else:
            mean, variance = tf.identity(self.moving_mean), tf.identity(self.moving_variance)
        scale = self.gamma * tf.math.rsqrt(variance + self.epsilon)
        outputs = tf.cast((x - mean) * scale + self.beta, self.dtype)
        return apply_mask(known.with_sizes_of(outputs, inputs), mask)

    def _statistics(self, x, mask):
        """Mean and variance of the real steps of all replicas; updates the moving averages."""
        count, mean, variance = moments(x, mask)
        averaged = self.momentum * self.averaged + 1
        share = 1 / averaged
        for variable, moved in (
                (self.averaged, averaged),
                (self.moving_mean, (1 - share) * self.moving_mean + share * mean),
                (self.moving_variance, (1 - share) * self.moving_variance + share * variance)):
            variable.assign(tf.where(count > 0, tf.stop_gradient(moved), variable))
        return mean, variance


def moments(x: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean and variance of each feature at the real steps of all replicas.

    mean = sum of x / N,   variance = sum of (x - mean)^2 / N;   0 and 1 where N = 0

    Args:
      x: float [B, T, D], 0 at padded steps.
      mask: bool [B, T]. True = real.

    Returns:
      (N, float scalar; mean [D]; variance [D]).
    """
    count = tf.reduce_sum(tf.cast(mask, x.dtype))
    # Count and total are reduced together: one message between replicas, not two.
    sums = _over_replicas(tf.concat([[count], tf.reduce_sum(x, axis=[0, 1])], axis=0))
    count, total = sums[0], sums[1:]
    mean = tf.math.divide_no_nan(total, count)
    centred = apply_mask(x - mean, mask)        # masked again: padding would be -mean
    squares = _over_replicas(tf.reduce_sum(tf.square(centred), axis=[0, 1]))
    # Without real steps the variance is 1, because 0 would be a pole if epsilon is 0.
    return count, mean, tf.where(count > 0, tf.math.divide_no_nan(squares, count), 1)


class LayerNorm(tf.Module):
    """Normalises each step over its own features.

    out[b, t] = gamma (x[b, t] - mean) / sqrt(variance + epsilon) + beta      for t < lengths[b]

    and 0 after it; mean and variance are those of the D features of x[b, t], or of a vector x[b],
    which has no time axis and no lengths.

    Variables: `gamma`, `beta`, float32 [D] (float64 for float64).

    Args:
      input_size: D.
      epsilon, dtype: As of `BatchNorm`.

    Source: Ba, Kiros, Hinton. Layer Normalization. 2016.

    >>> norm = seqmask.LayerNorm(2, epsilon=0.0)
    >>> norm(tf.constant([[[1., 3.], [9., 9.]]]), tf.constant([1])).numpy().tolist()
    [[[-1.0, 1.0], [0.0, 0.0]]]
    """

    def __init__(self, input_size: int, *, epsilon: float = 1e-3,
                 dtype: str | tf.DType = 'float32', name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.width('input_size', input_size)
        self.epsilon = checks.positive('epsilon', epsilon, or_zero=True)
        self.dtype = checks.float_dtype('dtype', dtype)
        self.gamma = tf.Variable(tf.ones([input_size], _wide(self.dtype)), name='gamma')
        self.beta = tf.Variable(tf.zeros([input_size], _wide(self.dtype)), name='beta')

    def __call__(self, inputs: TensorLike, lengths: TensorLike | None = None) -> tf.Tensor:
        """Normalises the real steps, or the vectors.

        Args and errors: As of `Dense`.

        Returns:
          float [B, T, D], 0 at padded steps; or float [B, D].
        """
        inputs, mask = steps_or_vectors(inputs, lengths, self.input_size, self.dtype)
        x = tf.cast(inputs, self.gamma.dtype)
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        variance += self.epsilon
        if mask is not None:
            # At padded steps the variance is 0; without epsilon that is a pole.
            variance = apply_mask(variance, mask, fill=1)
        outputs = self.gamma * centred * tf.math.rsqrt(variance) + self.beta
        outputs = known.with_sizes_of(tf.cast(outputs, self.dtype), inputs)
        return outputs if mask is None else apply_mask(outputs, mask)


def _wide(dtype):
    return tf.float32 if dtype.size < 4 else dtype


def _over_replicas(value):
    """The sum over all replicas of `tf.distribute`, with its gradient."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return value
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, value)
