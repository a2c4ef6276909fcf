"""Adam that leaves alone what a gradient does not mention, beside Keras's that does not."""

import os

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask.training import LazyAdam, Trainer

ADAM = {'learning_rate': 0.1, 'beta_1': 0.8, 'beta_2': 0.9, 'epsilon': 1e-3}


def rows(values, indices, number=4):
    return tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(indices),
                            tf.constant([number, 2]))


def a_table():
    return tf.Variable(np.arange(8).reshape(4, 2).astype('float32') / 4)


def train(optimizer, gradients):
    """The table after each step."""
    table = a_table()
    optimizer.build([table])
    states = []
    for gradient in gradients:
        optimizer.apply([gradient], [table])
        states.append(table.numpy())
    return states


def by_hand(w, gradients, weight_decay=0.0):
    """The equations of the docstring, row by row; a gradient is a dict of rows."""
    rate, beta_1, beta_2, epsilon = ADAM.values()
    w, m, v = w.astype('float64'), np.zeros(w.shape), np.zeros(w.shape)
    for t, gradient in enumerate(gradients, 1):
        for i, g in gradient.items():
            g = np.array(g)
            m[i] = beta_1 * m[i] + (1 - beta_1) * g
            v[i] = beta_2 * v[i] + (1 - beta_2) * g ** 2
            corrected = rate * np.sqrt(1 - beta_2 ** t) / (1 - beta_1 ** t)
            w[i] -= rate * weight_decay * w[i] + corrected * m[i] / (np.sqrt(v[i]) + epsilon)
    return w


@pytest.mark.parametrize('weight_decay', [None, 0.5])
def test_only_rows_of_the_gradient_move(weight_decay):
    gradients = [{0: [1., 2.], 2: [3., -4.]}, {2: [1., 1.]}, {1: [5., 0.], 2: [0., 2.]}]
    states = train(LazyAdam(**ADAM, weight_decay=weight_decay),
                   [rows(list(g.values()), list(g)) for g in gradients])
    np.testing.assert_allclose(
        states[-1], by_hand(a_table().numpy(), gradients, weight_decay or 0.0), rtol=1e-5)
    np.testing.assert_array_equal(states[-1][3], a_table()[3])
    np.testing.assert_array_equal(states[-1][0], states[0][0])


def test_kerass_adam_moves_rows_that_no_rating_touched():
    gradients = [rows([[1., 2.]], [0]), rows([[3., 4.]], [1])]
    for optimizer, still in [(LazyAdam(**ADAM), True), (tf.keras.optimizers.Adam(**ADAM), False)]:
        first, second = train(optimizer, gradients)
        momentum = {v.path.split('/')[-1]: v.numpy() for v in optimizer.variables
                    if v.shape == (4, 2)}
        once = (1 - 0.8) * np.array([1., 2.])
        assert np.array_equal(first[0], second[0]) == still
        kept, = (m[0] for name, m in momentum.items() if 'momentum' in name)
        np.testing.assert_allclose(kept, once if still else 0.8 * once, rtol=1e-6)


@pytest.mark.parametrize('weight_decay', [None, 0.3])
def test_dense_gradients_and_full_sparse_ones_are_taken_as_keras_does(weight_decay, rng):
    drawn = rng.normal(size=[4, 4, 2]).astype('float32')
    dense = [tf.constant(g) for g in drawn]
    sparse = [rows(g[order], order) for g, order in zip(drawn, [[3, 1, 0, 2]] * 4)]
    wanted = train(tf.keras.optimizers.Adam(**ADAM, weight_decay=weight_decay), dense)
    for gradients in [dense, sparse]:
        for state, want in zip(train(LazyAdam(**ADAM, weight_decay=weight_decay), gradients),
                               wanted):
            np.testing.assert_allclose(state, want, rtol=1e-5, atol=1e-6)


def test_parts_of_a_row_are_summed_first():
    whole = train(LazyAdam(**ADAM), [rows([[3., -1.]], [2])])
    parts = train(LazyAdam(**ADAM), [rows([[1., 1.], [2., -2.]], [2, 2])])
    np.testing.assert_allclose(parts, whole, rtol=1e-6)


def test_variables_excluded_from_decay_do_not_decay():
    optimizer = LazyAdam(**ADAM, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=['Variable'])
    for gradient in [rows([[1., 2.]], [1]), tf.ones([4, 2])]:
        plain = train(LazyAdam(**ADAM), [gradient])
        fresh = LazyAdam(**ADAM, weight_decay=0.5)
        fresh.exclude_from_weight_decay(var_names=['Variable'])
        np.testing.assert_array_equal(train(fresh, [gradient]), plain)


