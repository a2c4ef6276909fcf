"""Convolution over time, as a Keras layer."""

from __future__ import annotations

import tensorflow as tf

from seqmask import kernels, layers
from seqmask.checks import TensorLike
from seqmask.keras.steps import TakesLengths, find_mask, leave_mask
from seqmask.lengths import lengths_from_mask, sequence_mask
from seqmask.masking import apply_mask


@tf.keras.utils.register_keras_serializable('seqmask')
class Conv1D(TakesLengths, tf.keras.layers.Conv1D):
    """`keras.layers.Conv1D` that knows where each sequence ends; outputs 0 at padded steps.

    Arguments and weights are Keras's, and so are the results on a single sequence, except for
    'same' with strides: TensorFlow's zeros move with T, these do not (see `seqmask.Conv1D`).
    Without a mask or lengths it is Keras's layer.

    The mask must be right-padded: a window over a hole is not defined. The outputs carry their own
    mask; `output_lengths(lengths)` are their lengths.

    >>> layer = seqmask.keras.Conv1D(3, kernel_size=2, strides=2, padding='same')
    >>> outputs = layer(tf.ones([2, 4, 2]), lengths=tf.constant([4, 1]))
    >>> outputs.shape, layer.output_lengths(tf.constant([4, 1])).numpy()
    (TensorShape([2, 2, 3]), array([2, 1], dtype=int32))
    """

    def call(self, inputs: TensorLike, mask: TensorLike | None = None,
             lengths: TensorLike | None = None) -> tf.Tensor:
        mask = find_mask(inputs, mask, lengths)
        if mask is None:
            return super().call(inputs)
        if self.data_format != 'channels_last':
            raise ValueError("Conv1D with a mask or lengths needs data_format='channels_last', got "
                             f'{self.data_format!r}.')
        if lengths is None and kernels.inside_xla():
            raise ValueError('a mask cannot be checked under jit_compile=True: pass lengths= to '
                             'Conv1D.')
        lengths = lengths_from_mask(mask) if lengths is None else tf.cast(lengths, tf.int32)
        dtype = self.compute_dtype
        bias = tf.cast(tf.convert_to_tensor(self.bias), dtype) if self.use_bias else None
        conv = layers.Conv1D(
            inputs.shape[-1], self.filters, self.kernel_size[0], strides=self.strides[0],
            padding=self.padding, dilation=self.dilation_rate[0], groups=self.groups,
            use_bias=self.use_bias, dtype=dtype,
            weights=(tf.cast(tf.convert_to_tensor(self.kernel), dtype), bias))
        outputs, lengths = conv(inputs, lengths)
        mask = sequence_mask(lengths, tf.shape(outputs)[1])
        if self.activation is not None:
            outputs = apply_mask(self.activation(outputs), mask)
        return leave_mask(outputs, mask)

    def compute_mask(self, inputs: TensorLike, mask: TensorLike | None = None) -> None:
        """None: the outputs, fewer than the inputs, carry the mask that `call` left on them."""

    def output_lengths(self, lengths: TensorLike) -> tf.Tensor:
        """The lengths of the outputs, int32 [B], for inputs of `lengths`."""
        ops = tf.keras.ops          # also take the symbolic tensors of functional models
        lengths, stride = ops.cast(lengths, 'int32'), self.strides[0]
        if self.padding != 'valid':
            return -(-lengths // stride)
        reach = (self.kernel_size[0] - 1) * self.dilation_rate[0]
        return ops.maximum((lengths - reach - 1) // stride + 1, 0)
