"""GRU and LSTM under `tape.jacobian`, `tf.vectorized_map` and in forward mode."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask.kernels import native

B, T, D, H = 3, 3, 2, 2
LENGTHS = [3, 0, 2]
HOWS = ['graph', 'auto'] + ['kernel'] * native.usable()
MAKERS = {'gru': seqmask.GRU, 'lstm': seqmask.LSTM,
          'gru_reset_before': lambda *a, **k: seqmask.GRU(*a, reset_after=False, **k)}
every = pytest.mark.parametrize('how', HOWS)
every_cell = pytest.mark.parametrize('cell', MAKERS)


@pytest.fixture
def inputs():
    return some_inputs()


def some_inputs():
    return tf.constant(np.random.default_rng(0).normal(size=[B, T, D]), tf.float32)


@functools.cache
def layer_of(cell, how):
    """One layer for all tests: its variables are only read."""
    return MAKERS[cell](D, H, seed=0, implementation=how)


def under_tape(cell, how, inputs):
    """(tape, outputs, all that they depend on); of the graph it is the backward direction."""
    layer = layer_of(cell, how)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        outputs, _ = layer(inputs, LENGTHS, reverse=how == 'graph')
    return tape, outputs, [inputs, *layer.trainable_variables]


@functools.cache
def jacobians(cell, how):
    """(vectorized, a gradient for each output), the second of which nothing vectorizes."""
    tape, outputs, watched = under_tape(cell, how, some_inputs())
    return (tape.jacobian(outputs, watched),
            tape.jacobian(outputs, watched, experimental_use_pfor=False))


def assert_close(found, wanted):
    for f, w in zip(tf.nest.flatten(found), tf.nest.flatten(wanted), strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-5, atol=1e-6)


@every
@every_cell
def test_a_jacobian_is_that_of_a_gradient_for_each_output(cell, how):
    found, wanted = jacobians(cell, how)
    assert_close(found, wanted)


@pytest.mark.parametrize('cell, how', [
    pytest.param(cell, how, marks=[pytest.mark.slow] * (cell != 'gru'))
    for cell in MAKERS for how in HOWS])
def test_a_traced_jacobian_is_an_eager_one(cell, how, inputs):
    @tf.function(autograph=False)
    def traced(inputs):
        tape, outputs, watched = under_tape(cell, how, inputs)
        return tape.jacobian(outputs, watched)

    assert_close(traced(inputs), jacobians(cell, how)[1])


# No real step at all is for the kernel alone: TensorFlow vectorizes a product of no rows to one of
# no columns, too, and then reports that.
@pytest.mark.parametrize('how, lengths', [
    ('graph', [0, 0, 1]), ('graph', [T, T, T]), ('graph', [1]),
    *[('kernel', lengths) for lengths in ([0, 0, 0], [T, T, T], []) if native.usable()]], ids=str)
def test_a_jacobian_at_the_edges(how, lengths, inputs):
    assert_close(*traced_jacobians(how)(inputs[:len(lengths)], tf.constant(lengths, tf.int32)))


@functools.cache
def traced_jacobians(how):
    layer = seqmask.GRU(D, H, seed=0, implementation=how)

    @tf.function(input_signature=[tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int32)])
    def jacobian(inputs, lengths):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(inputs)
            total = tf.reduce_sum(layer(inputs, lengths)[0], axis=[0, 1])
        return (tape.jacobian(total, inputs),
                tape.jacobian(total, inputs, experimental_use_pfor=False))

    return jacobian


# All of them vectorize the graph: each cell, each way, and a trace once; their products are slow.
QUICK = [('gru', 'graph', False), ('lstm', 'graph', False), ('gru_reset_before', 'graph', False),
         ('gru', 'kernel', False), ('gru', 'auto', True)]


@pytest.mark.parametrize('cell, how, traced', [
    pytest.param(*case, marks=[pytest.mark.slow] * (case not in QUICK))
    for case in itertools.product(MAKERS, HOWS, (False, True))])
def test_a_vectorized_map_equals_a_map(cell, how, traced, inputs):
    layer = layer_of(cell, how)

    def one(arguments):
        inputs, lengths = arguments
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs, state = layer(inputs, lengths, reverse=how == 'graph')
            loss = tf.reduce_sum(outputs ** 2)
        return outputs, tape.gradient(loss, [inputs, *layer.trainable_variables])

    many = [inputs, -2 * inputs], [LENGTHS, [1, 3, 2]]
    wanted = [one((x, tf.constant(n))) for x, n in zip(*many)]
    run = tf.function(tf.vectorized_map) if traced else tf.vectorized_map
    found = run(one, (tf.stack(many[0]), tf.constant(many[1])))
    assert_close(found, tf.nest.map_structure(lambda *parts: tf.stack(parts), *wanted))


def test_graph_traced_ahead_says_what_to_set_where_it_is_vectorized(inputs):
    call = tf.function(seqmask.GRU(D, H, implementation='graph'))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs, _ = call(inputs, LENGTHS)
    with pytest.raises(tf.errors.InvalidArgumentError, match='set_implementation_kernel'):
        tape.jacobian(outputs, inputs)


def slope(primal, call):
    with tf.autodiff.ForwardAccumulator(primal, tf.ones_like(primal)) as accumulator:
        outputs, _ = call()
    return accumulator.jvp(outputs)


@pytest.mark.parametrize('how', ['graph', 'auto'])
@every_cell
def test_forward_mode_is_a_jacobian_times_the_direction(cell, how, inputs):
    layer = layer_of(cell, how)
    primals = [inputs, *layer.trainable_variables]
    _, wanted = jacobians(cell, how)
    for primal, jacobian in zip(primals, wanted, strict=True):
        assert_close(slope(primal, lambda: layer(inputs, LENGTHS, reverse=how == 'graph')),
                     np.sum(jacobian, axis=tuple(range(3, jacobian.shape.rank))))


@pytest.mark.skipif(not native.usable(), reason='no C++ kernels here')
def test_forward_mode_on_the_kernel_says_what_to_choose(inputs):
    for how, wrap in ('kernel', lambda f: f), ('auto', tf.function):
        call = wrap(seqmask.GRU(D, H, implementation=how))
        with pytest.raises(tf.errors.InvalidArgumentError, match="ForwardAccumulator.*'graph"):
            slope(inputs, lambda: call(inputs, LENGTHS))


@every
def test_forward_mode_inside_a_function_says_what_to_do(how, inputs):
    layer = seqmask.GRU(D, H, implementation=how)
    traced = tf.function(lambda x: slope(x, lambda: layer(x, LENGTHS)))
    with pytest.raises(ValueError, match='stands inside a tf.function: put it around'):
        traced(inputs)
