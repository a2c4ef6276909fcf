"""From sequence to sequence: what contracts.py does not ask of the model."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import data, training
from seqmask.models import Encoder, SequenceToSequence, TokenEmbedding
from seqmask.models.teaching import lesson

LENGTHS, LABEL_LENGTHS = [5, 3, 0, 4], [2, 1, 0, 3]


def a_model(decoder=None, encoder=None, **options):
    encoder = Encoder(embedding=TokenEmbedding(6, 4, seed=0), hidden_size=5, bidirectional=True,
                      seed=0, **(encoder or {}))
    decoder = {'input_size': 3, 'cell': 'lstm', 'num_layers': 2, **(decoder or {})}
    return SequenceToSequence(encoder, 4, decoder=Encoder(hidden_size=6, seed=1, **decoder),
                              seed=2, **options)


def a_batch(rng):
    inputs, labels = rng.integers(0, 6, size=[4, 5]), rng.integers(0, 4, size=[4, 3])
    for b, (n, length) in enumerate(zip(LENGTHS, LABEL_LENGTHS)):
        inputs[b, n:], labels[b, length:] = -7, -100
    return {'inputs': tf.constant(inputs), 'lengths': tf.constant(LENGTHS),
            'labels': tf.constant(labels), 'label_lengths': tf.constant(LABEL_LENGTHS)}


DECODERS = [{}, {'tied': True, 'attention': 'additive'},
            {'input_feeding': True, 'decoder': {'input_size': 3 + 6}},
            {'attention': seqmask.Attention(6, 10, kind='multihead', num_heads=2, seed=0)}]


@pytest.mark.parametrize('options', DECODERS, ids=lambda o: ', '.join(o))
def test_taught_at_once_or_step_by_step_the_loss_is_the_same(options, rng):
    model, batch = a_model(**options), a_batch(rng)
    state, memory = model.initial_state(batch['inputs'], batch['lengths'])
    tokens, nats = np.full(4, model.end), 0.0
    for t in range(4):
        logits, state = model.step(tf.constant(tokens), state, memory)
        log_p = tf.nn.log_softmax(logits).numpy()
        targets = np.where(np.array(LABEL_LENGTHS) == t, model.end, np.append(
            batch['labels'], np.zeros([4, 1], int), axis=1)[:, t])
        nats -= sum(log_p[b, targets[b]] for b in range(4) if t <= LABEL_LENGTHS[b])
        tokens = np.where(t < np.array(LABEL_LENGTHS), targets, 0)
    loss = model.loss(batch, training=False)
    np.testing.assert_allclose(loss, [nats, sum(LABEL_LENGTHS) + 4], rtol=1e-5)
    np.testing.assert_allclose(model.measure(batch)['loss'], loss, rtol=1e-5)


def test_measure_is_that_of_the_greedy_output(rng):
    model, batch = a_model(), a_batch(rng)
    labels, lengths = model.transcribe(batch['inputs'], batch['lengths'])
    edits = seqmask.metrics.EditDistance.distances(
        labels=batch['labels'], label_lengths=LABEL_LENGTHS, predictions=labels,
        prediction_lengths=lengths).numpy()
    measured = model.measure(batch)
    np.testing.assert_allclose(measured['label_error'], [edits.sum(), sum(LABEL_LENGTHS)])
    np.testing.assert_allclose(measured['sequence_accuracy'], [(edits == 0).sum(), 4])


def test_outputs_are_as_long_as_their_limit_says(rng):
    model, batch = a_model(), a_batch(rng)
    model.to_logits.bias.assign([0, 0, 0, 0, -99])      # no end
    lengths = np.array(LENGTHS)
    found = model.transcribe(batch['inputs'], batch['lengths'])[1]
    np.testing.assert_array_equal(found, 2 * lengths + 10)
    model.limit_outputs(0.5, 1)
    found = model.transcribe(batch['inputs'], batch['lengths'], width=2)[1]
    np.testing.assert_array_equal(found, lengths // 2 + 1)
    found = model.transcribe(batch['inputs'], batch['lengths'], max_length=3)[1]
    np.testing.assert_array_equal(found, [3] * 4)
    with pytest.raises(ValueError, match='per_step must be finite and not negative'):
        model.limit_outputs(-1, 1)


@pytest.mark.parametrize('options', DECODERS, ids=lambda o: ', '.join(o))
def test_the_attention_of_real_labels_to_real_steps_sums_to_1(options, rng):
    weights = a_model(**options).alignment(a_batch(rng)).numpy()
    assert weights.shape == (4, 4, 5)
    for row, length, number in zip(weights, LENGTHS, LABEL_LENGTHS):
        np.testing.assert_allclose(row[:number + 1].sum(axis=-1), float(length > 0), rtol=1e-5)
        assert not row[number + 1:].any() and not row[:, length:].any()


def test_smoothing_sampling_and_dropout_are_of_training_alone(rng):
    batch, plain = a_batch(rng), a_model()
    for options in [{'label_smoothing': 0.3}, {'scheduled_sampling': 0.9}, {'dropout': 0.5}]:
        model = a_model(**options)          # with the weights of the plain one
        np.testing.assert_allclose(model.loss(batch, training=False),
                                   plain.loss(batch, training=False), rtol=1e-6)
        assert abs(float(model.loss(batch, training=True).total
                         - plain.loss(batch, training=True).total)) > 1e-4


def test_a_lesson_is_sampled_one_step_late():
    taught = lesson([[0, 1, 2], [3, 9, -1]], [3, 1], 4)
    assert taught.previous.numpy().tolist() == [[4, 0, 1, 2], [4, 3, 0, 0]]
    assert taught.targets.numpy().tolist() == [[0, 1, 2, 4], [3, 4, 0, 0]]
    assert taught.lengths.numpy().tolist() == [4, 2]
    sampled = taught.sampled(tf.fill([2, 4], 7), tf.random.Generator.from_seed(0), 0.5).numpy()
    assert (sampled[:, 0] == 4).all()
    assert set(sampled[0, 1:]) <= {0, 1, 2, 7} and (sampled == 7).any() and (sampled != 7).any()


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_half_precision(dtype, rng):
    encoder = Encoder(3, hidden_size=5, dtype=dtype, seed=0)
    model = SequenceToSequence(encoder, 4, decoder=Encoder(3, hidden_size=6, dtype=dtype, seed=1),
                               seed=2)
    batch = {**a_batch(rng), 'inputs': tf.constant(rng.normal(size=[4, 5, 3]), tf.float32)}
    assert np.isfinite(model.loss(batch, training=True).total)
    assert model.transcribe(batch['inputs'], batch['lengths'], width=3)[0].shape[0] == 4


def reversals(rng, number=256):
    """Sequences of 5 symbols, and the same ones backwards."""
    sequences = [rng.integers(0, 5, size=rng.integers(1, 6)) for _ in range(number)]
    lengths = np.array([len(s) for s in sequences], np.int32)
    labels = np.zeros([number, 5], np.int32)
    for row, sequence in zip(labels, sequences):
        row[:len(sequence)] = sequence[::-1]
    return data.Sequences(np.concatenate(sequences).astype(np.int32), lengths,
                          sequences={'labels': labels, 'label_lengths': lengths})


def test_it_learns_to_reverse(rng, tmp_path):
    model = SequenceToSequence(
        Encoder(embedding=TokenEmbedding(5, 8, seed=0), hidden_size=16, bidirectional=True,
                seed=0), 5, decoder=Encoder(8, hidden_size=24, seed=1), seed=2)
    batches = data.Batches(reversals(rng), 32, shuffle=True, seed=0)
    trainer = training.Trainer(model, type(model).loss, tf.keras.optimizers.Adam(0.02),
                               measure=type(model).measure, monitor='label_error', progress=False)
    trainer.fit(batches, batches, epochs=12, workdir=tmp_path)
    trainer.restore_best()
    assert trainer.evaluate(batches)['label_error'] < 0.05


@pytest.mark.parametrize('options', DECODERS[:3], ids=lambda o: ', '.join(o))
def test_a_saved_model_writes(options, tmp_path, rng):
    model, batch = a_model(**options), a_batch(rng)
    batch['inputs'] = tf.cast(tf.maximum(batch['inputs'], 0), tf.int32)
    assert seqmask.export.save(model, str(tmp_path / 'model')) == ['serving_default']
    run = tf.saved_model.load(str(tmp_path / 'model')).signatures['serving_default']
    for size in (5, 6):
        inputs = tf.pad(batch['inputs'], [[0, 0], [0, size - 5]])
        found = run(inputs=inputs, lengths=batch['lengths'])
        wanted = model.results(model(inputs, batch['lengths']), batch['lengths'])
        assert set(found) == set(wanted) == {'labels', 'label_lengths', 'log_probability'}
        for name, value in wanted.items():
            np.testing.assert_allclose(found[name], value, atol=1e-5)


@pytest.mark.parametrize('options, words', [
    ({'decoder': {'bidirectional': True}}, 'a decoder must have bidirectional=False'),
    ({'decoder': {'embedding': TokenEmbedding(5, 3)}}, 'embedding=None'),
    ({'input_feeding': True}, 'its input_size must be more than 6, got 3'),
    ({'input_feeding': True, 'tied': True}, 'its input_size must be even, got 3'),
    ({'attention': 'dot'}, "query_size must equal memory_size for kind='dot', got 6 and 10"),
    ({'attention': 'luong'}, "kind must be one of 'dot'"),
    ({'scheduled_sampling': 1.0}, r'scheduled_sampling must be in \[0, 1\)')])
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        a_model(**options)


@pytest.mark.parametrize('labels', [[[0, 4]], [[-1, 0]]])
def test_labels_that_do_not_fit_are_refused(labels):
    batch = {'inputs': tf.ones([1, 2], tf.int32), 'lengths': [2], 'labels': labels,
             'label_lengths': [2]}
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'labels must be in \[0, K\)'):
        a_model().loss(batch, training=False)
