"""The gradient step: sums divided once, whole or not at all."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask.training import Step, sum_gradients, train_step

every_way = pytest.mark.parametrize('wrap', [lambda f: f, tf.function], ids=['eager', 'graph'])


class Linear(tf.Module):
    """labels = inputs w + b"""

    def __init__(self, dtype=tf.float32):
        super().__init__()
        self.w = tf.Variable(tf.cast([1, 2, 3], dtype))
        self.b = tf.Variable(tf.zeros([], dtype))

    def loss(self, batch, training):
        mask = seqmask.sequence_mask(batch['lengths'], tf.shape(batch['inputs'])[1])
        inputs = seqmask.apply_mask(batch['inputs'], mask)
        return seqmask.losses.squared_error(
            predictions=tf.linalg.matvec(inputs, self.w) + self.b, labels=batch['labels'],
            mask=mask)


class Averaging(Linear):
    """With running averages that the loss assigns in training, as batch normalisation does."""

    def __init__(self):
        super().__init__()
        self.average = tf.Variable(7.0, trainable=False)
        self.seen = tf.Variable(0, trainable=False, dtype=tf.int64)

    def loss(self, batch, training):
        tally = super().loss(batch, training)
        if training:
            self.average.assign(0.9 * self.average + 0.1 * tally.mean())
            self.seen.assign_add(1)
        return tally


class Lookup(tf.Module):
    """labels = a row of a table, which is looked up, scaled by a dense variable."""

    def __init__(self):
        super().__init__()
        self.scale = tf.Variable(2.0)
        self.table = tf.Variable([[1., 2.], [3., 4.], [5., 6.], [7., 8.]])

    def loss(self, batch, training):
        rows = tf.gather(self.table, batch['ids'])      # [B, T, 2]
        return seqmask.losses.squared_error(
            predictions=self.scale * rows, labels=batch['labels'], features='sum',
            mask=seqmask.sequence_mask(batch['lengths'], tf.shape(rows)[1]))


class Dense(Lookup):
    """The same, its gradient not sparse."""

    def loss(self, batch, training):
        rows = tf.one_hot(batch['ids'], 4) @ self.table
        return seqmask.losses.squared_error(
            predictions=self.scale * rows, labels=batch['labels'], features='sum',
            mask=seqmask.sequence_mask(batch['lengths'], tf.shape(rows)[1]))


def loss_of(model, batch, training):
    return model.loss(batch, training)


def a_batch(rng, lengths, maxlen=None, dtype='float32', fill=np.nan):
    maxlen = max(lengths, default=0) if maxlen is None else maxlen
    inputs = rng.normal(size=[len(lengths), maxlen, 3]).astype(dtype)
    labels = rng.normal(size=[len(lengths), maxlen]).astype(dtype)
    for b, length in enumerate(lengths):
        inputs[b, length:], labels[b, length:] = fill, fill
    return {'inputs': tf.constant(inputs), 'labels': tf.constant(labels),
            'lengths': tf.constant(lengths, tf.int32)}


def some_ids(rng, lengths):
    shape = [len(lengths), max(lengths, default=0)]
    return {'ids': tf.constant(rng.integers(1, 3, size=shape)),     # of 4 rows, 1 and 2, repeatedly
            'labels': tf.constant(rng.normal(size=[*shape, 2]).astype('float32')),
            'lengths': tf.constant(lengths, tf.int32)}


def rows(batch, first, last):
    return {name: tensor[first:last] for name, tensor in batch.items()}


def by_hand(batch, w, b):
    """(mean loss, its gradient to w, to b) over the real steps, one after the other, in NumPy."""
    x = np.concatenate([x[:n] for x, n in zip(batch['inputs'].numpy(), batch['lengths'])])
    y = np.concatenate([y[:n] for y, n in zip(batch['labels'].numpy(), batch['lengths'])])
    error = x @ w + b - y
    return np.mean(error ** 2), 2 * error @ x / len(x), 2 * np.mean(error)


def built(optimizer, model):
    optimizer.build(model.trainable_variables)
    return optimizer


def moved(model, batches, wrap=lambda f: f, rate=1.0, **options):
    """What plain gradient descent subtracts, so the gradient as it was applied; and the step."""
    optimizer = built(tf.keras.optimizers.SGD(rate), model)
    before = [v.numpy() for v in model.trainable_variables]
    step = wrap(lambda *parts: train_step(model, loss_of, optimizer, *parts, **options))
    done = step(*batches)
    return [(old - v.numpy()) / rate for old, v in zip(before, model.trainable_variables)], done


def everything(model, optimizer):
    variables = [*model.variables, *optimizer.variables]
    return [tf.identity(tf.convert_to_tensor(v)).numpy() for v in variables]


def assert_identical(actual, wanted):
    assert len(actual) == len(wanted)
    for a, w in zip(actual, wanted):
        assert a.dtype == w.dtype
        np.testing.assert_array_equal(a, w)


@every_way
@pytest.mark.parametrize('lengths', [[3, 0, 5, 1], [1], [4, 4]])
def test_the_gradient_is_that_of_the_mean_over_real_steps(lengths, wrap, rng):
    model, batch = Linear(), a_batch(rng, lengths, maxlen=6)
    loss, *wanted = by_hand(batch, model.w.numpy(), 0)
    (b, w), done = moved(model, [batch], wrap)      # variables in the order of their names
    np.testing.assert_allclose(w, wanted[0], rtol=1e-5)
    np.testing.assert_allclose(b, wanted[1], rtol=1e-5)
    assert isinstance(done, Step) and isinstance(done.tally, seqmask.Tally)
    np.testing.assert_allclose(done.tally.mean(), loss, rtol=1e-6)
    assert float(done.tally.count) == sum(lengths)
    assert done.applied.dtype == tf.bool and bool(done.applied)
    np.testing.assert_allclose(done.norm, np.sqrt(np.sum(wanted[0] ** 2) + wanted[1] ** 2),
                               rtol=1e-5)


@every_way
@pytest.mark.parametrize('lengths, maxlen', [([0, 0], 4), ([0], 0), ([], 3)])
def test_no_real_step_moves_nothing(lengths, maxlen, wrap, rng):
    model, batch = Linear(), a_batch(rng, lengths, maxlen)
    tally, gradients = sum_gradients(model, loss_of, batch)
    assert float(tally.total) == float(tally.count) == 0
    assert [g.numpy().tolist() for g in gradients] == [0, [0, 0, 0]]
    before = model.w.numpy()
    changes, done = moved(model, [batch], wrap)
    np.testing.assert_array_equal(model.w, before)
    assert all(np.all(change == 0) for change in changes)
    assert float(done.tally.mean()) == float(done.norm) == 0 and bool(done.applied)


@every_way
@pytest.mark.parametrize('cuts', [[1], [1, 1], [1, 2, 3], [0, 1]])
def test_micro_batches_give_the_gradient_of_the_whole(cuts, wrap, rng):
    batch = a_batch(rng, [1, 0, 4, 5])      # 1 step and 9 steps
    wanted, whole = moved(Linear(), [batch])
    parts = [rows(batch, *ends) for ends in zip([0, *cuts], [*cuts, 4])]
    changes, done = moved(Linear(), parts, wrap)
    for change, want in zip(changes, wanted):
        np.testing.assert_allclose(change, want, rtol=1e-5)
    np.testing.assert_allclose(done.tally, whole.tally, rtol=1e-6)
    np.testing.assert_allclose(done.norm, whole.norm, rtol=1e-5)
    # The mean of the parts' means is something else.
    means = [float(moved(Linear(), [part])[1].tally.mean()) for part in parts]
    assert abs(np.mean(means) - float(whole.tally.mean())) > 0.01


@pytest.mark.parametrize('shards', [[(0, 1), (1, 4)], [(0, 4), (4, 4)], [(1, 2), (2, 4)]],
                         ids=['1 and 9', 'no row', 'no real step'])
def test_two_replicas_give_the_gradient_of_one_device(shards, rng, strategy):
    batch = a_batch(rng, [1, 0, 4, 5])
    with tf.device('CPU:0'):
        alone = Linear()
    whole = rows(batch, min(first for first, _ in shards), 4)
    wanted_tally, wanted = sum_gradients(alone, loss_of, whole)
    with strategy.scope():
        model = Linear()

    def on_one(shard):
        tally, gradients = sum_gradients(model, loss_of, shard)
        return tf.distribute.get_replica_context().all_reduce('sum', [*tally, *gradients])

    parts = strategy.experimental_distribute_values_from_function(
        lambda context: rows(batch, *shards[context.replica_id_in_sync_group]))
    results = tf.function(lambda parts: strategy.run(on_one, args=[parts]))(parts)
    replicas = list(zip(*map(strategy.experimental_local_results, results)))
    assert len(replicas) == 2
    for total, count, *gradients in replicas:
        np.testing.assert_allclose(total, wanted_tally.total, rtol=1e-6)
        assert float(count) == float(wanted_tally.count)
        for gradient, want in zip(gradients, wanted):
            np.testing.assert_allclose(gradient / count, want / wanted_tally.count, rtol=1e-5)


# Steps that are not finite


def spoilt(batch, name, value):
    """The batch with one value at a real step."""
    array = batch[name].numpy()
    array[0, 0] = value
    return {**batch, name: tf.constant(array)}


def adam():
    return tf.keras.optimizers.Adam(0.1)


def momentum():
    return tf.keras.optimizers.SGD(0.1, momentum=0.9)


def adam_on_a_schedule():
    return tf.keras.optimizers.Adam(tf.keras.optimizers.schedules.CosineDecay(0.1, 9))


@every_way
@pytest.mark.parametrize('make, name, value', [
    (adam, 'inputs', np.nan), (adam, 'labels', -np.inf), (momentum, 'inputs', np.inf),
    (adam_on_a_schedule, 'labels', np.nan),
    (momentum, 'labels', 1e30)])        # 1e30 squared is not finite, its gradient is
def test_a_step_that_is_not_finite_is_skipped_whole(make, name, value, wrap, rng):
    model, batch = Averaging(), a_batch(rng, [2, 0, 3])
    optimizer = built(make(), model)
    step = wrap(lambda batch: train_step(model, loss_of, optimizer, batch, clip_norm=1.0))
    assert bool(step(batch).applied)        # so that no slot is zero
    assert int(model.seen) == int(optimizer.iterations) == 1
    before = everything(model, optimizer)
    done = step(spoilt(batch, name, value))
    assert done.applied.dtype == tf.bool and not bool(done.applied)
    assert not np.isfinite(done.tally.total)
    assert_identical(everything(model, optimizer), before)
    assert bool(step(batch).applied)
    assert int(model.seen) == int(optimizer.iterations) == 2


@every_way
def test_a_gradient_alone_that_is_not_finite_is_skipped_whole(wrap, rng):
    class Root(Averaging):
        def loss(self, batch, training):
            tally = super().loss(batch, training)
            # The root of 0 is 0; its derivative is not finite.
            return tally + seqmask.Tally(tf.sqrt(tf.abs(self.b)), 0.0)

    model, batch = Root(), a_batch(rng, [2, 3])
    optimizer = built(tf.keras.optimizers.Adam(), model)
    before = everything(model, optimizer)
    done = wrap(lambda: train_step(model, loss_of, optimizer, batch))()
    assert np.isfinite(done.tally.total) and not np.isfinite(done.norm) and not bool(done.applied)
    assert_identical(everything(model, optimizer), before)


@every_way
def test_a_loss_alone_that_is_not_finite_is_skipped_whole(wrap, rng):
    class Infinite(Averaging):
        def loss(self, batch, training):
            return super().loss(batch, training) + seqmask.Tally(tf.constant(np.inf), 0.0)

    model, batch = Infinite(), a_batch(rng, [2, 3])
    optimizer = built(tf.keras.optimizers.Adam(), model)
    before = everything(model, optimizer)
    done = wrap(lambda: train_step(model, loss_of, optimizer, batch))()
    assert np.isfinite(done.norm) and not bool(done.applied)
    assert_identical(everything(model, optimizer), before)


@every_way
def test_one_bad_micro_batch_skips_the_step_whole(wrap, rng):
    model, batch = Averaging(), a_batch(rng, [2, 3])
    optimizer = built(tf.keras.optimizers.Adam(), model)
    before = everything(model, optimizer)
    done = wrap(lambda: train_step(model, loss_of, optimizer, spoilt(batch, 'labels', np.nan),
                                   batch))()
    assert not bool(done.applied)
    assert_identical(everything(model, optimizer), before)


# Clipping


@every_way
@pytest.mark.parametrize('share', [0.1, 1.0, 10.0])
def test_clipping_scales_all_gradients_alike(share, wrap, rng):
    batch = a_batch(rng, [3, 1])
    _, w, b = by_hand(batch, Linear().w.numpy(), 0)
    norm = np.sqrt(np.sum(w ** 2) + b ** 2)
    changes, done = moved(Linear(), [batch], wrap, clip_norm=float(share * norm))
    for change, gradient in zip(changes, [b, w]):
        np.testing.assert_allclose(change, gradient * min(share, 1.0), rtol=1e-4)
    np.testing.assert_allclose(done.norm, norm, rtol=1e-5)      # before clipping


# Variables of all kinds


@every_way
def test_a_variable_that_the_loss_does_not_use_stays(wrap, rng):
    model, batch = Linear(), a_batch(rng, [2])
    model.unused = tf.Variable([5.0, 6.0])
    changes, done = moved(model, [batch], wrap, clip_norm=1e-3)
    assert bool(done.applied)
    np.testing.assert_array_equal(model.unused, [5.0, 6.0])
    assert [bool(np.any(change)) for change in changes] == [True, False, True]   # b, unused, w


@pytest.mark.parametrize('make, clip_norm, lengths', [
    (tf.keras.optimizers.SGD, None, [[1], [4, 5]]), (tf.keras.optimizers.SGD, 0.5, [[3, 0, 4]]),
    (tf.keras.optimizers.Adam, None, [[3, 0, 4]]), (tf.keras.optimizers.Adam, 0.5, [[2], [0], [3]]),
    (tf.keras.optimizers.Adam, None, [[0]])])
def test_looked_up_rows_move_as_in_a_dense_table(make, clip_norm, lengths, rng):
    batches = [some_ids(rng, part) for part in lengths]
    results = []
    for model in [Lookup(), Dense()]:
        optimizer = built(make(0.1), model)
        step = tf.function(lambda: train_step(model, loss_of, optimizer, *batches,
                                              clip_norm=clip_norm))
        norms = [float(step().norm) for _ in range(3)]
        results.append([norms, model.table.numpy(), model.scale.numpy()])
    for sparse, dense in zip(*results):
        np.testing.assert_allclose(sparse, dense, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('count', [1, 2])
def test_the_gradient_of_a_lookup_stays_sparse(count, rng):
    handed = []

    class Spy(tf.keras.optimizers.SGD):
        def apply(self, gradients, variables):
            handed.extend(gradients)

    model = Lookup()
    batches = [some_ids(rng, [3, 4]) for _ in range(count)]
    _, gradients = sum_gradients(model, loss_of, batches[0])
    train_step(model, loss_of, built(Spy(), model), *batches, clip_norm=0.1)
    for _, table in [gradients, handed]:
        assert isinstance(table, tf.IndexedSlices)
    assert sorted(handed[1].indices.numpy()) == [1, 2]      # each row once


@every_way
@pytest.mark.parametrize('dtype, tolerance', [('float64', 1e-12), ('bfloat16', 0.02),
                                              ('float16', 2e-3)])
def test_other_dtypes(dtype, tolerance, wrap, rng):
    model, batch = Linear(dtype), a_batch(rng, [3, 0, 9, 1], dtype='float64')
    loss, w, b = by_hand(batch, np.array([1., 2., 3.]), 0)
    cast = {name: tensor if name == 'lengths' else tf.cast(tensor, dtype)
            for name, tensor in batch.items()}
    changes, done = moved(model, [cast], wrap, clip_norm=1e3)
    assert bool(done.applied)
    np.testing.assert_allclose(done.tally.mean(), loss, rtol=tolerance)
    for change, gradient in zip(changes, [b, w]):
        np.testing.assert_allclose(change.astype(float), gradient, rtol=4 * tolerance,
                                   atol=4 * tolerance)


@every_way
def test_variables_of_several_dtypes(wrap, rng):
    class Mixed(Linear):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.constant([1., 2., 3.], tf.float64))

        def loss(self, batch, training):
            mask = seqmask.sequence_mask(batch['lengths'], tf.shape(batch['inputs'])[1])
            sums = tf.linalg.matvec(seqmask.apply_mask(batch['inputs'], mask), self.w)
            return seqmask.losses.squared_error(
                predictions=sums + tf.cast(self.b, tf.float64), labels=batch['labels'], mask=mask)

    model, batch = Mixed(), a_batch(rng, [2, 1], dtype='float64')
    _, *wanted = by_hand(batch, model.w.numpy(), 0)
    (b, w), done = moved(model, [batch], wrap, clip_norm=1e3)
    np.testing.assert_allclose(w, wanted[0], rtol=1e-10)
    np.testing.assert_allclose(b, wanted[1], rtol=1e-5)


def test_half_precision_has_counts_and_norms_beyond_its_range():
    # float16 ends at 65504; the count, and the square of the norm, do not.
    model = tf.Module()
    model.w = tf.Variable(tf.zeros([2], tf.float16))

    def loss(model, batch, training):
        return seqmask.Tally(tf.reduce_sum(tf.cast(model.w, tf.float32) * [6e4, 2e4]), batch)

    optimizer = built(tf.keras.optimizers.SGD(1.0), model)
    done = train_step(model, loss, optimizer, tf.constant(1e5))
    np.testing.assert_allclose(model.w, [-6e4 / 1e5, -2e4 / 1e5], rtol=1e-3)
    done = train_step(model, loss, optimizer, tf.constant(4.0))
    assert bool(done.applied)
    np.testing.assert_allclose(done.norm, np.hypot(6e4, 2e4) / 4, rtol=1e-3)


def test_one_trace_serves_all_lengths(rng):
    model, traces = Averaging(), []
    optimizer = built(tf.keras.optimizers.Adam(), model)
    signature = {'inputs': tf.TensorSpec([None, None, 3]), 'labels': tf.TensorSpec([None, None]),
                 'lengths': tf.TensorSpec([None], tf.int32)}

    @tf.function(input_signature=[signature])
    def step(batch):
        traces.append(1)
        return train_step(model, loss_of, optimizer, batch, clip_norm=1.0)

    for lengths in [[3, 0, 5], [1], [], [0, 0], [7] * 9]:
        eager_model = Averaging()
        done = step(a_batch(rng, lengths, maxlen=8))
        assert bool(done.applied) and float(done.tally.count) == sum(lengths)
        assert type(done) is type(train_step(eager_model, loss_of, built(
            tf.keras.optimizers.Adam(), eager_model), a_batch(rng, lengths)))
    assert len(traces) == 1 and int(model.seen) == 5
