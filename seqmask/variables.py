"""Which variables does a model hold, whatever it is made of?

`tf.Module` knows nothing of Keras's layers, and these know nothing of `tf.Module`: each leaves the
variables of the other out of its own, without a word.
"""

from __future__ import annotations

import collections

import tensorflow as tf


def model_variables(model: tf.Module | tf.keras.layers.Layer) -> list[tf.Variable]:
    """All variables of a model: of modules in Keras layers, and of Keras layers in modules.

    They are found in attributes, and in lists, tuples and dicts there, each of them once; those
    that `model.variables` lists come first, in its order. Keras's variables are given as the
    TensorFlow variables that they hold.

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
    return list({id(v): v for v in map(_inner, _held(model))}.values())


def trainable_variables(model: tf.Module | tf.keras.layers.Layer) -> list[tf.Variable]:
    """Those of `model_variables` that are trained: what an optimizer is to be built with.

    Nothing inside a Keras layer with `trainable = False` is. Keras's constraints do not apply, and
    its regularizers are in no loss but one that adds `layer.losses`.

    Args and errors: As of `model_variables`.
    """
    return list({id(v): v for v in map(_inner, _held(model, trained=True))}.values())


def model_parts(model: tf.Module | tf.keras.layers.Layer, *,
                trained: bool = False) -> list[tf.Module | tf.keras.layers.Layer | tf.Variable]:
    """The model itself, and all modules, Keras layers and variables in it, each once.

    Args:
      model: `tf.Module`, or Keras layer or model.
      trained: Whether to leave out what is inside a Keras layer with `trainable = False`.
    """
    found, seen, waiting = [], set(), collections.deque([model])
    while waiting:
        thing = waiting.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (tf.Variable, tf.keras.Variable)):
            found.append(thing)
        elif isinstance(thing, (tf.Module, tf.keras.layers.Layer)):
            if trained and isinstance(thing, tf.keras.layers.Layer) and not thing.trainable:
                continue
            found.append(thing)
            waiting.extend(value for name, value in sorted(vars(thing).items())
                           if not name.startswith('_self_'))        # TensorFlow's own notes
        elif isinstance(thing, dict):
            waiting.extend(thing.values())
        elif isinstance(thing, (list, tuple)):
            waiting.extend(thing)
    return found


def untracked(model: tf.Module | tf.keras.layers.Layer) -> dict[str, list]:
    """What `tf.train.Checkpoint` and SavedModel may miss, to be saved beside the model.

    Keras hides what stands in lists and dicts of its layers from them.

    Returns:
      dict of name to variables; empty for a model without Keras layers.
    """
    has_keras = any(isinstance(part, tf.keras.layers.Layer) for part in model_parts(model))
    return {'variables': _held(model)} if has_keras else {}


def _held(model, trained=False):
    """Variables as they are held: Keras's as Keras's own."""
    parts, found = model_parts(model, trained=trained), {}
    for part in parts:
        if isinstance(part, tf.keras.layers.Layer):
            _require_built(part)
        if isinstance(part, (tf.Variable, tf.keras.Variable)):
            own = [part] if part.trainable or not trained else []
        else:
            own = part.trainable_variables if trained else part.variables
        found.update((id(_inner(variable)), variable) for variable in own
                     if id(_inner(variable)) not in found)
    return list(found.values())


def _require_built(layer):
    # A layer without a `build` of its own has no variables; one with layers inside leaves them to
    # these.
    makes_none = getattr(type(layer).build, '_is_default', False)
    if not layer.built and not makes_none and not any(
            isinstance(part, tf.keras.layers.Layer) for part in model_parts(layer)[1:]):
        raise ValueError(f'the Keras layer {layer.name!r} has no variables yet, so they would not '
                         f'be trained. Call the model on a batch once, or the build method of the '
                         f'layer, before that.')


def _inner(variable):
    return variable if isinstance(variable, tf.Variable) else variable.value
