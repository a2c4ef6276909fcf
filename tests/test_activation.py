import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask

LENGTHS = [2, 0, 3]
MASK = np.array([[True, True, False], [False, False, False], [True, True, True]])

POLES = {'log': tf.math.log, 'sqrt': tf.sqrt, 'reciprocal': lambda x: 1 / x, 'rsqrt': tf.math.rsqrt,
         'norm': lambda x: x / tf.norm(x, axis=-1, keepdims=True)}


class Power(tf.Module):
    """x ** p, whose derivative to p has a pole at 0."""

    def __init__(self):
        super().__init__()
        self.exponent = tf.Variable(3.0)

    def __call__(self, x):
        return tf.exp(self.exponent * tf.math.log(x))


def inputs_of(rng, dtype='float32', fill=0.0):
    return tf.constant(np.where(MASK[..., None], rng.uniform(1, 2, size=[3, 3, 2]), fill), dtype)


@pytest.mark.parametrize('name, oracle', [
    ('exponential', np.exp), ('sigmoid', reference.sigmoid), ('softmax', reference.softmax),
    ('relu', lambda x: np.maximum(x, 0)), ('tanh', np.tanh), ('linear', lambda x: x),
    ('softplus', lambda x: np.log(1 + np.exp(x))), (None, lambda x: x)])
def test_names(name, oracle, rng):
    inputs = inputs_of(rng, 'float64', fill=-3.0) - 1.5
    outputs = seqmask.Activation(name)(inputs, LENGTHS).numpy()
    np.testing.assert_allclose(outputs[MASK], oracle(inputs.numpy()[MASK]), rtol=1e-7)
    assert not outputs[~MASK].any()


@pytest.mark.parametrize('fill', [0.0, np.nan, np.inf, -1e38])
@pytest.mark.parametrize('function', POLES.values(), ids=POLES)
def test_poles_at_0_do_not_reach_the_gradients(function, fill, rng):
    inputs, clean = inputs_of(rng, fill=fill), inputs_of(np.random.default_rng(0))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([inputs, clean])
        outputs = seqmask.Activation(function)(inputs, LENGTHS)
        wanted = function(clean)
    gradient = tape.gradient(outputs, inputs).numpy()
    np.testing.assert_allclose(gradient[MASK], tape.gradient(wanted, clean).numpy()[MASK])
    np.testing.assert_allclose(outputs.numpy()[MASK], wanted.numpy()[MASK], rtol=1e-6)
    assert not gradient[~MASK].any() and not outputs.numpy()[~MASK].any()


def test_a_pole_at_a_real_step_is_as_it_is_without_padding():
    def gradient(inputs, length):
        inputs = tf.constant(inputs)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = seqmask.Activation(tf.math.log)(inputs, [length])
        return tape.gradient(outputs, inputs).numpy().ravel().tolist()
    assert gradient([[[0.], [4.]]], 2) == [np.inf, 1 / 4]
    assert gradient([[[0.], [4.], [0.]]], 2) == [np.inf, 1 / 4, 0]


def test_the_function_sees_no_padding():
    seen = []

    def function(x):
        seen.append(x.numpy().ravel().tolist())
        return x
    inputs = [[[3.], [4.], [np.nan]], [[np.nan]] * 3, [[0.], [5.], [6.]]]
    seqmask.Activation(function)(tf.constant(inputs), LENGTHS)
    assert seen == [[3, 4, 3, 1, 1, 1, 0, 5, 6]]      # a sequence's first step, or ones


def test_the_function_may_change_the_width(rng):
    outputs = seqmask.Activation(lambda x: tf.reduce_sum(x, axis=-1))(inputs_of(rng), LENGTHS)
    assert outputs.shape == [3, 3]
    outputs = seqmask.Activation(lambda x: tf.concat([x, -x], axis=-1))(inputs_of(rng), LENGTHS)
    assert outputs.shape == [3, 3, 4]
    assert not outputs.numpy()[~MASK].any()


def test_variables_of_the_function_are_found():
    activation = seqmask.Activation(Power())
    assert activation.trainable_variables == (activation.function.exponent,)


@pytest.mark.parametrize('fill', [0.0, np.nan, np.inf])
def test_poles_at_0_do_not_reach_the_variables_of_the_function(fill):
    activation = seqmask.Activation(Power())
    with tf.GradientTape() as tape:
        outputs = activation([[[1.], [2.], [fill]], [[fill]] * 3], [2, 0])
    gradient = tape.gradient(outputs, activation.function.exponent)
    np.testing.assert_allclose(gradient, 1 ** 3 * np.log(1) + 2 ** 3 * np.log(2), rtol=1e-6)


@pytest.mark.parametrize('shape', [(2, 0, 2), (0, 3, 2), (0, 0, 2), (2, 3, 2)], ids=str)
@pytest.mark.parametrize('wrap', [lambda f: f, tf.function], ids=['eager', 'graph'])
def test_nothing_at_all(wrap, shape):
    inputs = tf.zeros(shape)
    call = wrap(lambda x: seqmask.Activation(tf.math.log)(x, tf.zeros(shape[:1], tf.int32)))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = call(inputs)
    assert outputs.shape == shape and not outputs.numpy().any()
    assert not tape.gradient(outputs, inputs).numpy().any()


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_dtypes(dtype, rng):
    inputs = inputs_of(rng, dtype, fill=np.nan)
    outputs = seqmask.Activation(tf.exp)(inputs, LENGTHS)
    assert outputs.dtype == dtype
    assert not tf.cast(outputs, tf.float32).numpy()[~MASK].any()


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match='rank 3'):
        seqmask.Activation('relu')(tf.zeros([2, 3]), [1, 1])
    with pytest.raises(TypeError, match='inputs must be floating-point'):
        seqmask.Activation('relu')(tf.zeros([2, 3, 1], tf.int32), [1, 1])
    with pytest.raises(ValueError, match='no such function'):
        seqmask.Activation('no such function')
