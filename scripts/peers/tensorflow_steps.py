"""One step at a time: seqmask's runner and layer, TensorFlow Lite, Keras's cell, the products."""

import numpy as np
import tensorflow as tf

import seqmask
from peers.tensorflow_layers import start  # noqa: F401


def build(peer, data, settings):
    cell = settings['cell']
    weights = [data[name] for name in ('kernel', 'recurrent_kernel', 'bias')]
    if peer == 'numpy_product':
        return {'step': product(data['inputs'], *weights[:2])}, {}, {}
    make = {'seqmask_runner': on_runner, 'tensorflow_lite': on_runner, 'seqmask_layer': of_layer,
            'keras_cell': of_keras}[peer]
    run = make(peer, cell, data['inputs'], weights)
    return {'step': run}, {'outputs': run()}, {}


def on_runner(peer, cell, inputs, weights):
    runner = seqmask.StepRunner(
        layer(cell, weights), inputs.shape[1],
        implementation='kernel' if peer == 'seqmask_runner' else 'lite')
    steps = list(inputs)

    def run():
        runner.reset()
        for x_t in steps:
            output = runner.step(x_t)
        return output
    return run


def of_layer(peer, cell, inputs, weights):
    ours = layer(cell, weights)
    step, initial = tf.function(ours.step), ours.initial_state(inputs.shape[1])
    return over(inputs, step, initial)


def of_keras(peer, cell, inputs, weights):
    make = {'lstm': tf.keras.layers.LSTMCell, 'gru': tf.keras.layers.GRUCell}[cell]
    theirs = make(len(weights[1]))
    theirs.build([None, len(weights[0])])
    theirs.set_weights(weights)
    zeros = tf.zeros([inputs.shape[1], len(weights[1])])
    return over(inputs, tf.function(lambda x_t, state: theirs(x_t, state)),
                [zeros] * (2 if cell == 'lstm' else 1))


def layer(cell, values):
    made = {'lstm': seqmask.LSTM, 'gru': seqmask.GRU}[cell](len(values[0]), len(values[1]), seed=0)
    for weight, value in zip((made.kernel, made.recurrent_kernel, made.bias), values):
        weight.assign(value)
    return made


def over(inputs, step, initial):
    steps = [tf.constant(x_t) for x_t in inputs]

    def run():
        state = initial
        for x_t in steps:
            output, state = step(x_t, state)
        return output.numpy()
    return run


def product(inputs, W, U):
    """The products that no implementation can do without: x W + h U."""
    steps, h = list(inputs), np.ones([inputs.shape[1], len(U)], np.float32)

    def run():
        for x_t in steps:
            output = x_t @ W + h @ U
        return output
    return run
