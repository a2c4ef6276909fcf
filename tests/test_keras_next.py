"""Keras from 3.16 on drops the mask in recurrent layers: simulated with the Keras that is here.

Its preview sets `supports_masking` to False in RNN, Bidirectional and TimeDistributed, and so warns
"will therefore destroy the mask information" where one of them is given a mask. Warnings are errors
in tests.
"""

import numpy as np
import pytest
import tensorflow as tf

import seqmask.keras

K = tf.keras.layers
B, T = 6, 5
LENGTHS = np.arange(B) % T + 1
MASK = np.arange(T) < LENGTHS[:, None]
FEATURES = np.where(MASK[..., None], np.random.default_rng(0).normal(size=[B, T, 3]), 0).astype('f')


@pytest.fixture
def keras_3_16(monkeypatch):
    for kind in (K.RNN, K.Bidirectional, K.TimeDistributed):
        def init(self, *args, made_before=kind.__init__, **options):
            made_before(self, *args, **options)
            self.supports_masking = False

        monkeypatch.setattr(kind, '__init__', init)


def test_the_simulation_drops_masks_as_the_preview_does(keras_3_16):
    for layer in (K.LSTM(2, return_sequences=True), K.TimeDistributed(K.Dense(2))):
        with pytest.warns(UserWarning, match='destroy the mask information'):
            outputs = layer(K.Masking()(FEATURES))
        assert getattr(outputs, '_keras_mask', None) is None


@pytest.mark.parametrize('make', {
    'LSTM': lambda: seqmask.keras.LSTM(2, return_sequences=True),
    'GRU': lambda: seqmask.keras.GRU(2, return_sequences=True),
    'Bidirectional': lambda: seqmask.keras.Bidirectional(
        seqmask.keras.GRU(2, return_sequences=True)),
    "of Keras's layer": lambda: seqmask.keras.Bidirectional(K.GRU(2, return_sequences=True)),
    'Conv1D': lambda: seqmask.keras.Conv1D(2, 3, padding='same'),
    'BatchNormalization': seqmask.keras.BatchNormalization,
}.values())
def test_seqmask_s_layers_pass_it_on_and_warn_of_nothing(make, keras_3_16):
    model = tf.keras.Sequential([tf.keras.Input([None, 3]), K.Masking(), make(), K.Dense(1)])
    np.testing.assert_array_equal(model(FEATURES)._keras_mask, MASK)
    model.compile('sgd', seqmask.keras.MaskedLoss('mse'))
    garbage = np.where(MASK[..., None], 1, 1e6)
    ones = np.ones([B, T, 1])
    np.testing.assert_allclose(model.evaluate(FEATURES, garbage, verbose=0),
                               model.evaluate(FEATURES, ones, verbose=0), rtol=1e-6)


@pytest.mark.parametrize('make', {
    'LSTM': lambda: seqmask.keras.LSTM(2), 'Bidirectional': lambda: seqmask.keras.Bidirectional(
        seqmask.keras.GRU(2)), 'pool': seqmask.keras.GlobalAveragePooling1D,
    'max': seqmask.keras.GlobalMaxPooling1D}.values())
def test_a_mask_that_ends_where_it_should_is_no_warning_either(make, keras_3_16):
    model = tf.keras.Sequential([tf.keras.Input([None, 3]), K.Masking(), make(), K.Dense(1)])
    model.compile('sgd', seqmask.keras.MaskedLoss('mse'))
    model.fit(FEATURES, np.ones([B, 1]), verbose=0)


@pytest.mark.filterwarnings('ignore:.*destroy the mask information:UserWarning')    # by theirs
def test_a_masked_loss_says_that_keras_s_layer_has_dropped_it(keras_3_16):
    model = tf.keras.Sequential([
        tf.keras.Input([T, 3]), K.Masking(), seqmask.keras.GRU(2, return_sequences=True),
        K.TimeDistributed(K.Dense(1), name='each_step')])
    model.compile('sgd', seqmask.keras.MaskedLoss('mse'))
    with pytest.warns(UserWarning, match="the mask ended at the layer 'each_step'"):
        model.fit(FEATURES, np.ones([B, T, 1]), verbose=0)
    replaced = seqmask.keras.replace_layers(tf.keras.Sequential([
        tf.keras.Input([T, 3]), K.Masking(), K.Bidirectional(K.LSTM(2, return_sequences=True))]))
    np.testing.assert_array_equal(replaced(FEATURES)._keras_mask, MASK)
