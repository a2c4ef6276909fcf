"""Batch normalisation, as a Keras layer."""

from __future__ import annotations

import tensorflow as tf

from seqmask.checks import TensorLike
from seqmask.keras.steps import TakesLengths, find_mask, leave_mask
from seqmask.layers.normalization import moments
from seqmask.masking import apply_mask


@tf.keras.utils.register_keras_serializable('seqmask')
class BatchNormalization(TakesLengths, tf.keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` over real steps only; outputs 0 at padded steps.

    Arguments and weights are Keras's. Statistics are divided by the number of real steps (Keras
    adds epsilon to it), over all replicas; a batch without real steps leaves the running statistics
    unchanged. Without a mask or lengths it is Keras's layer. The running statistics start at 0 and
    1, as Keras's do; with momentum 0.99, 37% of that remains after 100 steps. `seqmask.BatchNorm`
    corrects for it.

    >>> layer = seqmask.keras.BatchNormalization(epsilon=1e-9)
    >>> outputs = layer(tf.constant([[[1.], [3.], [9.]]]), lengths=tf.constant([2]), training=True)
    >>> outputs.numpy().round(4).ravel()            # mean 2, variance 1
    array([-1.,  1.,  0.], dtype=float32)
    """

    def call(self, inputs: TensorLike, training: bool | None = None,
             mask: TensorLike | None = None,
             lengths: TensorLike | None = None) -> tf.Tensor:
        mask = find_mask(inputs, mask, lengths)
        if mask is None:
            return super().call(inputs, training=training)
        if self.axis not in (-1, len(inputs.shape) - 1) or self.renorm:
            raise ValueError('BatchNormalization with a mask or lengths normalises the last axis, '
                             f'without renorm; got axis {self.axis}, renorm {self.renorm}.')
        x = apply_mask(tf.cast(inputs, self.moving_mean.dtype), mask)
        mean, variance = (tf.convert_to_tensor(moving)
                          for moving in (self.moving_mean, self.moving_variance))
        if training and self.trainable:
            count, *statistics = moments(x, mask)
            for moving, statistic in zip((self.moving_mean, self.moving_variance), statistics):
                updated = self.momentum * moving + (1 - self.momentum) * statistic
                moving.assign(tf.where(count > 0, tf.stop_gradient(updated), moving))
            mean, variance = statistics
        outputs = tf.nn.batch_normalization(
            x, mean, variance, self.beta if self.center else None,
            self.gamma if self.scale else None, self.epsilon)
        return leave_mask(apply_mask(tf.cast(outputs, self.compute_dtype), mask), mask)
