import numpy as np
import pytest
import tensorflow as tf

from seqmask import Tally


def test_tallies_add_totals_and_counts():
    assert Tally(1.0, 2.0) + Tally(3.0, 4.0) == Tally(1.0 + 3.0, 2.0 + 4.0)


def test_sum_of_a_list():
    tallies = [Tally(tf.constant(float(k)), tf.constant(2.0)) for k in range(4)]
    total = sum(tallies)
    assert isinstance(total, Tally)
    assert float(total.total) == 0 + 1 + 2 + 3
    assert float(total.count) == 4 * 2
    assert float(total.mean()) == (0 + 1 + 2 + 3) / (4 * 2)


def test_micro_batches_of_one_and_nine_terms_weigh_terms_alike():
    terms = np.arange(10, dtype=np.float32) ** 2
    one = Tally(terms[:1].sum(), 1.0)
    nine = Tally(terms[1:].sum(), 9.0)
    assert float((one + nine).mean()) == terms.sum() / 10
    assert float((one.mean() + nine.mean()) / 2) != terms.sum() / 10       # a mean of means


def test_micro_batches_of_one_and_nine_terms_give_the_gradient_of_one_batch_of_ten():
    x = tf.Variable(np.arange(10.0))
    with tf.GradientTape() as tape:
        squares = x ** 2
        one = Tally(tf.reduce_sum(squares[:1]), 1.0)
        nine = Tally(tf.reduce_sum(squares[1:]), 9.0)
        mean = (one + nine).mean()
    np.testing.assert_allclose(tape.gradient(mean, x), 2 * np.arange(10.0) / 10)


@pytest.mark.parametrize('total', [0.0, 5.0, float('nan')])
def test_mean_without_terms_is_zero_and_so_is_its_gradient(total):
    x = tf.Variable(total)
    count = tf.Variable(0.0)
    with tf.GradientTape() as tape:
        mean = Tally(x * 2, count).mean()
    assert mean.numpy() == 0
    assert [g.numpy() for g in tape.gradient(mean, [x, count])] == [0, 0]


def test_an_empty_tally_changes_no_other():
    empty = Tally(tf.constant(0.0), tf.constant(0.0))
    assert float((empty + Tally(3.0, 4.0)).mean()) == 3 / 4


def test_mean_of_whole_python_numbers():
    assert float(Tally(3, 4).mean()) == 3 / 4


@pytest.mark.parametrize('other', [
    1.0, 0.0, 1, False, None, (1.0, 2.0), [1.0, 2.0], np.float32(1), np.ones(2, np.float32),
    tf.constant(1.0), tf.constant([1.0, 2.0]), tf.Variable(1.0)],
    ids=['float', 'zero', 'int', 'bool', 'None', 'tuple', 'list', 'np scalar', 'np array', 'scalar',
         'vector', 'variable'])
def test_adding_anything_else_is_an_error(other):
    tally = Tally(tf.constant(1.0), tf.constant(2.0))
    with pytest.raises(TypeError, match='A Tally adds to another Tally only'):
        tally + other
    with pytest.raises(TypeError, match='A Tally adds to another Tally only|concatenate list'):
        other + tally


def test_adding_anything_else_is_an_error_in_a_graph():
    with pytest.raises(TypeError, match='A Tally adds to another Tally only'):
        tf.function(lambda x: x + Tally(x, x))(tf.constant(1.0))


def test_a_tally_is_not_a_tensor():
    # [total, count] as a loss would sum the two.
    with pytest.raises(TypeError, match='A Tally adds to another Tally only, got a tensor'):
        tf.reduce_sum(Tally(1.0, 2.0))


def test_through_a_function():
    @tf.function
    def double(tally):
        assert isinstance(tally, Tally)
        return tally + tally
    doubled = double(Tally(tf.constant(3.0), tf.constant(4.0)))
    assert isinstance(doubled, Tally)
    assert float(doubled.total) == 3 + 3
    assert float(doubled.count) == 4 + 4


def test_through_a_loop_in_a_graph():
    @tf.function
    def accumulate(values):
        total = Tally(0.0, 0.0)
        for value in values:
            total += Tally(value, 1.0)
        return total
    assert float(accumulate(tf.constant([1.0, 2.0, 6.0])).mean()) == (1 + 2 + 6) / 3


def test_through_nest():
    tally = Tally(3.0, 4.0)
    assert tf.nest.flatten({'loss': tally}) == [3.0, 4.0]
    mapped = tf.nest.map_structure(lambda x: 2 * x, tally)
    assert isinstance(mapped, Tally)
    assert mapped == Tally(2 * 3.0, 2 * 4.0)


def test_through_a_replica_context(strategy):

    def replica():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        return Tally(tf.cast(number, tf.float32), tf.constant(1.0))
    parts = strategy.run(tf.function(replica))
    total = sum(Tally(*(strategy.experimental_local_results(x)[k] for x in parts))
                for k in range(strategy.num_replicas_in_sync))
    assert float(total.mean()) == (0 + 1) / 2
