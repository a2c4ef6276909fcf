"""How a model leaves: as a SavedModel or for TensorFlow Lite, to run where there is no seqmask."""

from __future__ import annotations

import os

import tensorflow as tf

from seqmask import checks, kernels, models
from seqmask.lengths import lengths_from_features
from seqmask.operands import outputs_and_lengths
from seqmask.variables import untracked

__all__ = ['save', 'to_tflite']


def save(model: tf.Module, path: checks.PathLike) -> list[str]:
    """Writes a model, its standardizer and threshold included, as a SavedModel.

    It consists of TensorFlow's own operations: `tf.saved_model.load`, TensorFlow Serving and the
    like need no seqmask. B and T are free. Its signatures, all of whose arguments go by keyword:

      serving_default    inputs float [B, T, D], lengths int32 [B] -> outputs, as a call gives them
      without_lengths    inputs [B, T, D], zero-padded -> outputs, and the `lengths` taken from the
                         features: the last frame that is not all zero, so a real frame of zeros at
                         the end is lost
      step               x_t [B, D], state_0, state_1, ... -> outputs [B, ...], state_0, ...
      initial_state      batch int32, a scalar -> state_0, state_1, ...

    The last two are there for a model that sees no steps to come. An `EventDetector` gives
    `detected`, bool, beside its outputs; a model that returns (outputs, lengths) gives
    `output_lengths`.

    Args:
      model: `tf.Module`, or Keras layer or model, called as (inputs, lengths), with `input_size`,
        D; those of `seqmask.models` but the `RatingAutoencoder` are such. A `models.SequenceModel`
        that `streams()` is exported for streams, too, and says what it gives by its `results`.
      path: Folder to write; it must not exist.

    Returns:
      list of the names of the signatures.

    Raises:
      TypeError: If the model is not called so.
      ValueError: If a Keras layer in it has no variables yet.
      FileExistsError: If the folder exists.

    >>> model = seqmask.models.SequenceLabeller(seqmask.models.Encoder(2, hidden_size=4), 3)
    >>> folder = tempfile.mkdtemp() + '/model'
    >>> seqmask.export.save(model, folder)
    ['serving_default', 'without_lengths', 'step', 'initial_state']
    >>> run = tf.saved_model.load(folder).signatures['serving_default']
    >>> run(inputs=tf.ones([1, 5, 2]), lengths=tf.constant([4]))['outputs'].shape
    TensorShape([1, 5, 3])
    """
    _input_size(model)
    if os.path.exists(path):
        raise FileExistsError(f'{os.fspath(path)!r} exists. Choose another path.')
    exported = tf.Module()
    exported.held = _held(model)
    exported.functions = {**_of_batches(model, None, None), **_of_steps(model, None)}
    tf.saved_model.save(exported, os.fspath(path), signatures=exported.functions)
    return list(exported.functions)


def to_tflite(model: tf.Module, *, maxlen: int, batch: int = 1) -> bytes:
    """A model for TensorFlow Lite, of its built-in operations alone.

    Sizes are fixed there: T is maxlen and B is batch; lengths still say where each sequence ends.
    Its signatures are 'serving_default' and 'step' of `save`, the latter where the model has it.

    Args:
      model: As `save` takes it.
      maxlen: int. T; shorter sequences are padded with anything.
      batch: int. B.

    Returns:
      bytes, what `tf.lite.Interpreter(model_content=...)` or a file with the ending .tflite takes.

    Raises:
      TypeError: If the model is not called so.
      ValueError: If a size does not fit.

    >>> model = seqmask.models.SequenceLabeller(seqmask.models.Encoder(2, hidden_size=4), 3)
    >>> content = seqmask.export.to_tflite(model, maxlen=5)
    >>> type(content)
    <class 'bytes'>
    """
    _input_size(model)
    checks.size('maxlen', maxlen), checks.size('batch', batch)
    with kernels.fixed_shapes():
        functions = {**_of_batches(model, batch, maxlen), **_of_steps(model, batch)}
        kept = [functions[name].get_concrete_function()
                for name in ('serving_default', 'step') if name in functions]
    exported = tf.Module()
    exported.held = _held(model)
    return tf.lite.TFLiteConverter.from_concrete_functions(kept, exported).convert()


def _input_size(model):
    size = getattr(model, 'input_size', None)
    if not isinstance(model, (tf.Module, tf.keras.layers.Layer)) or size is None:
        raise TypeError(f'model must be a tf.Module with input_size that is called as '
                        f'(inputs, lengths), got {type(model).__name__}.')
    return size


def _results(model, outputs, lengths):
    if isinstance(model, models.SequenceModel):
        return model.results(outputs, lengths)
    return {'outputs': outputs}


def _held(model):
    """What the functions need: Keras's models would bring calls without lengths along."""
    return untracked(model) or {'model': model}


def _of_batches(model, batch, maxlen):
    inputs = tf.TensorSpec([batch, maxlen, model.input_size], tf.float32, 'inputs')

    def run(inputs, lengths):
        outputs, of_outputs = outputs_and_lengths(model(inputs, lengths), lengths)
        results = _results(model, outputs, of_outputs)
        if of_outputs is not lengths:
            results['output_lengths'] = of_outputs
        return results

    @tf.function(input_signature=[inputs, tf.TensorSpec([batch], tf.int32, 'lengths')])
    def serving_default(inputs, lengths):
        return run(inputs, lengths)

    @tf.function(input_signature=[inputs])
    def without_lengths(inputs):
        lengths = lengths_from_features(inputs)
        return {**run(inputs, lengths), 'lengths': lengths}

    return {'serving_default': serving_default, 'without_lengths': without_lengths}


def _of_steps(model, batch):
    if not isinstance(model, models.SequenceModel) or not model.streams():
        return {}
    empty = model.initial_state(0)

    def named(state):
        return {f'state_{k}': part for k, part in enumerate(tf.nest.flatten(state))}

    specs = {name: tf.TensorSpec([batch, *part.shape[1:]], part.dtype, name)
             for name, part in named(empty).items()}

    x_t = tf.TensorSpec([batch, model.input_size], tf.float32, 'x_t')

    @tf.function(input_signature=[x_t, *specs.values()])
    def step(x_t, *parts):
        outputs, state = model.step(x_t, tf.nest.pack_sequence_as(empty, parts))
        return {**model.results(outputs, None), **named(state)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, 'batch')])
    def initial_state(batch):
        return named(model.initial_state(batch))

    return {'step': step, 'initial_state': initial_state}
