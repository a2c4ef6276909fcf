"""Converts layers between Keras and seqmask, weights bit for bit."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from seqmask import layers


def from_keras(layer: tf.keras.layers.Layer) -> tf.Module:
    """The seqmask layer that computes what a Keras layer does, with the same weights.

    Args:
      layer: Built Keras layer: LSTM, GRU, Bidirectional of these (merge_mode 'concat'), Conv1D,
        BatchNormalization, Dense or Embedding, or one of `seqmask.keras`. LSTM and GRU must have
        their default activations, the others none: an activation is a separate layer in seqmask.

    Returns:
      `LSTM`, `GRU`, `Bidirectional`, `Conv1D`, `BatchNorm`, `Dense` or `Embedding`.

    Raises:
      TypeError: If seqmask has no such layer.
      ValueError: If the layer is not built, or has an option that seqmask's layer lacks.

    >>> theirs = tf.keras.layers.GRU(3, return_sequences=True)
    >>> inputs = tf.ones([1, 2, 4])
    >>> outputs = theirs(inputs)
    >>> ours = seqmask.keras.from_keras(theirs)
    >>> bool(tf.reduce_all(tf.abs(ours(inputs, tf.constant([2]))[0] - outputs) < 1e-6))
    True
    """
    if not layer.built:
        raise ValueError(f'the layer must be built, so that it has weights: call {layer.name!r} on '
                         f'some inputs first.')
    return _convert(layer, _FROM_KERAS, 'seqmask')


def to_keras(layer: tf.Module) -> tf.keras.layers.Layer:
    """The Keras layer that computes what a seqmask layer does, with the same weights.

    It is built, returns the outputs of all steps, and does not need seqmask. Given a mask, Keras's
    recurrent layers repeat the last real output in the padding.

    Args:
      layer: `LSTM`, `GRU`, `Bidirectional` of these, `Conv1D`, `BatchNorm`, `Dense` or `Embedding`.

    Returns:
      Keras layer.

    Raises:
      TypeError: If Keras has no such layer.
      ValueError: If it has an option that Keras's layer lacks.

    >>> theirs = seqmask.keras.to_keras(seqmask.Dense(2, 3, seed=0))
    >>> theirs(tf.zeros([1, 5, 2])).shape
    TensorShape([1, 5, 3])
    """
    return _convert(layer, _TO_KERAS, 'Keras')


def _convert(layer, converters, library):
    for kind, convert in converters.items():
        if isinstance(layer, kind):
            return convert(layer)
    raise TypeError(f'there is no {library} layer for {type(layer).__name__}; there is one for '
                    f'{", ".join(kind.__name__ for kind in converters)}.')


def assign_weights(layer: tf.Module, **weights) -> tf.Module:
    """Assigns arrays to the variables of a layer by name, None to leave one; returns the layer."""
    for name, value in weights.items():
        if value is not None:
            variable = getattr(layer, name)
            variable.assign(tf.cast(tf.convert_to_tensor(value), variable.dtype))
    return layer


def _require(layer, **options):
    for name, required in options.items():
        value = getattr(layer, name)
        value = getattr(value, '__name__', value)
        if value != required:
            raise ValueError(f'{type(layer).__name__} {layer.name!r} must have {name}={required!r} '
                             f'to become a layer of seqmask, got {value!r}.')


def _recurrent(layer, backwards=False):
    _require(layer, activation='tanh', recurrent_activation='sigmoid', go_backwards=backwards)
    is_lstm = isinstance(layer, tf.keras.layers.LSTM)
    kernel, recurrent_kernel, *bias = layer.get_weights()
    options = {} if is_lstm else {'reset_after': layer.reset_after}
    ours = (layers.LSTM if is_lstm else layers.GRU)(
        kernel.shape[0], layer.units, dropout=layer.dropout, dtype=layer.variable_dtype,
        recurrent_dropout=layer.recurrent_dropout, **options)
    return assign_weights(ours, kernel=kernel, recurrent_kernel=recurrent_kernel,
                          bias=bias[0] if bias else np.zeros(ours.bias.shape))


def _bidirectional(layer):
    _require(layer, merge_mode='concat')
    return layers.Bidirectional(_recurrent(layer.forward_layer),
                                _recurrent(layer.backward_layer, backwards=True))


def _convolution(layer):
    _require(layer, activation='linear', data_format='channels_last')
    kernel, *bias = layer.get_weights()
    ours = layers.Conv1D(
        kernel.shape[1] * layer.groups, layer.filters, layer.kernel_size[0],
        strides=layer.strides[0], padding=layer.padding, dilation=layer.dilation_rate[0],
        groups=layer.groups, use_bias=layer.use_bias, dtype=layer.variable_dtype)
    return assign_weights(ours, kernel=kernel, bias=bias[0] if bias else None)


def _batch_norm(layer):
    _require(layer, renorm=False)
    size = layer.moving_mean.shape[0]
    ours = layers.BatchNorm(size, momentum=layer.momentum, epsilon=layer.epsilon)
    return assign_weights(ours, gamma=layer.gamma if layer.scale else np.ones(size),
                          beta=layer.beta if layer.center else np.zeros(size),
                          moving_mean=layer.moving_mean, moving_variance=layer.moving_variance,
                          averaged=1 / (1 - layer.momentum))


def _dense(layer):
    _require(layer, activation='linear')
    kernel, *bias = layer.get_weights()
    ours = layers.Dense(*kernel.shape, dtype=layer.variable_dtype)
    return assign_weights(ours, kernel=kernel,
                          bias=bias[0] if bias else np.zeros(kernel.shape[1]))


def _embedding(layer):
    embeddings, = layer.get_weights()
    ours = layers.Embedding(*embeddings.shape, dtype=layer.variable_dtype)
    return assign_weights(ours, embeddings=embeddings)


def _keras_recurrent(layer, backwards=False):
    is_lstm = isinstance(layer, layers.LSTM)
    options = {} if is_lstm else {'reset_after': layer.reset_after}
    theirs = (tf.keras.layers.LSTM if is_lstm else tf.keras.layers.GRU)(
        layer.hidden_size, dropout=layer.dropout, recurrent_dropout=layer.recurrent_dropout,
        return_sequences=True, go_backwards=backwards, dtype=layer.dtype.name, **options)
    return _build(theirs, layer.input_size, layer.kernel, layer.recurrent_kernel, layer.bias)


def _keras_bidirectional(layer):
    forward, backward = _keras_recurrent(layer.forward), _keras_recurrent(layer.backward, True)
    theirs = tf.keras.layers.Bidirectional(forward, backward_layer=backward)
    return _build(theirs, layer.forward.input_size, *forward.get_weights(),
                  *backward.get_weights())


def _keras_convolution(layer):
    theirs = tf.keras.layers.Conv1D(
        layer.filters, layer.kernel_size, strides=layer.strides, padding=layer.padding,
        dilation_rate=layer.dilation, groups=layer.groups, use_bias=layer.bias is not None,
        dtype=layer.dtype.name)
    return _build(theirs, layer.input_size, layer.kernel,
                  *([] if layer.bias is None else [layer.bias]))


def _keras_batch_norm(layer):
    theirs = tf.keras.layers.BatchNormalization(momentum=layer.momentum, epsilon=layer.epsilon)
    return _build(theirs, layer.input_size, layer.gamma, layer.beta, layer.moving_mean,
                  layer.moving_variance)


def _keras_dense(layer):
    theirs = tf.keras.layers.Dense(layer.output_size, dtype=layer.dtype.name)
    return _build(theirs, layer.input_size, layer.kernel, layer.bias)


def _keras_embedding(layer):
    theirs = tf.keras.layers.Embedding(layer.num_tokens, layer.output_size, dtype=layer.dtype.name)
    theirs.build()
    theirs.set_weights([layer.embeddings.numpy()])
    return theirs


def _build(theirs, input_size, *weights):
    theirs.build([None, None, input_size])
    theirs.set_weights([np.asarray(weight) for weight in weights])
    return theirs


_FROM_KERAS = {tf.keras.layers.LSTM: _recurrent, tf.keras.layers.GRU: _recurrent,
               tf.keras.layers.Bidirectional: _bidirectional, tf.keras.layers.Conv1D: _convolution,
               tf.keras.layers.BatchNormalization: _batch_norm, tf.keras.layers.Dense: _dense,
               tf.keras.layers.Embedding: _embedding}
_TO_KERAS = {layers.LSTM: _keras_recurrent, layers.GRU: _keras_recurrent,
             layers.Bidirectional: _keras_bidirectional, layers.Conv1D: _keras_convolution,
             layers.BatchNorm: _keras_batch_norm, layers.Dense: _keras_dense,
             layers.Embedding: _keras_embedding}
