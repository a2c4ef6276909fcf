"""Gates that are shut stay shut, over many steps, on both implementations and all targets."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask.kernels import native

STEPS = 20_000
H = 19                      # some whole vectors of every target, and a part of one
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


def inputs_of(steps, scale=1.0):
    rng = np.random.default_rng(0)
    return tf.constant(scale * rng.normal(size=[1, steps, 1]), tf.float32)


@every_run
def test_a_forget_gate_that_is_open_keeps_the_cell(layer):
    lstm = layer(seqmask.LSTM, f=100, i=-100)
    state = tf.zeros([1, H]), tf.ones([1, H])
    _, (_, cell) = lstm(inputs_of(STEPS), [STEPS], state)
    np.testing.assert_array_equal(cell, 1)


@every_run
def test_an_input_gate_that_is_shut_lets_nothing_in(layer):
    lstm = layer(seqmask.LSTM, i=-100, f=100, g=5)
    _, (_, cell) = lstm(inputs_of(STEPS), [STEPS])
    assert np.abs(cell).max() < 1e-37


@every_run
def test_a_forget_gate_that_is_shut_forgets(layer):
    lstm = layer(seqmask.LSTM, i=-100, f=-100)
    _, (_, cell) = lstm(inputs_of(1), [1], (tf.zeros([1, H]), tf.ones([1, H])))
    assert np.abs(cell).max() < 1e-37


@every_run
@pytest.mark.parametrize('start', [-1.0, 1.0, 0.3])
def test_an_update_gate_that_is_open_keeps_the_state(layer, start):
    gru = layer(seqmask.GRU, z=30)
    outputs, _ = gru(inputs_of(STEPS), [STEPS], tf.fill([1, H], start))
    np.testing.assert_array_equal(outputs, np.float32(start))


@every_run
@pytest.mark.parametrize('bias', [-5, -10, -16.5, -17, -40, -80])
def test_the_gradient_of_a_gate_that_is_almost_shut_is_right(layer, bias):
    lstm = layer(seqmask.LSTM, i=bias, g=2)
    lstm.recurrent_kernel.assign(tf.zeros_like(lstm.recurrent_kernel))
    lstm.kernel.assign(tf.zeros_like(lstm.kernel))
    with tf.GradientTape() as tape:
        _, (_, cell) = lstm(inputs_of(1), [1])
        loss = tf.reduce_sum(cell)
    gate = 1 / (1 + np.exp(-np.float64(bias)))
    np.testing.assert_allclose(cell, np.full([1, H], gate * np.tanh(2)), rtol=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, lstm.bias)[:H],
                               np.full(H, gate * (1 - gate) * np.tanh(2)), rtol=1e-6)
