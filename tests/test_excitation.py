import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask

LENGTHS = [2, 0, 4]
B, T, D = 3, 4, 6
MASK = np.arange(T) < np.array(LENGTHS)[:, None]


def a_layer(rng, ratio=2, dtype='float64'):
    layer = seqmask.SqueezeExcite(D, ratio=ratio, dtype=dtype, seed=0)
    for bias in [layer.squeeze_bias, layer.excite_bias]:
        bias.assign(rng.normal(size=bias.shape))
    return layer


def weights_of(layer):
    return {v.name.split(':')[0]: v.numpy() for v in layer.trainable_variables}


@pytest.mark.parametrize('fill', [0.0, 7.0, np.nan, np.inf])
@pytest.mark.parametrize('ratio', [1, 2, 4, 6, 16])
def test_each_sequence_alone(ratio, fill, rng):
    layer = a_layer(rng, ratio)
    inputs = np.where(MASK[..., None], rng.normal(size=[B, T, D]), fill)
    outputs = layer(inputs, LENGTHS).numpy()
    for row, length, found in zip(inputs, LENGTHS, outputs):
        np.testing.assert_allclose(
            found[:length], reference.squeeze_excite(row[:length], weights_of(layer)), rtol=1e-10)
    assert not outputs[~MASK].any()


@pytest.mark.parametrize('ratio, width', [(1, 6), (2, 3), (4, 1), (6, 1), (100, 1)])
def test_the_layer_in_between_has_at_least_one_unit(ratio, width):
    layer = seqmask.SqueezeExcite(D, ratio=ratio)
    assert {v.name: v.shape.as_list() for v in layer.trainable_variables} == {
        'squeeze:0': [6, width], 'squeeze_bias:0': [width], 'excite:0': [width, 6],
        'excite_bias:0': [6]}


def test_the_gate_sees_the_mean_of_real_steps():
    layer = seqmask.SqueezeExcite(1, ratio=1)
    layer.squeeze.assign([[1.]])
    layer.excite.assign([[1.]])
    outputs = layer([[[1.], [3.], [100.]]], [2]).numpy().ravel()
    gate = 1 / (1 + np.exp(-(1 + 3) / 2))
    np.testing.assert_allclose(outputs, [1 * gate, 3 * gate, 0], rtol=1e-6)


def test_one_gate_for_all_steps_and_another_for_each_sequence(rng):
    layer, inputs = a_layer(rng), rng.normal(size=[B, T, D])
    layer.squeeze_bias.assign([1., 1., 1.])     # units that are not all off
    gates = layer(inputs, [T] * B).numpy() / inputs
    np.testing.assert_allclose(gates, np.broadcast_to(gates[:, :1], gates.shape))
    assert (gates > 0).all() and (gates < 1).all()
    assert len({row.tobytes() for row in gates[:, 0]}) == B


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_narrow_means_of_4096_steps(dtype):
    layer = seqmask.SqueezeExcite(D, ratio=2, dtype=dtype, seed=0)
    inputs = tf.fill([2, 4096, D], tf.constant(60.0, dtype))
    assert 4096 * 60 > float(tf.float16.max)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, [4096, 1])
        loss = tf.reduce_mean(tf.cast(outputs, tf.float32))
    assert outputs.dtype == dtype
    outputs = tf.cast(outputs, tf.float32).numpy()
    np.testing.assert_allclose(outputs[0], np.broadcast_to(outputs[1, 0], [4096, D]), rtol=0.01)
    gradients = tape.gradient(loss, [inputs, *layer.trainable_variables])
    assert all(np.isfinite(tf.cast(g, tf.float32)).all() for g in gradients)


def test_the_same_seed_gives_the_same_weights():
    one, same, other = (seqmask.SqueezeExcite(D, ratio=2, seed=s) for s in (0, 0, 1))
    for a, b in zip(one.trainable_variables, same.trainable_variables):
        np.testing.assert_array_equal(a, b)
    assert (one.squeeze.numpy() != other.squeeze.numpy()).all()


@pytest.mark.parametrize('make, error, message', [
    (lambda: seqmask.SqueezeExcite(0), ValueError, 'input_size must be at least 1'),
    (lambda: seqmask.SqueezeExcite(4, ratio=0), ValueError, 'ratio must be at least 1'),
    (lambda: seqmask.SqueezeExcite(4, dtype='int32'), TypeError, 'dtype must be floating-point'),
    (lambda: seqmask.SqueezeExcite(4)(tf.zeros([1, 2, 3]), [1]), ValueError, 'input_size = 4'),
    (lambda: seqmask.SqueezeExcite(4)(tf.zeros([1, 2, 4]), [3]), tf.errors.InvalidArgumentError,
     'must not exceed')])
def test_what_does_not_fit_is_an_error(make, error, message):
    with pytest.raises(error, match=message):
        make()
