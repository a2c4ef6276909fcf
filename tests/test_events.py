"""The detector of rare events; and what the usual answers to "my loss is NaN" do wrong."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import reference
import some_models
import seqmask
from seqmask import data, datasets, losses, metrics, training
from seqmask.models import EventDetector

SMALL = {'event_rate': 0.1, 'hidden_size': 4, 'seed': 0}
LENGTHS = [3, 0, 7, 1]
NETWORKS = [('gru', 2), ('lstm', 1), ('conv', 3)]


def a_batch(rng, lengths=LENGTHS, maxlen=7, fill=0.0):
    inputs = rng.normal(size=[len(lengths), maxlen, 3]).astype('float32')
    labels = rng.integers(0, 2, size=[len(lengths), maxlen]).astype('float32')
    for b, length in enumerate(lengths):
        inputs[b, length:] = labels[b, length:] = fill
    return {'inputs': tf.constant(inputs), 'lengths': tf.constant(lengths, tf.int32),
            'labels': tf.constant(labels)}


def real(batch):
    return np.arange(batch['inputs'].shape[1]) < batch['lengths'].numpy()[:, None]


def a_standardizer():
    return data.Standardizer([0.5, -1.0, 2.0], [2.0, 0.5, 1.0])


@pytest.mark.parametrize('network, num_layers', NETWORKS)
def test_step_by_step_equals_the_whole_call(network, num_layers, rng):
    model = some_models.detector(3, network=network, num_layers=num_layers,
                                 standardizer=a_standardizer(), **SMALL)
    inputs = rng.normal(size=[2, 9, 3]).astype('float32')
    state, logits = model.initial_state(2), []
    for t in range(9):
        logit, state = model.step(inputs[:, t], state)
        logits.append(logit)
    np.testing.assert_allclose(np.stack(logits, axis=1), model(inputs, [9, 9]), rtol=1e-5,
                               atol=1e-6)


@pytest.mark.parametrize('network, num_layers', NETWORKS)
@pytest.mark.parametrize('causal', [True, False])
def test_a_causal_model_alone_sees_nothing_to_come(network, num_layers, causal, rng):
    model = some_models.detector(3, network=network, num_layers=num_layers, causal=causal, **SMALL)
    inputs = rng.normal(size=[1, 9, 3]).astype('float32')
    changed = inputs.copy()
    changed[:, 5:] += 1
    before, after = model(inputs, [9])[0], model(changed, [9])[0]
    assert not np.allclose(before[5:], after[5:])
    assert np.allclose(before[:5], after[:5], atol=1e-7) == causal
    if not causal:
        for call in (lambda: model.initial_state(1), lambda: model.step(inputs[:, 0], ())):
            with pytest.raises(ValueError, match='filters 0, causal True'):
                call()


@pytest.mark.parametrize('pos_weight', [1.0, 7.0, 'balanced'])
def test_the_first_bias_is_the_best_that_knows_the_rate_alone(pos_weight):
    rate, w = 0.02, 0.98 / 0.02 if pos_weight == 'balanced' else pos_weight
    model = some_models.detector(3, event_rate=rate, pos_weight=pos_weight)
    bias = float(model.to_logit.bias[0])
    assert bias == pytest.approx(math.log(rate / (1 - rate)) + math.log(w), abs=1e-6)
    if pos_weight == 'balanced':
        assert bias == pytest.approx(0, abs=1e-6)
    labels = np.zeros(100)
    labels[:2] = 1

    def loss(b):
        return np.mean(reference.sigmoid_cross_entropy(np.full(100, b), labels, pos_weight=w))

    assert loss(bias) < min(loss(bias - 0.01), loss(bias + 0.01))
    # Whatever the weight, the probabilities begin at the rate, and the threshold at 1/2.
    model.to_logit.kernel.assign(tf.zeros_like(model.to_logit.kernel))
    np.testing.assert_allclose(model.probabilities(tf.ones([1, 2, 3]), [1]), [[rate, 0]], rtol=1e-5)
    model.to_logit.bias.assign([float(model.threshold)])
    np.testing.assert_allclose(model.probabilities(tf.ones([1, 1, 3]), [1]), [[1 / 2]], rtol=1e-5)


def test_detections_are_where_the_threshold_is_reached_never_in_the_padding(rng):
    model, batch = some_models.detector(3, **SMALL), a_batch(rng, fill=np.nan)
    inputs, lengths, mask = batch['inputs'], batch['lengths'], real(batch)
    logits = model(inputs, lengths).numpy()
    model.threshold.assign(np.sort(logits[mask])[4])
    detected = tf.function(model.detect)(inputs, lengths).numpy()
    np.testing.assert_array_equal(detected, mask & (logits >= np.sort(logits[mask])[4]))
    assert np.sum(detected) == 11 - 4 and np.all(logits[~mask] == 0) and model.threshold < 0
    assert [v.name for v in model.non_trainable_variables] == ['threshold:0']


def test_loss_and_measure(rng):
    model, batch = some_models.detector(3, pos_weight=3.0, **SMALL), a_batch(rng, fill=np.nan)
    model.threshold.assign(-1.9)
    logits, mask = model(batch['inputs'], batch['lengths']).numpy(), real(batch)
    z, y = logits[mask], batch['labels'].numpy()[mask]
    nats = reference.sigmoid_cross_entropy(z, y, pos_weight=3.0)
    measured = model.measure(batch)
    for tally in (model.loss(batch, training=False), measured['loss']):
        np.testing.assert_allclose([tally.total, tally.count], [np.sum(nats), 11], rtol=1e-5)
    hits, detected, events = reference.decisions(z, y, np.float32(-1.9))
    assert 0 < hits < detected
    wanted = {'accuracy': np.mean((z >= -1.9) == y), 'precision': hits / detected,
              'recall': hits / events, 'f1': 2 * hits / (detected + events)}
    for name, value in wanted.items():
        np.testing.assert_allclose(measured[name].mean(), value, rtol=1e-6)


@pytest.mark.parametrize('pos_weight', [1.0, 5.0])
def test_without_its_exponent_the_focal_loss_is_the_cross_entropy(pos_weight, rng):
    batch = a_batch(rng)
    plain, almost, focal = (
        some_models.detector(3, focal_gamma=gamma, pos_weight=pos_weight, **SMALL)
        .loss(batch, training=False) for gamma in [0.0, 1e-7, 2.0])
    np.testing.assert_allclose(almost, plain, rtol=1e-5)
    assert focal.total < plain.total and focal.count == plain.count


def test_chunks_give_the_loss_of_whole_sequences(rng):
    model = some_models.detector(3, network='lstm', **SMALL)
    frames, labels = rng.normal(size=[20, 3]), rng.integers(0, 2, size=20)
    sequences = data.Sequences(frames.astype('float32'), [12, 3, 5], {'labels': labels})
    lanes, loss = data.Lanes(sequences, 2, 4), training.ChunkLoss(model, 2)
    chunks = sum(loss(model, batch, training=False) for batch in lanes)
    whole, = data.Batches(sequences, 3)
    np.testing.assert_allclose(chunks, model.loss(whole, training=False), rtol=1e-5)
    conv = some_models.detector(3, network='conv', **SMALL)
    with pytest.raises(ValueError, match="only recurrent layers carry a state from chunk to"):
        conv.chunk_loss(whole, conv.initial_state(3), training=False)


@pytest.mark.parametrize('network', ['gru', 'lstm', 'conv'])
@pytest.mark.parametrize('dtype', ['float64', 'bfloat16', 'float16'])
def test_other_dtypes(network, dtype, rng):
    model = some_models.detector(3, network=network, dtype=dtype, dropout=0.5, **SMALL)
    batch = a_batch(rng)
    inputs = tf.cast(batch['inputs'], 'float64') if dtype == 'float64' else batch['inputs']
    with tf.GradientTape() as tape:
        loss = model.loss({**batch, 'inputs': inputs}, training=True).mean()
    assert all(np.all(np.isfinite(tf.cast(g, 'float32')))
               for g in tape.gradient(loss, model.trainable_variables))
    assert model.detect(inputs, batch['lengths']).shape == (4, 7)


@pytest.mark.parametrize('error, message, options', [
    (ValueError, r'event_rate must be in \(0, 1\), got 0.0', {'event_rate': 0.0}),
    (ValueError, r'event_rate must be in \(0, 1\), got 1', {'event_rate': 1}),
    (ValueError, r'event_rate must be in \(0, 1\), got nan', {'event_rate': np.nan}),
    (ValueError, 'cell must be one of', {'network': 'rnn'}),
    (ValueError, 'pos_weight must be finite and positive', {'pos_weight': -1.0}),
    (TypeError, 'pos_weight must be a number', {'pos_weight': 'heavy'}),
    (ValueError, 'focal_gamma must be finite and not negative', {'focal_gamma': -1.0}),
    (ValueError, 'num_layers must be at least 1', {'num_layers': 0}),
])
def test_errors(error, message, options):
    with pytest.raises(error, match=message):
        some_models.detector(**{'input_size': 3, 'event_rate': 0.1, **options})


@pytest.mark.parametrize('network', ['gru', 'conv'])
def test_a_standardizer_that_sees_sequences_whole_lets_no_stream_begin(network):
    model = some_models.detector(3, network=network, standardizer=data.standardize_sequences,
                                 **SMALL)
    assert not model.streams()
    with pytest.raises(ValueError, match='cannot use later steps'):
        model.initial_state(1)


# The half-right answers. The question: the loss is NaN, or the model predicts zero everywhere.

@pytest.fixture(scope='module')
def log():
    """A batch of the system log as it was recorded: percents, jobs, megabytes, kilobytes."""
    whole = datasets.system_log()
    sequences = data.Sequences(whole['frames'], whole['lengths'], {'labels': whole['labels']})
    short = np.argsort(whole['lengths'])[:16]
    batch, = data.Batches(sequences.select(short), 16)
    assert tf.reduce_sum(batch['labels']) > 0
    return {**batch, 'mask': seqmask.sequence_mask(batch['lengths'], batch['labels'].shape[1])}


class Logistic(tf.Module):
    """The smallest model that can be asked: one weight a feature."""

    def __init__(self):
        super().__init__()
        self.dense = seqmask.Dense(6, 1, seed=1)

    def __call__(self, batch):
        return self.dense(batch['inputs'], batch['lengths'])[:, :, 0]


def of_probabilities(logits, batch):
    """The question's loss, weighted by a mask as it usually is."""
    p, y = tf.sigmoid(logits), tf.cast(batch['labels'], tf.float32)
    elements = -y * tf.math.log(p) - (1 - y) * tf.math.log(1 - p)
    mask = tf.cast(batch['mask'], tf.float32)
    return tf.reduce_sum(elements * mask) / tf.reduce_sum(mask)


