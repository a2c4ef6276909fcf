"""What a labeller may be asked for at every step: classes together, yes or no, numbers."""

import json

import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask
from seqmask import data, runs, training
from seqmask.models import Encoder, SequenceLabeller

LENGTHS = [3, 0, 5, 1]
BIO = seqmask.bio_constraints(['O', 'B', 'I'])


def a_labeller(num_classes=3, seed=0, bidirectional=True, **options):
    encoder = Encoder(3, hidden_size=4, bidirectional=bidirectional, seed=seed)
    model = SequenceLabeller(encoder, num_classes, seed=seed, **options)
    if model.crf is not None:
        rng = np.random.default_rng(seed)
        for variable in model.crf.trainable_variables:
            variable.assign(rng.normal(size=variable.shape))
    return model


def a_batch(rng, labels):
    inputs = rng.normal(size=[4, 5, 3]).astype('f')
    for b, n in enumerate(LENGTHS):
        inputs[b, n:] = np.nan
        labels[b, n:] = -100 if labels.dtype.kind == 'i' else np.nan
    return {'inputs': tf.constant(inputs), 'lengths': tf.constant(LENGTHS),
            'labels': tf.constant(labels)}


def cropped(model, batch):
    return list(zip(*(seqmask.crop(values, LENGTHS) for values in (
        model(batch['inputs'], batch['lengths']), batch['labels']))))


# Classes that hang together

def test_the_crfs_loss_and_measure_are_those_of_the_cropped_outputs(rng):
    model = a_labeller(crf=True)
    batch = a_batch(rng, rng.integers(0, 3, size=[4, 5]))
    weights = {name: getattr(model.crf, name).numpy() for name in ('transitions', 'start', 'end')}
    rows = cropped(model, batch)
    nats = sum(reference.crf_nats(x, y, weights) for x, y in rows)
    right = [reference.crf_decode(x, weights)[0] == y for x, y in rows]
    tally = model.loss(batch, training=False)
    np.testing.assert_allclose(tally, [nats, sum(LENGTHS)], rtol=1e-5)
    measured = model.measure(batch)
    np.testing.assert_allclose(measured['loss'], tally)
    wanted = {'accuracy': np.concatenate(right).mean(),
              'sequence_error': np.mean([1 - np.mean(r) for r in right if len(r)]),
              'sequence_accuracy': np.mean([np.all(r) for r in right if len(r)])}
    for name, value in wanted.items():
        np.testing.assert_allclose(measured[name].mean(), value, rtol=1e-6)
    labels = seqmask.crop(model.label(batch['inputs'], batch['lengths']), LENGTHS)
    for (x, _), row in zip(rows, labels):
        np.testing.assert_array_equal(row, reference.crf_decode(x, weights)[0])
    plain = a_labeller()
    for (x, _), row in zip(cropped(plain, batch), seqmask.crop(
            plain.label(batch['inputs'], batch['lengths']), LENGTHS)):
        np.testing.assert_array_equal(row, x.argmax(axis=1))


def test_a_labeller_with_a_crf_does_not_go_step_by_step():
    model = a_labeller(crf=True, bidirectional=False)
    assert not model.streams() and a_labeller(bidirectional=False).streams()
    for call in (lambda: model.initial_state(1), lambda: model.step(tf.zeros([1, 3]), None)):
        with pytest.raises(ValueError, match='crf=True needs whole sequences'):
            call()


def followers(rng, number=48):
    """Labels that follow in turn, from frames that show every third alone."""
    frames, labels = [], []
    for _ in range(number):
        steps = rng.integers(1, 9)
        row = (np.arange(steps) + rng.integers(3)) % 3
        frames.append(np.repeat(row[:, None] == 0, 3, axis=1).astype('f'))
        labels.append(row)
    return data.Sequences.from_list(frames, steps={'labels': labels})


