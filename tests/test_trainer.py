"""The loop: history, the best epoch, stopping, and going on."""

import functools

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask.training import Trainer

LENGTHS = [3, 1, 0, 5, 2, 4, 1, 3]


class Tagger(tf.Module):
    """Dropout, then one linear map: as small as a labeller can be, and quick to trace."""

    def __init__(self, seed=0):
        super().__init__()
        self.dropout = seqmask.Dropout(0.3, seed=seed)
        self.dense = seqmask.Dense(3, 4, seed=seed)

    def __call__(self, inputs, lengths, training=False):
        return self.dense(self.dropout(inputs, lengths, training=training), lengths)


def scored(model, batch, training=False):
    logits = model(batch['inputs'], batch['lengths'], training=training)
    mask = seqmask.sequence_mask(batch['lengths'], tf.shape(logits)[1])
    return {'logits': logits, 'labels': batch['labels'], 'mask': mask}


def loss(model, batch, training):
    return seqmask.losses.sparse_softmax_cross_entropy(**scored(model, batch, training))


def measure(model, batch):
    return {'accuracy': seqmask.metrics.Accuracy.tally(**scored(model, batch))}


def a_collection(rng, lengths=LENGTHS):
    return seqmask.data.Sequences.from_list(
        [rng.normal(size=[n, 3]).astype('float32') for n in lengths],
        steps={'labels': [rng.integers(0, 4, size=n) for n in lengths]})


@pytest.fixture
def train(rng):
    return seqmask.data.Batches(a_collection(rng), 3, shuffle=True, seed=1)


@pytest.fixture
def valid(rng):
    return seqmask.data.Batches(a_collection(rng, [2, 6]), 1)


def a_trainer(rate=0.05, seed=0, **options):
    model = Tagger(seed)
    return Trainer(model, loss, tf.keras.optimizers.Adam(rate), measure=measure,
                   **{'progress': False, **options})


def cosine():
    return tf.keras.optimizers.schedules.CosineDecay(0.1, 12)


def weights(trainer):
    return [v.numpy() for v in trainer.model.trainable_variables]


def everything(trainer):
    variables = [*trainer.model.variables, trainer.model.dropout._noise.state,
                 *trainer.optimizer.variables]
    return [tf.identity(tf.convert_to_tensor(v)).numpy() for v in variables]


def assert_identical(actual, wanted):
    assert len(actual) == len(wanted)
    for a, w in zip(actual, wanted):
        np.testing.assert_array_equal(a, w)


def is_identical(actual, wanted):
    return all(np.array_equal(a, w) for a, w in zip(actual, wanted))


def without_times(history):
    return [{name: value for name, value in row.items() if 'second' not in name}
            for row in history]


def scripted(values, **options):
    """A trainer whose validation measures the given values, one an epoch; the loss is real."""
    epoch = tf.Variable(0, trainable=False)
    values = tf.constant(values)

    def measure(model, batch):
        return {'value': seqmask.Tally(values[epoch.assign_add(1) - 1], 1.0)}

    model = Tagger()
    return Trainer(model, loss, tf.keras.optimizers.Adam(0.05), measure=measure, monitor='value',
                   **{'progress': False, **options})


# History


def test_fit_returns_a_row_an_epoch(train, valid):
    trainer = a_trainer()
    history = trainer.fit(train, valid, epochs=3)
    assert [row['epoch'] for row in history] == [1, 2, 3]
    for row in history:
        assert list(row) == ['epoch', 'loss', 'learning_rate', 'skipped', 'seconds',
                             'steps_per_second', 'valid_accuracy', 'valid_loss']
        assert row['skipped'] == 0 and row['seconds'] > 0
        assert type(row['loss']) is type(row['valid_loss']) is float
    assert history[-1]['loss'] < history[0]['loss']
    assert {f'valid_{name}': value for name, value in trainer.evaluate(valid).items()} == {
        name: value for name, value in history[-1].items() if name.startswith('valid_')}
    history.clear()         # the caller's own
    assert len(trainer.fit(train, valid, epochs=3)) == 3


