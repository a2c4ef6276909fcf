"""Gated recurrent unit."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from seqmask import kernels
from seqmask.layers.recurrent import Recurrent


class GRU(Recurrent):
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
      dropout: Fraction of the input features dropped in training, the same at all steps.
      recurrent_dropout: Fraction of the hidden units hidden from the gates in training, the same at
        all steps (Gal and Ghahramani, 2016).
      implementation: 'kernel': C++, for CPUs and float32. 'graph': TensorFlow operations, on any
        device. 'auto': the kernel where it can run, else the graph.
      dtype: Of weights, inputs and outputs.
      seed: int; the same seed gives the same weights and the same dropout.
      weights: (kernel, recurrent_kernel, bias) of another layer to share; new variables by default.

    Raises:
      ValueError: If a size or a choice does not fit.
      seqmask.kernels.native.Unusable: If implementation is 'kernel' and it cannot run here.

    Source: Cho et al. Learning Phrase Representations using RNN Encoder-Decoder. EMNLP 2014.

    >>> gru = seqmask.GRU(input_size=2, hidden_size=3, seed=0)
    >>> outputs, state = gru(tf.ones([2, 4, 2]), tf.constant([4, 1]))
    >>> bool(tf.reduce_all(outputs[1, 0] == state[1])), bool(tf.reduce_all(outputs[1, 1:] == 0))
    (True, True)
    """

    def __init__(self, input_size: int, hidden_size: int, *, reset_after: bool = True,
                 dropout: float = 0.0, recurrent_dropout: float = 0.0, implementation: str = 'auto',
                 dtype: str | tf.DType = 'float32', seed: int | None = None,
                 weights: Sequence[tf.Variable | tf.Tensor] | None = None, name: str | None = None):
        self.reset_after = bool(reset_after)
        self._cell = kernels.GRU_RESET_AFTER if reset_after else kernels.GRU_RESET_BEFORE
        self._bias = ((0.0,) * 3,) * 2 if reset_after else (0.0,) * 3
        super().__init__(input_size, hidden_size, dropout=dropout,
                         recurrent_dropout=recurrent_dropout, implementation=implementation,
                         dtype=dtype, seed=seed, weights=weights, name=name)

    def _input_biases(self):
        if not self.reset_after:
            return self._gates(self.bias)
        (z, r, g), (recurrent_z, recurrent_r, _) = map(self._gates, tf.unstack(self.bias))
        return [z + recurrent_z, r + recurrent_r, g]

    def _recurrent_weights(self):
        U = self._gates(self.recurrent_kernel)
        return [*U, self._gates(self.bias[1])[2]] if self.reset_after else U
