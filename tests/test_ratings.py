"""The rating autoencoder: what is not observed is nowhere, not even in a gradient."""

import functools
import operator

import numpy as np
import pytest
import tensorflow as tf

import reference
import some_models
import seqmask
from seqmask import data, training
from seqmask.models import RatingAutoencoder, factorize_ratings, rating_biases

RATINGS = np.array([[5, 0, 3, 0, 0], [0, 0, 0, 0, 0], [1, 4, 0, 0, 2]], np.float32)
RATED = np.array([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 1]], bool)     # nobody: column 3
TABLES = ('encoder/table', 'encoder/rated', 'decoder')


def a_model(**options):
    model = some_models.rating_autoencoder(
        5, **{'hidden_sizes': (3,), 'dropout': 0.0, 'seed': 0, **options})
    model.decoder.assign(np.random.default_rng(1).normal(size=model.decoder.shape))
    model.mean.assign(3.0)
    model.column.assign([0.5, -0.5, 0.25, 1.0, 0.0])
    return model


def a_batch(ratings=RATINGS, rated=RATED):
    return data.rows_from_matrix(tf.constant(ratings), tf.constant(rated))


def variable(model, name):
    return operator.attrgetter(name.replace('/', '.'))(model)


def weights_of(model):
    return {name: variable(model, name).numpy() for name in (*TABLES, 'encoder/bias')}


def gradients(model, batch, training=True):
    with tf.GradientTape() as tape:
        tally = model.loss(batch, training=training)
    return tally, dict(zip(TABLES, tape.gradient(
        tally.total, [variable(model, name) for name in TABLES])))


def summed(gradient):
    """{row: its gradient} of what occurs in a sparse gradient."""
    found = {}
    for row, value in zip(gradient.indices.numpy(), gradient.values.numpy()):
        found[int(row)] = found.get(int(row), 0) + value
    return found


# What is not observed


def test_columns_that_nobody_rated_do_not_occur_in_the_gradient():
    batch = a_batch()
    batch['given'] = tf.constant([[True, False, False], [False] * 3, [True, True, False]])
    _, found = gradients(a_model(), batch)
    assert all(isinstance(g, tf.IndexedSlices) for g in found.values())
    rows = {name: set(summed(g)) for name, g in found.items()}
    # Given are 0 of the first list, 0 and 1 of the third; to be predicted are 2, and 4.
    assert rows == {'encoder/table': {0, 1}, 'encoder/rated': {0, 1}, 'decoder': {2, 4}}


@pytest.mark.parametrize('decay', [0.0, 0.5])
def test_it_is_the_dense_autoencoder_of_the_padded_matrix_with_its_mask(decay):
    """Loss and gradients of the plain computation on [users, items], masked."""
    model = a_model(decay=decay)
    tally, found = gradients(model, a_batch())
    mask = tf.constant(RATED, tf.float32)
    count = tf.reduce_sum(mask, axis=1, keepdims=True)
    with tf.GradientTape() as tape:
        above_mean = mask * (RATINGS - model.mean - model.column)
        above = tf.reduce_sum(above_mean, axis=1, keepdims=True) / (count + 5)
        total = mask * (above_mean - above) @ model.encoder.table + mask @ model.encoder.rated
        code = tf.tanh(total / tf.sqrt(count + 1) + model.encoder.bias)
        outputs = model.mean + model.column + above + tf.matmul(code, model.decoder,
                                                                transpose_b=True)
        loss = tf.reduce_sum(mask * tf.square(RATINGS - outputs))
        seen = tf.constant([[1.], [1.], [1.], [0.], [1.]])
        loss += decay * tf.add_n([tf.reduce_sum(seen * variable(model, name) ** 2)
                                  for name in TABLES])
    wanted = tape.gradient(loss, [variable(model, name) for name in TABLES])
    np.testing.assert_allclose(tally.total, loss, rtol=1e-5)
    assert float(tally.count) == 5
    for name, want in zip(TABLES, wanted):
        np.testing.assert_allclose(tf.convert_to_tensor(found[name]), want, rtol=1e-4, atol=1e-5)
        assert not np.any(want[3]) and 3 not in summed(found[name])


