"""One step of a recurrent layer as one operation in C++, against TensorFlow's operations."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask.kernels import native
from test_kernels import assert_close, layers_of, normal, weights_of

pytestmark = pytest.mark.skipif(
    not native.usable(), reason='no C++ kernels here; `python -m seqmask.kernels` says why')

every_cell = pytest.mark.parametrize('cell', ['lstm', 'gru', 'gru_reset_before'])
SIZES = [(1, 5, 33), (3, 1, 1), (2, 16, 16), (0, 3, 4), (5, 20, 70), (17, 64, 128)]     # B, D, H


def state_of(layer, rng, batch):
    return [normal(rng, batch, layer.hidden_size) for _ in range(layer._cell.num_states)]


def step_and_gradients(layer, step, x_t, state, cotangents):
    watched = [x_t, *state, *weights_of(layer)]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        output, new = step(x_t, state)
        loss = tf.add_n([tf.reduce_sum(part * c) for part, c in
                         zip([output, *tf.nest.flatten(new)], cotangents)])
    return [np.asarray(value) for value in
            (output, *tf.nest.flatten(new), *tape.gradient(loss, watched))]


@every_cell
@pytest.mark.parametrize('sizes', SIZES, ids=str)
def test_values_and_gradients_are_those_of_graph(cell, sizes, rng):
    batch, input_size, hidden_size = sizes
    ours, graph = layers_of(cell, input_size, hidden_size, rng)
    x_t, state = normal(rng, batch, input_size), state_of(ours, rng, batch)
    cotangents = [normal(rng, batch, hidden_size) for _ in range(1 + len(state))]
    wanted = step_and_gradients(graph, graph.step, x_t, state, cotangents)
    targets = native.targets()
    try:
        for target in targets:
            native.use_target(target)
            assert_close(step_and_gradients(ours, ours.step, x_t, state, cotangents), wanted)
    finally:
        native.use_target(targets[0])
    assert_close(step_and_gradients(ours, tf.function(ours.step), x_t, state, cotangents), wanted)


@every_cell
def test_it_is_one_operation(cell, rng):
    layer, _ = layers_of(cell, 3, 4, rng)
    weights = weights_of(layer)

    @tf.function(autograph=False)
    def train(x_t, state):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer.step(x_t, state)[0])
        return tape.gradient(loss, weights)

    graph = train.get_concrete_function(normal(rng, 2, 3), layer.initial_state(2)).graph
    kinds = [op.type for op in graph.get_operations()]
    assert [kinds.count(kind) for kind in ('Seqmask>Step', 'Seqmask>StepGrad')] == [1, 1]
    assert not {'MatMul', 'Split', 'SplitV', 'ConcatV2', 'Sigmoid', 'Tanh'} & set(kinds)


@pytest.mark.parametrize('batch, count', [(1, 1), (8, 1), (9, 0), (None, 0)])
def test_auto_takes_it_for_few_rows(batch, count):
    layer = seqmask.GRU(3, 4, seed=0)
    graph = tf.function(layer.step).get_concrete_function(
        tf.TensorSpec([batch, 3]), tf.TensorSpec([batch, 4])).graph
    assert [op.type for op in graph.get_operations()].count('Seqmask>Step') == count


@every_cell
@pytest.mark.parametrize('reverse', [False, True])
def test_unrolled_it_is_the_whole_call(cell, reverse, rng):
    layer, _ = layers_of(cell, 3, 4, rng)
    inputs, lengths = normal(rng, 3, 6, 3), [6, 0, 4]
    state, weights = layer._structured(state_of(layer, rng, 3)), weights_of(layer)

    def both(call):
        with tf.GradientTape() as tape:
            outputs, final = call()
            loss = tf.reduce_sum(outputs ** 2)
        return [outputs, *tf.nest.flatten(final), *tape.gradient(loss, weights)]

    wanted = both(lambda: layer(inputs, lengths, state, reverse=reverse))
    for run in (lambda f: f(), lambda f: tf.function(f)()):
        found = both(lambda: run(lambda: seqmask.unroll(layer.step, inputs, lengths, state,
                                                        reverse=reverse)))
        assert_close([np.asarray(value) for value in found],
                     [np.asarray(value) for value in wanted])


def test_compiled_or_exported_it_is_graph(tmp_path, rng):
    layer, graph = layers_of('lstm', 3, 4, rng)
    x_t, state = normal(rng, 2, 3), layer.initial_state(2)
    wanted, _ = graph.step(x_t, state)
    np.testing.assert_allclose(tf.function(layer.step, jit_compile=True)(x_t, state)[0], wanted,
                               atol=1e-6)
    module = tf.Module()
    module.layer = layer
    module.step = tf.function(lambda x_t: layer.step(x_t, layer.initial_state(2))[0],
                              input_signature=[tf.TensorSpec([2, 3])])
    tf.saved_model.save(module, str(tmp_path / 'saved'))
    loaded = tf.saved_model.load(str(tmp_path / 'saved'))
    assert not [op for op in loaded.step.get_concrete_function(tf.TensorSpec([2, 3])).graph
                .get_operations() if op.type.startswith('Seqmask')]
    np.testing.assert_allclose(loaded.step(x_t), wanted, atol=1e-6)


def test_a_second_derivative_is_refused(rng):
    layer, _ = layers_of('gru', 3, 4, rng)
    x_t = normal(rng, 2, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="implementation='graph'"):
        with tf.GradientTape() as outer:
            outer.watch(x_t)
            with tf.GradientTape() as inner:
                inner.watch(x_t)
                loss = tf.reduce_sum(layer.step(x_t, layer.initial_state(2))[0] ** 2)
            slope = tf.reduce_sum(inner.gradient(loss, x_t) ** 2)
        outer.gradient(slope, x_t)


B, D, H = 2, 3, 4
MALFORMED = {
    'x_t': ([D], r'x_t must have rank 2 \[B, D\]|must be rank 2|must be at least rank'),
    'kernel': ([D + 1, 4 * H], 'kernel must have shape'),
    'recurrent_kernel': ([H, H], 'recurrent_kernel must have shape'),
    'bias': ([2, 4 * H], 'bias must have shape'),
    'state': ([B + 1, H], 'a state must have shape'),
}


@pytest.mark.parametrize('name', MALFORMED)
def test_malformed_arguments_are_errors(name):
    shape, words = MALFORMED[name]
    right = {'x_t': [B, D], 'kernel': [D, 4 * H], 'recurrent_kernel': [H, 4 * H], 'bias': [4 * H],
             'state': [B, H]}
    given = {key: tf.zeros(shape if key == name else size) for key, size in right.items()}
    state = given.pop('state')
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=words):
        native.load().seqmask_step(**given, state=[state, tf.zeros([B, H])], cell='lstm')
