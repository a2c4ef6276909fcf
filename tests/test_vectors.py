"""Layers that work step by step take vectors [B, D], too: what has no time axis has no lengths."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask

B, D = 4, 3
LAYERS = {
    'dense': lambda **k: seqmask.Dense(D, 2, seed=0, **k),
    'activation': lambda dtype='float32': seqmask.Activation(tf.exp),
    'layer norm': lambda **k: seqmask.LayerNorm(D, **k),
    'dropout': lambda dtype='float32': seqmask.Dropout(0.5, seed=0),
    'standardizer': lambda **k: seqmask.data.Standardizer([1., 2., 3.], [4., 5., 6.], **k),
}
every_layer = pytest.mark.parametrize('make', LAYERS.values(), ids=LAYERS)


def vectors_of(rng, dtype='float32', batch=B):
    return tf.constant(rng.normal(size=[batch, D]), dtype)


def values_and_gradient(call, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        outputs = call(x)
        loss = tf.reduce_sum(tf.sin(3 * outputs))
    return outputs.numpy(), tape.gradient(loss, x).numpy()


def test_the_shortest_call():
    assert seqmask.Dense(8, 1)(tf.zeros([4, 8])).shape == [4, 1]


@every_layer
@pytest.mark.parametrize('dtype', ['float32', 'float64', 'bfloat16'])
def test_a_vector_is_a_sequence_of_one_step(make, dtype, rng):
    layer, vectors = make(dtype=dtype), vectors_of(rng, dtype)
    found = values_and_gradient(layer, vectors)
    wanted = values_and_gradient(lambda x: layer(x[:, None], [1] * B)[:, 0], vectors)
    for f, w in zip(found, wanted):
        np.testing.assert_array_equal(f, w)


@pytest.mark.parametrize('per', ['element', 'sequence', 'step'])
def test_dropout_draws_as_for_one_step(per):
    ones = tf.ones([50, 6])
    found = seqmask.Dropout(0.5, per=per, seed=0)(ones, training=True)
    wanted = seqmask.Dropout(0.5, per=per, seed=0)(ones[:, None], [1] * 50, training=True)[:, 0]
    np.testing.assert_array_equal(found, wanted)
    assert set(found.numpy().ravel()) == {0.0, 2.0}
    assert (np.ptp(found.numpy(), axis=1) == 0).all() == (per == 'step')


@every_layer
@pytest.mark.parametrize('compiled', [False, True], ids=['graph', 'xla'])
def test_graphs(make, compiled, rng):
    layer = make()
    call = tf.function(lambda x: layer(x), jit_compile=compiled, input_signature=None if compiled
                       else [tf.TensorSpec([None, D])])
    for batch in (B, 0, 1):
        vectors = vectors_of(rng, batch=batch)
        np.testing.assert_allclose(call(vectors), layer(vectors), rtol=1e-6)


@every_layer
def test_nothing_is_asserted_of_vectors(make):
    layer = make()
    call = tf.function(lambda x: layer(x))
    graph = call.get_concrete_function(tf.TensorSpec([None, D])).graph
    assert 'Assert' not in {op.type for op in graph.get_operations()}


@every_layer
def test_sequences_need_their_lengths(make):
    layer = make()
    with pytest.raises(ValueError, match=r'inputs \[B, T, D\] need lengths, int32 \[B\]; only '
                                         r'vectors \[B, D\] go without. Got shape \(4, 2, 3\)'):
        layer(tf.zeros([B, 2, D]))
    with pytest.raises(ValueError, match=r'inputs must have rank 2 \[B, D\], got shape \(3,\)'):
        layer(tf.zeros([D]))
    with pytest.raises(ValueError, match=r'inputs must have rank 3 \[B, T, D\], got shape'):
        layer(tf.zeros([B, D]), [1] * B)


def test_what_else_does_not_fit():
    dense = seqmask.Dense(D, 2)
    with pytest.raises(ValueError, match='inputs must have input_size = 3 on axis -1'):
        dense(tf.zeros([B, D + 1]))
    with pytest.raises(TypeError, match='dtype of the layer, float32, got float64'):
        dense(tf.zeros([B, D], 'float64'))
    with pytest.raises(TypeError, match='inputs must be floating-point'):
        dense(tf.zeros([B, D], 'int32'))
    with pytest.raises(TypeError, match=r'lengths must be int32 or int64 \[B\], got None'):
        seqmask.GRU(D, 2)(tf.zeros([B, 2, D]), None)


def test_a_constant_vector_without_epsilon_is_as_a_real_step():
    norm = seqmask.LayerNorm(D, epsilon=0.0)
    assert np.isnan(norm(tf.ones([1, D]))).all()
    assert np.isnan(norm(tf.ones([1, 1, D]), [1])).all()
