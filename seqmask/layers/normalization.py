"""Normalisation by statistics of real steps."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks, known
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.operands import real_only, steps_or_vectors


class BatchNorm(tf.Module):
    """Normalises each feature over all real steps of the batch.

    out[b, t] = gamma (x[b, t] - mean) / sqrt(variance + epsilon) + beta      for t < lengths[b]

    and 0 after it. In training, mean and variance are those of the batch's N real steps, N being
    the sum of lengths, over all replicas; otherwise the moving averages of training,

    averaged <- momentum averaged + 1;    moving <- moving + (statistic - moving) / averaged

    which a batch without any real step leaves as they are. `averaged` is how many batches the
    averages are worth. It begins at 0, so the first batch replaces the initial averages, and nears
    1 / (1 - momentum), where this is moving <- momentum moving + (1 - momentum) statistic: in
    between it is Adam's correction of the start. Averages that are put in from elsewhere count in
    further training if `averaged` is assigned 1 / (1 - momentum), as `keras.from_keras` and
    `keras.from_pytorch` do.

    This is the one layer whose outputs depend on batch-mates, and only in training: micro-batches
    (`training.train_step`) have statistics of their own each.

    Variables: `gamma`, `beta`, `moving_mean`, `moving_variance`, float32 [D] (float64 for float64);
    `averaged`, a scalar of that dtype.

    Args:
      input_size: D.
      momentum: Of the moving averages, in [0, 1). They look back over about 1 / (1 - momentum)
        batches, in which the weights below should not have moved much.
      epsilon: Added to the variance.
      dtype: Of inputs and outputs; statistics of float16 and bfloat16 are taken in float32.

    Source: Ioffe, Szegedy. Batch Normalization. ICML 2015. The start: Kingma, Ba. Adam. ICLR 2015.

    >>> norm = seqmask.BatchNorm(1, epsilon=0.0)
    >>> outputs = norm(tf.constant([[[1.], [3.], [9.]]]), tf.constant([2]), training=True)
    >>> outputs.numpy().ravel()                     # mean 2, variance 1
    array([-1.,  1.,  0.], dtype=float32)
    """

    def __init__(self, input_size: int, *, momentum: float = 0.9, epsilon: float = 1e-3,
                 dtype: str | tf.DType = 'float32', name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.size('input_size', input_size)
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

        Args:
          inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.
          training: Whether to take the batch's statistics, and to move the averages.

        Returns:
          float [B, T, D], 0 at padded steps.

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
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
        """Mean and variance of the real steps of all replicas; moves the averages."""
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
    # Count and total go together: one message between replicas, not two.
    sums = _over_replicas(tf.concat([[count], tf.reduce_sum(x, axis=[0, 1])], axis=0))
    count, total = sums[0], sums[1:]
    mean = tf.math.divide_no_nan(total, count)
    centred = apply_mask(x - mean, mask)        # masked again: padding would be -mean
    squares = _over_replicas(tf.reduce_sum(tf.square(centred), axis=[0, 1]))
    # Without real steps there is no variance; 0 would be a pole where epsilon is 0.
    return count, mean, tf.where(count > 0, tf.math.divide_no_nan(squares, count), 1)


class LayerNorm(tf.Module):
    """Normalises each step over its own features.

    out[b, t] = gamma (x[b, t] - mean) / sqrt(variance + epsilon) + beta      for t < lengths[b]

    and 0 after it; mean and variance are those of the D features of x[b, t]. Vectors x[b], which
    have no time axis and no lengths, likewise.

    Variables: `gamma`, `beta`, float32 [D] (float64 for float64).

    Args:
      input_size: D.
      epsilon: Added to the variance.
      dtype: Of inputs and outputs; statistics of float16 and bfloat16 are taken in float32.

    Source: Ba, Kiros, Hinton. Layer Normalization. 2016.

    >>> norm = seqmask.LayerNorm(2, epsilon=0.0)
    >>> norm(tf.constant([[[1., 3.], [9., 9.]]]), tf.constant([1])).numpy().tolist()
    [[[-1.0, 1.0], [0.0, 0.0]]]
    """

    def __init__(self, input_size: int, *, epsilon: float = 1e-3,
                 dtype: str | tf.DType = 'float32', name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.size('input_size', input_size)
        self.epsilon = checks.positive('epsilon', epsilon, or_zero=True)
        self.dtype = checks.float_dtype('dtype', dtype)
        self.gamma = tf.Variable(tf.ones([input_size], _wide(self.dtype)), name='gamma')
        self.beta = tf.Variable(tf.zeros([input_size], _wide(self.dtype)), name='beta')

    def __call__(self, inputs: TensorLike, lengths: TensorLike | None = None) -> tf.Tensor:
        """Normalises the real steps, or the vectors.

        Args:
          inputs: float [B, T, D], values at padded steps are ignored, NaN included; or float
            [B, D], vectors.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T; None for vectors.

        Returns:
          float [B, T, D], 0 at padded steps; or float [B, D].

        Raises:
          As `BatchNorm`, and ValueError if [B, T, D] come without lengths.
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