def stepped(batches, strategy=None, **options):
    """The model and the norm of one step; with LazyAdam, which squares each row's gradient."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        model, optimizer = a_model(decay=0.5, **options), training.LazyAdam(0.1)
        optimizer.build(model.trainable_variables)
        step = tf.function(lambda *b: training.train_step(
            model, RatingAutoencoder.loss, optimizer, *b))
        done = step(*batches)
    return weights_of(model), float(done.norm), float(done.tally.mean())


@functools.cache
def of_one_batch(given):
    return stepped([a_batch_of(given)])


def a_batch_of(given):
    batch = a_batch()
    if given is not None:
        batch['given'] = tf.constant(given)
    return batch


def parts_of(batch, *rows):
    return [{name: value[part] for name, value in batch.items()} for part in rows]


@pytest.mark.parametrize('given', [None, ((True, False, False), (False,) * 3, (True, True, False))],
                         ids=['all', 'some'])
@pytest.mark.parametrize('how', ['micro-batches', 'one empty', 'replicas', 'both'])
def test_a_row_decays_once_in_a_step_however_it_is_divided(how, given, request):
    """Column 0 is in the first list and in the third."""
    batch, (wanted, norm, loss) = a_batch_of(given), of_one_batch(given)
    replicas = request.getfixturevalue('strategy') if how in ('replicas', 'both') else None
    batches = {'micro-batches': parts_of(batch, slice(2), slice(2, 3)), 'replicas': [batch],
               'one empty': parts_of(batch, slice(1), slice(1, 2), slice(2, 3)),
               'both': parts_of(batch, slice(1), slice(1, 3))}[how]
    found, found_norm, found_loss = stepped(batches, replicas)
    np.testing.assert_allclose([found_norm, found_loss], [norm, loss], rtol=1e-5)
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-4, atol=1e-6)


def test_shares_add_up_to_the_distinct_rows(rng):
    """With dropout, too: what is drawn for a micro-batch is what its loss sees."""
    model = a_model(dropout=0.5, decay=1.0)
    batch = {'inputs': tf.ones([4, 6, 1]), 'lengths': tf.constant([6, 2, 0, 5]),
             'columns': tf.constant(rng.integers(0, 5, size=[4, 6]), tf.int32)}
    prepared = model.prepare_step(parts_of(batch, slice(1), slice(1, 4)))
    for name, is_given in [('given_share', True), ('scored_share', False)]:
        totals = np.zeros(5)
        for part in prepared:
            real = np.arange(6) < part['lengths'].numpy()[:, None]
            counted = real & (part['given'].numpy() == is_given)
            assert not np.any(part[name].numpy()[~counted])
            np.add.at(totals, part['columns'].numpy(), part[name].numpy())
        assert set(totals.round(5)) <= {0, 1} and totals.any()


def test_lazy_adam_leaves_columns_alone_that_keras_moves():
    first, second = a_batch(), a_batch(RATINGS[:1], RATED[:1])      # of columns 0 and 2 alone
    for optimizer, still in [(training.LazyAdam(0.1), True),
                             (tf.keras.optimizers.Adam(0.1), False)]:
        model = a_model()
        optimizer.build(model.trainable_variables)
        training.train_step(model, RatingAutoencoder.loss, optimizer, first)
        before = weights_of(model)
        training.train_step(model, RatingAutoencoder.loss, optimizer, second)
        for name in TABLES:
            moved = np.any(variable(model, name).numpy() != before[name], axis=1)
            assert moved[[0, 2]].all() and not moved[3]
            assert moved[[1, 4]].any() != still


def test_held_out_ratings_do_not_enter():
    given = np.array([[True, False, False], [False] * 3, [True, True, False]])
    model, batch = a_model(), {**a_batch(), 'given': tf.constant(given)}
    wanted = model(**batch).numpy()
    for value in [np.nan, 1e30, -np.inf]:
        hidden = tf.where(given[:, :, None], batch['inputs'], value)
        np.testing.assert_array_equal(model(**{**batch, 'inputs': hidden}), wanted)
    alone = model(batch['inputs'][:, :2], tf.constant([1, 0, 2]), batch['columns'][:, :2])
    np.testing.assert_allclose(wanted[given], alone.numpy()[given[:, :2]], rtol=1e-6)
    tally = model.loss(batch, training=False)
    scored = np.array([[False, True, False], [False] * 3, [False, False, True]])
    errors = (wanted - batch['inputs'].numpy()[:, :, 0])[scored]
    np.testing.assert_allclose([tally.total, tally.count], [np.sum(errors ** 2), 2], rtol=1e-5)


def test_a_rating_of_zero_is_a_rating():
    model = a_model()
    rated = RATED.copy()
    rated[0, 1] = True                                              # of 0
    with_it, without = (model.decode(*model.encode(**a_batch(rated=r))) for r in [rated, RATED])
    assert not np.allclose(with_it[0], without[0])
    np.testing.assert_allclose(with_it[1:], without[1:], rtol=1e-6)


def test_sparse_and_dense_are_read_alike():
    places = np.argwhere(RATED)
    sparse = tf.SparseTensor(places, RATINGS[RATED], RATINGS.shape)
    wanted = a_batch(np.where(RATED, RATINGS, np.nan))
    for found in [data.rows_from_sparse(sparse), tf.function(data.rows_from_sparse)(sparse),
                  tf.function(data.rows_from_matrix)(tf.constant(RATINGS), tf.constant(RATED))]:
        assert list(found) == ['inputs', 'lengths', 'columns']
        for name, value in found.items():
            np.testing.assert_array_equal(value, wanted[name])
    assert wanted['lengths'].numpy().tolist() == [2, 0, 3]
    assert wanted['columns'].numpy().tolist() == [[0, 2, 0], [0, 0, 0], [0, 1, 4]]


# What is predicted


@pytest.mark.parametrize('hidden_sizes', [(4,), (4, 4)])
def test_cold_rows_and_cold_columns_fall_back_to_the_means(hidden_sizes):
    rows = data.Sequences(np.array([[5], [3], [4], [1]], np.float32), [2, 2, 0],
                          steps={'columns': np.array([0, 1, 0, 1], np.int32)})
    model = some_models.rating_autoencoder(3, hidden_sizes=hidden_sizes, dropout=0.0, seed=0)
    model.fit_means(rows)
    trainer = training.Trainer(model, RatingAutoencoder.loss, training.LazyAdam(0.05),
                               progress=False)
    batches = data.Batches(rows, 1)
    trainer.fit(batches, epochs=5)
    code, base = (tf.concat(parts, axis=0) for parts in zip(*(
        model.encode(batch['inputs'], batch['lengths'], batch['columns']) for batch in batches)))
    outputs, column = model.decode(code, base).numpy(), model.column.numpy()
    mean = (5 + 3 + 4 + 1) / 4
    above = [np.sum(np.array(r) - mean - column[:2]) / (2 + 5) for r in ([5, 3], [4, 1])]
    np.testing.assert_allclose(outputs[2], mean + column, rtol=1e-6)
    assert column[2] == 0
    np.testing.assert_allclose(outputs[:2, 2], mean + np.array(above), rtol=1e-6)
    assert not np.allclose(outputs[:2, :2], mean + column[:2] + np.array(above)[:, None], atol=0.01)


def test_predictions_stay_in_range_and_the_loss_does_not_clip():
    model = a_model(rating_range=(2, 4))
    model.mean.assign(9.0)
    batch = a_batch()
    outputs = model(**batch).numpy()
    assert outputs[RATED[:, :3]].max() <= 4 and model.decode(*model.encode(**batch))[1, 0] == 4
    clipped, free = model.measure(batch), model.loss(batch, training=False)
    real = np.arange(3) < batch['lengths'].numpy()[:, None]
    errors = (outputs - batch['inputs'].numpy()[:, :, 0])[real]
    np.testing.assert_allclose(clipped['loss'].total, np.sum(errors ** 2), rtol=1e-5)
    np.testing.assert_allclose(clipped['absolute_error'].mean(), np.mean(np.abs(errors)), rtol=1e-5)
    assert float(free.total) > float(clipped['loss'].total)
    assert np.all(np.isfinite(gradients(model, batch)[1]['decoder'].values))


def test_for_some_columns_it_says_what_it_says_for_all():
    model = a_model()
    code, base = model.encode(**a_batch())
    np.testing.assert_allclose(model.decode(code, base, columns=[4, 1]),
                               model.decode(code, base).numpy()[:, [4, 1]], rtol=1e-6)
    wanted = [reference.rating_autoencoder(
        ratings[rated], np.flatnonzero(rated), np.ones(rated.sum(), bool), np.arange(5),
        weights_of(model), 3.0, model.column.numpy()) for ratings, rated in zip(RATINGS, RATED)]
    np.testing.assert_allclose(model.decode(code, base), wanted, rtol=1e-5)


# Training


def test_in_training_what_is_hidden_is_what_is_predicted():
    model = a_model(dropout=0.5, decay=0.0)
    batch = a_batch(np.tile(RATINGS, [40, 1]), np.tile(RATED, [40, 1]))
    counts = [float(model.loss(batch, training=True).count) for _ in range(8)]
    ratings = 40 * RATED.sum()
    assert len(set(counts)) > 1 and 0.35 < np.mean(counts) / ratings < 0.65
    assert float(model.loss(batch, training=False).count) == ratings


def test_one_seed_gives_one_model():
    found = [float(a_model(dropout=0.5, seed=seed).loss(a_batch(), training=True).total)
             for seed in [7, 7, 8]]
    assert found[0] == found[1] != found[2]


def test_nothing_given_and_nothing_predicted_is_no_loss():
    model = a_model()
    tally, found = gradients(model, a_batch(rated=np.zeros_like(RATED)))
    assert float(tally.total) == float(tally.count) == 0
    assert all(not np.any(tf.convert_to_tensor(g)) for g in found.values())


# What it is compared with


def test_biases_are_the_fixed_point_of_their_equations(rng):
    rows, columns = np.array([0, 0, 1, 3, 3, 3]), np.array([0, 1, 0, 0, 1, 3])
    ratings = rng.normal(3, 1, size=6)
    mean, row, column = rating_biases(rows, columns, ratings, (4, 4), shrinkage=2.0, sweeps=100)
    assert mean == ratings.mean() and row[2] == column[2] == 0
    for k in [0, 1, 3]:
        mine = rows == k
        want = np.sum((ratings - mean - column[columns])[mine]) / (mine.sum() + 2)
        np.testing.assert_allclose(row[k], want, rtol=1e-9)
        mine = columns == k
        want = np.sum((ratings - mean - row[rows])[mine]) / (mine.sum() + 2)
        np.testing.assert_allclose(column[k], want, rtol=1e-9)


def test_factors_find_what_biases_cannot(rng):
    taste = np.outer(rng.choice([-1, 1], 40), rng.choice([-1, 1], 30))
    rows, columns = np.nonzero(rng.random([40, 30]) < 0.5)
    unseen = np.argwhere(rng.random([40, 30]) < 0.1).T
    predict = factorize_ratings(rows, columns, 3.0 + taste[rows, columns], (40, 30), decay=1.0,
                                size=2)
    errors = predict(*unseen) - 3 - taste[tuple(unseen)]
    assert np.sqrt(np.mean(errors ** 2)) < 0.3      # of biases: about 1


def test_generated_ratings_are_like_those_of_people():
    made = seqmask.datasets.low_rank_ratings()
    ratings, lengths = made['frames'][:, 0], made['lengths']
    assert set(ratings) == {1, 2, 3, 4, 5} and lengths.min() >= 20
    assert 3.4 < ratings.mean() < 3.7 and 1.0 < ratings.std() < 1.2
    users = np.repeat(np.arange(len(lengths)), lengths)
    pairs = users.astype(np.int64) * 2000 + made['columns']
    assert np.all(np.diff(pairs) > 0)               # nobody rates a film twice
    errors = ratings - made['expected']
    assert abs(errors.mean()) < 0.01
    # What is expected is the mean of the ratings wherever it says the same.
    for low in [2.0, 3.0, 4.0]:
        near = (made['expected'] > low) & (made['expected'] < low + 0.5)
        assert abs(errors[near].mean()) < 0.03
    same, other = (seqmask.datasets.low_rank_ratings(seed) for seed in [0, 1])
    np.testing.assert_array_equal(same['frames'], made['frames'])
    assert not np.array_equal(other['lengths'], lengths)


# Errors


@pytest.mark.parametrize('error, message, options', [
    (ValueError, 'num_columns must be at least 1', {'num_columns': 0}),
    (ValueError, 'hidden_sizes must hold at least one width', {'hidden_sizes': ()}),
    (ValueError, r'dropout must be in \[0, 1\)', {'dropout': 1.0}),
    (ValueError, 'decay must be finite and not negative', {'decay': -1.0}),
    (ValueError, r'rating_range must be \(lowest, highest\)', {'rating_range': (5, 1)}),
])
def test_errors_of_options(error, message, options):
    with pytest.raises(error, match=message):
        some_models.rating_autoencoder(**{'num_columns': 3, **options})


@pytest.mark.parametrize('error, message, changes', [
    (tf.errors.InvalidArgumentError, r'columns must be in \[0, 5\) at real steps',
     {'columns': tf.constant([[0, 5, 0], [0, 0, 0], [0, 1, 4]])}),
    (TypeError, 'columns must be integers', {'columns': tf.zeros([3, 3])}),
    (ValueError, 'columns must have the leading axes', {'columns': tf.zeros([3, 4], tf.int32)}),
    (TypeError, 'mask must be bool', {'given': tf.zeros([3, 3])}),
    (ValueError, 'inputs must have input_size = 1', {'inputs': tf.zeros([3, 3, 2])}),
])
def test_errors_of_a_batch(error, message, changes):
    with pytest.raises(error, match=message):
        a_model()(**{**a_batch(), **changes})


@pytest.mark.parametrize('error, message, indices', [
    (tf.errors.InvalidArgumentError, 'must ascend without repetition', [[0, 1], [0, 1]]),
    (tf.errors.InvalidArgumentError, r'must ascend.* \[\[1, 0\]\], \[\[0, 1\]\]', [[1, 0], [0, 1]]),
])
def test_a_place_twice_or_out_of_order_is_refused(error, message, indices):
    with pytest.raises(error, match=message):
        data.rows_from_sparse(tf.SparseTensor(indices, [1.0, 2.0], [2, 2]))
    with pytest.raises(TypeError, match='must be a tf.SparseTensor, got ndarray'):
        data.rows_from_sparse(RATINGS)
