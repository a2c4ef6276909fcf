"""A Keras model anew, with seqmask's layers in the place of Keras's."""

from __future__ import annotations

import functools
import inspect
import typing

import tensorflow as tf

from seqmask.keras.convolution import Conv1D
from seqmask.keras.normalization import BatchNormalization
from seqmask.keras.pooling import GlobalAveragePooling1D, GlobalMaxPooling1D
from seqmask.keras.recurrent import GRU, LSTM, Bidirectional

LAYERS = {getattr(tf.keras.layers, ours.__name__): ours for ours in (
    LSTM, GRU, Bidirectional, Conv1D, BatchNormalization, GlobalAveragePooling1D,
    GlobalMaxPooling1D)}


def replace_layers(model: tf.keras.Model) -> tf.keras.Model:
    """A new Keras model with each layer that seqmask has in the place of Keras's, same weights.

    Layers inside others are replaced, too: in `Bidirectional` and `TimeDistributed`, in models in
    the model, in layers of your own. Your subclasses of Keras's layers stay what they are. So a
    file of Keras's own layers becomes a model that masks correctly:
    `replace_layers(tf.keras.models.load_model('old.keras'))`.

    The results at real steps remain those of recurrent layers and of pooling by average; those of
    the others change if they saw padding, which is what they are replaced for. The new model is
    not compiled.

    Args:
      model: Built Keras model, functional, Sequential or subclassed; it does not change. A
        subclassed model, or layer, is made anew by `from_config(get_config())`, so one whose
        `__init__` was given arguments needs a `get_config` that returns them.

    Returns:
      Keras model of the same class.

    Raises:
      TypeError: If model is no Keras model.
      ValueError: If it has no variables yet, or cannot be made anew.

    >>> theirs = tf.keras.Sequential([tf.keras.Input([None, 3]), tf.keras.layers.GRU(4)])
    >>> ours = seqmask.keras.replace_layers(theirs)
    >>> type(ours.layers[0]), ours.layers[0].get_weights()[0].shape
    (<class 'seqmask.keras.recurrent.GRU'>, (3, 12))
    """
    if not isinstance(model, tf.keras.Model):
        raise TypeError(f'model must be a Keras model, got {type(model).__name__}. A single layer '
                        f'becomes one of seqmask with from_keras.')
    if not model.built:
        raise ValueError(f'the model must be built, so that it has weights: call {model.name!r} on '
                         f'a batch first.')
    ours = _Anew()(model)
    for theirs, its in zip(*_parts_of_both(model, ours)):
        _require_alike(theirs, its, model)
        if theirs.built and not its.built and not _by_default(type(its).build):
            its.build_from_config(theirs.get_build_config())
        its.built = theirs.built
    both = _parts_of_both(model, ours)          # what `build` has made, too
    for theirs, its in reversed(list(zip(*both))):
        its.trainable = theirs.trainable        # of the layers within it, too: these come later
    ours.set_weights(model.get_weights())
    return ours


class _Anew:
    """Makes layers and models of the same configuration, each once, so that shared ones stay so."""

    def __init__(self):
        self._made = {}         # id -> (layer, anew): the layer, too, or its id might be reused

    def __call__(self, layer: tf.keras.layers.Layer) -> tf.keras.layers.Layer:
        if id(layer) not in self._made:
            self._made[id(layer)] = layer, self._make(layer)
        return self._made[id(layer)][1]

    def _make(self, layer):
        kind = type(layer)
        if kind is tf.keras.layers.Lambda:
            return layer                        # Keras makes none from its configuration
        if isinstance(layer, (tf.keras.Sequential, _functional())):
            return self._clone(layer)
        try:
            anew = LAYERS.get(kind, kind).from_config(_taken_by(kind, _ours_in(layer.get_config())))
        except (NotImplementedError, TypeError, ValueError) as error:
            raise ValueError(
                f'{kind.__name__} {layer.name!r} cannot be made anew by from_config(get_config()): '
                f'define these two, or import its layers from seqmask.keras.') from error
        if not _is_kerass(anew):
            self._replace_attributes(anew)
        return anew

    def _clone(self, model):
        # Keras would also compile the clone, and fail where it does not know a loss by its name.
        compiled, model.compiled = model.compiled, False
        try:
            return tf.keras.models.clone_model(model, clone_function=self)
        finally:
            model.compiled = compiled

    def _replace_attributes(self, layer):
        """Puts layers anew in a new layer's attributes and their lists and dicts, in its order."""
        anew = {id(part): self(part) for part in layer._layers}
        held = {name: value for name, value in vars(layer).items() if name != '_layers'
                and any(id(part) in anew for part in tf.nest.flatten(value))}
        for part in list(layer._layers):
            layer._tracker.untrack(part)
            layer._tracker.track(anew[id(part)])
        for name, value in held.items():
            setattr(layer, name, tf.nest.map_structure(lambda part: anew.get(id(part), part),
                                                       value))


def _taken_by(kind, config):
    """A configuration without what Keras adds to it (name, dtype) and `__init__` does not take."""
    parameters = inspect.signature(kind.__init__).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return config
    return {name: value for name, value in config.items()
            if name in parameters or name not in ('name', 'trainable', 'dtype')}


def _ours_in(config: typing.Any) -> typing.Any:
    """A configuration in which those of layers in the layer are of seqmask's."""
    if isinstance(config, (list, tuple)):
        return type(config)(map(_ours_in, config))
    if not isinstance(config, dict):
        return config
    config = {key: _ours_in(value) for key, value in config.items()}
    ours = LAYERS.get(getattr(tf.keras.layers, str(config.get('class_name')), None))
    if ours and config.get('module') == 'keras.layers':
        config.update(module=ours.__module__, registered_name=f'seqmask>{ours.__name__}')
    return config


def _parts_of_both(theirs, ours):
    """The layers of both models, those within a layer before it; checked to be as many."""
    both = [[part for part in model._flatten_layers()[::-1]
             if not isinstance(part, tf.keras.layers.InputLayer)] for model in (theirs, ours)]
    left = [part.name for part in both[1] if type(part) in LAYERS]
    if left or len(both[0]) != len(both[1]):
        raise ValueError(f'{ours.name!r} makes layers outside its __init__, which cannot be '
                         f'replaced: import them from seqmask.keras.')
    return both


def _require_alike(theirs, ours, model):
    """Raises where a layer has other arguments: of a model's, Keras may record the defaults."""
    theirs, ours = (repr(_ours_in(_without_names(part.get_config()))) if _is_kerass(part) else ''
                    for part in (theirs, ours))
    if theirs != ours:
        raise ValueError(f'{type(model).__name__} {model.name!r} came out with other layers: '
                         f'define get_config, which must return all arguments of its __init__, or '
                         f'import its layers from seqmask.keras.')


def _without_names(config):
    if isinstance(config, (list, tuple)):
        return [_without_names(part) for part in config]
    if not isinstance(config, dict):
        return config
    return {key: _without_names(value) for key, value in config.items()
            if key not in ('name', 'trainable')}


def _is_kerass(layer):
    return (type(layer).__module__.split('.')[0] in ('keras', 'seqmask')
            and not isinstance(layer, tf.keras.Model))


def _by_default(method):
    return getattr(method, '_is_default', False)


@functools.cache
def _functional():
    """Keras's class of functional models, for which it has no public name.

    Not at import: a model of Keras's starts TensorFlow, with its threads and devices.
    """
    return type(tf.keras.Model(*2 * [tf.keras.Input([])]))