def of_logits(logits, batch):
    return losses.sigmoid_cross_entropy(logits=logits, labels=batch['labels'],
                                        mask=batch['mask']).mean()


def trained(loss_of, log, steps):
    """(losses, model) of a few steps of Adam, without any guard."""
    model, optimizer, seen = Logistic(), keras.optimizers.Adam(0.03), []
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = loss_of(model(log), log)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        seen.append(float(loss))
    return seen, model


def test_a_loss_of_probabilities_is_nan_on_features_as_they_are(log):
    seen, model = trained(of_probabilities, log, steps=3)
    assert not np.isfinite(seen).any()
    assert np.isnan(model.dense.kernel.numpy()).all()           # and the weights are lost for good


def test_the_same_from_logits_is_finite_has_the_right_gradient_and_trains(log):
    model, mask = Logistic(), log['mask'].numpy()
    with tf.GradientTape() as tape:
        loss = of_logits(model(log), log)
    x = log['inputs'].numpy()[mask].astype('float64')
    y = log['labels'].numpy()[mask]
    z = x @ model.dense.kernel.numpy().astype('float64')[:, 0]
    assert np.abs(z).max() > 1000           # where float32 probabilities are 0 or 1
    np.testing.assert_allclose(loss, np.mean(np.logaddexp(0, z) - y * z), rtol=1e-5)
    wanted = x.T @ ((z > 0) - y) / len(y)               # (p - y) x, p = 0 or 1
    np.testing.assert_allclose(tape.gradient(loss, model.dense.kernel)[:, 0], wanted, rtol=1e-3)
    seen, _ = trained(of_logits, log, steps=150)
    assert np.isfinite(seen).all() and min(seen[-50:]) < seen[0] / 20