def test_it_follows_a_schedule_and_comes_back_from_its_config():
    schedule = tf.keras.optimizers.schedules.CosineDecay(0.1, 4)
    optimizer = LazyAdam(**{**ADAM, 'learning_rate': schedule}, weight_decay=0.5, clipnorm=3.0)
    again = LazyAdam.from_config(optimizer.get_config())
    assert again.get_config() == optimizer.get_config()
    gradients = [rows([[1., 2.]], [k]) for k in [0, 1, 1, 2]]
    states, same = train(optimizer, gradients), train(again, gradients)
    np.testing.assert_array_equal(states, same)
    plain = train(LazyAdam(**ADAM, weight_decay=0.5), gradients)
    np.testing.assert_array_equal(states[0][0], plain[0][0])
    assert not np.allclose(states[-1][2], plain[-1][2])
    from_adam = LazyAdam.from_config(tf.keras.optimizers.Adam(**ADAM).get_config())
    np.testing.assert_array_equal(train(from_adam, gradients), train(LazyAdam(**ADAM), gradients))


def test_amsgrad_is_refused():
    with pytest.raises(ValueError, match='LazyAdam has no amsgrad'):
        LazyAdam(amsgrad=True)


@pytest.mark.parametrize('optimizer', [LazyAdam, tf.keras.optimizers.Adam])
def test_a_step_goes_through_its_rows_not_through_the_table(optimizer):
    optimizer, number = optimizer(weight_decay=0.1), 100003
    table = tf.Variable(tf.zeros([number, 2]))
    optimizer.build([table])
    graph = tf.function(lambda g: optimizer.apply([g], [table])).get_concrete_function(
        rows([[1., 2.]], [7], number)).graph
    whole = [output for op in graph.get_operations() for output in op.outputs
             if output.shape.rank and output.shape[0] == number]
    assert bool(whole) != isinstance(optimizer, LazyAdam)


class Table(tf.Module):
    """A weight for each of five things."""

    def __init__(self):
        super().__init__()
        self.table = tf.Variable(tf.ones([5, 1]))

    def loss(self, batch, training):
        predictions = tf.gather(self.table, batch['columns'])
        mask = seqmask.sequence_mask(batch['lengths'], tf.shape(predictions)[1])
        return seqmask.losses.squared_error(predictions=predictions, labels=batch['inputs'],
                                            mask=mask)


def fit(epochs, workdir):
    sequences = seqmask.data.Sequences(np.arange(6.)[:, None].astype('f'), [1, 2, 3],
                                       steps={'columns': [0, 1, 1, 3, 3, 0]})
    schedule = tf.keras.optimizers.schedules.CosineDecay(0.1, 12)
    model, optimizer = Table(), LazyAdam(schedule)
    trainer = Trainer(model, Table.loss, optimizer, progress=False)
    trainer.fit(seqmask.data.Batches(sequences, 1, shuffle=True), epochs=epochs, workdir=workdir)
    return [model.table.numpy(), *(v.numpy() for v in optimizer.variables)]


def test_a_run_that_was_stopped_goes_on_with_its_moments(tmp_path):
    whole = fit(4, None)
    stopped = fit(2, os.path.join(tmp_path, 'run'))
    again = fit(4, os.path.join(tmp_path, 'run'))
    assert any(not np.array_equal(a, b) for a, b in zip(stopped, whole))
    for a, b in zip(again, whole):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(again[0][[2, 4]], np.ones([2, 1]))


def test_with_several_replicas_it_is_adam_because_their_sum_is_dense(strategy):
    def trained(strategy, make_optimizer):
        with strategy.scope():
            model, optimizer = Table(), make_optimizer(0.1)
        trainer = Trainer(model, Table.loss, optimizer, progress=False, strategy=strategy)
        trainer.fit(batches, epochs=2)
        return model.table.numpy()

    sequences = seqmask.data.Sequences(np.arange(7.)[:, None].astype('f'), [1, 2, 3, 1],
                                       steps={'columns': [0, 1, 1, 3, 3, 0, 3]})
    batches = seqmask.data.Batches(sequences, 2)     # row 0 is in both, 1 and 3 in one
    found = trained(strategy, LazyAdam)
    adam = trained(tf.distribute.get_strategy(), tf.keras.optimizers.Adam)
    np.testing.assert_allclose(found, adam, rtol=1e-5)
    np.testing.assert_array_equal(found[[2, 4]], np.ones([2, 1]))
