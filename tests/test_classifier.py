"""The classifier: its branches, its loss over sequences, its random numbers."""

import numpy as np
import pytest
import tensorflow as tf

import reference
import some_models
import seqmask

SMALL = {'hidden_size': 4, 'filters': (5, 6, 7), 'seed': 0}
LENGTHS = [3, 0, 5, 1]


def a_batch(rng, lengths=LENGTHS, maxlen=5, fill=0.0):
    inputs = rng.normal(size=[len(lengths), maxlen, 3]).astype('float32')
    for b, length in enumerate(lengths):
        inputs[b, length:] = fill
    return {'inputs': tf.constant(inputs), 'lengths': tf.constant(lengths, tf.int32),
            'labels': tf.constant(rng.integers(0, 4, size=len(lengths)))}


@pytest.mark.parametrize('cell', ['gru', 'lstm'])
@pytest.mark.parametrize('pool', ['last', 'mean', 'max', 'attention'])
@pytest.mark.parametrize('bidirectional', [True, False])
def test_every_combination_runs(cell, pool, bidirectional, rng):
    model = some_models.classifier(3, 4, cell=cell, pool=pool, bidirectional=bidirectional,
                                   num_layers=2, **SMALL)
    batch = a_batch(rng)
    with tf.GradientTape() as tape:
        logits = model(batch['inputs'], batch['lengths'], training=True)
        loss = tf.reduce_sum(tf.square(logits))
    assert logits.shape == (4, 4)
    assert all(g is not None and np.all(np.isfinite(g))
               for g in tape.gradient(loss, model.trainable_variables))


def test_last_is_each_directions_output_after_its_last_step(rng):
    model = some_models.classifier(3, 4, cell='gru', bidirectional=True, pool='last', hidden_size=4,
                                   filters=(), kernel_sizes=(), seed=0)
    batch = a_batch(rng)
    x = model.encoder.normalize(batch['inputs'], batch['lengths'])
    outputs, _ = model.encoder.recurrent(x, batch['lengths'])
    last = tf.concat([seqmask.last_relevant(outputs[:, :, :4], batch['lengths']),
                      outputs[:, 0, 4:]], axis=-1)
    wanted = last @ model.to_logits.kernel + model.to_logits.bias
    np.testing.assert_allclose(model(batch['inputs'], batch['lengths']), wanted, rtol=1e-5,
                               atol=1e-6)


def test_beside_a_branch_of_convolutions_it_is_an_mlstm_fcn():
    model = some_models.classifier(12, 9)
    names = [type(layer).__name__ for layer in model.branch.convolutions.layers]
    block = ['Conv1D', 'BatchNorm', 'Activation']
    assert names == [*block, 'SqueezeExcite', *block, 'SqueezeExcite', *block]
    assert [layer.kernel.shape for layer in model.branch.convolutions.layers[::4]] == [
        (8, 12, 128), (5, 128, 256), (3, 256, 128)]
    assert [type(layer).__name__ for layer in model.encoder.recurrent.layers] == ['LSTM']


def test_loss_and_measure_count_sequences_that_have_steps(rng):
    model = some_models.classifier(3, 4, **SMALL)
    batch = a_batch(rng)
    logits = model(batch['inputs'], batch['lengths']).numpy()
    real = np.array(LENGTHS) > 0
    nats = reference.sparse_softmax_cross_entropy(logits, batch['labels'].numpy())[real]
    tally = model.loss(batch, training=False)
    np.testing.assert_allclose([tally.total, tally.count], [np.sum(nats), 3], rtol=1e-5)
    measured = model.measure(batch)
    right = (logits.argmax(axis=1) == batch['labels'].numpy())[real]
    np.testing.assert_allclose(measured['accuracy'].mean(), np.mean(right))
    np.testing.assert_allclose(measured['loss'].mean(), np.mean(nats), rtol=1e-5)


def test_in_training_padding_changes_nothing(rng):
    batches = [a_batch(np.random.default_rng(1), fill=fill) for fill in [0.0, np.nan]]
    logits = [some_models.classifier(3, 4, dropout=0.5, step_dropout=0.5, **SMALL)(
        batch['inputs'], batch['lengths'], training=True) for batch in batches]
    np.testing.assert_array_equal(*logits)


def test_one_seed_gives_one_model(rng):
    batch = a_batch(rng)
    models = [some_models.classifier(3, 4, dropout=0.5, **{**SMALL, 'seed': seed})
              for seed in [7, 7, 8]]
    first, same, other = (m(batch['inputs'], batch['lengths'], training=True) for m in models)
    np.testing.assert_array_equal(first, same)
    assert not np.allclose(first, other)


@pytest.mark.parametrize('error, message, options', [
    (ValueError, 'cell must be one of', {'cell': 'rnn'}),
    (ValueError, 'pool must be one of', {'pool': 'min'}),
    (ValueError, 'filters and kernel_sizes must have the same number of entries, at least one, '
                 'got 2 and 3',
     {'filters': (4, 4)}),
    (ValueError, 'num_classes must be at least 1', {'num_classes': 0}),
    (ValueError, r'step_dropout must be in \[0, 1\)', {'step_dropout': 1.0}),
])
def test_errors(error, message, options):
    with pytest.raises(error, match=message):
        some_models.classifier(**{'input_size': 3, 'num_classes': 4, **options})
