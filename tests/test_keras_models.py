"""seqmask.keras in whole models: built, fitted, saved and loaded like Keras's own."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask.keras

K = tf.keras.layers
B, T = 12, 7
LENGTHS = np.arange(B) % T + 1
WORDS = np.where(np.arange(T) < LENGTHS[:, None],
                 np.random.default_rng(0).integers(1, 9, size=[B, T]), 0)
LABELS = np.where(WORDS > 0, WORDS % 3, 99)       # out of range in the padding
TARGETS = np.random.default_rng(1).normal(size=[B, T, 2]).astype('f')
FEATURES = np.where(WORDS[..., None] > 0, np.stack([WORDS, WORDS % 2, WORDS % 5], axis=-1),
                    0).astype('f')


def tagger(room):
    """Of Keras's documentation: Embedding with mask_zero, layers above, TimeDistributed Dense."""
    words = tf.keras.Input([None], dtype='int32')
    x = K.Embedding(9, 4, mask_zero=True)(words)
    x = room.Bidirectional(room.LSTM(5, return_sequences=True))(x)
    x = room.GRU(6, return_sequences=True)(x)
    return tf.keras.Model(words, K.TimeDistributed(K.Dense(2))(x))


def regressor(room):
    """Of Keras's documentation: Masking, stacked recurrent layers, one output a sequence."""
    return tf.keras.Sequential([
        tf.keras.Input([None, 3]), K.Masking(), room.LSTM(5, return_sequences=True), room.GRU(4),
        K.Dense(1)])


@pytest.mark.parametrize('make, inputs, targets', [
    (tagger, WORDS, TARGETS), (regressor, FEATURES, TARGETS[:, 0, :1])],
    ids=['tagger', 'regressor'])
def test_with_another_import_the_same_model_trains_alike(make, inputs, targets):
    theirs, ours = make(K), make(seqmask.keras)
    ours.set_weights(theirs.get_weights())
    mask = inputs > 0 if make is tagger else np.ones([B], bool)
    np.testing.assert_allclose(ours.predict(inputs, verbose=0)[mask],
                               theirs.predict(inputs, verbose=0)[mask], atol=1e-5)
    losses = []
    for model in (theirs, ours):
        model.compile(tf.keras.optimizers.Adam(0.01), 'mse')
        losses.append([model.train_on_batch(inputs, targets) for _ in range(20)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[1][-1] < losses[1][0]


class Subclassed(tf.keras.Model):

    def __init__(self):
        super().__init__()
        self.conv = seqmask.keras.Conv1D(4, 3, padding='same', activation='relu')
        self.norm = seqmask.keras.BatchNormalization()
        self.recurrent = seqmask.keras.Bidirectional(seqmask.keras.GRU(3, return_sequences=True))
        self.pool = seqmask.keras.GlobalMaxPooling1D()
        self.to_outputs = K.Dense(2)

    def call(self, inputs, training=False):
        x, lengths = inputs
        x = self.norm(self.conv(x, lengths=lengths), lengths=lengths, training=training)
        return self.to_outputs(self.pool([self.recurrent([x, lengths]), lengths]))


def functional():
    inputs, lengths = tf.keras.Input([None, 3]), tf.keras.Input([], dtype='int32')
    conv = seqmask.keras.Conv1D(4, 3, strides=2)
    x = conv(inputs, lengths=lengths)
    shorter = conv.output_lengths(lengths)
    x = seqmask.keras.LSTM(3, return_sequences=True)([x, shorter])
    x = seqmask.keras.GlobalAveragePooling1D()(x, lengths=shorter)
    return tf.keras.Model([inputs, lengths], K.Dense(2)(x))


def sequential():
    """The first layer takes the list; the mask that it leaves goes on."""
    return tf.keras.Sequential([
        seqmask.keras.LSTM(4, return_sequences=True),
        seqmask.keras.Bidirectional(seqmask.keras.GRU(3)), K.Dense(2)])


@pytest.mark.parametrize('make', [functional, sequential, Subclassed])
def test_models_of_inputs_and_lengths_fit_and_do_not_see_the_padding(make):
    tf.keras.utils.set_random_seed(0)
    model = make()
    model.compile(tf.keras.optimizers.Adam(0.01), 'mse', jit_compile=False)
    targets = TARGETS[:, 0]
    history = model.fit([FEATURES, LENGTHS], targets, epochs=5, batch_size=6, verbose=0)
    assert history.history['loss'][-1] < history.history['loss'][0]
    poisoned = np.where(WORDS[..., None] > 0, FEATURES, np.nan)
    wider = np.pad(poisoned, [[0, 0], [0, 3], [0, 0]], constant_values=np.inf)
    wanted = model.predict([FEATURES, LENGTHS], verbose=0)
    np.testing.assert_allclose(model.predict([poisoned, LENGTHS], verbose=0), wanted, atol=1e-6)
    np.testing.assert_allclose(model.predict([wider, LENGTHS], verbose=0), wanted, atol=1e-6)
    assert model.evaluate([poisoned, LENGTHS], targets, verbose=0) == pytest.approx(
        model.evaluate([FEATURES, LENGTHS], targets, verbose=0), rel=1e-5)


# Keras 3.15 with NumPy 2: of Keras's own making, when it writes weights.
keras_saves = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')


@keras_saves
@pytest.mark.parametrize('make, inputs', [
    (lambda: tagger(seqmask.keras), WORDS), (lambda: regressor(seqmask.keras), FEATURES),
    (functional, [FEATURES[:, 2:], np.maximum(LENGTHS - 2, 0)]), (sequential, [FEATURES, LENGTHS])],
    ids=['tagger', 'regressor', 'functional', 'sequential'])
def test_a_saved_model_is_the_same_when_loaded(make, inputs, tmp_path):
    model = make()
    wanted = model.predict(inputs, verbose=0)
    model.save(tmp_path / 'model.keras')
    loaded = tf.keras.models.load_model(tmp_path / 'model.keras')
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), wanted)
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]


