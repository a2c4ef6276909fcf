"""Two replicas: each its rows of a batch, and what comes out is what one device gives."""

import json

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import runs, training
from seqmask.runs import workers
from seqmask.training import replicas, train_step
import some_models

ALONE = tf.distribute.get_strategy()
# Of the rows of a batch every other one goes to a replica: here both have real steps, unequally
# many; one has none, or no row; neither has.
LENGTHS = [[3, 0, 5], [2, 0, 4, 0], [0, 1], [6], [], [0, 0, 0], [1, 5, 2, 2]]


class Small(tf.Module):
    """Batch normalisation, dropout and logits; quick to trace."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.norm = seqmask.BatchNorm(3, momentum=0.5)
        self.dropout = seqmask.Dropout(dropout, seed=0)
        self.dense = seqmask.Dense(3, 2, seed=0)

    def __call__(self, inputs, lengths, training=False):
        outputs = self.norm(inputs, lengths, training=training)
        return self.dense(self.dropout(outputs, lengths, training=training), lengths)


class Deep(tf.Module):
    """Batch normalisation, an LSTM and logits."""

    def __init__(self):
        super().__init__()
        self.norm = seqmask.BatchNorm(3, momentum=0.5)
        self.labeller = some_models.labeller(
            3, num_classes=2, cell='lstm', hidden_size=4, num_layers=1, bidirectional=False,
            dropout=0.0, implementation='graph', seed=0)

    def __call__(self, inputs, lengths, training=False):
        return self.labeller(self.norm(inputs, lengths, training=training), lengths,
                             training=training)


class Lookup(tf.Module):
    """Logits from a row of a table, whose gradient is sparse."""

    def __init__(self):
        super().__init__()
        self.table = tf.Variable(np.linspace(-1, 1, 12).reshape(6, 2), dtype=tf.float32)

    def __call__(self, inputs, lengths, training=False):
        return tf.gather(self.table, tf.cast(inputs[..., 0] > 0, tf.int32) + 2)


def loss(model, batch, training):
    logits = model(batch['inputs'], batch['lengths'], training=training)
    mask = seqmask.sequence_mask(batch['lengths'], tf.shape(logits)[1])
    return seqmask.losses.sparse_softmax_cross_entropy(
        logits=logits, labels=batch['labels'], mask=mask)


def measure(model, batch):
    logits = model(batch['inputs'], batch['lengths'])
    mask = seqmask.sequence_mask(batch['lengths'], tf.shape(logits)[1])
    return {'accuracy': seqmask.metrics.Accuracy.tally(
        logits=logits, labels=batch['labels'], mask=mask)}


def some_batches(lengths=LENGTHS):
    rng = np.random.default_rng(0)
    batches = []
    for n in lengths:
        shape = [len(n), max(n, default=0)]
        inputs = rng.normal(size=[*shape, 3]).astype('float32')
        inputs[np.arange(shape[1]) >= np.array(n, int)[:, None]] = np.nan
        batches.append({'inputs': tf.constant(inputs), 'lengths': tf.constant(n, tf.int32),
                        'labels': tf.constant(rng.integers(0, 2, size=shape), tf.int32)})
    return batches


SPEC = {'inputs': tf.TensorSpec([None, None, 3]), 'lengths': tf.TensorSpec([None], tf.int32),
        'labels': tf.TensorSpec([None, None], tf.int32)}


class Taker:
    """A model, its optimizer, and the steps they take under a strategy: traced once."""

    def __init__(self, strategy, make=Small, optimizer=tf.keras.optimizers.Adam, rate=0.05,
                 **options):
        self.strategy = strategy
        with strategy.scope():
            self.model, self.optimizer = make(), optimizer(rate)
            self.optimizer.build(self.model.trainable_variables)
        self._step = lambda *batches: train_step(
            self.model, loss, self.optimizer, *batches, **options)
        self._traced = {}

    def take(self, *batches):
        count = len(batches)
        if count not in self._traced:
            self._traced[count] = tf.function(self._step, input_signature=[SPEC] * count)
        with self.strategy.scope():
            return self._traced[count](*batches)

    def everything(self):
        """All variables as each replica has them."""
        variables = [*self.model.variables, *(v.value for v in self.optimizer.variables)]
        return [[np.asarray(part.numpy()) for part in self.strategy.experimental_local_results(v)]
                for v in variables]


def assert_alike(both, one, tolerance=1e-5):
    both, one = both.everything(), one.everything()
    assert len(both) == len(one)
    for copies, (wanted,) in zip(both, one):
        assert len(copies) == 2
        for value in copies:
            np.testing.assert_allclose(value, wanted, rtol=0, atol=tolerance)


# Steps


@pytest.mark.parametrize('make, options', [(Small, {}), (Deep, {'clip_norm': 0.05})])
def test_twenty_steps_equal_those_of_one_device(make, options, strategy):
    both, one = Taker(strategy, make, **options), Taker(ALONE, make, **options)
    before = one.everything()
    batches = some_batches()
    for k in range(20):
        done, wanted = (taker.take(batches[k % len(batches)]) for taker in (both, one))
        assert done.applied and wanted.applied
        assert float(done.tally.count) == float(wanted.tally.count) == sum(
            LENGTHS[k % len(LENGTHS)])
        for value, right in [(done.tally.total, wanted.tally.total), (done.norm, wanted.norm)]:
            np.testing.assert_allclose(value, right, rtol=1e-4, atol=1e-5)
    assert_alike(both, one)
    assert max(np.abs(a[0] - b[0]).max() for a, b in zip(before, one.everything())) > 0.1


def test_the_mean_weighs_steps_not_replicas(strategy):
    # Replica 0 has 1 step, replica 1 has 9; a step of gradient descent at rate 1 is the gradient.
    batch, = some_batches([[1, 9]])
    batch['inputs'] = tf.where(tf.math.is_nan(batch['inputs']), 0.0, batch['inputs'])

    def gradient(strategy, batch):
        taker = Taker(strategy, make=Lookup, optimizer=tf.keras.optimizers.SGD, rate=1.0)
        before = taker.everything()[0]
        taker.take(batch)
        return (before - np.array(taker.everything()[0]))[0]

    one, nine = (gradient(ALONE, {name: value[k::2] for name, value in batch.items()})
                 for k in range(2))
    both = gradient(strategy, batch)
    np.testing.assert_allclose(both, (1 * one + 9 * nine) / (1 + 9), atol=1e-6)
    assert np.abs(both - (one + nine) / 2).max() > 1e-2


def test_micro_batches_are_shared_out_too(strategy):
    both, one = Taker(strategy), Taker(ALONE)
    parts = some_batches([[3, 0, 5], [], [2]])
    for _ in range(3):
        both.take(*parts), one.take(*parts)
    assert_alike(both, one)


@pytest.mark.parametrize('optimizer', [tf.keras.optimizers.SGD, tf.keras.optimizers.Adam])
def test_sparse_gradients(optimizer, strategy):
    both, one = (Taker(s, make=Lookup, optimizer=optimizer, clip_norm=0.1)
                 for s in (strategy, ALONE))
    before = one.everything()[0][0]
    for batch in some_batches([[3, 0, 5], [2], [4, 4]]):
        batch['inputs'] = tf.where(tf.math.is_nan(batch['inputs']), 0.0, batch['inputs'])
        both.take(batch), one.take(batch)
    assert_alike(both, one)
    moved = np.abs(one.everything()[0][0] - before).max(axis=1) > 0
    assert list(moved) == [False, False, True, True, False, False]


@pytest.mark.parametrize('row', [0, 1])
def test_a_step_that_is_not_finite_is_skipped_on_all_replicas(row, strategy):
    both = Taker(strategy, clip_norm=1.0)
    good, = some_batches([[3, 2]])
    both.take(good)
    before = both.everything()
    inputs = good['inputs'].numpy()
    inputs[row, 0] = np.inf             # on one replica only
    done = both.take({**good, 'inputs': tf.constant(inputs)})
    assert not done.applied
    after = both.everything()
    for values, wanted in zip(after, before):
        for value, right in zip(values, wanted):
            np.testing.assert_array_equal(value, right)
    assert both.take(good).applied
    assert both.optimizer.iterations.value.numpy() == 2


def test_dropout_masks_differ_and_streams_stay_together(strategy):
    with strategy.scope():
        dropout = seqmask.Dropout(0.5, seed=0)
    run = tf.function(lambda x, n: strategy.run(lambda: dropout(
        *replicas.own_rows((x, n)), training=True)), reduce_retracing=True)
    drawn = []
    for rows in [2, 3, 1, 0, 2]:        # of 3 rows a replica has 2, the other 1
        with strategy.scope():
            drawn.append([part.numpy() for part in strategy.experimental_local_results(
                run(tf.ones([rows, 4, 8]), tf.fill([rows], 4)))])
    for first, second in (drawn[0], drawn[4]):
        assert not np.array_equal(first, second)
        assert set(np.unique(first)) == set(np.unique(second)) == {0.0, 2.0}
    assert not np.array_equal(drawn[0][0], drawn[4][0])
    states = [part.numpy() for part in strategy.experimental_local_results(dropout._noise.state)]
    np.testing.assert_array_equal(states[0], states[1])


# The trainer


def a_collection(lengths):
    rng = np.random.default_rng(1)
    return seqmask.data.Sequences.from_list(
        [rng.normal(size=[n, 3]).astype('float32') for n in lengths],
        steps={'labels': [rng.integers(0, 2, size=n) for n in lengths]})


def a_trainer(strategy, dropout=0.0, **options):
    with strategy.scope():
        model, optimizer = Small(dropout), tf.keras.optimizers.Adam(0.05)
    return training.Trainer(model, loss, optimizer, measure=measure, progress=False,
                            strategy=strategy, **options)


def test_a_trainer_measures_and_predicts_as_one_device(strategy):
    train = seqmask.data.Batches(a_collection([3, 0, 5, 2, 0, 4, 1]), 3, shuffle=True)
    valid = seqmask.data.Batches(a_collection([2, 6, 0, 1, 3]), 3)
    both, one = a_trainer(strategy), a_trainer(ALONE)
    history, wanted = (t.fit(train, valid, epochs=3) for t in (both, one))
    for row, right in zip(history, wanted):
        assert row.keys() == right.keys()
        for name in ['loss', 'valid_loss', 'valid_accuracy', 'skipped']:
            np.testing.assert_allclose(row[name], right[name], rtol=1e-4, err_msg=name)
    outputs, right = (list(t.predict(valid)) for t in (both, one))
    assert [len(o) for o in outputs] == [2, 6, 0, 1, 3]
    for value, wanted in zip(outputs, right):
        np.testing.assert_allclose(value, wanted, atol=1e-5)
    both.restore_best(), one.restore_best()
    assert both.evaluate(valid) == pytest.approx(one.evaluate(valid), rel=1e-4)


def test_a_trainer_made_and_used_in_the_scope(strategy, tmp_path):
    train = seqmask.data.Batches(a_collection([3, 0, 5, 2, 0, 4, 1]), 3, shuffle=True)
    with strategy.scope():
        inside = a_trainer(strategy)
        inside.fit(train, epochs=2, workdir=str(tmp_path))
        resumed = a_trainer(strategy)
        resumed.fit(train, epochs=3, workdir=str(tmp_path))
    wanted = a_trainer(ALONE).fit(train, epochs=3)
    found = training.read_history(str(tmp_path))
    assert [row['loss'] for row in found] == pytest.approx([row['loss'] for row in wanted], 1e-4)


def test_what_replicas_give_keeps_the_order_of_the_batch(strategy):
    numbers = tf.reshape(tf.range(7.0), [7, 1])
    for count in range(8):
        run = tf.function(lambda x: replicas.run_on_rows(lambda part: part['x'] * 2, {'x': x}))
        with strategy.scope():
            np.testing.assert_array_equal(run(numbers[:count]), 2 * numbers[:count])


def test_a_run_with_dropout_goes_on_bit_for_bit(strategy, tmp_path):
    train = seqmask.data.Batches(a_collection([3, 0, 5, 2, 0, 4, 1]), 3, shuffle=True)
    whole = a_trainer(strategy, dropout=0.3)
    whole.fit(train, epochs=4, workdir=tmp_path / 'whole')
    for epochs in [1, 4]:
        parts = a_trainer(strategy, dropout=0.3)
        parts.fit(train, epochs=epochs, workdir=tmp_path / 'parts')
    for value, wanted in zip(parts.model.variables, whole.model.variables, strict=True):
        for own, right in zip(*map(strategy.experimental_local_results, (value, wanted))):
            np.testing.assert_array_equal(own, right)


def test_one_device_goes_on_where_two_were(strategy, tmp_path):
    train = seqmask.data.Batches(a_collection([3, 0, 5, 2, 0, 4, 1]), 3)
    one = a_trainer(ALONE)
    one.fit(train, epochs=3)
    a_trainer(strategy).fit(train, epochs=1, workdir=tmp_path)
    a_trainer(ALONE).fit(train, epochs=2, workdir=tmp_path)
    again = a_trainer(strategy)
    assert len(again.fit(train, epochs=3, workdir=tmp_path)) == 3
    for value, wanted in zip(again.model.variables, one.model.variables, strict=True):
        np.testing.assert_allclose(value.numpy(), wanted.numpy(), rtol=0, atol=1e-5)


def test_what_was_made_elsewhere_is_refused(strategy):
    with strategy.scope():
        model, optimizer = Small(), tf.keras.optimizers.Adam()
    outside = Small(), tf.keras.optimizers.Adam()
    for pair, given, name in [((outside[0], optimizer), strategy, 'model'),
                              ((model, outside[1]), strategy, 'optimizer'),
                              ((model, optimizer), None, 'model'),
                              ((outside[0], optimizer), None, 'optimizer')]:
        with pytest.raises(ValueError, match=f'^{name} must be made under the scope of the '
                                             f'trainer.s strategy'):
            training.Trainer(pair[0], loss, pair[1], strategy=given)
    with strategy.scope():
        assert training.Trainer(model, loss, optimizer).strategy is strategy


# Workers


def config(workers=('a:1', 'b:2'), kind='worker', index=0):
    return json.dumps({'cluster': {'worker': workers}, 'task': {'type': kind, 'index': index}})


@pytest.mark.parametrize('text', [
    '{', '[]', '{}', 'null', '"x"', config(index=2), config(index=-1), config(index='0'),
    config(kind='ps'), config(['a', 'b']), config(['a:1', 'a:1']), config(['a:x']), config([]),
    config(3)])
def test_a_malformed_tf_config_is_told(text):
    with pytest.raises(runs.UserError, match='^TF_CONFIG must be like .*"cluster".*; got '):
        workers.check_tf_config(text)


def test_a_missing_tf_config_is_told():
    for text in [None, '']:
        with pytest.raises(runs.UserError, match='--strategy=multiworker needs the environment '
                                                 'variable TF_CONFIG: {"cluster"'):
            workers.check_tf_config(text)


@pytest.mark.parametrize('text', [config(), config(index=1), config(['[::1]:5', '127.0.0.1:5']),
                                  json.dumps({'cluster': {'chief': ['a:1'], 'worker': ['b:2']},
                                              'task': {'type': 'chief', 'index': 0}})])
def test_a_tf_config_that_fits_passes(text):
    workers.check_tf_config(text)


def test_one_process_is_its_own_chief(strategy):
    for one in [strategy, ALONE]:
        assert replicas.is_chief(one) and replicas.all_agree(one, 'anything')
