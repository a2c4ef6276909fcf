"""GRU and LSTM that stop where each sequence stops."""

import typing

import tensorflow as tf

from seqmask import checks, kernels
from seqmask.layers.recurrence import Recurrence
from seqmask.masking import apply_mask


class LSTMState(typing.NamedTuple):
    """State of an LSTM: `hidden` and `cell`, float [B, H] each."""
    hidden: tf.Tensor
    cell: tf.Tensor


class LSTM(Recurrence):
    """Long short-term memory.

    i, f, o = sigmoid(x_t W + h_tm1 U + b), each with its own W, U, b
    g = tanh(x_t W + h_tm1 U + b)
    c_t = f c_tm1 + i g;   h_t = o tanh(c_t)      for t < length; after it, the state stays

    Weights are laid out as in Keras, gates in the order i, f, g, o: `kernel` [D, 4H],
    `recurrent_kernel` [H, 4H], `bias` [4H] with 1 for the forget gate. `final_state` is an
    `LSTMState(hidden, cell)`.

    Args:
      input_size: D.
      hidden_size: H.
      dropout: Share of the input features dropped in training, the same at all steps.
      recurrent_dropout: Share of the hidden units that the gates do not see in training, the same
        at all steps (Gal and Ghahramani, 2016).
      implementation: 'kernel': C++, for CPUs and float32. 'graph': TensorFlow operations, which
        run wherever it does. 'auto': the kernel where it can run.
      dtype: Of weights, inputs and outputs.
      seed: int; the same seed gives the same weights and the same dropout.

    Raises:
      ValueError: If a size or a choice does not fit.
      seqmask.kernels.native.Unusable: If implementation is 'kernel' and it cannot run here.

    Source: Gers, Schmidhuber, Cummins. Learning to Forget. Neural Computation, 2000.

    >>> lstm = seqmask.LSTM(input_size=2, hidden_size=3, seed=0)
    >>> outputs, state = lstm(tf.ones([2, 4, 2]), tf.constant([4, 1]))
    >>> outputs.shape, bool(tf.reduce_all(outputs[1, 1:] == 0)), state.cell.shape
    (TensorShape([2, 4, 3]), True, TensorShape([2, 3]))
    """

    def __init__(self, input_size, hidden_size, *, dropout=0.0, recurrent_dropout=0.0,
                 implementation='auto', dtype='float32', seed=None, name=None):
        bias = tf.repeat([0.0, 1.0, 0.0, 0.0], checks.size('hidden_size', hidden_size))
        super().__init__(kernels.LSTM, bias, input_size, hidden_size, dropout=dropout,
                         recurrent_dropout=recurrent_dropout, implementation=implementation,
                         dtype=dtype, seed=seed, name=name)

    def _structured(self, state):
        return LSTMState(*state)


class GRU(Recurrence):
    """Gated recurrent unit.

    z, r = sigmoid(x_t W + h_tm1 U + b), each with its own W, U, b
    g = tanh(x_t W + b + r (h_tm1 U + b'))        if reset_after
    g = tanh(x_t W + b + (r h_tm1) U)             otherwise
    h_t = z h_tm1 + (1 - z) g                     for t < length; after it, the state stays

    Weights are laid out as in Keras, gates in the order z, r, g: `kernel` [D, 3H],
    `recurrent_kernel` [H, 3H], `bias` [2, 3H] (input, recurrent) if reset_after, else [3H].
    `final_state` is a tensor [B, H].

    Args:
      input_size: D.
      hidden_size: H.
      reset_after: Whether the reset gate acts after the product with U (cuDNN, Keras, PyTorch) or
        before it (Cho et al., 2014).
      dropout: Share of the input features dropped in training, the same at all steps.
      recurrent_dropout: Share of the hidden units that the gates do not see in training, the same
        at all steps (Gal and Ghahramani, 2016).
      implementation: 'kernel': C++, for CPUs and float32. 'graph': TensorFlow operations, which
        run wherever it does. 'auto': the kernel where it can run.
      dtype: Of weights, inputs and outputs.
      seed: int; the same seed gives the same weights and the same dropout.

    Raises:
      ValueError: If a size or a choice does not fit.
      seqmask.kernels.native.Unusable: If implementation is 'kernel' and it cannot run here.

    Source: Cho et al. Learning Phrase Representations using RNN Encoder-Decoder. EMNLP 2014.

    >>> gru = seqmask.GRU(input_size=2, hidden_size=3, seed=0)
    >>> outputs, state = gru(tf.ones([2, 4, 2]), tf.constant([4, 1]))
    >>> bool(tf.reduce_all(outputs[1, 0] == state[1])), bool(tf.reduce_all(outputs[1, 1:] == 0))
    (True, True)
    """

    def __init__(self, input_size, hidden_size, *, reset_after=True, dropout=0.0,
                 recurrent_dropout=0.0, implementation='auto', dtype='float32', seed=None,
                 name=None):
        self.reset_after = bool(reset_after)
        cell = kernels.GRU_RESET_AFTER if reset_after else kernels.GRU_RESET_BEFORE
        bias_shape = ([2] if reset_after else []) + [3 * checks.size('hidden_size', hidden_size)]
        super().__init__(cell, tf.zeros(bias_shape), input_size, hidden_size, dropout=dropout,
                         recurrent_dropout=recurrent_dropout, implementation=implementation,
                         dtype=dtype, seed=seed, name=name)

    def _input_biases(self):
        if not self.reset_after:
            return self._gates(self.bias)
        (z, r, g), (recurrent_z, recurrent_r, _) = map(self._gates, tf.unstack(self.bias))
        return [z + recurrent_z, r + recurrent_r, g]

    def _recurrent_weights(self):
        U = self._gates(self.recurrent_kernel)
        return [*U, self._gates(self.bias[1])[2]] if self.reset_after else U


def reset_rows(state, rows):
    """Puts chosen rows of a state back to zero, between the chunks of a stream.

    out[b] = 0 where rows[b] else state[b]

    Args:
      state: [B, ...], or any structure of such tensors, as a recurrent layer returns it.
      rows: bool [B]. True = reset.

    Returns:
      The structure of state.

    Raises:
      TypeError: If rows is not bool.
      ValueError: If rows does not have one entry for each sequence.

    >>> seqmask.reset_rows(tf.constant([[1.], [2.]]), tf.constant([True, False])).numpy()
    array([[0.],
           [2.]], dtype=float32)
    """
    rows = checks.tensor('rows', rows, 'B')
    if rows.dtype != tf.bool:
        raise TypeError(f'rows must be bool [B], True = reset, got {rows.dtype.name}.')
    return tf.nest.map_structure(lambda part: apply_mask(part, tf.logical_not(rows)), state)
