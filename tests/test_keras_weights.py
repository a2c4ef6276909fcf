"""Weights across: Keras's layers and back bit for bit, PyTorch's by its own equations in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask.keras

K = tf.keras.layers
T, D, H = 5, 3, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.fixture
def inputs(rng):
    return rng.normal(size=[2, T, D]).astype('f')


LAYERS = {
    'LSTM': lambda room: room.LSTM(H, return_sequences=True),
    'GRU': lambda room: room.GRU(H, return_sequences=True),
    'GRU, reset before': lambda room: room.GRU(H, return_sequences=True, reset_after=False),
    'both directions': lambda room: room.Bidirectional(room.LSTM(H, return_sequences=True)),
    'Conv1D': lambda room: room.Conv1D(6, 3, padding='causal', dilation_rate=2, groups=3),
    'Conv1D, no bias': lambda room: room.Conv1D(6, 3, strides=2, use_bias=False),
    'BatchNormalization': lambda room: room.BatchNormalization(momentum=0.5, epsilon=0.1),
}


def outputs_of(ours, inputs):
    results = ours(inputs, tf.constant([T, T]))
    return results[0] if isinstance(results, tuple) else results


@pytest.mark.parametrize('room', [K, seqmask.keras], ids=['keras', 'seqmask.keras'])
@pytest.mark.parametrize('make', LAYERS.values(), ids=LAYERS)
def test_there_and_back(make, room, inputs, rng):
    theirs = make(room)
    theirs(inputs)
    theirs.set_weights([rng.uniform(0.1, 1, size=w.shape) for w in theirs.get_weights()])
    ours = seqmask.keras.from_keras(theirs)
    np.testing.assert_allclose(outputs_of(ours, inputs), theirs(inputs), atol=2e-6)
    back = seqmask.keras.to_keras(ours)
    assert type(back).__module__.startswith('keras.')       # needs no seqmask
    for its, again in zip(theirs.get_weights(), back.get_weights(), strict=True):
        np.testing.assert_array_equal(its, again)
    np.testing.assert_allclose(back(inputs), theirs(inputs), atol=1e-6)
    once_more = seqmask.keras.from_keras(back)
    assert len(ours.variables) == len(once_more.variables)
    for variable, again in zip(ours.variables, once_more.variables):
        np.testing.assert_array_equal(variable, again)


def test_dense_and_weights_that_keras_leaves_out(inputs):
    for options in ({}, {'use_bias': False}):
        theirs = K.Dense(H, **options)
        wanted = theirs(inputs)
        ours = seqmask.keras.from_keras(theirs)
        np.testing.assert_allclose(outputs_of(ours, inputs), wanted, atol=1e-6)
        back = seqmask.keras.to_keras(ours)
        np.testing.assert_array_equal(back.kernel, theirs.kernel)
    for theirs in (K.LSTM(H, use_bias=False, return_sequences=True),
                   K.BatchNormalization(center=False, scale=False)):
        wanted = theirs(inputs)
        np.testing.assert_allclose(outputs_of(seqmask.keras.from_keras(theirs), inputs), wanted,
                                   atol=1e-6)


@pytest.mark.parametrize('layer, error, message', [
    (K.LSTM(2), ValueError, "must be built, so that it has weights: call 'lstm"),
    (K.LSTM(2, activation='relu'), ValueError, "must have activation='tanh'"),
    (K.GRU(2, go_backwards=True), ValueError, 'must have go_backwards=False'),
    (K.Conv1D(2, 2, activation='relu'), ValueError, "must have activation='linear'"),
    (K.Bidirectional(K.GRU(2), merge_mode='sum'), ValueError, "must have merge_mode='concat'"),
    (K.UnitNormalization(), TypeError,
     'no seqmask layer for UnitNormalization; there is one for LSTM'),
], ids=lambda value: value if isinstance(value, str) else '')
def test_what_has_no_counterpart_is_named(layer, error, message):
    if 'built' not in message:
        layer.build([None, None, D] if error is ValueError else [None])
    with pytest.raises(error, match=message):
        seqmask.keras.from_keras(layer)


def test_a_layer_that_keras_lacks():
    with pytest.raises(TypeError, match='no Keras layer for LayerNorm; there is one for LSTM'):
        seqmask.keras.to_keras(seqmask.LayerNorm(2))


# PyTorch, by the equations of its documentation


def torch_lstm(x, w, layer):
    h = c = np.zeros(H)
    outputs = []
    for x_t in x:
        gates = (w[f'weight_ih_{layer}'] @ x_t + w.get(f'bias_ih_{layer}', 0)
                 + w[f'weight_hh_{layer}'] @ h + w.get(f'bias_hh_{layer}', 0))
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def torch_gru(x, w, layer):
    h = np.zeros(H)
    outputs = []
    for x_t in x:
        of_input = np.split(w[f'weight_ih_{layer}'] @ x_t + w[f'bias_ih_{layer}'], 3)
        of_hidden = np.split(w[f'weight_hh_{layer}'] @ h + w[f'bias_hh_{layer}'], 3)
        r, z = (sigmoid(a + b) for a, b in zip(of_input[:2], of_hidden[:2]))
        h = (1 - z) * np.tanh(of_input[2] + r * of_hidden[2]) + z * h
        outputs.append(h)
    return np.array(outputs)


def recurrent_weights(rng, num_gates, layers):
    weights, below = {}, D
    for layer, directions in enumerate(layers):
        for suffix in ['', '_reverse'][:directions]:
            for name, shape in [('weight_ih', [num_gates * H, below]),
                                ('weight_hh', [num_gates * H, H]),
                                ('bias_ih', [num_gates * H]), ('bias_hh', [num_gates * H])]:
                weights[f'{name}_l{layer}{suffix}'] = rng.normal(size=shape)
        below = directions * H
    return weights


@pytest.mark.parametrize('directions', [1, 2])
@pytest.mark.parametrize('num_gates, alone', [(4, torch_lstm), (3, torch_gru)], ids=['LSTM', 'GRU'])
def test_deep_recurrent_layers_of_pytorch(num_gates, alone, directions, inputs, rng):
    weights = recurrent_weights(rng, num_gates, [directions, directions])
    ours = seqmask.keras.from_pytorch(weights, dtype='float64')
    outputs, _ = ours(inputs.astype(float), tf.constant([T, 2]))
    for x, n, actual in zip(inputs, [T, 2], outputs):
        y = x[:n]
        for layer in ('l0', 'l1'):
            both = [alone(y, weights, layer)]
            if directions == 2:
                both.append(alone(y[::-1], weights, f'{layer}_reverse')[::-1])
            y = np.concatenate(both, axis=-1)
        np.testing.assert_allclose(actual[:n], y, atol=1e-12)


def test_without_biases(inputs, rng):
    weights = {name: value for name, value in recurrent_weights(rng, 4, [1]).items()
               if 'bias' not in name}
    outputs, _ = seqmask.keras.from_pytorch(weights)(inputs, tf.constant([T, T]))
    np.testing.assert_allclose(outputs[0], torch_lstm(inputs[0], weights, 'l0'), atol=1e-5)


def test_other_layers_of_pytorch(inputs, rng):
    weight, bias = rng.normal(size=[2, D]), rng.normal(size=2)
    dense = seqmask.keras.from_pytorch({'weight': weight, 'bias': bias})
    np.testing.assert_allclose(outputs_of(dense, inputs), inputs @ weight.T + bias, rtol=1e-5)
    weight = rng.normal(size=[2, D, 3])
    conv = seqmask.keras.from_pytorch({'weight': weight, 'bias': bias})
    wanted = np.stack([np.einsum('bkd,fdk->bf', inputs[:, t:t + 3], weight) + bias
                       for t in range(T - 2)], axis=1)
    np.testing.assert_allclose(outputs_of(conv, inputs), wanted, rtol=1e-4, atol=1e-5)
    gamma, beta, mean, variance = rng.uniform(1, 2, size=[4, D])
    norm = seqmask.keras.from_pytorch({'weight': gamma, 'bias': beta, 'running_mean': mean,
                                       'running_var': variance}, epsilon=1e-5)
    wanted = gamma * (inputs - mean) / np.sqrt(variance + 1e-5) + beta
    np.testing.assert_allclose(outputs_of(norm, inputs), wanted, rtol=1e-4, atol=1e-6)


def test_what_the_state_of_pytorch_s_batch_norm_does_not_hold(inputs, rng):
    gamma, beta, mean, variance = rng.uniform(1e-4, 2e-4, size=[4, D])
    state = {'weight': gamma, 'bias': beta, 'running_mean': mean, 'running_var': variance,
             'num_batches_tracked': np.array(7)}
    for options, epsilon in [({}, 1e-5), ({'epsilon': 1e-2}, 1e-2)]:
        norm = seqmask.keras.from_pytorch(state, **options)
        assert norm.epsilon == epsilon
        wanted = gamma * (inputs - mean) / np.sqrt(variance + epsilon) + beta
        np.testing.assert_allclose(outputs_of(norm, inputs), wanted, rtol=1e-4, atol=1e-7)
    assert seqmask.keras.from_pytorch(state).momentum == 1 - 0.1
    assert seqmask.keras.from_pytorch(state, momentum=0.5).momentum == 0.5
    bare = seqmask.keras.from_pytorch({'running_mean': mean, 'running_var': variance})
    wanted = (inputs - mean) / np.sqrt(variance + 1e-5)             # affine=False
    np.testing.assert_allclose(outputs_of(bare, inputs), wanted, rtol=1e-4)


@pytest.mark.parametrize('make', [
    lambda mean, variance: seqmask.keras.from_pytorch(
        {'running_mean': mean, 'running_var': variance}),
    lambda mean, variance: seqmask.keras.from_keras(keras_norm(mean, variance))],
    ids=['PyTorch', 'Keras'])
def test_averages_that_were_put_in_go_on_from_where_they_were(make, inputs, rng):
    mean, variance = rng.uniform(1, 2, size=[2, D])
    norm = make(mean, variance)
    norm(inputs, tf.constant([T, T]), training=True)
    m, real = norm.momentum, inputs.reshape([-1, D])
    np.testing.assert_allclose(norm.moving_mean, m * mean + (1 - m) * real.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, m * variance + (1 - m) * real.var(axis=0),
                               rtol=1e-5)


def keras_norm(mean, variance):
    norm = K.BatchNormalization()
    norm.build([None, None, D])
    norm.set_weights([np.ones(D), np.zeros(D), mean, variance])
    return norm


@pytest.mark.parametrize('weights, error', [
    ({'gamma': np.ones(2)}, 'must be that of one LSTM, GRU, .*, got the names gamma'),
    ({'weight_ih_l0': np.ones([5, 2]), 'weight_hh_l0': np.ones([5, 1])}, r'must be \[4 H, H\]'),
    ({'weight_ih_l0': np.ones([4, 2]), 'weight_hh_l0': np.ones([4, 1]),
      'weight_hr_l0': np.ones([1, 1])}, 'proj_size must be 0'),
], ids=['names', 'gates', 'projection'])
def test_other_weights_are_refused(weights, error):
    with pytest.raises(ValueError, match=error):
        seqmask.keras.from_pytorch(weights)
