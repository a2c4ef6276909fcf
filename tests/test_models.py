"""The labeller: its layers in their order, its loss over real steps, its random numbers."""

import numpy as np
import pytest
import tensorflow as tf

import reference
import some_models
import seqmask
from seqmask.models import SequenceLabeller

LENGTHS = [3, 0, 5, 1]
SMALL = {'hidden_size': 4, 'num_layers': 1, 'bidirectional': False, 'seed': 0}


def a_batch(rng, lengths=LENGTHS, maxlen=5, fill=0.0, label=0):
    inputs = rng.normal(size=[len(lengths), maxlen, 3]).astype('float32')
    labels = rng.integers(0, 4, size=[len(lengths), maxlen])
    for b, length in enumerate(lengths):
        inputs[b, length:], labels[b, length:] = fill, label
    return {'inputs': tf.constant(inputs), 'labels': tf.constant(labels),
            'lengths': tf.constant(lengths, tf.int32)}


def cropped(model, batch):
    logits = seqmask.crop(model(batch['inputs'], batch['lengths']), batch['lengths'])
    return list(zip(logits, seqmask.crop(batch['labels'], batch['lengths'])))


@pytest.mark.parametrize('cell', ['gru', 'lstm'])
@pytest.mark.parametrize('bidirectional', [True, False])
def test_sizes(cell, bidirectional, rng):
    model = some_models.labeller(3, 4, cell=cell, hidden_size=5, num_layers=3,
                                 bidirectional=bidirectional)
    gates, ways = {'gru': 3, 'lstm': 4}[cell], 1 + bidirectional
    wanted = 0
    for width in [3, 5 * ways, 5 * ways]:
        biases = {'gru': 2, 'lstm': 1}[cell]
        wanted += ways * (width + 5 + biases) * 5 * gates
    wanted += (5 * ways + 1) * 4
    assert sum(v.shape.num_elements() for v in model.trainable_variables) == wanted
    batch = a_batch(rng)
    assert model(batch['inputs'], batch['lengths']).shape == (4, 5, 4)


def test_it_has_layers_in_both_directions():
    model = some_models.labeller(3, 4)
    layers = model.encoder.recurrent.layers
    assert [type(layer).__name__ for layer in layers] == ['Bidirectional'] * 2
    assert model.encoder.recurrent.layers[0].forward.kernel.shape == (3, 3 * 128)


# Loss and measure


def test_loss_and_measure_are_those_of_the_cropped_outputs(rng):
    model = some_models.labeller(3, 4, hidden_size=4, seed=0)
    batch = a_batch(rng, fill=np.nan, label=-5)
    pairs = cropped(model, batch)
    nats = np.concatenate([reference.sparse_softmax_cross_entropy(*pair) for pair in pairs])
    right = [reference.right(*pair) for pair in pairs]
    tally = model.loss(batch, training=False)
    np.testing.assert_allclose(tally.total, nats.sum(), rtol=1e-5)
    assert float(tally.count) == sum(LENGTHS)
    measured = model.measure(batch)
    assert list(measured) == ['loss', 'accuracy', 'sequence_error', 'sequence_accuracy']
    np.testing.assert_allclose(measured['loss'], tally)
    wanted = {'accuracy': np.mean(np.concatenate(right)),
              'sequence_error': np.mean([1 - np.mean(r) for r in right if len(r)]),
              'sequence_accuracy': np.mean([np.all(r) for r in right if len(r)])}
    for name, value in wanted.items():
        np.testing.assert_allclose(measured[name].mean(), value, rtol=1e-6)
    assert [float(measured[name].count) for name in wanted] == [sum(LENGTHS), 3, 3]


def loss_and_gradient(model, batch):
    with tf.GradientTape() as tape:
        tally = model.loss(batch, training=False)
    return [*tally, *tape.gradient(tally.total, model.trainable_variables)]


@pytest.mark.parametrize('poison', [np.nan, np.inf, -1e38])
def test_poison_in_the_padding_changes_nothing(poison, rng):
    model = some_models.labeller(3, 4, cell='lstm', hidden_size=4, seed=0)
    kept = np.random.default_rng(5)
    wanted = loss_and_gradient(model, a_batch(kept))
    poisoned = loss_and_gradient(model, a_batch(np.random.default_rng(5), fill=poison, label=99))
    for a, w in zip(poisoned, wanted):
        np.testing.assert_array_equal(a, w)