def test_the_loss_of_an_epoch_weighs_steps(rng):
    # Nothing moves at learning rate 0, so that the epoch's loss is that of all steps at once.
    collection = a_collection(rng)
    trainer = a_trainer(rate=0.0)
    trainer.model.dropout.rate = 0.0
    row, = trainer.fit(seqmask.data.Batches(collection, 3), epochs=1)
    whole, = seqmask.data.Batches(collection, len(LENGTHS))
    np.testing.assert_allclose(row['loss'], loss(trainer.model, whole, False).mean(), rtol=1e-6)


def test_metrics_weigh_steps(rng):
    # 1 step that is wrong and 9 that are right, in batches of their own.
    trainer = a_trainer()
    trainer.model.dense.kernel.assign(tf.eye(3, 4))
    inputs = np.concatenate([np.eye(3)[[1]], np.eye(3)[[0] * 9]]).astype('float32')
    collection = seqmask.data.Sequences(inputs, [1, 9], steps={'labels': [0] * 10})
    values = trainer.evaluate(seqmask.data.Batches(collection, 1))
    assert values['accuracy'] == (0 * 1 + 1 * 9) / (1 + 9)
    right, wrong = np.log(1 + 3 / np.e), np.log(np.e + 3)
    np.testing.assert_allclose(values['loss'], (1 * wrong + 9 * right) / 10, rtol=1e-6)


def test_sums_over_batches_count_beyond_float32():
    # 2^24 + 1 is no float32: of 2^24 steps and 16 more, one at a time, none would be counted.
    trainer = a_trainer()
    trainer._measure = lambda model, batch: {
        'loss': seqmask.Tally(batch['count'], batch['count']),
        'ones': seqmask.Tally(tf.where(batch['count'] == 1, 1.0, 0.0), batch['count'])}
    batches = [{'count': tf.constant(2.0 ** 24)}] + [{'count': tf.constant(1.0)}] * 16
    assert trainer.evaluate(batches)['ones'] == 16 / (2 ** 24 + 16)


def test_the_learning_rate_of_a_schedule_is_recorded(train):
    history = a_trainer(cosine()).fit(train, epochs=3)      # 3 batches an epoch
    wanted = [float(cosine()(3 * epoch)) for epoch in [1, 2, 3]]
    np.testing.assert_allclose([row['learning_rate'] for row in history], wanted, rtol=1e-6)


def test_no_batch_or_no_pass_left_is_said(train, valid):
    with pytest.raises(ValueError, match='train must hold at least one batch, got none'):
        a_trainer().fit([], epochs=1)
    trainer = a_trainer()
    with pytest.raises(ValueError, match='A generator is empty after its first epoch'):
        trainer.fit((batch for batch in train), epochs=2)
    assert len(trainer.fit(train, epochs=1)) == 1       # the first epoch is finished
    with pytest.raises(ValueError, match='at least one batch to evaluate.*A generator is empty'):
        a_trainer().fit(train, (batch for batch in valid), epochs=2)
    with pytest.raises(ValueError, match='at least one batch to evaluate'):
        a_trainer().evaluate([])
    assert list(a_trainer().predict([])) == []


# Batches of other kinds


@functools.cache
def trained_on_batches():
    batches = seqmask.data.Batches(a_collection(np.random.default_rng(0)), 3)
    trainer = a_trainer()
    return batches, trainer, trainer.fit(batches, batches, epochs=2)


@pytest.mark.parametrize('kind', ['list', 'numpy', 'dataset'])
def test_lists_and_datasets_train_alike(kind):
    batches, wanted, wanted_history = trained_on_batches()
    other = {'list': lambda: list(batches), 'dataset': lambda: batches.dataset,
             'numpy': lambda: [{name: tensor.numpy() for name, tensor in batch.items()}
                               for batch in batches]}[kind]()
    trainer = a_trainer()
    history = trainer.fit(other, other, epochs=2)
    for row, wanted_row in zip(without_times(history), without_times(wanted_history)):
        assert row == pytest.approx(wanted_row, rel=1e-5)
    for a, w in zip(weights(trainer), weights(wanted)):
        np.testing.assert_allclose(a, w, rtol=1e-4, atol=1e-6)
    for a, w in zip(trainer.predict(other), wanted.predict(batches)):
        np.testing.assert_allclose(a, w, rtol=1e-4, atol=1e-5)


