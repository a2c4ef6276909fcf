"""seqmask.keras.replace_layers: models of Keras's own layers, as people have them."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import seqmask.keras

K = tf.keras.layers
B, T = 6, 5
LENGTHS = np.arange(B) % T + 1
MASK = np.arange(T) < LENGTHS[:, None]
FEATURES = np.where(MASK[..., None], np.random.default_rng(0).normal(size=[B, T, 3]), 0).astype('f')
WORDS = np.where(MASK, np.random.default_rng(1).integers(1, 9, size=[B, T]), 0)


def sequential():
    return tf.keras.Sequential([
        tf.keras.Input([None, 3]), K.Masking(), K.Bidirectional(K.LSTM(4, return_sequences=True)),
        K.Bidirectional(K.GRU(3), backward_layer=K.LSTM(3, go_backwards=True)), K.Dense(1)])


def sequential_without_input():
    model = tf.keras.Sequential([K.Masking(), K.GRU(4)])
    model(FEATURES)
    return model


def functional():
    """A layer called twice and shared with a model inside, a lambda, two inputs with names."""
    inputs, skipped = tf.keras.Input([None, 3], name='x'), tf.keras.Input([3], name='skipped')
    shared = K.LSTM(3, return_sequences=True)
    x = shared(shared(K.Masking()(inputs)))
    inner = tf.keras.Model(inputs, K.GRU(3)(shared(inputs)))
    x = K.Lambda(lambda both: both[0] + 2 * both[1])([K.GRU(3)(x), inner(inputs)])
    return tf.keras.Model({'x': inputs, 'skipped': skipped}, K.Dense(1)(x + skipped))


class Block(K.Layer):

    def __init__(self, units=3, **options):
        super().__init__(**options)
        self.units = units
        self.recurrent = []
        self.to_outputs = K.Dense(units)
        self.recurrent.append(K.GRU(units, return_sequences=True))
        self.named = {'last': K.LSTM(units)}
        self.scale = self.add_weight(shape=[units], initializer='uniform')

    def call(self, inputs, mask=None):
        x = self.recurrent[0](inputs, mask=mask)
        return self.to_outputs(self.named['last'](x, mask=mask)) * self.scale

    def compute_mask(self, inputs, mask=None):
        return None

    def get_config(self):
        return {**super().get_config(), 'units': self.units}


class Tagger(tf.keras.Model):
    """As most people write one: __init__ knows nothing of names and dtypes."""

    def __init__(self, units=4):
        super().__init__()
        self.embedding = K.Embedding(9, units, mask_zero=True)
        self.lstm = K.LSTM(units, return_sequences=True, dropout=0.1)
        self.block = Block()

    def call(self, inputs, training=False):
        return self.block(self.lstm(self.embedding(inputs), training=training))


def subclassed():
    model = Tagger()
    model(WORDS)
    model.embedding.trainable = False
    return model


def with_own_layer():
    return tf.keras.Sequential([tf.keras.Input([None, 3]), K.Masking(), Block()])


def layers_of(model):
    return model._flatten_layers()


@pytest.mark.parametrize('make, inputs', [
    (sequential, FEATURES), (sequential_without_input, FEATURES), (subclassed, WORDS),
    (functional, {'x': FEATURES, 'skipped': FEATURES[:, 0]}), (with_own_layer, FEATURES)])
def test_the_same_model_with_the_same_weights_and_results(make, inputs):
    theirs = make()
    ours = seqmask.keras.replace_layers(theirs)
    for its, own in zip(theirs.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_array_equal(own, its)
    wanted = theirs.predict(inputs, verbose=0)
    np.testing.assert_allclose(ours.predict(inputs, verbose=0), wanted, atol=1e-6)
    kept = (K.LSTM, K.GRU, K.Bidirectional)
    assert type(ours) is type(theirs)
    assert any(type(layer) in kept for layer in layers_of(theirs))
    assert not any(type(layer) in kept for layer in layers_of(ours))
    assert ([layer.trainable for layer in ours.layers]
            == [layer.trainable for layer in theirs.layers])
    ours.compile('sgd', 'mse')
    ours.fit(inputs, wanted + 1, verbose=0)
    np.testing.assert_array_equal(theirs.predict(inputs, verbose=0), wanted)    # unchanged


def test_shared_layers_stay_shared():
    ours = seqmask.keras.replace_layers(functional())
    assert sum(isinstance(layer, seqmask.keras.LSTM) for layer in layers_of(ours)) == 1


@pytest.mark.filterwarnings('ignore:.*destroy the mask:UserWarning')     # of Keras's Conv1D
def test_every_layer_that_there_is():
    """One compiled with a loss that Keras could not find again."""
    theirs = tf.keras.Sequential([
        tf.keras.Input([None, 3]), K.Masking(), K.LSTM(3, return_sequences=True),
        K.TimeDistributed(K.Dense(2)), K.Conv1D(4, 3, padding='same'), K.BatchNormalization(),
        K.GlobalMaxPooling1D()])
    theirs.compile('adam', lambda y_true, y_pred: tf.reduce_mean(y_pred - y_true))
    ours = seqmask.keras.replace_layers(theirs)
    assert theirs.compiled and not ours.compiled
    assert [type(layer).__module__.split('.')[0] for layer in ours.layers] == [
        'keras', 'seqmask', 'keras', 'seqmask', 'seqmask', 'seqmask']
    wider = np.pad(FEATURES, [[0, 0], [0, 3], [0, 0]])
    np.testing.assert_allclose(ours(wider), ours(FEATURES), atol=1e-6)
    assert set(seqmask.keras.replace.LAYERS.values()) == {
        value for value in vars(seqmask.keras).values()
        if isinstance(value, type) and issubclass(value, K.Layer)
        and not issubclass(value, tf.keras.metrics.Metric)}


# Keras 3.15 with NumPy 2: of Keras's own making, when it writes weights.
@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
def test_an_old_file_is_loaded_and_replaced(tmp_path):
    theirs = sequential()
    theirs.compile('adam', 'mse')
    theirs.train_on_batch(FEATURES, np.zeros([B, 1]))
    theirs.save(tmp_path / 'old.keras')
    ours = seqmask.keras.replace_layers(tf.keras.models.load_model(tmp_path / 'old.keras'))
    np.testing.assert_allclose(ours.predict(FEATURES, verbose=0),
                               theirs.predict(FEATURES, verbose=0), atol=1e-6)
    assert isinstance(ours.layers[1], seqmask.keras.Bidirectional)


class TakesALayer(tf.keras.Model):

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, inputs):
        return self.layer(inputs)


class MadeInBuild(K.Layer):

    def build(self, shape):
        self.recurrent = K.GRU(2)
        self.recurrent.build(shape)

    def call(self, inputs):
        return self.recurrent(inputs)


def called(model, inputs=FEATURES):
    model(inputs)
    return model


@pytest.mark.parametrize('make, kind, error', {
    'a layer': (lambda: K.GRU(2), TypeError, 'model must be a Keras model, got GRU. A single layer '
                                             'becomes one of seqmask with from_keras.'),
    'not built': (Tagger, ValueError, 'the model must be built, so that it has weights: call '),
    'no configuration': (lambda: called(TakesALayer(K.GRU(2))), ValueError,
                         'cannot be made anew by from_config(get_config()): define these two, or '
                         'import its layers from seqmask.keras.'),
    'arguments that Keras forgets': (lambda: called(Tagger(5), WORDS), ValueError,
                                     'came out with other layers: define get_config, which must '),
    'build': (lambda: called(tf.keras.Sequential([MadeInBuild()])), ValueError,
              'makes layers outside its __init__, which cannot be replaced: import them from '),
}.values())
def test_what_cannot_be_replaced_is_told(make, kind, error):
    with pytest.raises(kind, match=re.escape(error)):
        seqmask.keras.replace_layers(make())


def test_importing_seqmask_starts_nothing_of_tensorflow():
    """Neither threads nor devices: who imports it may still configure them, or fork."""
    found = subprocess.run(
        [sys.executable, '-c', 'import os, seqmask.keras; '
                               'print(len(os.listdir("/proc/self/task")))'],
        capture_output=True, text=True, env={**os.environ, 'OPENBLAS_NUM_THREADS': '1'},
        cwd=pathlib.Path(__file__).parent.parent)
    assert found.stdout == '1\n', found.stderr
