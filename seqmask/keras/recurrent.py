"""GRU, LSTM and Bidirectional, as Keras layers."""

from __future__ import annotations

import functools
import typing

import tensorflow as tf

from seqmask import layers
from seqmask.checks import TensorLike
from seqmask.keras.steps import TakesLengths, find_mask, leave_mask, to_front
from seqmask.masking import apply_mask


class _Recurrent(TakesLengths):
    """Shared by GRU and LSTM: seqmask's loop over time replaces Keras's."""

    def call(self, sequences: TensorLike, initial_state: typing.Any = None,
             mask: TensorLike | None = None, training: bool = False,
             lengths: TensorLike | None = None) -> typing.Any:
        mask = find_mask(sequences, mask, lengths)
        results = super().call(sequences, initial_state=initial_state, mask=mask,
                               training=training)
        if self.return_sequences and mask is not None:
            leave_mask(results[0] if self.return_state else results, self._output_mask(mask))
        return results

    def compute_mask(self, inputs: TensorLike, mask: TensorLike | None) -> typing.Any:
        """The mask of the outputs, in their order: with `go_backwards`, last step first."""
        masks = super().compute_mask(inputs, mask)
        flat = masks if isinstance(masks, list) else [masks]
        flat = [None if part is None else self._output_mask(part) for part in flat]
        return flat if isinstance(masks, list) else flat[0]

    def _output_mask(self, mask):
        return tf.keras.ops.flip(mask, axis=1) if self.go_backwards else mask

    def inner_loop(self, sequences: TensorLike, initial_state: typing.Any,
                   mask: TensorLike | None,
                   training: bool = False) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """Keras's hook for the loop: (last output [B, H], outputs [B, T, H], states)."""
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        standard = (self.activation is tf.keras.activations.tanh
                    and self.recurrent_activation is tf.keras.activations.sigmoid)
        # implementation=1 draws a dropout mask per gate, so the gates' inputs differ.
        per_gate = self.dropout and self.cell.implementation == 1
        if not standard or training and (self.recurrent_dropout or per_gate):
            return self._keras_loop(sequences, initial_state, mask, training)
        if mask is None:
            batch, maxlen = tf.unstack(tf.shape(sequences)[:2])
            lengths, move_back = tf.fill([batch], maxlen), tf.identity
        else:
            sequences, lengths, move_back = to_front(sequences, mask)
        if training and self.dropout:
            sequences *= self.cell.get_dropout_mask(sequences[:, 0])[:, None]
        layer = self._layer(sequences.shape[-1])
        outputs, state = layer(sequences, lengths, initial_state, reverse=self.go_backwards)
        outputs, states = move_back(outputs), tf.nest.flatten(state)
        # Keras's backward layers return their outputs in the order of computation.
        outputs = tf.reverse(outputs, [1]) if self.go_backwards else outputs
        return states[0], outputs, states

    def _keras_loop(self, sequences, initial_state, mask, training):
        # Keras's LSTM and GRU would try cuDNN first and fail on the masks of implementation=1.
        loop = functools.partial(tf.keras.layers.RNN.inner_loop, self)
        if mask is None:
            return loop(sequences, initial_state, mask, training)
        sequences = apply_mask(sequences, mask)     # Keras would multiply NaN by 0
        last, outputs, states = loop(sequences, initial_state, mask, training)
        if self.return_sequences:
            outputs = apply_mask(outputs, self._output_mask(mask))
        return last, outputs, states

    def _weights(self, bias_shape):
        dtype = self.compute_dtype
        weights = [tf.cast(tf.convert_to_tensor(weight), dtype)
                   for weight in (self.cell.kernel, self.cell.recurrent_kernel)]
        bias = (tf.cast(tf.convert_to_tensor(self.cell.bias), dtype) if self.use_bias
                else tf.zeros(bias_shape, dtype))
        return [*weights, bias]


@tf.keras.utils.register_keras_serializable('seqmask')
class LSTM(_Recurrent, tf.keras.layers.LSTM):
    """`keras.layers.LSTM` that visits real steps only; outputs 0 at padded steps.

    Arguments, weights and results are Keras's. `lengths`, int32 [B], may be passed in a call, or as
    `layer([inputs, lengths])`; otherwise the mask says which steps are real, on either side and
    with holes. Activations other than tanh and sigmoid, and in training `recurrent_dropout` and
    `dropout` with `implementation=1`, run in Keras's own loop; everything else in `seqmask.LSTM`.

    With `go_backwards` the outputs are in the order of computation, last step first, as in Keras.
    So is their mask, which Keras leaves in the order of the inputs: padding on the right becomes
    padding on the left.

    >>> layer = seqmask.keras.LSTM(3, return_sequences=True)
    >>> outputs = layer(tf.ones([2, 4, 2]), lengths=tf.constant([4, 1]))
    >>> outputs.shape, bool(tf.reduce_all(outputs[1, 1:] == 0))
    (TensorShape([2, 4, 3]), True)
    """

    def _layer(self, input_size):
        return layers.LSTM(input_size, self.units, dtype=self.compute_dtype,
                           weights=self._weights([4 * self.units]))


@tf.keras.utils.register_keras_serializable('seqmask')
class GRU(_Recurrent, tf.keras.layers.GRU):
    """`keras.layers.GRU` that visits real steps only; outputs 0 at padded steps.

    See `LSTM`.

    >>> layer = seqmask.keras.GRU(3)
    >>> layer([tf.ones([2, 4, 2]), tf.constant([4, 1])]).shape
    TensorShape([2, 3])
    """

    def _layer(self, input_size):
        shape = ([2] if self.reset_after else []) + [3 * self.units]
        return layers.GRU(input_size, self.units, reset_after=self.reset_after,
                          dtype=self.compute_dtype, weights=self._weights(shape))


@tf.keras.utils.register_keras_serializable('seqmask')
class Bidirectional(TakesLengths, tf.keras.layers.Bidirectional):
    """`keras.layers.Bidirectional` that takes lengths; outputs 0 at padded steps.

    Arguments, weights and results are Keras's. It can also wrap Keras's own layers.

    >>> layer = seqmask.keras.Bidirectional(seqmask.keras.GRU(3, return_sequences=True))
    >>> outputs = layer(tf.ones([2, 4, 2]), lengths=tf.constant([4, 1]))
    >>> outputs.shape, bool(tf.reduce_all(outputs[1, 1:] == 0))
    (TensorShape([2, 4, 6]), True)
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        for direction in (self.forward_layer, self.backward_layer):
            direction.supports_masking = True       # or one of Keras's own would warn of its loss

    def call(self, sequences: TensorLike, initial_state: typing.Any = None,
             mask: TensorLike | None = None, training: bool | None = None,
             lengths: TensorLike | None = None) -> typing.Any:
        mask = find_mask(sequences, mask, lengths)
        results = super().call(sequences, initial_state=initial_state, mask=mask,
                               training=training)
        if mask is None or not self.return_sequences:
            return results
        count = 1 if self.merge_mode else 2
        flat = list(results) if isinstance(results, (list, tuple)) else [results]
        flat[:count] = [leave_mask(apply_mask(outputs, mask), mask) for outputs in flat[:count]]
        return tuple(flat) if len(flat) > 1 else flat[0]
