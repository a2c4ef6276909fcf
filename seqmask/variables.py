"""Which variables does a model hold, whatever it is made of?

`tf.Module` does not know Keras layers, and Keras layers do not know `tf.Module`: each silently
omits the other's variables from its own.
"""

from __future__ import annotations

import collections

import tensorflow as tf


def model_variables(model: tf.Module | tf.keras.layers.Layer) -> list[tf.Variable]:
    """All variables of a model: of modules in Keras layers, and of Keras layers in modules.

    They are found in attributes, and in lists, tuples and dicts of attributes, each once; those of
    `model.variables` come first, in its order. Keras variables are returned as the TensorFlow
    variables that they hold.

    Args:
      model: `tf.Module`, or Keras layer or model.

    Raises:
      ValueError: If a Keras layer has no variables yet.

    >>> model = tf.Module()
    >>> model.layer = tf.keras.layers.Dense(2)
    >>> model.layer.build([None, 3])
    >>> len(model.variables), len(seqmask.training.model_variables(model))
    (0, 2)
    """
    return [_unwrap(variable) for variable in _native_variables(model)]


def trainable_variables(model: tf.Module | tf.keras.layers.Layer) -> list[tf.Variable]:
    """The trainable ones among `model_variables`, for an optimizer to be built with.

    A Keras layer with `trainable = False` contributes none. Keras's constraints do not apply, and
    its regularizers are only in a loss that adds `layer.losses`.

    Args and errors: As of `model_variables`.
    """
    return [_unwrap(variable) for variable in _native_variables(model, trained=True)]


def model_parts(model: tf.Module | tf.keras.layers.Layer, *,
                trained: bool = False) -> list[tf.Module | tf.keras.layers.Layer | tf.Variable]:
    """The model itself, and all modules, Keras layers and variables in it, each once.

    Args:
      model: `tf.Module`, or Keras layer or model.
      trained: Whether to leave out the contents of Keras layers with `trainable = False`.
    """
    found, seen, queue = [], set(), collections.deque([model])
    while queue:
        thing = queue.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (tf.Variable, tf.keras.Variable)):
            found.append(thing)
        elif isinstance(thing, (tf.Module, tf.keras.layers.Layer)):
            if trained and isinstance(thing, tf.keras.layers.Layer) and not thing.trainable:
                continue
            found.append(thing)
            queue.extend(value for name, value in sorted(vars(thing).items())
                         if not name.startswith('_self_'))      # TensorFlow's own bookkeeping
        elif isinstance(thing, dict):
            queue.extend(thing.values())
        elif isinstance(thing, (list, tuple)):
            queue.extend(thing)
    return found


def untracked(model: tf.Module | tf.keras.layers.Layer) -> dict[str, list]:
    """Variables that `tf.train.Checkpoint` and SavedModel may miss, to be saved with the model.

    Keras hides from them the contents of lists and dicts in its layers.

    Returns:
      dict of name to variables; empty for a model without Keras layers.
    """
    has_keras = any(isinstance(part, tf.keras.layers.Layer) for part in model_parts(model))
    return {'variables': _native_variables(model)} if has_keras else {}


def _native_variables(model, trained=False):
    """Variables as the model holds them: a Keras variable is not unwrapped."""
    parts, found = model_parts(model, trained=trained), {}
    for part in parts:
        if isinstance(part, tf.keras.layers.Layer):
            _require_built(part)
        if isinstance(part, (tf.Variable, tf.keras.Variable)):
            own = [part] if part.trainable or not trained else []
        else:
            own = part.trainable_variables if trained else part.variables
        for variable in own:
            found.setdefault(id(_unwrap(variable)), variable)
    return list(found.values())


def _require_built(layer):
    # A layer that does not override `build` has no variables; one that contains layers may leave
    # them to these.
    makes_none = getattr(type(layer).build, '_is_default', False)
    if not layer.built and not makes_none and not any(
            isinstance(part, tf.keras.layers.Layer) for part in model_parts(layer)[1:]):
        raise ValueError(f'the Keras layer {layer.name!r} has no variables yet, so they would not '
                         f'be trained. Call the model on a batch first, or build the layer.')


def _unwrap(variable):
    return variable if isinstance(variable, tf.Variable) else variable.value
