import numpy as np
import pytest
import tensorflow as tf

import seqmask

LENGTHS = [2, 0, 4, 1]
B, T, D = 4, 4, 3


def inputs_of(rng):
    return tf.constant(rng.normal(size=[B, T, D]), tf.float32)


def assert_equal(found, wanted):
    tf.nest.assert_same_structure(found, wanted)
    tf.nest.map_structure(lambda f, w: np.testing.assert_allclose(f, w, rtol=1e-5, atol=1e-6),
                          found, wanted)


def both_ways(seed=0):
    return seqmask.Bidirectional(seqmask.LSTM(D, 2, seed=seed), seqmask.GRU(D, 2, seed=seed + 1))


# Bidirectional

def test_bidirectional_is_both_directions_side_by_side(rng):
    both, inputs = both_ways(), inputs_of(rng)
    outputs, state = both(inputs, LENGTHS)
    forward_outputs, forward_state = both.forward(inputs, LENGTHS)
    backward_outputs, backward_state = both.backward(inputs, LENGTHS, reverse=True)
    assert_equal(outputs, tf.concat([forward_outputs, backward_outputs], axis=-1))
    assert_equal(state, (forward_state, backward_state))


def test_bidirectional_in_reverse_changes_both_directions(rng):
    both, inputs = both_ways(), inputs_of(rng)
    found = both(inputs, LENGTHS, reverse=True)
    mirrored, state = both(seqmask.reverse(inputs, LENGTHS), LENGTHS)
    assert_equal(found, (seqmask.reverse(mirrored, LENGTHS), state))


def test_bidirectional_starts_from_a_pair_of_states(rng):
    both, inputs = both_ways(), inputs_of(rng)
    _, state = both(inputs, LENGTHS)
    outputs, final = both(inputs, LENGTHS, state)
    forward_outputs, forward_state = both.forward(inputs, LENGTHS, state[0])
    assert_equal(outputs[..., :2], forward_outputs)
    assert_equal(final[0], forward_state)
    assert_equal(both(inputs, LENGTHS, (None, state[1]))[1], (state[0], final[1]))


def test_bidirectional_with_shared_weights(rng):
    layer, inputs = seqmask.GRU(D, 2, seed=0), inputs_of(rng)
    both = seqmask.Bidirectional(layer, layer)
    assert len(both.trainable_variables) == 3
    # The same weights see the same steps in the mirrored order.
    outputs, _ = both(inputs, LENGTHS)
    mirrored, _ = both(seqmask.reverse(inputs, LENGTHS), LENGTHS)
    assert_equal(outputs[..., 2:], seqmask.reverse(mirrored[..., :2], LENGTHS))


# Stacked

def stack():
    return seqmask.Stacked([both_ways(), seqmask.GRU(4, 5, seed=2), seqmask.LSTM(5, 3, seed=3)])


def test_stacked_feeds_each_layer_the_outputs_of_the_one_below(rng):
    deep, inputs = stack(), inputs_of(rng)
    outputs, states = inputs, []
    for layer in deep.layers:
        outputs, state = layer(outputs, LENGTHS)
        states.append(state)
    assert_equal(deep(inputs, LENGTHS), (outputs, tuple(states)))


def test_stacked_finds_all_variables():
    deep = stack()
    both, gru, lstm = deep.layers
    wanted = [v for layer in (both.forward, both.backward, gru, lstm)
              for v in (layer.kernel, layer.recurrent_kernel, layer.bias)]
    found = deep.trainable_variables
    assert len(found) == len(wanted) == 4 * 3
    assert {v.ref() for v in found} == {v.ref() for v in wanted}


def test_stacked_passes_on_the_state_the_direction_and_training(rng):
    calls = []

    class Spy:
        def __call__(self, inputs, lengths, initial_state=None, *, reverse=False, training=False):
            calls.append((initial_state, reverse, training))
            return inputs, tf.zeros([B, 1])
    deep = seqmask.Stacked([Spy(), seqmask.Bidirectional(Spy(), Spy())])
    deep(inputs_of(rng), LENGTHS, ('below', ('forward', 'backward')), reverse=True, training=True)
    assert calls == [('below', True, True), ('forward', True, True), ('backward', False, True)]


