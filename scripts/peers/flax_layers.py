"""A peer in Flax: nnx.RNN under jit, which also runs over padded steps."""

import flax
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from peers import layouts


def start(threads):
    # XLA takes as many threads as the process has cores, which the worker has limited.
    return {'Flax': flax.__version__, 'JAX': jax.__version__}


def build(peer, data, settings):
    cell, hidden_size = settings['cell'], len(data['recurrent_kernel'])
    inputs, lengths, targets = (jnp.asarray(data[name]) for name in
                                ('inputs', 'lengths', 'targets'))
    # Needs no random numbers: the initial carry is passed.
    graph, weights = nnx.split(nnx.RNN(make_cell(cell, data), rngs=False))

    def run(weights, inputs, lengths):
        zeros = jnp.zeros([len(inputs), hidden_size], inputs.dtype)
        return nnx.merge(graph, weights)(
            inputs, initial_carry=(zeros, zeros) if cell == 'lstm' else zeros,
            seq_lengths=lengths)

    def error(weights, inputs, lengths, targets):
        real = jnp.arange(inputs.shape[1]) < lengths[:, None]
        errors = jnp.where(real[:, :, None],
                           (run(weights, inputs, lengths) - targets) ** 2, 0.0)
        return errors.mean(axis=-1).sum() / lengths.sum()

    forward, train = jax.jit(run), jax.jit(jax.value_and_grad(error))
    calls = {
        'forward': lambda: jax.block_until_ready(forward(weights, inputs, lengths)),
        'train': lambda: jax.block_until_ready(train(weights, inputs, lengths, targets)),
    }
    loss, gradients = calls['train']()
    real = layouts.sequence_mask(data['lengths'], inputs.shape[1])
    return calls, layouts.named(np.asarray(calls['forward']())[real], np.asarray(loss),
                                as_in_keras(cell, gradients['cell'])), {}


def make_cell(cell, data):
    """A cell with weights converted from Keras's layout.

    Flax's GRU applies its reset gate after the recurrent product, like Keras's, but that product
    has no bias; it gets one here, to compute the same as the others.
    """
    input_size, hidden_size = len(data['kernel']), len(data['recurrent_kernel'])
    weights = {name: layouts.reorder(cell, data[name]) for name in
               ('kernel', 'recurrent_kernel', 'bias')}
    rngs = nnx.Rngs(0)
    if cell == 'lstm':
        rnn_cell = nnx.OptimizedLSTMCell(input_size, hidden_size, rngs=rngs)
        rnn_cell.dense_h.bias[...] = weights['bias']
    else:
        rnn_cell = nnx.GRUCell(input_size, hidden_size, rngs=rngs)
        rnn_cell.dense_h = nnx.Linear(hidden_size, 3 * hidden_size, rngs=rngs)
        rnn_cell.dense_i.bias[...], rnn_cell.dense_h.bias[...] = weights['bias']
    rnn_cell.dense_i.kernel[...] = weights['kernel']
    rnn_cell.dense_h.kernel[...] = weights['recurrent_kernel']
    return rnn_cell


def as_in_keras(cell, gradients):
    dense_i, dense_h = gradients['dense_i'], gradients['dense_h']
    bias = dense_h['bias'][...]
    if cell == 'gru':
        bias = jnp.stack([dense_i['bias'][...], bias])
    return [layouts.reorder(cell, np.asarray(value)) for value in
            (dense_i['kernel'][...], dense_h['kernel'][...], bias)]