def test_all_lengths_share_one_trace(train, valid):
    traces = []

    def counted(model, batch, training):
        traces.append(training)
        return loss(model, batch, training)

    trainer = Trainer(Tagger(), counted, tf.keras.optimizers.Adam(), progress=False)
    trainer.fit(train, valid, epochs=3)
    trainer.evaluate(valid)
    assert sorted(traces) == [False, True]


def test_predict_yields_the_real_steps_in_order(rng):
    collection = a_collection(rng)
    trainer = a_trainer()
    outputs = list(trainer.predict(seqmask.data.Batches(collection, 3, bucket_boundaries=None)))
    assert [len(output) for output in outputs] == LENGTHS
    kernel, bias = trainer.model.dense.kernel.numpy(), trainer.model.dense.bias.numpy()
    for i, output in enumerate(outputs):
        assert isinstance(output, np.ndarray)
        np.testing.assert_allclose(output, collection.sequence(i)['inputs'] @ kernel + bias,
                                   rtol=1e-4, atol=1e-5)


# The best epoch


@pytest.mark.parametrize('mode, best', [('min', 3), ('max', 2)])
@pytest.mark.parametrize('on_disk', [True, False])
def test_restore_best(mode, best, on_disk, train, valid, tmp_path):
    values = [2.0, 3.0, 1.0, 3.0]       # of equals, the first
    workdir = str(tmp_path) if on_disk else None
    trainer = scripted(values, mode=mode)
    one_batch = list(valid)[:1]
    after = []
    for epoch in range(1, 5):
        trainer.fit(train, one_batch, epochs=epoch, workdir=workdir)
        after.append(weights(trainer))
    assert trainer.best_epoch == best
    assert not is_identical(after[best - 1], after[-1])
    assert_identical(weights(trainer), after[-1])
    trainer.restore_best()
    assert_identical(weights(trainer), after[best - 1])


def test_without_validation_the_training_loss_is_monitored(train):
    trainer = a_trainer()
    history = trainer.fit(train, epochs=3)
    assert trainer.best_epoch == 1 + int(np.argmin([row['loss'] for row in history]))
    with pytest.raises(ValueError, match="monitor must be 'loss' where there is no validation"):
        a_trainer(monitor='accuracy').fit(train, epochs=1)


@pytest.mark.parametrize('values, best', [([np.nan, 3.0, np.nan, 2.0], 4), ([1.0, np.nan], 1),
                                          ([np.nan, np.nan], 1)])
def test_nan_is_never_better(values, best, train, valid):
    trainer = scripted(values)
    trainer.fit(train, list(valid)[:1], epochs=len(values))
    assert trainer.best_epoch == best


def test_patience_ends_training(train, valid, capsys):
    trainer = scripted([2.0, 1.0, 5.0, 1.0, 0.0], patience=2, progress=True)
    history = trainer.fit(train, list(valid)[:1], epochs=5)
    assert len(history) == 4 and trainer.best_epoch == 2
    assert capsys.readouterr().out.splitlines()[-1] == 'no better value for 2 epochs: stopping'
    assert len(trainer.fit(train, list(valid)[:1], epochs=9)) == 4


@pytest.mark.parametrize('error, message, options', [
    (ValueError, "mode must be one of 'min', 'max', got 'up'", dict(mode='up')),
    (ValueError, 'max_skipped must be at least 1', dict(max_skipped=0)),
    (ValueError, 'patience must be at least 1', dict(patience=0)),
    (ValueError, 'clip_norm must be finite and positive', dict(clip_norm=0)),
    (ValueError, 'clip_norm must be finite and positive', dict(clip_norm=-1.0)),
    (ValueError, 'clip_norm must be finite and positive', dict(clip_norm=np.nan)),
    (ValueError, 'clip_norm must be finite and positive', dict(clip_norm=np.inf)),
])
def test_options_out_of_range(error, message, options):
    with pytest.raises(error, match=message):
        a_trainer(**options)


def test_calls_that_cannot_be(train, valid):
    with pytest.raises(ValueError, match='epochs must be at least 1'):
        a_trainer().fit(train, epochs=0)
    with pytest.raises(ValueError, match='there is no best epoch yet: call fit first'):
        a_trainer().restore_best()
    with pytest.raises(ValueError, match="monitor must be one of 'accuracy', 'loss', got 'acc'"):
        a_trainer(monitor='acc').fit(train, valid, epochs=1)