@pytest.mark.parametrize('wrap', [lambda f: f, tf.function], ids=['eager', 'graph'])
def test_stacked_step_by_step_equals_the_call(wrap, rng):
    deep = seqmask.Stacked([seqmask.GRU(D, 2, seed=0), seqmask.LSTM(2, 3, seed=1)])
    inputs = inputs_of(rng)
    outputs, final = deep(inputs, [T] * B)
    state, step = deep.initial_state(B), wrap(deep.step)
    for t in range(T):
        output, state = step(inputs[:, t], state)
        assert_equal(output, outputs[:, t])
    assert_equal(state, final)


def test_stacked_chunk_by_chunk_equals_the_whole(rng):
    deep = seqmask.Stacked([seqmask.GRU(D, 2, seed=0), seqmask.LSTM(2, 3, seed=1)])
    inputs = inputs_of(rng)
    first, state = deep(inputs[:, :2], np.clip(LENGTHS, 0, 2))
    second, state = deep(inputs[:, 2:], np.clip(np.subtract(LENGTHS, 2), 0, 2), state)
    assert_equal((tf.concat([first, second], axis=1), state), deep(inputs, LENGTHS))


def test_stacked_of_stacks_resets_rows(rng):
    deep, inputs = seqmask.Stacked([stack(), seqmask.GRU(3, 2, seed=4)]), inputs_of(rng)
    _, state = deep(inputs, LENGTHS)
    anew = seqmask.reset_rows(state, [True] * B)
    assert_equal(deep(inputs, LENGTHS, anew), deep(inputs, LENGTHS))


def test_compiled_equals_eager(rng):
    deep, inputs = seqmask.Stacked([both_ways()]), inputs_of(rng)

    def call(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            results = deep(inputs, LENGTHS)
            loss = tf.add_n([tf.reduce_sum(tf.sin(3 * r)) for r in tf.nest.flatten(results)])
        return results, tape.gradient(loss, [inputs, *deep.trainable_variables])
    assert_equal(tf.function(call, jit_compile=True)(inputs), call(inputs))


# Errors

def test_refuses_no_layers():
    with pytest.raises(ValueError, match='layers must hold at least one layer'):
        seqmask.Stacked([])


@pytest.mark.parametrize('make, name, state, count', [
    (both_ways, 'Bidirectional', tf.zeros([B, 2]), 2),
    (both_ways, 'Bidirectional', (None,), 2),
    (stack, 'Stacked', (None, None), 3),
    (stack, 'Stacked', tf.zeros([3, B, 2]), 3)])
def test_refuses_a_state_of_another_structure(make, name, state, count, rng):
    with pytest.raises(ValueError, match=f'state of {name} must be a tuple of {count}'):
        make()(inputs_of(rng), LENGTHS, state)


def test_refuses_layers_whose_widths_do_not_fit(rng):
    deep = seqmask.Stacked([seqmask.GRU(D, 2), seqmask.GRU(D, 2)])
    with pytest.raises(ValueError, match='inputs must have input_size = 3'):
        deep(inputs_of(rng), LENGTHS)


@pytest.mark.parametrize('make', [
    lambda layer: seqmask.Stacked([seqmask.GRU(2, 2), layer]),
    lambda layer: seqmask.Bidirectional(seqmask.GRU(2, 2), layer)],
    ids=['Stacked', 'Bidirectional'])
@pytest.mark.parametrize('layer', [seqmask.Dropout(0.5), seqmask.Dense(2, 2), 'gru'],
                         ids=['Dropout', 'Dense', 'gru'])
def test_layers_that_are_not_recurrent_are_refused(make, layer):
    name = type(layer).__name__
    with pytest.raises(TypeError, match=f'takes recurrent layers, .* got {name}. Put other layers'):
        make(layer)
