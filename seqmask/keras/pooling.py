"""Pooling over time, as Keras layers."""

from __future__ import annotations

import tensorflow as tf

from seqmask import layers
from seqmask.checks import TensorLike
from seqmask.keras.steps import TakesLengths, find_mask, to_front


class _Pooling(TakesLengths):
    """Shared by both; a subclass sets `_pool` to seqmask's function."""

    def call(self, inputs: TensorLike, mask: TensorLike | None = None,
             lengths: TensorLike | None = None) -> tf.Tensor:
        mask = find_mask(inputs, mask, lengths)
        if mask is None:
            return super().call(inputs)
        if self.data_format != 'channels_last':
            raise ValueError(f'{type(self).__name__} with a mask or lengths needs '
                             f"data_format='channels_last', got {self.data_format!r}.")
        inputs, lengths, _ = to_front(inputs, mask)
        outputs = self._pool(inputs, lengths)
        return outputs[:, None] if self.keepdims else outputs

    def compute_mask(self, inputs: TensorLike, mask: TensorLike | None = None) -> None:
        """None: the outputs have no time axis to mask."""


@tf.keras.utils.register_keras_serializable('seqmask')
class GlobalAveragePooling1D(_Pooling, tf.keras.layers.GlobalAveragePooling1D):
    """`keras.layers.GlobalAveragePooling1D` over real steps; 0 where there is none (Keras: NaN).

    >>> layer = seqmask.keras.GlobalAveragePooling1D()
    >>> layer(tf.constant([[[1.], [3.], [9.]]]), lengths=tf.constant([2])).numpy()
    array([[2.]], dtype=float32)
    """

    _pool = staticmethod(layers.mean_pool)


@tf.keras.utils.register_keras_serializable('seqmask')
class GlobalMaxPooling1D(_Pooling, tf.keras.layers.GlobalMaxPooling1D):
    """`keras.layers.GlobalMaxPooling1D` over real steps (Keras's takes no mask).

    >>> layer = seqmask.keras.GlobalMaxPooling1D()
    >>> layer(tf.constant([[[-1.], [-3.], [0.]]]), lengths=tf.constant([2])).numpy()
    array([[-1.]], dtype=float32)
    """

    _pool = staticmethod(layers.max_pool)