@pytest.mark.parametrize('precision', ['float32', 'float16'])
def test_it_trains_is_kept_and_goes_on(precision, rng, tmp_path):
    batches = data.Batches(followers(rng), 16, shuffle=True, seed=0)

    def a_trainer():
        encoder = seqmask.models.OwnEncoder(
            seqmask.Sequential([seqmask.Dense(3, 4, dtype=precision, seed=0)]), 4, input_size=3,
            dtype=precision)
        model = SequenceLabeller(encoder, 3, crf=True, seed=0)
        optimizer = tf.keras.optimizers.Adam(0.1)
        if precision == 'float16':
            optimizer = training.MixedPrecision(optimizer)
        return training.Trainer(model, type(model).loss, optimizer, progress=False,
                                measure=type(model).measure, monitor='accuracy', mode='max')

    whole = a_trainer()
    whole.fit(batches, batches, epochs=12)
    whole.restore_best()
    # One step shows a third of the labels; the chain knows the rest, but of one or two steps.
    assert whole.evaluate(batches)['accuracy'] > 0.9
    first = a_trainer()
    first.fit(batches, batches, epochs=4, workdir=tmp_path)
    second = a_trainer()
    second.fit(batches, batches, epochs=12, workdir=tmp_path)
    second.restore_best()
    for one, other in zip(whole.model.variables, second.model.variables):
        np.testing.assert_array_equal(tf.cast(one, tf.float32), tf.cast(other, tf.float32))


def test_a_blueprint_that_json_kept_builds_it(rng):
    words = json.loads(json.dumps({
        'num_classes': 3, 'crf': True, 'constraints': [array.tolist() for array in BIO]}))
    blueprint = runs.Blueprint('SequenceLabeller', words, {
        'encoder': ('Encoder', {'input_size': 3, 'hidden_size': 4})}, seed=0)
    model = blueprint.build()
    labels = model.label(tf.constant(rng.normal(size=[50, 6, 3]), tf.float32), [6] * 50).numpy()
    assert (labels[:, 0] != 2).all() and not ((labels[:, :-1] == 0) & (labels[:, 1:] == 2)).any()


def test_predictions_are_the_best_labelling_with_marginals(rng):
    model = a_labeller(crf=True)
    frames = [rng.normal(size=[n, 3]).astype('f') for n in LENGTHS]
    trainer = training.Trainer(model, type(model).loss, tf.keras.optimizers.Adam(), progress=False)
    batches = data.Batches(data.Sequences.from_list(frames), 3)
    found = runs.Classes(['x', 'y', 'z']).predict(trainer, batches)
    weights = {name: getattr(model.crf, name).numpy() for name in ('transitions', 'start', 'end')}
    start = 0
    for x in trainer.predict(batches):
        best, _ = reference.crf_decode(x, weights)
        of_sequence = slice(start, start + len(x))
        np.testing.assert_array_equal(found.steps['predicted'][of_sequence], best)
        np.testing.assert_allclose(
            found.steps['probability'][of_sequence],
            reference.crf_marginals(x, weights)[np.arange(len(x)), best], atol=1e-6)
        start += len(x)


@pytest.mark.filterwarnings('ignore:.*tf.lite.Interpreter is deprecated')
def test_it_leaves_with_its_labels(tmp_path, rng):
    model = a_labeller(crf=True, constraints=BIO)
    inputs = rng.normal(size=[4, 5, 3]).astype('f')
    lengths = np.array(LENGTHS, np.int32)
    wanted = model.label(inputs, lengths)
    assert seqmask.export.save(model, str(tmp_path / 'model')) == [
        'serving_default', 'without_lengths']
    run = tf.saved_model.load(str(tmp_path / 'model')).signatures['serving_default']
    np.testing.assert_array_equal(
        run(inputs=tf.constant(inputs), lengths=tf.constant(lengths))['labels'], wanted)
    lite = tf.lite.Interpreter(model_content=seqmask.export.to_tflite(model, maxlen=5, batch=4))
    found = lite.get_signature_runner('serving_default')(inputs=inputs, lengths=lengths)
    np.testing.assert_array_equal(found['labels'], wanted)


# Yes or no, and numbers

@pytest.mark.parametrize('features', ['sum', 'mean'])
@pytest.mark.parametrize('targets, oracle', [
    ('binary', reference.sigmoid_cross_entropy), ('squared', reference.squared_error),
    ('absolute', reference.absolute_error), ('huber', lambda x, y: reference.huber(x, y, delta=1))])
