"""Lengths are checked once in a graph, and always where nothing is known of them."""

import collections
import functools

import numpy as np
import pytest
import tensorflow as tf

import seqmask
import some_models

D, H, K = 3, 4, 2
SIGNATURE = [tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int32)]
BATCH = {'inputs': SIGNATURE[0], 'lengths': SIGNATURE[1],
         'labels': tf.TensorSpec([None, None], tf.int32)}
ERROR = tf.errors.InvalidArgumentError
WRONG = [([1, 4], 'must not exceed'), ([1, -1], 'must not be negative'),
         ([1], 'one entry for each sequence')]


def traced(function):
    return tf.function(function, input_signature=SIGNATURE, autograph=False)


def assertions(concrete):
    """How many assertions of a traced function begin with which words."""
    words = [op.inputs[1].op.get_attr('value').string_val[0].decode()
             for op in concrete.graph.get_operations() if op.type == 'Assert']
    return collections.Counter(' '.join(w.split()[:4]) for w in words)


def training_step(**options):
    model = some_models.labeller(D, K, hidden_size=H, dropout=0.2, seed=0, **options)
    optimizer = tf.keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    return tf.function(lambda batch: seqmask.training.train_step(
        model, seqmask.models.SequenceLabeller.loss, optimizer, batch),
        input_signature=[BATCH], autograph=False)


def batch_of(lengths):
    return {'inputs': tf.ones([2, 3, D]), 'lengths': tf.constant(lengths),
            'labels': tf.zeros([2, 3], tf.int32)}


LABELLERS = {'recurrent': {}, 'graph': {'implementation': 'graph'},
             'one way': {'bidirectional': False, 'input_dropout': 0.5, 'recurrent_dropout': 0.5},
             'standardizer': {'standardizer': seqmask.data.Standardizer([0.] * D, [1.] * D)}}


@pytest.mark.parametrize('options', LABELLERS.values(), ids=LABELLERS)
def test_a_training_step_checks_its_lengths_once(options):
    step = training_step(**options)
    counts = assertions(step.get_concrete_function())
    assert {words: n for words, n in counts.items() if words.startswith('lengths')} == {
        'lengths must have one': 1, 'lengths must not be': 1, 'lengths must not exceed': 1}
    assert counts['labels must have the'] == 1
    assert sum(counts.values()) <= 5
    step(batch_of([1, 3]))
    for lengths, message in WRONG:
        with pytest.raises(ERROR, match=message):
            step(batch_of(lengths))


@pytest.mark.parametrize('lengths, message', WRONG)
def test_lengths_made_by_a_convolution_are_known_and_its_inputs_checked(lengths, message):
    step = training_step(filters=2)
    assert assertions(step.get_concrete_function())['lengths must not exceed'] <= 2
    step(batch_of([1, 3]))
    with pytest.raises(ERROR, match=message):
        step(batch_of(lengths))


@functools.cache
def layers():
    return seqmask.GRU(D, H, seed=0), seqmask.Dense(H, K, seed=0), seqmask.Dense(D, H, seed=0)


def narrower_in_between(x, n):
    gru, to_logits, _ = layers()
    return to_logits(gru(x, n)[0][:, :2], n)


def another_width_later(x, n):
    _, _, dense = layers()
    return dense(x, n)[:, :2] + dense(x[:, :2], n)


def narrower_in_a_sequential(x, n):
    _, to_logits, dense = layers()
    return seqmask.Sequential([dense, lambda x, n: x[:, :2], to_logits])(x, n)[0]


def a_mask_of_the_width_before(x, n):
    mask = seqmask.sequence_mask(n, tf.shape(x)[1])
    outputs, _ = layers()[0](x, n)
    return seqmask.last_relevant(seqmask.apply_mask(outputs, mask)[:, :2], n)


def other_lengths(x, n):
    outputs, _ = layers()[0](x, tf.minimum(n, 2))
    return seqmask.mean_pool(outputs[:, :2], n)


@pytest.mark.parametrize('function', [
    narrower_in_between, another_width_later, narrower_in_a_sequential, a_mask_of_the_width_before,
    other_lengths], ids=lambda f: f.__name__)
