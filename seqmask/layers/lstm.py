"""Long short-term memory."""

from __future__ import annotations

from seqmask import kernels
from seqmask.layers.recurrent import LSTMState, Recurrent


class LSTM(Recurrent):
    """Long short-term memory.

    i, f, o = sigmoid(x_t W + h_tm1 U + b), each with its own W, U, b
    g = tanh(x_t W + h_tm1 U + b)
    c_t = f c_tm1 + i g;   h_t = o tanh(c_t)      for t < length; after it, the state stays

    Weights are laid out as in Keras, gates in the order i, f, g, o: `kernel` [D, 4H],
    `recurrent_kernel` [H, 4H], `bias` [4H] with 1 for the forget gate. `final_state` is an
    `LSTMState(hidden, cell)`. Arguments and errors are those of `GRU`, without reset_after.

    Source: Gers, Schmidhuber, Cummins. Learning to Forget. Neural Computation, 2000.

    >>> lstm = seqmask.LSTM(input_size=2, hidden_size=3, seed=0)
    >>> outputs, state = lstm(tf.ones([2, 4, 2]), tf.constant([4, 1]))
    >>> outputs.shape, bool(tf.reduce_all(outputs[1, 1:] == 0)), state.cell.shape
    (TensorShape([2, 4, 3]), True, TensorShape([2, 3]))
    """

    _cell = kernels.LSTM
    _bias = 0.0, 1.0, 0.0, 0.0

    def _structured(self, state):
        return LSTMState(*state)