def test_losses_of_several_targets_are_those_of_the_cropped_outputs(targets, oracle, features, rng):
    model = a_labeller(2, targets=targets, features=features)
    labels = rng.integers(0, 2, size=[4, 5, 2]).astype('f')
    batch = a_batch(rng, labels)
    rows = cropped(model, batch)
    errors = np.concatenate([oracle(x.astype(float), y) for x, y in rows])
    per_step = errors.sum(axis=1) if features == 'sum' else errors.mean(axis=1)
    tally = model.loss(batch, training=False)
    np.testing.assert_allclose(tally, [per_step.sum(), sum(LENGTHS)], rtol=1e-5)
    measured = model.measure(batch)
    outputs, wanted = (np.concatenate(part) for part in zip(*rows))
    means = {name: float(tally.mean()) for name, tally in measured.items()}
    np.testing.assert_allclose(measured['loss'], tally)
    if targets == 'binary':
        yes = outputs >= 0
        right = (yes & (wanted == 1)).sum()
        np.testing.assert_allclose(
            [means[name] for name in ('accuracy', 'precision', 'recall', 'f1')],
            [(yes == wanted).mean(), right / yes.sum(), right / wanted.sum(),
             2 * right / (yes.sum() + wanted.sum())], rtol=1e-6)
    else:
        np.testing.assert_allclose(
            [means['squared_error'], means['absolute_error']],
            [np.mean((outputs - wanted) ** 2), np.mean(np.abs(outputs - wanted))], rtol=1e-5)


@pytest.mark.parametrize('options, words', [
    ({'targets': 'number'}, 'targets must be one of'), ({'features': 'max'}, 'features must be'),
    ({'targets': 'binary', 'crf': True}, "crf=True is for targets='classes'"),
    ({'constraints': BIO}, 'give crf=True, too')])
def test_options_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        a_labeller(**options)


def test_only_classes_have_labels():
    with pytest.raises(ValueError, match="labels are for targets='classes'"):
        a_labeller(targets='squared').label(tf.zeros([1, 2, 3]), [2])


# What comes next

@pytest.mark.parametrize('horizon', [1, 2, 7])
def test_next_step_is_the_frame_that_many_steps_later(horizon, rng):
    frames = [rng.normal(size=[n, 2]).astype('f') for n in (4, 0, 1, 9, 2)]
    frames[3][-1] = frames[3][4] = 0                    # silence is real
    collection = data.Sequences.from_list(
        frames, steps={'hour': [np.arange(len(x)) for x in frames]},
        sequences={'writer': ['a', 'b', 'c', 'd', 'e']})
    ahead = data.next_step(collection, horizon)
    assert ahead.lengths.tolist() == [max(len(x) - horizon, 0) for x in frames]
    assert ahead.sequences['writer'].tolist() == ['a', 'b', 'c', 'd', 'e']
    for i, x in enumerate(frames):
        row, n = ahead.sequence(i), max(len(x) - horizon, 0)
        np.testing.assert_array_equal(row['inputs'], x[:n])
        np.testing.assert_array_equal(row['labels'], x[horizon:horizon + n])
        np.testing.assert_array_equal(row['hour'], np.arange(n))


def test_a_labeller_predicts_the_next_step(rng):
    angles = rng.uniform(0, 6, size=[32, 1]) + 0.5 * np.arange(20)
    waves = data.Sequences.from_list([np.sin(row[:n, None]).astype('f') for row, n in zip(
        angles, rng.integers(3, 21, size=32))])
    ahead = data.next_step(waves)
    model = SequenceLabeller(Encoder(1, hidden_size=16, seed=0), 1, targets='squared', seed=0)
    trainer = training.Trainer(model, type(model).loss, tf.keras.optimizers.Adam(0.02),
                               measure=type(model).measure, progress=False)
    batches = data.Batches(ahead, 8, shuffle=True, seed=0)
    trainer.fit(batches, epochs=25)
    unchanged = np.mean(np.square(ahead.steps['labels'] - ahead.frames))
    assert trainer.evaluate(batches)['squared_error'] < unchanged / 4


@pytest.mark.parametrize('change, error, words', [
    ({'sequences': [[1.0]]}, TypeError, 'must be a Sequences'),
    ({'horizon': 0}, ValueError, 'horizon must be at least 1'),
    ({'sequences': data.Sequences([[1.0]], [1], steps={'labels': [1]})}, ValueError,
     "already have a field 'labels'")])
def test_what_has_no_next_step_is_refused(change, error, words):
    with pytest.raises(error, match=words):
        data.next_step(**{'sequences': data.Sequences([[1.0]], [1]), 'horizon': 1, **change})
