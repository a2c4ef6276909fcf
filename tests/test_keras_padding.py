"""What Keras 3 does with padding: the Keras column of README.md's table of layers, cell by cell.

Each test calls a live Keras layer on a batch padded to T = 5 and on the same with more, or other,
padding, with the mask passed explicitly wherever the layer takes one.
"""

import numpy as np
import pytest
import tensorflow as tf

layers = tf.keras.layers
LENGTH = 3
MASK = tf.constant([[True, True, True, False, False]])


def frames(padding, seed=0):
    """[1, 5, 4], of which 3 steps are real."""
    x = np.random.default_rng(seed).normal(size=[1, 5, 4]).astype('f')
    x[:, LENGTH:] = padding
    return tf.constant(x)


def ready(layer):
    """The layer, built, with no weight that is zero."""
    layer.build([None, None, 4])
    layer.set_weights([np.random.default_rng(1).uniform(0.5, 1, w.shape) for w in
                       layer.get_weights()])
    return layer


def takes_mask(layer):
    return 'mask' in layer._call_signature.parameters


@pytest.mark.parametrize('make', [
    lambda: layers.GRU(3, return_sequences=True), lambda: layers.LSTM(3, return_sequences=True)])
def test_recurrent_outputs_repeat_after_the_end(make):
    layer = ready(make())
    outputs = layer(frames(padding=7.0), mask=MASK).numpy()
    assert outputs[0, 2].any()
    np.testing.assert_array_equal(outputs[0, 3], outputs[0, 2])
    np.testing.assert_array_equal(outputs[0, 4], outputs[0, 2])


def test_conv1d_takes_no_mask_and_sees_the_padding():
    layer = ready(layers.Conv1D(2, 3, padding='same'))
    assert not takes_mask(layer) and not layer.supports_masking
    clean, dirty = layer(frames(padding=0.0)).numpy(), layer(frames(padding=7.0)).numpy()
    assert not np.allclose(clean[0, 2], dirty[0, 2])        # a real step
    assert clean[0, 4].all()                                # the bias


def test_strided_same_convolution_depends_on_the_padded_width():
    layer = layers.Conv1D(1, 3, strides=2, padding='same', use_bias=False)
    layer.build([None, None, 1])
    layer.set_weights([np.ones([3, 1, 1])])
    x = np.array([1., 2., 3., 4., 5., 0., 0.], 'f').reshape([1, 7, 1])
    of_five = layer(x[:, :5]).numpy().ravel()
    of_six = layer(x[:, :6]).numpy().ravel()
    np.testing.assert_array_equal(of_five, [3, 9, 9])       # 0+1+2, 2+3+4, 4+5+0
    np.testing.assert_array_equal(of_six, [6, 12, 5])       # 1+2+3, 3+4+5, 5+0+0


def test_batch_norm_takes_the_mask_for_statistics_alone():
    layer = ready(layers.BatchNormalization())
    clean = layer(frames(padding=0.0), mask=MASK, training=True).numpy()
    dirty = layer(frames(padding=7.0), mask=MASK, training=True).numpy()
    np.testing.assert_allclose(clean[0, :LENGTH], dirty[0, :LENGTH], rtol=1e-5)
    assert clean[0, LENGTH:].all()                          # not silent
    poisoned = layer(frames(padding=np.nan), mask=MASK, training=True).numpy()
    np.testing.assert_allclose(clean[0, :LENGTH], poisoned[0, :LENGTH], rtol=1e-5)
    assert np.isnan(poisoned[0, LENGTH:]).all()             # what stood there passes through


def test_batch_norm_divides_by_more_than_the_count():
    layer = layers.BatchNormalization(momentum=0.0)
    layer.build([None, None, 1])
    layer(tf.fill([1, 1, 1], 1e4), mask=tf.constant([[True]]), training=True)
    assert layer.moving_mean.numpy()[0] < 1e4


@pytest.mark.parametrize('make', [lambda: layers.LayerNormalization(), lambda: layers.Dense(2)])
def test_layers_with_a_bias_are_not_silent(make):
    layer = ready(make())
    assert layer.supports_masking and not takes_mask(layer)
    assert layer(frames(padding=0.0)).numpy()[0, LENGTH:].all()


def test_activations_are_not_silent():
    layer = layers.Activation('sigmoid')
    assert layer.supports_masking and not takes_mask(layer)
    np.testing.assert_array_equal(layer(frames(padding=0.0)).numpy()[0, LENGTH:], 0.5)


def test_average_over_time_takes_the_mask():
    layer = layers.GlobalAveragePooling1D()
    clean, dirty, poisoned = (layer(frames(padding), mask=MASK).numpy()
                              for padding in [0.0, 7.0, np.nan])
    np.testing.assert_allclose(clean, dirty, rtol=1e-6)
    np.testing.assert_allclose(clean, poisoned, rtol=1e-6)


@pytest.mark.parametrize('make', [
    lambda: layers.GlobalMaxPooling1D(), lambda: layers.MaxPooling1D(5),
    lambda: layers.AveragePooling1D(5)])
def test_other_pooling_sees_the_padding(make):
    layer = make()
    assert not takes_mask(layer)
    assert not np.allclose(layer(frames(padding=0.0)), layer(frames(padding=7.0)))


def test_softmax_takes_the_mask():
    layer = layers.Softmax()
    mask = tf.constant([[True, False], [False, False]])
    outputs = layer(tf.constant([[1., 2.], [1., 2.]]), mask=mask).numpy()
    np.testing.assert_array_equal(outputs, [[1, 0], [0, 0]])


def test_attention_takes_a_mask_and_is_not_silent():
    layer = layers.MultiHeadAttention(num_heads=1, key_dim=4)
    seen = tf.broadcast_to(MASK[:, None], [1, 5, 5])
    clean = layer(frames(padding=0.0), frames(padding=0.0), attention_mask=seen).numpy()
    dirty = layer(frames(padding=7.0), frames(padding=7.0), attention_mask=seen).numpy()
    np.testing.assert_allclose(clean[0, :LENGTH], dirty[0, :LENGTH], rtol=1e-4, atol=1e-5)
    assert dirty[0, LENGTH:].any()
