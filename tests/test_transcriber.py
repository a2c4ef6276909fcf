"""The transcriber: its loss, what it reads, how it trains and leaves."""

import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask
from seqmask import data, training
from seqmask.models import Encoder, SequenceTranscriber

LENGTHS = [5, 3, 0, 4]
LABEL_LENGTHS = [2, 1, 0, 3]


def a_model(**options):
    encoder = Encoder(3, hidden_size=4, bidirectional=options.pop('bidirectional', True), seed=0)
    return SequenceTranscriber(encoder, 4, seed=1, **options)


def a_batch(rng, blank=0):
    inputs = rng.normal(size=[4, 5, 3]).astype('f')
    labels = rng.choice([k for k in range(4) if k != blank], size=[4, 3])
    labels[3] = np.roll(range(4), -blank)[1:]       # no two alike, so that 4 steps are enough
    for b, (n, length) in enumerate(zip(LENGTHS, LABEL_LENGTHS)):
        inputs[b, n:], labels[b, length:] = np.nan, -100
    return {'inputs': tf.constant(inputs), 'lengths': tf.constant(LENGTHS),
            'labels': tf.constant(labels), 'label_lengths': tf.constant(LABEL_LENGTHS)}


@pytest.mark.parametrize('blank', [0, 3])
def test_loss_and_measure_are_those_of_the_cropped_outputs(blank, rng):
    model, batch = a_model(blank=blank), a_batch(rng, blank)
    logits = seqmask.crop(model(batch['inputs'], batch['lengths']), LENGTHS)
    labels = seqmask.crop(batch['labels'], LABEL_LENGTHS)
    nats = [reference.ctc(x.astype(float), y, blank) for x, y in zip(logits, labels)]
    np.testing.assert_allclose(model.loss(batch, training=False), [sum(nats), 3], rtol=1e-5)
    paths = [reference.ctc_best_path(x, blank)[0] if len(x) else () for x in logits]
    edits = [reference.edit_distance(y, path) for y, path in zip(labels, paths)]
    measured = model.measure(batch)
    np.testing.assert_allclose(measured['loss'], [sum(nats), 3], rtol=1e-5)
    np.testing.assert_allclose(measured['label_error'], [sum(edits), sum(LABEL_LENGTHS)])
    np.testing.assert_allclose(measured['sequence_accuracy'], [edits.count(0), 4])
    np.testing.assert_allclose(measured['impossible'], [0, 4])
    found, found_lengths = model.transcribe(batch['inputs'], batch['lengths'])
    assert [tuple(row) for row in seqmask.crop(found, found_lengths)] == paths
    beam, beam_lengths = model.transcribe(batch['inputs'], batch['lengths'], width=500)
    for x, row in zip(logits, seqmask.crop(beam, beam_lengths)):
        table = reference.ctc_table(x.astype(float), blank)
        np.testing.assert_allclose(table[tuple(row.tolist())], max(table.values()), atol=1e-6)


def test_several_slots_are_as_many_steps(rng):
    model, batch = a_model(slots=2), a_batch(rng)
    batch['lengths'] = tf.constant([2, 1, 0, 2])            # places for 4, 2, 0 and 4 labels
    logits = [x.reshape([-1, 4]) for x in seqmask.crop(model(batch['inputs'], batch['lengths']),
                                                       batch['lengths'])]
    labels = seqmask.crop(batch['labels'], LABEL_LENGTHS)
    nats = [reference.ctc(x.astype(float), y) for x, y in zip(logits, labels)]
    measured = model.measure(batch)
    np.testing.assert_allclose(measured['loss'], [sum(nats), 3], rtol=1e-5)
    np.testing.assert_allclose(measured['impossible'], [0, 4])
    paths = [reference.ctc_best_path(x, 0)[0] if len(x) else () for x in logits]
    edits = [reference.edit_distance(y, path) for y, path in zip(labels, paths)]
    np.testing.assert_allclose(measured['label_error'], [sum(edits), sum(LABEL_LENGTHS)])
    results = model.results(model(batch['inputs'], batch['lengths']), batch['lengths'])
    for found in (model.transcribe(batch['inputs'], batch['lengths']),
                  (results['labels'], results['label_lengths'])):
        assert [tuple(row) for row in seqmask.crop(*found)] == paths