def test_more_padding_changes_nothing():
    model = some_models.labeller(3, 4, hidden_size=4, seed=0)
    batch = a_batch(np.random.default_rng(5))
    longer = {**batch, 'inputs': tf.pad(batch['inputs'], [[0, 0], [0, 4], [0, 0]]),
              'labels': tf.pad(batch['labels'], [[0, 0], [0, 4]])}
    for a, w in zip(loss_and_gradient(model, longer), loss_and_gradient(model, batch)):
        np.testing.assert_allclose(a, w, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('lengths, maxlen', [([0, 0], 3), ([0], 0), ([], 3)])
def test_no_real_step(lengths, maxlen, rng):
    model = some_models.labeller(3, 4, **SMALL)
    total, count, *gradients = loss_and_gradient(model, a_batch(rng, lengths, maxlen))
    assert float(total) == float(count) == 0
    assert all(np.all(gradient == 0) for gradient in gradients)
    assert all(float(tally.mean()) == 0 for tally in model.measure(
        a_batch(rng, lengths, maxlen)).values())


def test_it_learns_what_it_can(rng):
    # The label is the place of the largest feature one step earlier: a layer must remember.
    model = some_models.labeller(3, 3, **{**SMALL, 'hidden_size': 16})
    inputs = rng.normal(size=[30, 6, 3]).astype('float32')
    labels = np.roll(inputs.argmax(axis=-1), 1, axis=1)
    lengths = rng.integers(2, 7, size=30)
    labels[:, 0] = 0
    batch = {'inputs': tf.constant(inputs), 'labels': tf.constant(labels),
             'lengths': tf.constant(lengths)}
    trainer = seqmask.training.Trainer(model, SequenceLabeller.loss, tf.keras.optimizers.Adam(0.02),
                                       measure=SequenceLabeller.measure, progress=False)
    trainer.fit([batch], epochs=150)
    assert trainer.evaluate([batch])['accuracy'] > 0.95


# Random numbers

ALL_DROPOUT = {'dropout': 0.5, 'input_dropout': 0.5, 'step_dropout': 0.5, 'recurrent_dropout': 0.5}


def drawn(batch, seed=0, **options):
    """The weights, and the logits of two calls in training."""
    model = some_models.labeller(3, 4, **{'hidden_size': 4, 'seed': seed, **options})
    calls = [model(batch['inputs'], batch['lengths'], training=True).numpy() for _ in range(2)]
    return [*(v.numpy() for v in model.trainable_variables), *calls]


def test_the_same_seed_gives_the_same_weights_and_the_same_dropout(rng):
    batch = a_batch(rng)
    first, again, other = (drawn(batch, seed, **ALL_DROPOUT) for seed in [0, 0, 1])
    for a, w in zip(again, first):
        np.testing.assert_array_equal(a, w)
    assert not np.array_equal(first[-1], first[-2])         # each call draws anew
    kernels = [v for v in first if v.ndim == 2 and v.shape[0] > 2]
    assert not any(np.array_equal(a, b) for a, b in zip(first, other) if a.ndim == 2
                   and a.shape[0] > 2)
    same_shape = [(a, b) for i, a in enumerate(kernels) for b in kernels[:i] if a.shape == b.shape]
    assert same_shape and not any(np.array_equal(a, b) for a, b in same_shape)


@pytest.mark.parametrize('kind', list(ALL_DROPOUT))
def test_each_dropout_acts_in_training_only(kind, rng):
    batch = a_batch(rng)
    plain, dropped = drawn(batch), drawn(batch, **{kind: 0.5})
    for a, w in zip(dropped[:-2], plain[:-2]):
        np.testing.assert_array_equal(a, w)                 # it does not touch the weights
    assert not np.allclose(dropped[-1], plain[-1])
    model = some_models.labeller(3, 4, hidden_size=4, seed=0, **{kind: 0.5})
    np.testing.assert_array_equal(model(batch['inputs'], batch['lengths']), plain[-1])


def test_step_dropout_drops_whole_steps_of_the_input():
    model = some_models.labeller(3, 4, **SMALL, step_dropout=0.5)
    taken = []
    model.encoder.recurrent = lambda inputs, lengths, state, training: (
        taken.append(inputs.numpy()) or tf.zeros([2, 50, 4]), None)
    model(tf.ones([2, 50, 3]), tf.constant([50, 40]), training=True)
    dropped = np.all(taken[0][:, :40] == 0, axis=-1)
    kept = np.all(taken[0][:, :40] == 1 / (1 - 0.5), axis=-1)
    assert np.all(dropped | kept) and 20 < dropped.sum() < 60
    assert not np.array_equal(dropped[0], dropped[1])


# Graph, checkpoint, errors


def test_one_trace_serves_all_lengths(rng):
    model, traces = some_models.labeller(3, 4, **SMALL), []

    @tf.function(input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([None], tf.int32)])
    def call(inputs, lengths):
        traces.append(1)
        return model(inputs, lengths, training=True)

    for lengths, maxlen in [(LENGTHS, 5), ([9], 9), ([0], 1), ([], 2)]:
        batch = a_batch(rng, lengths, maxlen)
        np.testing.assert_allclose(call(batch['inputs'], batch['lengths']),
                                   model(batch['inputs'], batch['lengths']), rtol=1e-5, atol=1e-6)
    assert len(traces) == 1