def test_what_is_known_of_one_width_is_not_of_another(function):
    layers()
    call = traced(function)
    fits = tf.ones([2, 3, D]), tf.constant([1, 2])
    np.testing.assert_allclose(call(*fits), function(*fits), rtol=1e-5)
    with pytest.raises(ERROR, match='must not exceed'):
        call(tf.ones([2, 3, D]), tf.constant([1, 3]))


def test_what_a_branch_or_a_loop_finds_out_stays_in_it():
    gru = seqmask.GRU(D, D, seed=0)

    def call(x, n):
        inside = tf.cond(tf.size(n) > 0, lambda: gru(x, n)[0], lambda: x)
        looped = tf.while_loop(lambda k, _: k < 2, lambda k, y: (
            k + 1, gru(y, n)[0] + gru(x, n)[0]), (0, x))[1]
        return inside + looped + gru(x, n)[0]

    inputs = tf.random.stateless_normal([2, 3, D], [0, 0])
    np.testing.assert_allclose(traced(call)(inputs, tf.constant([1, 3])),
                               call(inputs, tf.constant([1, 3])), rtol=1e-5, atol=1e-6)
    with pytest.raises(ERROR, match='must not exceed'):
        traced(call)(inputs, tf.constant([1, 4]))


def test_an_inner_function_knows_what_the_outer_one_found_out():
    gru, dense = seqmask.GRU(D, H, seed=0), seqmask.Dense(H, K)

    @traced
    def call(x, n):
        outputs, _ = gru(x, n)
        return tf.function(lambda: dense(outputs, n))()

    assert call(tf.ones([2, 3, D]), tf.constant([1, 3])).shape == [2, 3, K]
    with pytest.raises(ERROR, match='must not exceed'):
        call(tf.ones([2, 3, D]), tf.constant([1, 4]))


def test_eagerly_every_call_checks():
    gru, inputs = seqmask.GRU(D, H), tf.ones([2, 3, D])
    lengths = np.array([1, 3], np.int32)
    shared = tf.convert_to_tensor(lengths)
    variable = tf.Variable([1, 3])
    for n in (lengths, shared, variable):
        gru(inputs, n)
    lengths[1] = 4
    variable.assign([1, 4])
    for n in (lengths, tf.constant(lengths), variable):
        with pytest.raises(ERROR, match='must not exceed'):
            gru(inputs, n)


def test_a_variable_may_change_within_a_graph():
    gru, lengths = seqmask.GRU(D, H), tf.Variable([1, 3])

    @tf.function
    def call(x, more):
        gru(x, lengths)
        lengths.assign_add(more)
        return gru(x, lengths)[0]

    call(tf.ones([2, 3, D]), tf.constant([0, 0]))
    with pytest.raises(ERROR, match='must not exceed'):
        call(tf.ones([2, 3, D]), tf.constant([0, 1]))


@pytest.mark.parametrize('dtype', ['int32', 'int64'])
def test_widths_of_either_dtype(dtype):
    @traced
    def call(x, n):
        maxlen = tf.shape(x, tf.as_dtype(dtype))[1]
        repeated = seqmask.repeat(x[:, 0], tf.cast(n, dtype), maxlen)
        mask = seqmask.sequence_mask(n, maxlen)
        return seqmask.last_relevant(seqmask.apply_mask(repeated, mask), n)

    assert call(tf.ones([2, 3, D]), tf.constant([1, 0])).numpy().tolist() == [[1] * D, [0] * D]


def test_each_row_alone():
    gru, dense, _ = layers()

    def call(x, n):
        outputs = dense(gru(x, n)[0], n)
        rows = tf.map_fn(lambda row: dense(gru(row[0][None], row[1][None])[0], row[1][None])[0],
                         (x, n), fn_output_signature=tf.float32)
        return outputs, rows

    x = tf.random.stateless_normal([2, 3, D], [0, 0])
    together, alone = traced(call)(x, tf.constant([1, 3]))
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    with pytest.raises(ERROR, match='must not exceed'):
        traced(call)(x, tf.constant([1, 4]))
