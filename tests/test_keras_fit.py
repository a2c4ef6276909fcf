"""What people do with a Keras model, done with seqmask's layers in it."""

import re

import numpy as np
import pytest
import tensorflow as tf

import seqmask.keras
from seqmask.keras import GRU, LSTM, Bidirectional, Conv1D, MaskedLoss

K = tf.keras.layers
B, T, D = 12, 7, 3
LENGTHS = np.arange(B) % T + 1
MASK = np.arange(T) < LENGTHS[:, None]
FEATURES = np.where(MASK[..., None], np.random.default_rng(0).normal(size=[B, T, D]), 0).astype('f')
TARGETS = FEATURES.sum(axis=(1, 2))[:, None]
RAGGED = tf.RaggedTensor.from_tensor(FEATURES, lengths=LENGTHS.astype(np.int64))


def classifier():
    return tf.keras.Sequential([
        tf.keras.Input([None, D]), K.Masking(), Conv1D(4, 3, padding='same'),
        seqmask.keras.BatchNormalization(), Bidirectional(LSTM(8, return_sequences=True)), GRU(8),
        K.Dense(1)])


def with_lengths():
    inputs = tf.keras.Input([None, D], name='inputs')
    lengths = tf.keras.Input([], dtype='int32', name='lengths')
    x = Conv1D(4, 3, padding='same')(inputs, lengths=lengths)
    x = GRU(8)(x, lengths=lengths)
    return tf.keras.Model({'inputs': inputs, 'lengths': lengths}, K.Dense(1)(x))


def learns(model, *data, **options):
    model.compile(tf.keras.optimizers.Adam(0.01), 'mse', **options)
    losses = model.fit(*data, epochs=4, shuffle=False, verbose=0).history['loss']
    assert losses[-1] < losses[0]


def test_clone_model():
    model = classifier()
    clone = tf.keras.models.clone_model(model)
    assert [type(layer) for layer in clone.layers] == [type(layer) for layer in model.layers]
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone.predict(FEATURES, verbose=0),
                                  model.predict(FEATURES, verbose=0))


@pytest.fixture
def bfloat16():
    tf.keras.mixed_precision.set_global_policy('mixed_bfloat16')
    yield
    tf.keras.mixed_precision.set_global_policy('float32')


def test_mixed_bfloat16(bfloat16):
    model = classifier()
    assert model(FEATURES).dtype == tf.bfloat16
    assert all(weight.dtype == 'float32' for weight in model.weights)
    learns(model, FEATURES, TARGETS)
    tf.keras.mixed_precision.set_global_policy('float32')
    precise = classifier()
    precise.set_weights(model.get_weights())
    np.testing.assert_allclose(tf.cast(model.predict(FEATURES, verbose=0), tf.float32),
                               precise.predict(FEATURES, verbose=0), atol=0.1)


def test_a_masked_loss_in_bfloat16(bfloat16):
    model = tf.keras.Sequential([tf.keras.Input([None, D]), K.Masking(),
                                 GRU(8, return_sequences=True), K.Dense(D)])
    model.compile('adam', MaskedLoss('mse'))
    real = tf.cast(model.predict(FEATURES, verbose=0), tf.float32).numpy()[MASK]
    assert model.evaluate(FEATURES, FEATURES, verbose=0) == pytest.approx(
        np.square(real - FEATURES[MASK]).mean(), rel=0.05)


def test_jit_compile():
    masked = tf.keras.Sequential([tf.keras.Input([None, D]), K.Masking(), GRU(4), K.Dense(1)])
    wanted = masked.predict(FEATURES, verbose=0)
    masked.compile(jit_compile=True)
    np.testing.assert_allclose(masked.predict(FEATURES, verbose=0), wanted, atol=1e-6)
    learns(with_lengths(), {'inputs': FEATURES, 'lengths': LENGTHS}, TARGETS, jit_compile=True)


def test_jit_compile_of_a_convolution_that_has_a_mask_only():
    model = classifier()
    model.compile('sgd', 'mse', jit_compile=True)
    with pytest.raises(ValueError, match='pass lengths= to Conv1D'):
        model.fit(FEATURES, TARGETS, verbose=0)


