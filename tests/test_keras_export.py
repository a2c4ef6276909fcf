"""Keras models with seqmask's layers that leave: they run where there is no seqmask."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import seqmask.keras

K = tf.keras.layers
B, T = 6, 5
LENGTHS = np.array([5, 1, 3, 0, 2, 4], np.int32)
MASK = np.arange(T) < LENGTHS[:, None]
FEATURES = np.where(MASK[..., None], np.random.default_rng(0).normal(size=[B, T, 3]), 0).astype('f')


def sequential():
    return tf.keras.Sequential([
        tf.keras.Input([None, 3]), K.Masking(),
        seqmask.keras.Bidirectional(seqmask.keras.LSTM(4, return_sequences=True)),
        seqmask.keras.Conv1D(4, 3, padding='same'), seqmask.keras.GRU(3), K.Dense(2)])


def with_lengths():
    inputs, lengths = tf.keras.Input([None, 3]), tf.keras.Input([], dtype='int32')
    x = seqmask.keras.GRU(4, return_sequences=True)(inputs, lengths=lengths)
    return tf.keras.Model([inputs, lengths], K.Dense(2)(x))


def of_dicts():
    inputs = tf.keras.Input([None, 3], name='frames')
    lengths = tf.keras.Input([], dtype='int32', name='lengths')
    x = seqmask.keras.LSTM(4)([inputs, lengths])
    return tf.keras.Model({'lengths': lengths, 'frames': inputs},
                          {'classes': K.Dense(2)(x), 'number': K.Dense(1)(x)})


def of_three():
    inputs = tf.keras.Input([None, 3], name='frames')
    lengths = tf.keras.Input([], dtype='int32', name='lengths')
    other = tf.keras.Input([2], name='other')
    x = seqmask.keras.LSTM(2)([inputs, lengths])
    return tf.keras.Model([inputs, lengths, other], [x, x + other])


class Subclassed(tf.keras.Model):

    def __init__(self):
        super().__init__()
        self.recurrent = seqmask.keras.GRU(4, dropout=0.5)
        self.to_outputs = K.Dense(2)

    def call(self, inputs, training=False):
        return self.to_outputs(self.recurrent(inputs, training=training))


def fitted():
    model = Subclassed()
    model.compile('sgd', 'mse')
    model.fit([FEATURES, LENGTHS], np.zeros([B, 2]), verbose=0)
    return model


ELSEWHERE = '''
import sys
sys.modules['seqmask'] = None       # importing it is an error
import numpy as np, tensorflow as tf
arrays = dict(np.load('arrays.npz'))
for name in sys.argv[1:]:
    model = tf.saved_model.load(name)
    for signature, run in model.signatures.items():
        given = {key: tf.constant(arrays.get(key, arrays['inputs']))
                 for key in run.structured_input_signature[1]}
        np.savez(f'{name}-{signature}.npz', **run(**given))
try:
    tf.keras.models.load_model('model.keras')
except TypeError as error:
    print(error)
'''


# Keras 3.15 with NumPy 2: of Keras's own making, when it writes weights.
@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
def test_in_a_process_without_seqmask_the_numbers_are_the_same(tmp_path):
    other = np.ones([B, 2], 'f')
    np.savez(tmp_path / 'arrays.npz', inputs=FEATURES, lengths=LENGTHS, other=other)
    made = {make.__name__: make() for make in (sequential, with_lengths, of_dicts, of_three,
                                               fitted)}
    signatures = {name: seqmask.export.save(model, tmp_path / name)
                  for name, model in made.items()}
    assert signatures == {
        'sequential': ['serving_default'], 'with_lengths': ['serving_default', 'without_lengths'],
        'of_dicts': ['serving_default'], 'of_three': ['serving_default'],
        'fitted': ['serving_default', 'without_lengths']}
    made['sequential'].export(tmp_path / 'by_keras', verbose=False)         # as Keras exports
    made['sequential'].save(tmp_path / 'model.keras')
    done = subprocess.run([sys.executable, '-c', ELSEWHERE, *made, 'by_keras'], cwd=tmp_path,
                          check=True, timeout=300, capture_output=True, text=True)
    pair = [FEATURES, LENGTHS]
    sequence = made['sequential'].predict(FEATURES, verbose=0)
    x, sum_of_both = made['of_three'].predict([*pair, other], verbose=0)
    names = made['of_three'].output_names
    wanted = {
        'sequential': {'outputs': sequence}, 'by_keras': {'output_0': sequence},
        'with_lengths': {'outputs': made['with_lengths'].predict(pair, verbose=0)},
        'of_dicts': made['of_dicts'].predict({'frames': FEATURES, 'lengths': LENGTHS}, verbose=0),
        'of_three': dict(zip(names, [x, sum_of_both])),
        'fitted': {'outputs': made['fitted'].predict(pair, verbose=0)}}
    for name, results in wanted.items():
        for signature in signatures.get(name, ['serving_default']):
            found = dict(np.load(tmp_path / f'{name}-{signature}.npz'))
            if signature == 'without_lengths':
                np.testing.assert_array_equal(found.pop('lengths'), LENGTHS)
            assert set(found) == set(results)
            for key, value in results.items():
                np.testing.assert_allclose(found[key], value, atol=1e-6)
    # README explains this sentence of Keras's.
    assert "Could not locate class 'Bidirectional'" in done.stdout
    assert 'make sure they are all imported' in done.stdout


def test_other_numbers_of_steps_and_sequences(tmp_path):
    model = fitted()
    seqmask.export.save(model, tmp_path / 'saved')
    loaded = tf.saved_model.load(str(tmp_path / 'saved'))
    longer = np.pad(FEATURES[:2], [[0, 0], [0, 4], [0, 0]], constant_values=np.nan)
    outputs = loaded.signatures['serving_default'](inputs=tf.constant(longer),
                                                   lengths=tf.constant(LENGTHS[:2]))['outputs']
    np.testing.assert_allclose(outputs, model.predict([FEATURES, LENGTHS], verbose=0)[:2],
                               atol=1e-6)


def test_what_cannot_be_exported_is_told(tmp_path):
    with pytest.raises(ValueError, match=re.escape('has no variables yet. Call it on a batch')):
        seqmask.export.save(Subclassed(), tmp_path / 'new')
    with pytest.raises(FileExistsError, match='Choose another path.'):
        seqmask.export.save(sequential(), tmp_path)
    assert os.listdir(tmp_path) == []