@pytest.mark.parametrize('kind', ['batches', 'list', 'numpy', 'dataset'])
def test_an_unknown_monitor_is_refused_before_the_first_epoch(kind, train, valid, tmp_path):
    class Untouched:
        def __iter__(self):
            raise AssertionError('an epoch was begun')

    valid = {'batches': lambda: valid, 'list': lambda: list(valid),
             'numpy': lambda: [{name: tensor.numpy() for name, tensor in batch.items()}
                               for batch in valid],
             'dataset': lambda: valid.dataset}[kind]()
    workdir = tmp_path / 'run'
    with pytest.raises(ValueError, match="monitor must be one of 'accuracy', 'loss', got 'acc'"):
        a_trainer(monitor='acc').fit(Untouched(), valid, epochs=1, workdir=str(workdir))
    assert not workdir.exists()
    history = a_trainer(monitor='accuracy').fit(train, valid, epochs=1)     # all of it is there yet
    assert history[0]['valid_accuracy'] == pytest.approx(
        a_trainer(monitor='loss').fit(train, list(valid), epochs=1)[0]['valid_accuracy'])


def test_of_a_generator_it_is_refused_after_the_first(train, valid):
    with pytest.raises(ValueError, match="monitor must be one of .*, got 'acc'"):
        a_trainer(monitor='acc').fit(train, (batch for batch in valid), epochs=1)
    assert len(a_trainer().fit(train, (batch for batch in valid), epochs=1)) == 1


# Steps that are not finite


def bad_and_good(pattern, rng):
    """A batch for each letter: 'b' holds NaN at a real step."""
    batches = []
    for letter in pattern:
        batch, = seqmask.data.Batches(a_collection(rng, [2]), 1)
        if letter == 'b':
            batch['inputs'] = tf.fill([1, 2, 3], np.nan)
        batches.append(batch)
    return batches


def test_skipped_steps_are_counted_and_left_out_of_the_loss(rng):
    row, = a_trainer().fit(bad_and_good('gbgbb', rng), epochs=1)
    assert row['skipped'] == 3
    assert np.isfinite(row['loss'])


def test_a_good_step_resets_the_count(rng):
    history = a_trainer(max_skipped=3).fit(bad_and_good('bbgbb', rng), epochs=1)
    assert history[0]['skipped'] == 4
    trainer = a_trainer(max_skipped=3)
    with pytest.raises(FloatingPointError, match='3 steps in a row.*not finite.*Look for NaN'):
        trainer.fit(bad_and_good('bbgbb', rng), epochs=2)       # 2 at the end, 1 more at the start
    assert int(trainer.optimizer.iterations) == 1


def test_training_stops_with_the_weights_as_they_were(rng):
    trainer = a_trainer(max_skipped=2)
    trainer.model.dropout.rate = 0.0        # its stream goes on, whatever becomes of the step
    before = everything(trainer)
    with pytest.raises(FloatingPointError, match='2 steps in a row'):
        trainer.fit(bad_and_good('bbbbb', rng), epochs=1)
    assert_identical(everything(trainer), before)


def test_clipping_is_passed_on(rng):
    batches = bad_and_good('g', rng)
    trainer = Trainer(Tagger(), loss, tf.keras.optimizers.SGD(1.0), clip_norm=1e-3, progress=False)
    trainer.model.dropout.rate = 0.0
    before = weights(trainer)
    trainer.fit(batches, epochs=1)
    change = [a - b for a, b in zip(weights(trainer), before)]
    np.testing.assert_allclose(np.sqrt(sum(np.sum(c ** 2) for c in change)), 1e-3, rtol=1e-3)


# Going on


def test_more_epochs_go_on(train, valid):
    whole, parts = a_trainer(cosine()), a_trainer(cosine())
    history = whole.fit(train, valid, epochs=4)
    for epochs in [1, 3, 4, 2]:
        parted = parts.fit(train, valid, epochs=epochs)
    assert without_times(parted) == without_times(history)
    assert_identical(everything(parts), everything(whole))


