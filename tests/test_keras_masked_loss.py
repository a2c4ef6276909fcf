"""MaskedLoss where the mask ended, on elements, and with ragged labels, in models as people write
them."""

import re
import warnings

import numpy as np
import pytest
import tensorflow as tf

import seqmask.keras
from seqmask.keras import MaskedLoss, MaskedMetric

K = tf.keras.layers
B, T, D = 8, 6, 3
LENGTHS = np.arange(B) % T + 1
MASK = np.arange(T) < LENGTHS[:, None]
FEATURES = np.where(MASK[..., None], np.random.default_rng(0).normal(size=[B, T, D]), 0).astype('f')
RATINGS = np.random.default_rng(1).integers(1, 6, size=[20, 9]).astype('f')
RATED = np.random.default_rng(2).random([20, 9]) < 0.3


def sequential(room):
    """The autoencoder of a hundred answers."""
    return tf.keras.Sequential([
        tf.keras.Input([T, D]), K.Masking(), room.LSTM(8, name='encoder'), K.RepeatVector(T),
        room.LSTM(8, return_sequences=True), K.TimeDistributed(K.Dense(D))])


class Subclassed(tf.keras.Model):

    def __init__(self, room):
        super().__init__()
        self.masking, self.encoder = K.Masking(), room.LSTM(8, name='encoder')
        self.repeat, self.decoder = K.RepeatVector(T), room.GRU(D, return_sequences=True)

    def call(self, inputs):
        return self.decoder(self.repeat(self.encoder(self.masking(inputs))))


@pytest.mark.parametrize('make, room, jit_compile', [
    (sequential, K, False), (sequential, seqmask.keras, True), (Subclassed, seqmask.keras, False)],
    ids=["Keras's layers", 'jit_compile', 'subclassed'])
def test_a_mask_that_ended_is_warned_of_once(make, room, jit_compile):
    model = make(room)
    model.compile('sgd', MaskedLoss('mse'), jit_compile=jit_compile)
    with pytest.warns(UserWarning, match='MaskedLoss') as warned:
        model.fit(FEATURES, FEATURES, verbose=0)
        counted = model.evaluate(FEATURES, FEATURES, verbose=0)
    told, = [str(warning.message) for warning in warned if 'MaskedLoss' in str(warning.message)]
    assert told == (
        "MaskedLoss 'masked_loss' counts the padding: the mask ended at the layer 'encoder', so "
        'there is none on the predictions. Pass it to the layers above, layer(x, lengths=lengths), '
        'or pass fit a sample_weight for each step, 0 in the padding (or 1 everywhere, if all '
        'steps of the predictions are real).')
    assert counted == pytest.approx(np.square(
        model.predict(FEATURES, verbose=0) - FEATURES).mean(), rel=0.2)


def test_with_weights_of_steps_there_is_nothing_to_warn_of():
    model = sequential(seqmask.keras)
    model.compile('sgd', MaskedLoss('mse'))
    squares = np.square(model.predict(FEATURES, verbose=0) - FEATURES)
    found = model.evaluate(FEATURES, FEATURES, sample_weight=MASK.astype('f'), verbose=0)
    assert found == pytest.approx(squares[MASK].mean(), rel=1e-5)
    model.compile('sgd', MaskedLoss('mse'))
    with pytest.warns(UserWarning, match="layer 'encoder'"):    # those of sequences say nothing
        model.evaluate(FEATURES, FEATURES, sample_weight=np.ones([B]), verbose=0)


def of_lengths(decoder_gets_them):
    inputs, lengths = tf.keras.Input([None, D]), tf.keras.Input([], dtype='int32')
    code = seqmask.keras.LSTM(4, name='encoder')(inputs, lengths=lengths)
    decoder = seqmask.keras.LSTM(D, return_sequences=True)
    x = K.RepeatVector(T)(code)
    x = decoder(x, lengths=lengths) if decoder_gets_them else decoder(x)
    return tf.keras.Model([inputs, lengths], K.Dense(D)(x))


def test_lengths_that_only_the_encoder_got():
    model = of_lengths(decoder_gets_them=False)
    model.compile('sgd', MaskedLoss('mse'))
    with pytest.warns(UserWarning, match="the mask ended at the layer 'encoder'"):
        model.fit([FEATURES, LENGTHS], FEATURES, verbose=0)


def test_the_autoencoder_whose_decoder_gets_them_counts_real_steps():
    model = of_lengths(decoder_gets_them=True)
    model.compile('sgd', MaskedLoss('mse'))
    squares = np.square(model.predict([FEATURES, LENGTHS], verbose=0) - FEATURES)
    garbage = np.where(MASK[..., None], FEATURES, np.nan)
    assert model.evaluate([FEATURES, LENGTHS], garbage, verbose=0) == pytest.approx(
        squares[MASK].mean(), rel=1e-5)


@pytest.mark.parametrize('layers, targets', {
    'one vector a sequence': (lambda: [seqmask.keras.LSTM(4)], np.ones([B, 4])),
    'a mask to the end': (lambda: [seqmask.keras.LSTM(4, return_sequences=True), K.Dense(2)],
                          np.ones([B, T, 2])),
    'other steps than came in': (lambda: [seqmask.keras.LSTM(4), K.RepeatVector(2), K.Dense(1)],
                                 np.ones([B, 2, 1])),
}.values())
def test_a_mask_that_ended_where_it_should_is_no_warning(layers, targets):
    model = tf.keras.Sequential([tf.keras.Input([None, D]), K.Masking(), *layers()])
    model.compile('sgd', MaskedLoss('mse'))
    model.fit(FEATURES, targets, verbose=0)


