"""Peers in TensorFlow: seqmask's layers, Keras's layers, and the matrix products alone."""

import numpy as np
import tensorflow as tf

import seqmask
from peers import layouts
from seqmask import __version__


def start(threads):
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return {'seqmask': __version__, 'TensorFlow': tf.__version__,
            'Keras': tf.keras.__version__}


def build(peer, data, settings):
    return (products if peer == 'gemm_floor' else layer)(peer, data, settings['cell'])


def layer(peer, data, cell):
    inputs, lengths, targets = (tf.constant(data[name]) for name in
                                ('inputs', 'lengths', 'targets'))
    maxlen = inputs.shape[1]
    make = seqmask_layer if peer.startswith('seqmask') else keras_layer
    call, weights = make(peer, cell, [data['kernel'], data['recurrent_kernel'], data['bias']])

    @tf.function(jit_compile=True if peer == 'keras_xla' else None)
    def forward(inputs, lengths):
        return call(inputs, lengths)

    @tf.function(jit_compile=True if peer == 'keras_xla' else None)
    def train(inputs, lengths, targets):
        with tf.GradientTape() as tape:
            loss = seqmask.losses.squared_error(
                predictions=call(inputs, lengths), labels=targets,
                mask=tf.sequence_mask(lengths, maxlen)).mean()
        return loss, tape.gradient(loss, weights)

    real = layouts.sequence_mask(data['lengths'], maxlen)
    loss, gradients = train(inputs, lengths, targets)
    values = layouts.named(forward(inputs, lengths).numpy()[real], loss.numpy(),
                           [gradient.numpy() for gradient in gradients])
    return {'forward': finished(lambda: forward(inputs, lengths)),
            'train': finished(lambda: train(inputs, lengths, targets))}, values, {}


def seqmask_layer(peer, cell, values):
    input_size, hidden_size = len(values[0]), len(values[1])
    ours = {'lstm': seqmask.LSTM, 'gru': seqmask.GRU}[cell](
        input_size, hidden_size, implementation=peer.split('_')[1], seed=0)
    weights = [ours.kernel, ours.recurrent_kernel, ours.bias]
    for weight, value in zip(weights, values):
        weight.assign(value)
    return lambda inputs, lengths: ours(inputs, lengths)[0], weights


def keras_layer(peer, cell, values):
    input_size, hidden_size = len(values[0]), len(values[1])
    make = {'lstm': tf.keras.layers.LSTM, 'gru': tf.keras.layers.GRU}[cell]
    theirs = make(hidden_size, return_sequences=True)
    theirs.build([None, None, input_size])
    theirs.set_weights(values)

    def call(inputs, lengths):
        return theirs(inputs, mask=tf.sequence_mask(lengths, inputs.shape[1]))

    return call, [weight.value for weight in theirs.trainable_variables]


def products(peer, data, cell):
    """The matrix products that every implementation needs, each as one large product.

    forward: [N, D + H] [D + H, G H], N = real steps, G = gates;   train: two more of that size
    """
    steps, width = int(data['lengths'].sum()), len(data['kernel']) + len(data['recurrent_kernel'])
    rng = np.random.default_rng(0)
    gates = data['kernel'].shape[1]
    x, W, d = (tf.constant(rng.normal(size=size), tf.float32) for size in
               ([steps, width], [width, gates], [steps, gates]))

    @tf.function
    def forward(x, W):
        return tf.matmul(x, W)

    @tf.function
    def train(x, W, d):
        return (tf.matmul(x, W), tf.matmul(d, W, transpose_b=True),
                tf.matmul(x, d, transpose_a=True))

    return {'forward': finished(lambda: forward(x, W)),
            'train': finished(lambda: train(x, W, d))}, {}, {}


def finished(call):
    """The call, made to return only when its work is done."""
    def run():
        results = call()
        tf.test.experimental.sync_devices()
        return results
    return run