def test_another_process_goes_on_bit_for_bit(train, valid, tmp_path, capsys):
    whole = a_trainer(cosine())
    history = whole.fit(train, valid, epochs=4, workdir=tmp_path / 'whole')
    for epochs in [1, 3, 4]:        # each a model, optimizer and trainer of its own
        parts = a_trainer(cosine(), seed=epochs - 1, progress=True)
        parted = parts.fit(train, valid, epochs=epochs, workdir=tmp_path / 'parts')
    assert f'resuming after epoch 3 of {tmp_path / "parts"}' in capsys.readouterr().out
    assert without_times(parted) == without_times(history)
    assert_identical(everything(parts), everything(whole))
    assert parts.best_epoch == whole.best_epoch
    for trainer in [whole, parts]:
        trainer.restore_best()
    assert_identical(weights(parts), weights(whole))


def test_what_was_stopped_stays_stopped(train, valid, tmp_path):
    one_batch = list(valid)[:1]
    first = scripted([1.0, 2.0, 3.0], patience=2)
    assert len(first.fit(train, one_batch, epochs=9, workdir=tmp_path)) == 3
    again = scripted([0.0], patience=2)
    assert len(again.fit(train, one_batch, epochs=9, workdir=tmp_path)) == 3
    assert again.best_epoch == 1
    assert_identical(everything(again), everything(first))


def test_skipped_steps_in_a_row_are_counted_over_a_restart(rng, tmp_path):
    a_trainer(max_skipped=3).fit(bad_and_good('gbb', rng), epochs=1, workdir=tmp_path)
    with pytest.raises(FloatingPointError, match='3 steps in a row'):
        a_trainer(max_skipped=3).fit(bad_and_good('bg', rng), epochs=2, workdir=tmp_path)


def test_validation_may_join_later(train, valid, tmp_path):
    a_trainer().fit(train, epochs=1, workdir=tmp_path)
    history = a_trainer().fit(train, valid, epochs=3, workdir=tmp_path)
    assert ['valid_loss' in row for row in history] == [False, True, True]
    again = a_trainer().fit(train, valid, epochs=3, workdir=tmp_path)
    assert again == history


def test_a_workdir_comes_with_the_first_epoch(train, tmp_path):
    trainer = a_trainer()
    trainer.fit(train, epochs=1)
    with pytest.raises(ValueError, match='workdir must be given from the first epoch on'):
        trainer.fit(train, epochs=2, workdir=tmp_path / 'new')
    trainer.restore_best()


def share_of_ones(outputs, batches):
    """A metric in plain Python, of all sequences at once."""
    labels = [label for batch in batches
              for label in seqmask.crop(batch['labels'], batch['lengths'])]
    assert [len(part) for part in outputs] == [len(part) for part in labels]
    ones = sum(int((part.argmax(axis=-1) == 1).sum()) for part in outputs)
    return {'ones': ones / sum(map(len, labels))}


def test_a_metric_of_all_outputs_may_choose_the_best_epoch(train, valid, tmp_path):
    trainer = a_trainer(measure_all=share_of_ones, monitor='ones', mode='max')
    history = trainer.fit(train, valid, epochs=4, workdir=str(tmp_path))
    shares = [row['valid_ones'] for row in history]
    assert len(set(shares)) > 1 and trainer.best_epoch == 1 + int(np.argmax(shares))
    trainer.restore_best()
    assert trainer.evaluate(valid)['ones'] == max(shares)


@pytest.mark.parametrize('result, error, message', [
    ({'loss': 1.0}, ValueError, "differently than the loss and measure do, got 'loss'"),
    ([1.0], TypeError, r'dict of name to number, got \[1.0\]'),
    ({'f1': 'high'}, TypeError, 'dict of name to number')])
def test_what_such_a_metric_must_not_return(result, error, message, train, valid):
    with pytest.raises(error, match=message):
        a_trainer(measure_all=lambda *_: result).fit(train, valid, epochs=1)
    with pytest.raises(ValueError, match="monitor must be one of 'accuracy', 'loss', 'ones'"):
        a_trainer(measure_all=share_of_ones, monitor='f1').fit(train, valid, epochs=1)