def test_float64(rng):
    model = some_models.labeller(3, 4, **SMALL, dtype='float64', dropout=0.5, step_dropout=0.5)
    inputs = tf.constant(rng.normal(size=[2, 5, 3]))
    assert model(inputs, tf.constant([5, 2]), training=True).dtype == tf.float64


@pytest.mark.parametrize('error, message, options', [
    (ValueError, "cell must be one of 'gru', 'lstm', 'mgu', got 'rnn'", dict(cell='rnn')),
    (ValueError, 'hidden_size must be at least 1, got 0', dict(hidden_size=0)),
    (ValueError, 'num_layers must be at least 1, got 0', dict(num_layers=0)),
    (TypeError, 'num_layers must be an int, got 1.5', dict(num_layers=1.5)),
    (TypeError, 'hidden_size must be an int, got 1.5', dict(hidden_size=1.5)),
    (ValueError, r'dropout must be in \[0, 1\), got 1', dict(dropout=1)),
    (ValueError, r'step_dropout must be in \[0, 1\), got -0.1', dict(step_dropout=-0.1)),
    (ValueError, r'input_dropout must be in \[0, 1\), got 1.5', dict(input_dropout=1.5)),
    (ValueError, r'recurrent_dropout must be in \[0, 1\), got 1.5', dict(recurrent_dropout=1.5)),
    (ValueError, 'input_size must be at least 1, got 0', dict(input_size=0)),
    (ValueError, 'num_classes must be at least 1, got 0', dict(num_classes=0)),
    (ValueError, 'implementation must be one of', dict(implementation='c')),
])
def test_options_out_of_range(error, message, options):
    with pytest.raises(error, match=message):
        some_models.labeller(**{'input_size': 3, 'num_classes': 4, **options})


@pytest.mark.parametrize('error, message, changed', [
    (ValueError, r'inputs must have rank 3 \[B, T, D\], got shape \(4, 5\)',
     dict(inputs=np.zeros([4, 5], 'f'))),
    (ValueError, 'inputs must have input_size = 3 on axis -1',
     dict(inputs=np.zeros([4, 5, 2], 'f'))),
    (TypeError, 'inputs must have the dtype of the layer, float32',
     dict(inputs=np.zeros([4, 5, 3]))),
    (TypeError, 'lengths must be int32 or int64', dict(lengths=[3., 0., 5., 1.])),
    (tf.errors.InvalidArgumentError, 'lengths must not exceed', dict(lengths=[3, 0, 6, 1])),
    (ValueError, 'lengths must have one entry for each of the 4', dict(lengths=[3, 0, 5])),
    (TypeError, 'labels must be integers', dict(labels=np.zeros([4, 5]))),
    (ValueError, r'labels must have the leading axes of logits, got labels \(4, 6\)',
     dict(labels=np.zeros([4, 6], int))),
    (tf.errors.InvalidArgumentError, r'labels must be in \[0, K\) at real steps',
     dict(labels=np.full([4, 5], 4))),
])
def test_batches_that_do_not_fit(error, message, changed, rng):
    model = some_models.labeller(3, 4, **SMALL, step_dropout=0.5)
    batch = {**a_batch(rng), **{name: tf.constant(value) for name, value in changed.items()}}
    with pytest.raises(error, match=message):
        model.loss(batch, training=True)