def test_what_has_too_few_steps_is_an_error_or_left_out_and_counted(rng):
    batch = a_batch(rng)
    batch['lengths'] = tf.constant([1, 3, 0, 4])
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'\[0\]'):
        a_model().loss(batch, training=False)
    measured = a_model(impossible='skip').measure(batch)
    assert float(measured['loss'].count) == 2 and float(measured['impossible'].mean()) == 1 / 4


def words(rng, number=64):
    """Sequences in which each of three symbols lasts 2 or 3 steps, and the symbols as labels."""
    frames, labels, label_lengths = [], np.zeros([number, 4], np.int32), []
    for b in range(number):
        word = rng.integers(1, 4, size=rng.integers(1, 5))
        steps = [np.eye(4)[[k] * rng.integers(2, 4) + [0]] for k in word]
        frames.append(np.concatenate(steps).astype('f'))
        labels[b, :len(word)] = word
        label_lengths.append(len(word))
    return data.Sequences.from_list(frames, sequences={
        'labels': labels, 'label_lengths': np.array(label_lengths, np.int32)})


def test_it_learns_to_read(rng, tmp_path):
    model = SequenceTranscriber(Encoder(4, hidden_size=12, seed=0), 4, seed=1)
    batches = data.Batches(words(rng), 16, shuffle=True, seed=0)
    trainer = training.Trainer(model, type(model).loss, tf.keras.optimizers.Adam(0.03),
                               measure=type(model).measure, monitor='label_error', progress=False)
    trainer.fit(batches, batches, epochs=12, workdir=tmp_path)
    trainer.restore_best()
    assert trainer.evaluate(batches)['label_error'] < 0.05


def test_a_saved_model_reads(tmp_path, rng):
    model, batch = a_model(bidirectional=False), a_batch(rng)
    names = seqmask.export.save(model, str(tmp_path / 'model'))
    assert names == ['serving_default', 'without_lengths', 'step', 'initial_state']
    run = tf.saved_model.load(str(tmp_path / 'model')).signatures['serving_default']
    found = run(inputs=batch['inputs'], lengths=batch['lengths'])
    wanted = model.results(model(batch['inputs'], batch['lengths']), batch['lengths'])
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)


@pytest.mark.filterwarnings('ignore:.*tf.lite.Interpreter is deprecated')
def test_tensorflow_lite_reads(rng):
    model, batch = a_model(), a_batch(rng)
    content = seqmask.export.to_tflite(model, maxlen=5, batch=4)
    run = tf.lite.Interpreter(model_content=content).get_signature_runner('serving_default')
    found = run(inputs=np.nan_to_num(batch['inputs'].numpy()),
                lengths=np.array(LENGTHS, np.int32))
    labels, label_lengths = model.transcribe(batch['inputs'], batch['lengths'])
    np.testing.assert_array_equal(found['labels'], labels)
    np.testing.assert_array_equal(found['label_lengths'], label_lengths)


def test_step_by_step_its_logits_are_those_of_the_call(rng):
    model, batch = a_model(bidirectional=False), a_batch(rng)
    inputs = tf.constant(np.nan_to_num(batch['inputs']))
    wanted, state = model(inputs, [5] * 4), model.initial_state(4)
    for t in range(5):
        logits, state = model.step(inputs[:, t], state)
        np.testing.assert_allclose(logits, wanted[:, t], atol=1e-6)
    with pytest.raises(ValueError, match='trains on whole sequences'):
        model.chunk_loss(batch, model.initial_state(4), training=True)


@pytest.mark.parametrize('options, words', [
    ({'blank': 4}, r'blank must be in \[0, num_classes\)'), ({'blank': -1}, 'blank must be'),
    ({'slots': 0}, 'slots must be at least 1'),
    ({'impossible': 'inf'}, "impossible must be one of 'error', 'skip'")])
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        a_model(**options)
