"""GRU and LSTM against other people's: Keras 3 with a mask, and TensorFlow 1's dynamic_rnn."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask

LENGTHS = [4, 0, 6, 1, 6, 2]
MAXLEN = 6
D, H = 3, 4

LAYERS = {
    'gru': (lambda **k: seqmask.GRU(D, H, **k), lambda **k: tf.keras.layers.GRU(H, **k)),
    'gru reset before': (lambda **k: seqmask.GRU(D, H, reset_after=False, **k),
                         lambda **k: tf.keras.layers.GRU(H, reset_after=False, **k)),
    'lstm': (lambda **k: seqmask.LSTM(D, H, **k), lambda **k: tf.keras.layers.LSTM(H, **k)),
}
every_layer = pytest.mark.parametrize('ours, keras', LAYERS.values(), ids=LAYERS)
every_precision = pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-5),
                                                               ('float64', 1e-10)])


def with_random_biases(layer, rng):
    layer.bias.assign(tf.constant(rng.normal(size=layer.bias.shape), layer.dtype))
    return layer


def weights(layer):
    return [layer.kernel, layer.recurrent_kernel, layer.bias]


def results_and_gradients(call, inputs, variables, rng):
    """Outputs at real steps, final states, and the gradients of a weighted sum of both."""
    mask = seqmask.sequence_mask(LENGTHS, MAXLEN)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs, *states = call(inputs, mask)
        outputs = seqmask.apply_mask(outputs, mask)
        loss = tf.add_n([tf.reduce_sum(r * rng.normal(size=r.shape).astype(r.dtype.name))
                         for r in (outputs, *states)])
    return [outputs, *states], tape.gradient(loss, [inputs, *variables])


def assert_close(found, wanted, tolerance):
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted):
        np.testing.assert_allclose(f, w, rtol=tolerance, atol=tolerance)


@every_precision
@every_layer
def test_equals_keras_with_a_mask(ours, keras, dtype, tolerance, rng):
    layer = with_random_biases(ours(dtype=dtype, seed=1), rng)
    peer = keras(dtype=dtype, return_sequences=True, return_state=True)
    inputs = tf.constant(rng.normal(size=[len(LENGTHS), MAXLEN, D]), dtype)
    peer.build(inputs.shape)
    peer.set_weights([w.numpy() for w in weights(layer)])
    found, gradients = results_and_gradients(
        lambda x, _: tf.nest.flatten(layer(x, LENGTHS)), inputs, weights(layer),
        np.random.default_rng(5))
    wanted, wanted_gradients = results_and_gradients(
        lambda x, mask: peer(x, mask=mask), inputs,
        [v.value for v in peer.trainable_variables], np.random.default_rng(5))
    assert_close(found, wanted, tolerance)
    assert_close(gradients, wanted_gradients, tolerance)


@every_precision
@every_layer
def test_both_directions_equal_keras_with_a_mask(ours, keras, dtype, tolerance, rng):
    forward, backward = (with_random_biases(ours(dtype=dtype, seed=s), rng) for s in (1, 2))
    both = seqmask.Bidirectional(forward, backward)
    peer = tf.keras.layers.Bidirectional(
        keras(dtype=dtype, return_sequences=True, return_state=True), dtype=dtype)
    inputs = tf.constant(rng.normal(size=[len(LENGTHS), MAXLEN, D]), dtype)
    peer.build(inputs.shape)
    peer.set_weights([w.numpy() for w in weights(forward) + weights(backward)])
    found, gradients = results_and_gradients(
        lambda x, _: tf.nest.flatten(both(x, LENGTHS)), inputs,
        weights(forward) + weights(backward), np.random.default_rng(5))
    wanted, wanted_gradients = results_and_gradients(
        lambda x, mask: tf.nest.flatten(peer(x, mask=mask)), inputs,
        [v.value for v in peer.trainable_variables], np.random.default_rng(5))
    assert_close(found, wanted, tolerance)
    assert_close(gradients, wanted_gradients, tolerance)


@every_layer
def test_weights_have_the_layout_of_keras(ours, keras):
    layer, peer = ours(seed=0), keras()
    peer.build([None, None, D])
    assert [w.name for w in weights(layer)] == [
        'kernel:0', 'recurrent_kernel:0', 'bias:0']
    assert [tuple(w.shape) for w in weights(layer)] == [v.shape for v in peer.trainable_variables]
    np.testing.assert_array_equal(layer.bias, peer.cell.bias)


class Cell:
    """What `dynamic_rnn` takes for an RNNCell, from the weights of a layer of ours."""

    def __init__(self, layer):
        # As arrays, for a graph of TensorFlow 1 knows no eager variables.
        self._weights = [w.numpy() for w in weights(layer)]
        self.output_size = layer.hidden_size
        self.state_size = layer.hidden_size

    def zero_state(self, batch_size, dtype):
        return tf.zeros([batch_size, self.state_size], dtype)


class GRUCell(Cell):
    def __call__(self, x_t, h_tm1, scope=None):
        W, U, (b, b2) = self._weights
        x_z, x_r, x_g = tf.split(tf.matmul(x_t, W) + b, 3, axis=-1)
        h_z, h_r, h_g = tf.split(tf.matmul(h_tm1, U) + b2, 3, axis=-1)
        z, r = tf.sigmoid(x_z + h_z), tf.sigmoid(x_r + h_r)
        h_t = z * h_tm1 + (1 - z) * tf.tanh(x_g + r * h_g)
        return h_t, h_t


class LSTMCell(Cell):
    def __init__(self, layer):
        super().__init__(layer)
        self.state_size = (layer.hidden_size, layer.hidden_size)

    def zero_state(self, batch_size, dtype):
        return tuple(tf.zeros([batch_size, size], dtype) for size in self.state_size)

    def __call__(self, x_t, state, scope=None):
        W, U, b = self._weights
        h_tm1, c_tm1 = state
        i, f, g, o = tf.split(tf.matmul(x_t, W) + tf.matmul(h_tm1, U) + b, 4, axis=-1)
        c_t = tf.sigmoid(f) * c_tm1 + tf.sigmoid(i) * tf.tanh(g)
        h_t = tf.sigmoid(o) * tf.tanh(c_t)
        return h_t, (h_t, c_t)


# TensorFlow 1's own cells went with Keras 2; its loop over time is still there.
@pytest.mark.parametrize('make, cell', [(seqmask.GRU, GRUCell), (seqmask.LSTM, LSTMCell)],
                         ids=['gru', 'lstm'])
def test_equals_dynamic_rnn_at_every_step(make, cell, rng):
    layer = with_random_biases(make(D, H, dtype='float64', seed=1), rng)
    inputs = rng.normal(size=[len(LENGTHS), MAXLEN, D])

    def call(inputs, loop):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, state = loop(inputs)
            results = [outputs, *tf.nest.flatten(state)]
            loss = tf.add_n([tf.reduce_sum(tf.sin(3 * r)) for r in results])
        return [*results, tape.gradient(loss, inputs)]

    cell = cell(layer)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        wanted = session.run(call(tf.constant(inputs), lambda x: tf.compat.v1.nn.dynamic_rnn(
            cell, x, sequence_length=LENGTHS, dtype=tf.float64)))
    found = call(tf.constant(inputs), lambda x: layer(x, LENGTHS))
    assert_close(found, wanted, 1e-10)