@keras_saves
def test_weights_saved_by_keras_s_layers_load(tmp_path):
    theirs, ours = tagger(K), tagger(seqmask.keras)
    theirs.save_weights(tmp_path / 'theirs.weights.h5')
    ours.load_weights(tmp_path / 'theirs.weights.h5')
    for its, own in zip(theirs.get_weights(), ours.get_weights()):
        np.testing.assert_array_equal(own, its)


def test_the_mask_goes_on_to_layers_above_and_into_the_loss():
    words = tf.keras.Input([None], dtype='int32')
    x = K.Embedding(9, 4, mask_zero=True)(words)
    for layer in (seqmask.keras.Conv1D(5, 3, padding='same'), seqmask.keras.BatchNormalization(),
                  seqmask.keras.Bidirectional(seqmask.keras.LSTM(3, return_sequences=True)),
                  seqmask.keras.GRU(4, return_sequences=True), K.Dense(3)):
        x = layer(x)
    model = tf.keras.Model(words, x)
    outputs = model(WORDS)
    np.testing.assert_array_equal(outputs._keras_mask, WORDS > 0)


@keras_saves
def test_a_masked_loss_and_metric_in_fit(tmp_path):
    model = tagger(seqmask.keras)
    scores = tf.keras.Model(model.input, K.Dense(3)(model.output))
    crossentropy = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    scores.compile('sgd', seqmask.keras.MaskedLoss(crossentropy), weighted_metrics=[
        seqmask.keras.MaskedMetric(tf.keras.metrics.SparseCategoricalAccuracy('right'))])
    weights = (WORDS > 0) * (1 + np.arange(B)[:, None]).astype('f')
    measured = scores.evaluate(WORDS, LABELS, sample_weight=weights, batch_size=B, verbose=0,
                               return_dict=True)
    real, logits = WORDS > 0, scores.predict(WORDS, verbose=0)
    w, log_p = weights[real], tf.nn.log_softmax(logits[real]).numpy()
    nats = -log_p[np.arange(len(w)), LABELS[real]]
    assert measured['loss'] == pytest.approx(np.sum(w * nats) / np.sum(w), rel=1e-5)
    right = log_p.argmax(axis=-1) == LABELS[real]
    assert measured['right'] == pytest.approx(np.sum(w * right) / np.sum(w), rel=1e-5)
    before = measured['loss']
    scores.fit(WORDS, LABELS, sample_weight=weights, epochs=3, verbose=0)
    scores.save(tmp_path / 'scores.keras')
    loaded = tf.keras.models.load_model(tmp_path / 'scores.keras')
    after = loaded.evaluate(WORDS, LABELS, sample_weight=weights, verbose=0, return_dict=True)
    assert after['loss'] < before


def test_a_masked_loss_without_mask_weights_or_real_steps():
    loss = seqmask.keras.MaskedLoss('mae')
    y_true, y_pred = tf.zeros([2, 3, 1]), tf.constant([[[1.], [2.], [3.]]] * 2)
    assert float(loss(y_true, y_pred)) == 2
    assert float(loss(y_true, y_pred, sample_weight=np.zeros([2, 3]))) == 0
    poisoned = tf.constant([[[0.], [0.], [np.nan]]] * 2)
    assert float(loss(poisoned, y_pred, sample_weight=np.array([[1, 3, 0]] * 2))) == (1 + 3 * 2) / 4
    assert float(loss(y_true, y_pred, sample_weight=np.array([1, 0]))) == 2
    y_pred._keras_mask = tf.constant([[True, True, False], [True, False, False]])
    by_sequence = loss(y_true, y_pred, sample_weight=np.array([1, 3]))
    assert float(by_sequence) == pytest.approx((1 * (1 + 2) + 3 * 1) / (2 * 1 + 3))