def test_a_pipeline_of_dicts():
    batches = tf.data.Dataset.from_tensor_slices(
        ({'lengths': LENGTHS, 'inputs': FEATURES}, TARGETS)).batch(4)
    model = with_lengths()
    learns(model, batches)
    poisoned = {'inputs': np.where(MASK[..., None], FEATURES, np.nan), 'lengths': LENGTHS}
    np.testing.assert_allclose(model.predict(batches, verbose=0),
                               model.predict(poisoned, verbose=0), atol=1e-6)


@pytest.mark.parametrize('ragged', [False, True], ids=['Input()', 'Input(ragged=True)'])
def test_a_pipeline_of_ragged_tensors(ragged):
    batches = tf.data.Dataset.from_tensor_slices((RAGGED, TARGETS)).batch(4)
    model = tf.keras.Sequential([
        tf.keras.Input([None, D], ragged=ragged), Bidirectional(GRU(8, return_sequences=True)),
        seqmask.keras.GlobalAveragePooling1D(), K.Dense(1)])
    learns(model, batches)
    padded = tf.keras.Sequential([tf.keras.Input([None, D]), K.Masking(), *model.layers])
    np.testing.assert_allclose(model.predict(batches, verbose=0),
                               padded.predict(FEATURES, verbose=0), atol=1e-6)


def test_a_pipeline_of_ragged_labels():
    batches = tf.data.Dataset.from_tensor_slices((RAGGED, RAGGED)).batch(B)
    model = tf.keras.Sequential([tf.keras.Input([None, D]), LSTM(8, return_sequences=True),
                                 K.Dense(D)])
    model.compile(tf.keras.optimizers.Adam(0.01), MaskedLoss('mse'))
    losses = model.fit(batches, epochs=4, shuffle=False, verbose=0).history['loss']
    assert losses[-1] < losses[0]
    real = model.predict(batches, verbose=0)[MASK]
    assert model.evaluate(batches, verbose=0) == pytest.approx(
        np.square(real - FEATURES[MASK]).mean(), rel=1e-5)


def test_ragged_words_and_every_layer():
    for layer in (GRU(2), Conv1D(2, 3), seqmask.keras.BatchNormalization(),
                  seqmask.keras.GlobalMaxPooling1D()):
        np.testing.assert_array_equal(layer(RAGGED), layer(FEATURES, lengths=LENGTHS))
    words = tf.ragged.constant([[1, 2, 3], [4]])
    model = tf.keras.Sequential([tf.keras.Input([None], dtype='int32', ragged=True),
                                 K.Embedding(5, 3), GRU(2)])
    padded = model.layers[1](model.layers[0](words.to_tensor()), lengths=tf.constant([3, 1]))
    np.testing.assert_array_equal(model(words), padded)
    with pytest.raises(TypeError, match=re.escape('Pad it with padded, lengths = seqmask.from_')):
        GRU(2)([RAGGED, tf.constant(LENGTHS)])


@pytest.mark.parametrize('options', [
    {'implementation': 1}, {'implementation': 2}, {'unroll': True}, {'use_cudnn': False},
    {'zero_output_for_mask': True}, {'kernel_regularizer': 'l2'}, {'go_backwards': True},
    {'bias_constraint': 'non_neg', 'recurrent_initializer': 'glorot_uniform'}], ids=str)
def test_arguments_that_keras_knows(options):
    """In a model, saved as Keras saves it; beside Keras's layer, at the real steps."""
    theirs, ours = (tf.keras.Sequential([
        tf.keras.Input([T, D]), K.Masking(), room.LSTM(4, return_sequences=True, **options),
        K.Dense(1)]) for room in (K, seqmask.keras))
    ours.set_weights(theirs.get_weights())
    real = MASK[:, ::-1] if 'go_backwards' in options else MASK
    np.testing.assert_allclose(ours(FEATURES)[real], theirs(FEATURES)[real], atol=1e-6)
    ours.compile('sgd', MaskedLoss('mse'))
    again = tf.keras.models.clone_model(ours).layers[1].get_config()
    assert again == ours.layers[1].get_config()
    # The mask stands in the order of the outputs, so the loss counts the real ones.
    squares = np.square(ours(FEATURES))[real]
    assert ours.evaluate(FEATURES, np.zeros([B, T, 1]), verbose=0) == pytest.approx(
        squares.mean() + float(sum(ours.losses)), rel=1e-5)