def test_no_mask_and_none_to_lose():
    model = tf.keras.Sequential([tf.keras.Input([None, D]), K.Dense(D)])
    model.compile('sgd', MaskedLoss('mse'))
    model.fit(FEATURES, FEATURES, verbose=0)


@pytest.mark.filterwarnings('ignore:.*destroy the mask:UserWarning')     # Keras's, of its Conv1D
def test_the_last_of_the_layers_that_dropped_it_is_named():
    model = tf.keras.Sequential([
        tf.keras.Input([T, D]), K.Masking(), seqmask.keras.LSTM(4, return_sequences=True),
        K.Conv1D(D, 3, padding='same', name='conv_1')])
    model.compile('sgd', MaskedLoss('mse'))
    with pytest.warns(UserWarning, match="the mask ended at the layer 'conv_1'"):
        model.fit(FEATURES, FEATURES, verbose=0)


@pytest.mark.parametrize('rated', [RATED, RATED.astype('f')], ids=['bool', 'float'])
def test_the_ratings_model(rated):
    """Dense [users, items], weights = rated; NaN where there is no rating."""
    known = np.where(RATED, RATINGS, np.nan)
    model = tf.keras.Sequential([tf.keras.Input([9]), K.Dense(5, 'relu'), K.Dense(9)])
    model.compile('adam', MaskedLoss('mse'), weighted_metrics=[
        MaskedMetric(tf.keras.metrics.RootMeanSquaredError('rmse'))])
    inputs = np.nan_to_num(known)
    found = model.evaluate(inputs, known, sample_weight=rated, verbose=0, batch_size=20,
                           return_dict=True)
    wanted = np.square(model.predict(inputs, verbose=0) - RATINGS)[RATED].mean()
    assert found['loss'] == pytest.approx(wanted, rel=1e-5)
    assert found['rmse'] == pytest.approx(np.sqrt(wanted), rel=1e-5)
    history = model.fit(inputs, known, sample_weight=rated, epochs=3, verbose=0).history
    assert history['loss'][-1] < history['loss'][0]
    weights = model.layers[-1].get_weights()[1].copy()
    first = np.broadcast_to(np.arange(9) == 0, RATED.shape)     # no rating of any other item
    model.compile('sgd', MaskedLoss('mse'))
    model.fit(inputs, known, sample_weight=RATED & first, verbose=0)
    np.testing.assert_array_equal(model.layers[-1].get_weights()[1][1:], weights[1:])


@pytest.mark.parametrize('loss', ['mae', tf.keras.losses.MeanAbsoluteError(),
                                  lambda y_true, y_pred: tf.abs(y_true - y_pred)],
                         ids=['name', 'object', 'elements already'])
def test_weights_of_elements_and_a_mask_of_steps(loss):
    y_true = np.arange(12, dtype='f').reshape([2, 3, 2])
    y_pred = tf.zeros([2, 3, 2])
    y_pred._keras_mask = tf.constant([[True, True, False], [True, False, False]])
    weights = np.ones([2, 3, 2], 'f')
    weights[0, 0], weights[1, 0, 1] = [2, 0], 0
    # 2 x 0, 1 x 2 and 3 of the first sequence, 1 x 6 of the second
    assert float(MaskedLoss(loss)(y_true, y_pred, weights)) == pytest.approx(
        (2 * 0 + 2 + 3 + 6) / (2 + 1 + 1 + 1))


def test_weights_of_steps_with_an_axis_of_one():
    y_true, y_pred = np.full([1, 2, 3], [[[3.], [9.]]], 'f'), tf.zeros([1, 2, 3])
    assert float(MaskedLoss('mae')(y_true, y_pred, np.array([[[1.], [0.]]]))) == 3


def test_weights_of_classes_are_refused():
    crossentropy = tf.keras.losses.CategoricalCrossentropy()
    with pytest.raises(ValueError, match=re.escape(
            'categorical_crossentropy compares the whole last axis of y_pred, so weights and mask '
            'must lack that axis: give one for each step, not for each element.')):
        MaskedLoss(crossentropy)(np.ones([2, 3]), np.ones([2, 3]), np.ones([2, 3]))


def test_ragged_labels_are_real_where_they_exist():
    ragged = tf.RaggedTensor.from_tensor(FEATURES, lengths=LENGTHS.astype(np.int64))
    y_pred = tf.ones([B, T, D])
    wanted = np.abs(FEATURES - 1)[MASK]
    assert float(MaskedLoss('mae')(ragged, y_pred)) == pytest.approx(wanted.mean(), rel=1e-5)
    weights = tf.RaggedTensor.from_tensor(np.cumsum(MASK, axis=1).astype('f'),
                                          lengths=LENGTHS.astype(np.int64))
    w = np.cumsum(MASK, axis=1)[MASK]
    assert float(MaskedLoss('mae')(ragged, y_pred, weights)) == pytest.approx(
        np.sum(w * wanted.mean(axis=1)) / w.sum(), rel=1e-5)
    metric = MaskedMetric(tf.keras.metrics.MeanAbsoluteError())
    metric.update_state(ragged, y_pred)
    assert float(metric.result()) == pytest.approx(wanted.mean(), rel=1e-5)


def test_eagerly_there_is_no_graph_to_look_into():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert float(MaskedLoss('mae')(np.ones([1, 2, 1]), tf.zeros([1, 2, 1]))) == 1
