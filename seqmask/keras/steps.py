"""Finds the mask of a Keras layer's inputs, and moves the real steps to the front."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.keras.lost_mask import note_lengths
from seqmask.lengths import sequence_mask
from seqmask.masking import from_ragged


class TakesLengths:
    """Mixin of Keras layers: `layer([inputs, lengths])` is `layer(inputs, lengths=lengths)`.

    So is `layer(ragged)` of a `tf.RaggedTensor` [B, (length), ...], whose lengths it has.
    """

    # Whatever Keras's own layer sets: as of a preview of 3.16, a recurrent one drops its mask.
    supports_masking = property(lambda self: True, lambda self, value: None)

    def __call__(self, inputs: TensorLike, *args, **kwargs) -> typing.Any:
        if isinstance(inputs, tf.RaggedTensor) and kwargs.get('lengths') is None:
            inputs = from_ragged(inputs)
        if isinstance(inputs, (list, tuple)):
            if len(inputs) != 2 or kwargs.get('lengths') is not None:
                raise ValueError(f'{type(self).__name__} takes inputs [B, T, D], or a list of '
                                 f'inputs and lengths [B]; got a list of {len(inputs)}'
                                 + (' and lengths=.' if 'lengths' in kwargs else '.'))
            inputs, kwargs['lengths'] = inputs
        checks.not_ragged('inputs', inputs)
        if kwargs.get('lengths') is not None:
            note_lengths(inputs, self)
        return super().__call__(inputs, *args, **kwargs)


def find_mask(inputs: TensorLike, mask: TensorLike | None,
              lengths: TensorLike | None) -> tf.Tensor | None:
    """The mask given by lengths, else by `mask`, else by the mask that Keras left on the inputs.

    Args:
      inputs: float [B, T, ...].
      mask: bool [B, T], or None.
      lengths: int32 [B], or None.

    Returns:
      bool [B, T], or None if there is no mask.

    Raises:
      TypeError, ValueError: If a dtype or a rank does not fit.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
    """
    if lengths is not None:
        batch, maxlen = tf.unstack(tf.shape(inputs)[:2])
        return sequence_mask(checks.lengths(lengths, batch=batch, maxlen=maxlen), maxlen)
    if mask is None:
        mask = getattr(inputs, '_keras_mask', None)
    return None if mask is None else checks.mask(tf.cast(mask, tf.bool), inputs, 'inputs')


def to_front(inputs: TensorLike,
             mask: TensorLike) -> tuple[tf.Tensor, tf.Tensor, Callable[..., tf.Tensor]]:
    """Moves the real steps to the front, in their order.

    A recurrent layer that skips masked steps, as Keras's do, equals one that runs over the real
    steps alone. Inputs that are right-padded already are returned as they are, at no cost.

    Args:
      inputs: float [B, T, D].
      mask: bool [B, T]. True = real; padding may also be on the left or in between.

    Returns:
      (inputs [B, T, D], lengths int32 [B], function that moves outputs [B, T, H] to the places of
      their inputs).
    """
    lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    scattered = tf.reduce_any(mask != sequence_mask(lengths, tf.shape(mask)[1]))

    def move(values, indices):
        moved = tf.cond(scattered, lambda: tf.gather(values, indices(), batch_dims=1),
                        lambda: values)
        return tf.ensure_shape(moved, values.shape)

    def order():
        return tf.argsort(tf.cast(~mask, tf.int32), axis=1, stable=True)

    return (move(inputs, order), lengths,
            lambda outputs: move(outputs, lambda: tf.argsort(order(), axis=1)))


def leave_mask(outputs: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """Sets the mask on the outputs for the layers above, where Keras itself would drop it."""
    if mask is not None:
        outputs._keras_mask = mask
    return outputs
