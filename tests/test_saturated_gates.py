"""Gates that are shut stay shut, over many steps, on both implementations and all targets."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask.kernels import native

STEPS = 20_000
H = 19              # some whole vectors of every target, and a part of one
RUNS = ['graph'] + (native.targets() if native.usable() else [])
every_run = pytest.mark.parametrize('run', RUNS)


@pytest.fixture
def layer(run):
    """Makes a layer on an implementation, or on one of the kernel's targets."""
    def make(cell, **biases):
        made = cell(1, H, implementation='graph' if run == 'graph' else 'kernel', seed=0)
        names = 'ifgo' if cell is seqmask.LSTM else 'zrg'
        gates = [np.full(H, biases.get(name, 0.0), 'float32') for name in names]
        first = np.concatenate(gates)
        made.bias.assign(first if cell is seqmask.LSTM else [first, np.zeros_like(first)])
        return made

    if run != 'graph':
        native.use_target(run)
    yield make
    if run != 'graph':
        native.use_target(native.targets()[0])


def final_state(layer, steps, *states):
    """After `steps` steps of random inputs; traced, because that many are slow one by one."""
    rng = np.random.default_rng(0)
    batch = len(states[0])
    inputs = tf.constant(rng.normal(size=[batch, steps, 1]), tf.float32)
    state = states if len(states) > 1 else states[0]
    return tf.function(layer)(inputs, tf.fill([batch], steps), state)[1]


@every_run
def test_an_open_forget_gate_keeps_the_cell_and_a_shut_input_gate_lets_nothing_in(layer):
    lstm = layer(seqmask.LSTM, f=100, i=-100, g=5)
    start = np.repeat([[0.0], [1.0], [-3.7]], H, axis=1).astype('float32')
    _, cell = final_state(lstm, STEPS, tf.zeros([3, H]), tf.constant(start))
    np.testing.assert_allclose(cell, start, rtol=0, atol=1e-37)


@every_run
def test_a_shut_forget_gate_forgets(layer):
    lstm = layer(seqmask.LSTM, i=-100, f=-100)
    _, cell = final_state(lstm, 1, tf.zeros([1, H]), tf.ones([1, H]))
    assert np.abs(cell).max() < 1e-37


@every_run
def test_an_open_update_gate_keeps_the_state(layer):
    gru = layer(seqmask.GRU, z=30)
    start = np.repeat([[-1.0], [1.0], [0.3]], H, axis=1).astype('float32')
    np.testing.assert_array_equal(final_state(gru, STEPS, tf.constant(start)), start)


@every_run
def test_the_gradient_of_a_gate_that_is_almost_shut_is_right(layer):
    biases = np.linspace(-80, -4, H, dtype='float32')
    lstm = layer(seqmask.LSTM, i=biases, g=2)
    for weight in (lstm.recurrent_kernel, lstm.kernel):
        weight.assign(tf.zeros_like(weight))
    with tf.GradientTape() as tape:
        _, cell = final_state(lstm, 1, tf.zeros([1, H]), tf.zeros([1, H]))
        loss = tf.reduce_sum(cell)
    gate = 1 / (1 + np.exp(-biases.astype('float64')))
    np.testing.assert_allclose(cell[0], gate * np.tanh(2), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, lstm.bias)[:H], gate * (1 - gate) * np.tanh(2),
                               rtol=1e-6)
