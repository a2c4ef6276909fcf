"""Where in a model did the mask end?"""

from __future__ import annotations

import collections
import re

import tensorflow as tf

# These know their inputs' shape, not their values, which alone carry padding along.
SHAPES = {'Shape', 'ShapeN', 'Size', 'Rank', 'ZerosLike', 'OnesLike'}


def note_lengths(inputs: tf.Tensor, layer: tf.keras.layers.Layer) -> None:
    """Notes on a tensor that a layer got its lengths, as Keras notes a mask on its layers' outputs.

    Args:
      inputs: Tensor of a graph; on any other nothing is noted.
      layer: The layer that gets them.
    """
    if isinstance(inputs, tf.Tensor) and not tf.executing_eagerly():
        inputs._lengths_go_to = layer.name


def where_mask_ended(outputs: tf.Tensor) -> str | None:
    """The name of the layer that got a mask and left none, on the way to outputs without a mask.

    Masks are attributes of tensors, so they are found by going back through the graph in which the
    outputs are computed; an operation's scope is the name of its layer.

    Args:
      outputs: float [B, T, ...], without a mask.

    Returns:
      The name of the last such layer; None where no mask or lengths of T steps came in, and in
      eager execution, which has no graph.
    """
    if tf.executing_eagerly():
        return None
    queue, seen = collections.deque([outputs.op]), set()
    while queue:
        op = queue.popleft()
        if op.name in seen or op.type in SHAPES:
            continue
        seen.add(op.name)
        for tensor in op.inputs:
            layer = getattr(tensor, '_lengths_go_to', None)
            if layer is None and getattr(tensor, '_keras_mask', None) is None:
                queue.append(tensor.op)
            elif tensor.shape[1:2].is_compatible_with(outputs.shape[1:2]):
                return layer or _layer_of(op, tensor.op)
    return None


def _layer_of(op, below):
    """The layer around an operation that is not around the one below it."""
    scopes, others = op.name.split('/')[:-1], below.name.split('/')[:-1]
    own = [scope for depth, scope in enumerate(scopes) if scope != (others[depth:] or [''])[0]]
    # Keras opens a layer's scope a second time to call it, so TensorFlow numbers it.
    return re.sub(r'_\d+$', '', own[0]) if own else op.name
