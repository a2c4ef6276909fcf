"""Layers in sequence, with their lengths passed along."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.operands import outputs_and_lengths, real_only, real_tokens


class Sequential(tf.Module):
    """A list of layers. Each takes the outputs of the one before it, and their lengths.

    A layer is called as `layer(inputs, lengths)`, and with `training=` if it accepts that. It
    returns outputs of the same lengths; or (outputs, lengths), as `Conv1D` and the pooling
    functions do; or (outputs, final_state), as recurrent layers do, whose state is discarded here.
    Functions count as layers, too.

    Args:
      layers: List of layers.

    Raises:
      TypeError: If one of them cannot be called.

    >>> model = seqmask.Sequential([
    ...     seqmask.Conv1D(1, 8, kernel_size=3, strides=2, seed=0), seqmask.BatchNorm(8),
    ...     seqmask.Activation('relu'), seqmask.GRU(8, 4, seed=0)])
    >>> outputs, lengths = model(tf.ones([2, 5, 1]), tf.constant([5, 2]))
    >>> outputs.shape, lengths.numpy()
    (TensorShape([2, 3, 4]), array([3, 1], dtype=int32))
    """

    def __init__(self, layers: Iterable[Callable[..., typing.Any]], name: str | None = None):
        super().__init__(name=name)
        self.layers = list(layers)
        for layer in self.layers:
            if not callable(layer):
                raise TypeError(f'each of layers must be a layer or a function, got {layer!r}.')

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Runs all layers.

        Args:
          inputs: float [B, T, D]; or tokens [B, T], integers or strings, if the first layer takes
            them. Values at padded steps are ignored, NaN included.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.
          training: Passed to the layers that accept it.

        Returns:
          (outputs float [B, T', ...], 0 at padded steps; lengths int32 [B]).
        """
        outputs = checks.dense('inputs', inputs)
        are_tokens = outputs.shape.rank == 2 and not outputs.dtype.is_floating
        outputs, lengths, _ = (real_tokens if are_tokens else real_only)(outputs, lengths)
        for layer in self.layers:
            outputs, lengths = _call(layer, outputs, lengths, training)
        return outputs, lengths


class Residual(tf.Module):
    """A residual connection around a layer.

    out[b, t] = x[b, t] + layer(x)[b, t] for t < lengths[b];   0 after it

    Args:
      layer: As of `Sequential`; its outputs must have the shape and the lengths of its inputs.
      shortcut: None, or a layer that maps the inputs to the shape of the outputs, such as a
        `Conv1D` with kernel_size=1.

    Source: He et al. Deep Residual Learning for Image Recognition. CVPR 2016.

    >>> block = seqmask.Residual(seqmask.Sequential([seqmask.Activation('relu')]))
    >>> outputs, lengths = block(tf.constant([[[2.], [9.]]]), tf.constant([1]))
    >>> outputs.numpy().ravel()
    array([4., 0.], dtype=float32)
    """

    def __init__(self, layer: Callable[..., typing.Any],
                 shortcut: Callable[..., typing.Any] | None = None, name: str | None = None):
        super().__init__(name=name)
        self.layer = layer
        self.shortcut = shortcut

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """Adds the layer's outputs to the real steps.

        Args and returns: As of `Sequential`.

        Raises:
          ValueError: If the shape of the layer's outputs is not that of the inputs (or shortcut).
          tf.errors.InvalidArgumentError: If the layer changes the lengths.
        """
        inputs, lengths, _ = real_only(inputs, lengths)
        added, added_lengths = _call(self.layer, inputs, lengths, training)
        if self.shortcut is not None:
            inputs, lengths = _call(self.shortcut, inputs, lengths, training)
        added = checks.same_shape('the outputs of the layer', added, 'its inputs', inputs)
        unchanged = checks.require(
            tf.reduce_all(added_lengths == lengths),
            'a residual layer must not change the lengths; after and before they are',
            added_lengths, lengths)
        return checks.after([unchanged], inputs + added), lengths


def _call(layer, inputs, lengths, training):
    """(outputs, lengths) of a layer, whatever it returns besides its outputs."""
    takes_training = 'training' in inspect.signature(layer).parameters
    result = layer(inputs, lengths, training=training) if takes_training else layer(inputs, lengths)
    return outputs_and_lengths(result, lengths)