@pytest.mark.parametrize('logit, label', [(-50., 1.), (-20., 1.), (50., 0.), (20., 0.)])
def test_clipped_probabilities_learn_nothing_where_they_are_most_wrong(logit, label):
    z, y = tf.Variable([[logit]]), tf.constant([[label]])
    with tf.GradientTape(persistent=True) as tape:
        clipped = keras.losses.BinaryCrossentropy()(y, tf.sigmoid(z))
        ours = losses.sigmoid_cross_entropy(logits=z, labels=y, mask=None).mean()
    assert np.isfinite(clipped) and float(clipped) < abs(logit)
    assert float(tape.gradient(clipped, z)[0, 0]) == 0
    assert float(tape.gradient(ours, z)[0, 0]) == pytest.approx(1 - 2 * label, abs=1e-6)


def test_an_unweighted_loss_predicts_zero_everywhere_and_a_chosen_threshold_finds_the_events():
    # After a pulse, which 4 of 100 steps have, an event follows in 3 of 10 cases.
    rng = np.random.default_rng(0)
    frames = rng.normal(size=[8000, 2]).astype('float32')
    pulses = rng.random(8000) < 0.04
    frames[pulses, 0] += 8
    labels = np.zeros(8000, np.int32)
    labels[1:] = pulses[:-1] & (rng.random(7999) < 0.3)
    sequences = data.Sequences(frames, [200] * 40, {'labels': labels})
    batches, rate = data.Batches(sequences, 8, shuffle=True), labels.mean()
    assert 0.005 < rate < 0.015

    def curve(event_rate):
        model = some_models.detector(2, event_rate=event_rate, hidden_size=8, seed=0)
        trainer = training.Trainer(model, EventDetector.loss, keras.optimizers.Adam(0.02),
                                   progress=False)
        trainer.fit(batches, epochs=12)
        metric = metrics.AveragePrecision()
        for batch in data.Batches(sequences, 40):
            metric.update(logits=model(batch['inputs'], batch['lengths']), labels=batch['labels'],
                          mask=seqmask.sequence_mask(batch['lengths'], 200))
        return metric.curve()

    half = 0.0                                      # as a logit
    usual = curve(event_rate=0.5).at(half)          # unweighted, from a bias of 0
    assert usual.recall == 0 and np.isnan(usual.precision)
    detector = curve(event_rate=float(rate))
    found = detector.at(detector.best_f1())
    assert found.recall > 0.75 and found.precision > 0.25     # 3 of 10 is all there is to know
    assert detector.at(half).recall == 0
