"""Exports a model as a SavedModel or for TensorFlow Lite, to run without seqmask."""

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

    It consists of TensorFlow's own operations, so `tf.saved_model.load` and TensorFlow Serving need
    no seqmask. B and T may vary. Its signatures take keyword arguments only:

      serving_default    inputs float [B, T, D], or tokens [B, T], lengths int32 [B] -> outputs, as
                         of a call
      without_lengths    inputs [B, T, D], zero-padded -> outputs, and the `lengths` found in the
                         features: they end at the last frame that is not all zero, so a real frame
                         of zeros at the end is lost
      step               x_t [B, D], state_0, state_1, ... -> outputs [B, ...], state_0, ...
      initial_state      batch int32, a scalar -> state_0, state_1, ...

    The last two exist for a causal model, `without_lengths` for features only. A vocabulary is part
    of the model; features beside tokens are an argument `features`, at a step `features_t`. An
    `EventDetector` also returns `detected`, bool; a `SequenceToSequence` returns its greedy
    `labels`, `label_lengths` and `log_probability` instead of outputs; a model that returns
    (outputs, lengths) also returns `output_lengths`.

    A Keras model, functional, Sequential or subclassed, has the first signature, under the keys of
    its dict of inputs; or `inputs`, for one; or `inputs` and `lengths`, for two of which the second
    holds one number a sequence, which gives it `without_lengths`, too; or its `keras.Input` names.
    A dict of outputs keeps its keys. A subclassed one is taken to accept any T.

    Args:
      model: Keras model; or `tf.Module` or Keras layer, called as (inputs, lengths), with
        `input_size`, D, as all of `seqmask.models` except `RatingAutoencoder`. A
        `models.SequenceModel` that `streams()` also gets the signatures for streams; its `results`
        defines what is returned.
      path: Folder to write; it must not exist.

    Returns:
      list of the names of the signatures.

    Raises:
      TypeError: If the model has no `input_size` or is no module.
      ValueError: If a Keras model, or a Keras layer in it, has no variables yet.
      FileExistsError: If the folder exists.

    >>> model = seqmask.models.SequenceLabeller(seqmask.models.Encoder(2, hidden_size=4), 3)
    >>> folder = tempfile.mkdtemp() + '/model'
    >>> seqmask.export.save(model, folder)
    ['serving_default', 'without_lengths', 'step', 'initial_state']
    >>> run = tf.saved_model.load(folder).signatures['serving_default']
    >>> run(inputs=tf.ones([1, 5, 2]), lengths=tf.constant([4]))['outputs'].shape
    TensorShape([1, 5, 3])
    """
    if isinstance(model, tf.keras.Model) and getattr(model, 'input_size', None) is None:
        functions = _keras_functions(model)
    else:
        _require_exportable(model)
        functions = {**_batch_functions(model, None, None), **_step_functions(model, None)}
    if os.path.exists(path):
        raise FileExistsError(f'{os.fspath(path)!r} exists. Choose another path.')
    exported = _holder(model)
    exported.functions = functions
    tf.saved_model.save(exported, os.fspath(path), signatures=exported.functions)
    return list(exported.functions)


def to_tflite(model: tf.Module, *, maxlen: int, batch: int = 1) -> bytes:
    """Converts a model for TensorFlow Lite, to its built-in operations only.

    Sizes are fixed: T is maxlen and B is batch; lengths still tell where each sequence ends. The
    signatures are 'serving_default' and, for a causal model, 'step', as of `save`.

    Args:
      model: As of `save`.
      maxlen: int. T; shorter sequences may be padded with any values.
      batch: int. B.

    Returns:
      bytes, for `tf.lite.Interpreter(model_content=...)` or a .tflite file.

    Raises:
      TypeError: If the model has no `input_size` or is no module.
      ValueError: If a size does not fit, or the model reads strings.

    >>> model = seqmask.models.SequenceLabeller(seqmask.models.Encoder(2, hidden_size=4), 3)
    >>> content = seqmask.export.to_tflite(model, maxlen=5)
    >>> type(content)
    <class 'bytes'>
    """
    _require_exportable(model)
    checks.size('maxlen', maxlen), checks.size('batch', batch)
    if any(dtype == tf.string for dtype, _ in _fields(model).values()):
        raise ValueError('TensorFlow Lite has no vocabularies among its built-in operations, and '
                         'this model reads strings. Export it as a SavedModel, or train it on the '
                         'numbers of tokens.')
    with kernels.fixed_shapes():
        functions = {**_batch_functions(model, batch, maxlen), **_step_functions(model, batch)}
        concrete = [functions[name].get_concrete_function()
                    for name in ('serving_default', 'step') if name in functions]
    return tf.lite.TFLiteConverter.from_concrete_functions(concrete, _holder(model)).convert()


def _require_exportable(model):
    if (not isinstance(model, (tf.Module, tf.keras.layers.Layer))
            or getattr(model, 'input_size', None) is None):
        raise TypeError(f'model must be a tf.Module with input_size that is called as '
                        f'(inputs, lengths), got {type(model).__name__}.')


def _holder(model):
    """A module that holds the model; of a Keras model only variables, not calls without lengths."""
    holder = tf.Module()
    holder.held = untracked(model) or {'model': model}
    return holder


def _batch_functions(model, batch, maxlen):
    specs = [tf.TensorSpec([batch, maxlen, *shape], dtype, name)
             for name, (dtype, shape) in _fields(model).items()]

    def run(parts, lengths):
        inputs = parts[0] if len(parts) == 1 else dict(zip(_fields(model), parts))
        outputs, output_lengths = outputs_and_lengths(model(inputs, lengths), lengths)
        results = (model.results(outputs, output_lengths)
                   if isinstance(model, models.SequenceModel) else {'outputs': outputs})
        if output_lengths is not lengths:
            results['output_lengths'] = output_lengths
        return results

    @tf.function(input_signature=[*specs, tf.TensorSpec([batch], tf.int32, 'lengths')])
    def serving_default(*arguments):
        *parts, lengths = arguments
        return run(parts, lengths)

    if not specs[0].dtype.is_floating:          # a token 0 is as real as any other
        return {'serving_default': serving_default}

    @tf.function(input_signature=specs)
    def without_lengths(inputs):
        lengths = lengths_from_features(inputs)
        return {**run([inputs], lengths), 'lengths': lengths}

    return {'serving_default': serving_default, 'without_lengths': without_lengths}


def _fields(model):
    """What a model reads of a batch: dict of name -> (dtype, shape of a step)."""
    return (model.fields if isinstance(model, models.SequenceModel) else
            {'inputs': (tf.float32, (model.input_size,))})


def _step_functions(model, batch):
    if not isinstance(model, models.SequenceModel) or not model.streams():
        return {}
    empty = model.initial_state(0)

    def named(state):
        # What holds nothing, such as the window of a convolution over one step, is no argument:
        # TensorFlow Lite would not take it.
        return {f'state_{k}': part for k, part in enumerate(tf.nest.flatten(state))
                if 0 not in part.shape[1:]}

    specs = {name: tf.TensorSpec([batch, *part.shape[1:]], part.dtype, name)
             for name, part in named(empty).items()}

    fields = _fields(model)
    names = ['x_t' if name == 'inputs' else f'{name}_t' for name in fields]
    of_step = [tf.TensorSpec([batch, *shape], dtype, name)
               for name, (dtype, shape) in zip(names, fields.values())]

    @tf.function(input_signature=[*of_step, *specs.values()])
    def step(*arguments):
        inputs, given = arguments[:len(fields)], dict(zip(specs, arguments[len(fields):]))
        x_t = inputs[0] if len(fields) == 1 else dict(zip(fields, inputs))
        parts = [given.get(f'state_{k}', tf.zeros([tf.shape(inputs[0])[0], *part.shape[1:]],
                                                  part.dtype))
                 for k, part in enumerate(tf.nest.flatten(empty))]
        outputs, state = model.step(x_t, tf.nest.pack_sequence_as(empty, parts))
        return {**model.results(outputs, None), **named(state)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, 'batch')])
    def initial_state(batch):
        return named(model.initial_state(batch))

    return {'step': step, **({'initial_state': initial_state} if specs else {})}


def _keras_functions(model):
    """The signatures of a Keras model, which knows its own inputs."""
    if not model.built:
        raise ValueError(f'the Keras model {model.name!r} has no variables yet. Call it on a batch '
                         f'first.')
    structure = _keras_inputs(model)
    parts = tf.nest.flatten(structure)
    if isinstance(structure, dict):
        names = sorted(structure)               # the order in which they are flattened
    elif len(parts) == 1:
        names = ['inputs']
    elif len(parts) == 2 and parts[1].shape.rank == 1 and parts[1].dtype.is_integer:
        names = ['inputs', 'lengths']
    else:
        names = [part.name for part in parts]

    def run(arguments):
        outputs = model(tf.nest.pack_sequence_as(structure, arguments), training=False)
        if isinstance(outputs, dict):
            return outputs
        outputs = tf.nest.flatten(outputs)
        return (dict(zip(model.output_names, outputs)) if len(outputs) > 1 else
                {'outputs': outputs[0]})

    specs = [tf.TensorSpec(part.shape, part.dtype, name) for part, name in zip(parts, names)]

    @tf.function(input_signature=specs)
    def serving_default(*arguments):
        return run(arguments)

    if names != ['inputs', 'lengths'] or not specs[0].dtype.is_floating:
        return {'serving_default': serving_default}

    @tf.function(input_signature=specs[:1])
    def without_lengths(inputs):
        lengths = lengths_from_features(inputs)
        return {**run([inputs, tf.cast(lengths, specs[1].dtype)]), 'lengths': lengths}

    return {'serving_default': serving_default, 'without_lengths': without_lengths}


def _keras_inputs(model):
    """The `tf.TensorSpec`s of a Keras model's inputs, in its structure."""
    try:
        return tf.nest.map_structure(
            lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype, part.name),
            model.input)
    except (AttributeError, ValueError):        # subclassed: it knows the shapes it was built with
        shapes = model.get_build_config()['input_shape']

    def spec(shape, of_lengths=False):
        sizes = [None, *shape[1:]] if len(shape) < 3 else [None, None, *shape[2:]]
        return tf.TensorSpec(sizes, tf.int32 if of_lengths else model.compute_dtype, 'inputs')

    if isinstance(shapes, dict):
        return {name: spec(shape, len(shape) == 1) for name, shape in shapes.items()}
    if isinstance(shapes[0], (list, tuple)):
        return [spec(shape, len(shape) == 1) for shape in shapes]
    return spec(shapes)
