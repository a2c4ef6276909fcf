"""Gradients of recurrent layers: compiled, twice, and how they are formed."""

import collections

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from recurrent_layers import every_cell, num_gates

D, H = 3, 2
LENGTHS = [3, 0, 4, 1]
B, T = 4, 4

RUNS = {'eager': lambda f: f, 'graph': tf.function,
        'xla': lambda f: tf.function(f, jit_compile=True)}


def layer_and_points(make, rng, dtype='float64', **options):
    """A layer with random biases, and all that its result depends on: inputs, state, weights."""
    layer = make(D, H, dtype=dtype, seed=0, **options)
    layer.bias.assign(tf.constant(rng.normal(size=layer.bias.shape), dtype))
    inputs = tf.constant(rng.normal(size=[B, T, D]), dtype)
    initial = [tf.constant(rng.normal(size=[B, H]), dtype)
               for _ in tf.nest.flatten(layer.initial_state(B))]
    return layer, [inputs, *initial, *map(tf.convert_to_tensor, layer.trainable_variables)]


def loss_of(layer, points, call=None, reverse=False):
    """A loss that curves in all results, as a function of the points."""
    num_states = len(tf.nest.flatten(layer.initial_state(1)))
    inputs, *initial = points[:1 + num_states]
    initial = initial[0] if num_states == 1 else initial
    results = tf.nest.flatten((call or layer)(inputs, LENGTHS, initial, reverse=reverse))
    return tf.add_n([tf.reduce_sum(tf.sin(3 * r)) for r in results])


def set_weights(layer, points):
    weights = points[-len(layer.trainable_variables):]
    for variable, value in zip(layer.trainable_variables, weights):
        variable.assign(value)


def gradient(layer, points, call=None, reverse=False):
    watched = [*points[:-len(layer.trainable_variables)], *layer.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        loss = loss_of(layer, points, call, reverse)
    return [loss, *tape.gradient(loss, watched)]


def assert_close(found, wanted, **tolerance):
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted):
        np.testing.assert_allclose(f, w, **tolerance)


@every_cell
@pytest.mark.parametrize('run, dtype, tolerance, reverse', [
    ('graph', 'float64', 1e-12, False), ('xla', 'float64', 1e-12, True),
    ('xla', 'float32', 1e-5, False)])
def test_traced_equals_eager(make, run, dtype, tolerance, reverse, rng):
    layer, points = layer_and_points(make, rng, dtype)
    wanted = gradient(layer, points, reverse=reverse)
    found = RUNS[run](lambda points: gradient(layer, points, reverse=reverse))(points)
    assert_close(found, wanted, rtol=tolerance, atol=tolerance)


@every_cell
@pytest.mark.parametrize('run', ['graph', 'xla'])
def test_the_tape_may_stand_outside_the_traced_call(make, run, rng):
    layer, points = layer_and_points(make, rng)
    found = gradient(layer, points, call=RUNS[run](layer))
    assert_close(found, gradient(layer, points), rtol=1e-12, atol=1e-12)


@every_cell
def test_compiled_ignores_what_stands_in_the_padding(make, rng):
    layer, points = layer_and_points(make, rng)
    compiled = tf.function(lambda points: gradient(layer, points), jit_compile=True)
    padded = ~seqmask.sequence_mask(LENGTHS, T)[..., None]
    wanted = compiled(points)
    assert not wanted[1].numpy()[np.broadcast_to(padded, [B, T, D])].any()
    for poison in (np.nan, np.inf, -1e300):
        poisoned = [tf.where(padded, tf.constant(poison, tf.float64), points[0]), *points[1:]]
        assert_close(compiled(poisoned), wanted, rtol=0, atol=0)


def test_a_traced_call_inside_a_compiled_one(rng):
    layer, points = layer_and_points(seqmask.GRU, rng)
    inner = tf.function(layer)
    outer = tf.function(lambda points: gradient(layer, points, call=inner), jit_compile=True)
    wanted = gradient(layer, points)
    assert_close(outer(points), wanted, rtol=1e-12, atol=1e-12)
    assert_close(gradient(layer, points, call=inner), wanted, rtol=1e-12, atol=1e-12)


@every_cell
@pytest.mark.parametrize('run, reverse', [
    ('eager', False), ('eager', True), ('graph', False), ('xla', False)])
def test_second_derivatives_are_those_of_finite_differences(make, run, reverse, rng):
    layer, points = layer_and_points(make, rng)
    direction = [tf.constant(rng.normal(size=p.shape)) for p in points]

    def along_direction(points):
        """Gradient of the slope along `direction`: the Hessian times `direction`."""
        watched = [*points[:-len(layer.trainable_variables)], *layer.trainable_variables]
        with tf.GradientTape() as outer:
            outer.watch(watched)
            with tf.GradientTape() as inner:
                inner.watch(watched)
                loss = loss_of(layer, points, reverse=reverse)
            slope = tf.add_n([tf.reduce_sum(g * d) for g, d in zip(
                inner.gradient(loss, watched), direction)])
        return outer.gradient(slope, watched)

    found = RUNS[run](along_direction)(points)
    step, sides = 1e-5, []
    for sign in (1, -1):
        moved = [p + sign * step * d for p, d in zip(points, direction)]
        set_weights(layer, moved)
        sides.append(gradient(layer, moved, reverse=reverse)[1:])
    numeric = [(above - below) / (2 * step) for above, below in zip(*sides)]
    assert_close(found, numeric, rtol=1e-6, atol=1e-7)


def products(function):
    """How many products a traced function holds, by (inside a loop, with which transposed)."""
    graph = function.graph.as_graph_def()
    library = {f.signature.name: f.node_def for f in graph.library.function}
    counts = collections.Counter()

    def visit(nodes, in_loop):
        for node in nodes:
            if node.op == 'MatMul':
                counts[in_loop, 'a' if node.attr['transpose_a'].b else
                       'b' if node.attr['transpose_b'].b else ''] += 1
            for name, attr in node.attr.items():
                if attr.func.name in library and name != 'cond':
                    visit(library[attr.func.name], in_loop or 'While' in node.op)

    visit(graph.node, False)
    return counts


def traced_gradient(layer, loop):
    @tf.function(input_signature=[tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int32)])
    def call(inputs, lengths):
        with tf.GradientTape() as tape:
            outputs, _ = loop(inputs, lengths)
            loss = tf.reduce_sum(outputs)
        return tape.gradient(loss, layer.trainable_variables)
    return call.get_concrete_function()


@every_cell
def test_weight_gradients_are_formed_outside_the_loop(make):
    layer = make(D, H, implementation='graph', seed=0)
    gates = num_gates(make)
    assert products(traced_gradient(layer, layer)) == {
        (False, ''): gates,         # x W, for all steps at once
        (True, ''): gates,          # h U, forward
        (True, 'b'): gates,         # back through h U
        (False, 'a'): 2 * gates,    # the gradients of W and U, for all steps at once
    }


@every_cell
def test_the_count_of_products_sees_a_loop_that_is_differentiated_through(make):
    layer = make(D, H, seed=0, implementation='graph')     # the kernel's step is one operation
    counts = products(traced_gradient(layer, lambda inputs, lengths: seqmask.unroll(
        layer.step, inputs, lengths, layer.initial_state(tf.shape(inputs)[0]))))
    assert counts[True, 'a'] > 0
