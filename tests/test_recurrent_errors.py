"""What recurrent layers refuse, and how they say it."""

import pytest
import tensorflow as tf

import seqmask
from recurrent_layers import every_cell

D, H = 3, 4


@every_cell
@pytest.mark.parametrize('shape, dtype, lengths, error, message', [
    ([2, 3], 'float32', [1, 1], ValueError, r'inputs must have rank 3 \[B, T, D\], got shape'),
    ([2, 3, 5], 'float32', [1, 1], ValueError, 'inputs must have input_size = 3 on axis -1'),
    ([2, 3, 3], 'float64', [1, 1], TypeError, 'the dtype of the layer, float32, got float64'),
    ([2, 3, 3], 'int32', [1, 1], TypeError, r'inputs must be floating-point .* got int32'),
    ([2, 3, 3], 'float32', [1., 1.], TypeError, 'lengths must be int32 or int64'),
    ([2, 3, 3], 'float32', [1], ValueError, 'one entry for each of the 2 sequences'),
    ([2, 3, 3], 'float32', [[1, 1]], ValueError, 'lengths must have rank 1'),
    ([2, 3, 3], 'float32', [1, 4], tf.errors.InvalidArgumentError, 'must not exceed'),
    ([2, 3, 3], 'float32', [1, -1], tf.errors.InvalidArgumentError, 'must not be negative')])
def test_calls_that_do_not_fit_are_errors(make, shape, dtype, lengths, error, message):
    layer = make(D, H)
    with pytest.raises(error, match=message):
        layer(tf.zeros(shape, dtype), lengths)
    if error is not tf.errors.InvalidArgumentError:
        with pytest.raises(error):      # from TensorFlow itself, where lengths have another size
            tf.function(layer).get_concrete_function(tf.zeros(shape, dtype), tf.constant(lengths))


@every_cell
@pytest.mark.parametrize('lengths, message', [
    ([1, 4], 'must not exceed'), ([1, -1], 'must not be negative'),
    ([1], 'must have one entry for each sequence')])
def test_lengths_that_do_not_fit_are_errors_in_a_graph(make, lengths, message):
    layer = make(D, H)
    call = tf.function(lambda x, n: layer(x, n)[0], input_signature=[
        tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int32)])
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(tf.zeros([2, 3, D]), tf.constant(lengths))


@pytest.mark.parametrize('make, state, error, message', [
    (seqmask.GRU, (tf.zeros([2, H]),) * 2, ValueError, r'GRU has 1 tensors \[B, H\], got 2'),
    (seqmask.LSTM, tf.zeros([2, H]), ValueError, r'LSTM has 2 tensors \[B, H\], got 1'),
    (seqmask.GRU, tf.zeros([2, H + 1]), ValueError, 'a state must have hidden_size = 4'),
    (seqmask.GRU, tf.zeros([H]), ValueError, 'a state must have rank 2'),
    (seqmask.GRU, tf.zeros([2, H], 'float64'), TypeError, 'dtype of the layer, float32, got fl'),
    (seqmask.GRU, tf.zeros([2, H], 'int32'), TypeError, 'a state must be floating-point'),
    (seqmask.GRU, tf.zeros([3, H]), tf.errors.InvalidArgumentError,
     'one row for each sequence; rows and sequences are 3, 2')])
def test_states_that_do_not_fit_are_errors(make, state, error, message):
    layer = make(D, H)
    with pytest.raises(error, match=message):
        layer(tf.zeros([2, 3, D]), [1, 1], state)
    with pytest.raises(error, match=message):
        layer.step(tf.zeros([2, D]), state)


@pytest.mark.parametrize('rows', [0, 1, 3])
def test_states_of_another_batch_are_errors_in_a_graph(rows):
    layer = seqmask.GRU(D, H)
    call = tf.function(lambda x, n, s: layer(x, n, s)[0], input_signature=[
        tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int32),
        tf.TensorSpec([None, None])])
    with pytest.raises(tf.errors.InvalidArgumentError, match='one row for each sequence'):
        call(tf.zeros([2, 3, D]), tf.constant([1, 1]), tf.zeros([rows, H]))


@every_cell
def test_steps_that_do_not_fit_are_errors(make):
    layer = make(D, H)
    state = layer.initial_state(2)
    with pytest.raises(ValueError, match=r'x_t must have rank 2 \[B, D\]'):
        layer.step(tf.zeros([2, 1, D]), state)
    with pytest.raises(ValueError, match='x_t must have input_size = 3'):
        layer.step(tf.zeros([2, D + 1]), state)
    with pytest.raises(TypeError, match='dtype of the layer'):
        layer.step(tf.zeros([2, D], 'float64'), state)


@every_cell
@pytest.mark.parametrize('options, error, message', [
    ({'input_size': 0}, ValueError, 'input_size must be at least 1, got 0'),
    ({'hidden_size': 0}, ValueError, 'hidden_size must be at least 1, got 0'),
    ({'hidden_size': 2.0}, TypeError, 'hidden_size must be an int, got 2.0'),
    ({'dropout': 1.0}, ValueError, r'dropout must be in \[0, 1\), got 1.0'),
    ({'recurrent_dropout': -0.1}, ValueError, r'recurrent_dropout must be in \[0, 1\)'),
    ({'dropout': 'half'}, TypeError, 'dropout must be a number'),
    ({'implementation': 'cudnn'}, ValueError, "implementation must be one of .*'cudnn'"),
    ({'dtype': 'int32'}, TypeError, 'dtype must be floating-point, got int32')])
def test_layers_that_cannot_be_are_errors(make, options, error, message):
    with pytest.raises(error, match=message):
        make(**{'input_size': D, 'hidden_size': H, **options})


def test_a_cell_without_a_kernel_says_so():
    with pytest.raises(ValueError, match="implementation='kernel' has no MGU: choose 'graph' or "
                                         "'auto'"):
        seqmask.MGU(D, H, implementation='kernel')


def test_reset_rows_refuses():
    with pytest.raises(TypeError, match='rows must be bool'):
        seqmask.reset_rows(tf.ones([2, 1]), tf.constant([1.0, 0.0]))
    with pytest.raises(ValueError, match='must have the leading axes'):
        seqmask.reset_rows(tf.ones([2, 1]), [True])
