"""One step of each recurrent cell, forward and backward, in the notation of its equations.

Each gate is a separate tensor [n, H]: the products [n, H] x [H, H] run in parallel, and no time
goes into splitting and concatenating gates. `x` is a step's input projection x_t W + b and `U` the
recurrent weights, one tensor per gate; `m` is the dropout mask of the state, or None.

`forward(x, state, U, m)` returns the new state and the tensors that the backward step needs.
`backward(saved, d_state, U, m)` returns the gradients to the gates' sums and to the old state.
`weight_gradients(saved, d_gates)` takes both for all real steps at once, [N, H], and computes each
gradient with one product. The output of a step is the first tensor of its state.
"""

import typing

import tensorflow as tf

d_sigmoid = tf.raw_ops.SigmoidGrad     # (y, dy) -> dy y (1 - y)
d_tanh = tf.raw_ops.TanhGrad           # (y, dy) -> dy (1 - y^2)


class Cell(typing.NamedTuple):
    """One step of a recurrence; see the module's docstring.

    Attributes:
      name: The cell's name in the C++ kernels.
      num_gates: Number of gates, into which the weights split.
      num_states: Number of tensors in the state.
      num_saved: Number of tensors that `forward` saves for `backward`.
      num_d_gates: Number of gradients that `backward` returns: one per gate, in order, then any
        that only `weight_gradients` needs.
      has_kernel: Whether the C++ kernels implement the cell.
    """
    name: str
    num_gates: int
    num_states: int
    num_saved: int
    num_d_gates: int
    forward: typing.Callable
    backward: typing.Callable
    weight_gradients: typing.Callable
    has_kernel: bool = False


def dropped(h, m):
    """The state after dropout, which the gates see."""
    return h if m is None else h * m


def d_left(d_product, b):
    """The gradient to a of the product a b."""
    return tf.matmul(d_product, b, transpose_b=True)


def d_right(a, d_product):
    """The gradient to b of the product a b."""
    return tf.matmul(a, d_product, transpose_a=True)


def _lstm_forward(x, state, U, m):
    """Gers, Schmidhuber, Cummins (2000): Learning to Forget.

    i, f, o = sigmoid(x + h_tm1 U) each;  g = tanh(x + h_tm1 U);  c = f c_tm1 + i g;  h = o tanh(c)
    """
    h_tm1, c_tm1 = state
    d = dropped(h_tm1, m)
    i, f, g, o = (x_k + tf.matmul(d, U_k) for x_k, U_k in zip(x, U))
    i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
    c = f * c_tm1 + i * g
    y = tf.tanh(c)
    return (o * y, c), (i, f, g, o, y, c_tm1, d)


def _lstm_backward(saved, d_state, U, m):
    i, f, g, o, y, c_tm1, _ = saved
    d_h, d_c = d_state
    d_c += d_tanh(y=y, dy=d_h * o)
    d_gates = (d_sigmoid(y=i, dy=d_c * g), d_sigmoid(y=f, dy=d_c * c_tm1),
               d_tanh(y=g, dy=d_c * i), d_sigmoid(y=o, dy=d_h * y))
    d_d = tf.add_n([d_left(d_k, U_k) for d_k, U_k in zip(d_gates, U)])
    return d_gates, (dropped(d_d, m), d_c * f)


def _lstm_weight_gradients(saved, d_gates):
    d = saved(6)
    return [d_right(d, d_k) for d_k in d_gates]


def _gru_after_forward(x, state, U, m):
    """Chung et al. (2014), with the reset gate after the product, as in cuDNN and Keras.

    z, r = sigmoid(x + h_tm1 U) each;  g = tanh(x + r (h_tm1 U + b));  h = z h_tm1 + (1 - z) g
    """
    h_tm1, = state
    *U, b = U
    d = dropped(h_tm1, m)
    z, r = (tf.sigmoid(x_k + tf.matmul(d, U_k)) for x_k, U_k in zip(x[:2], U[:2]))
    u = tf.matmul(d, U[2]) + b
    g = tf.tanh(x[2] + r * u)
    return (z * h_tm1 + (1 - z) * g,), (z, r, g, u, h_tm1, d)


def _gru_after_backward(saved, d_state, U, m):
    z, r, g, u, h_tm1, _ = saved
    d_h, = d_state
    d_g = d_tanh(y=g, dy=d_h - d_h * z)
    d_gates = (d_sigmoid(y=z, dy=d_h * (h_tm1 - g)), d_sigmoid(y=r, dy=d_g * u), d_g, d_g * r)
    d_z, d_r, _, d_u = d_gates
    d_d = tf.add_n([d_left(d_k, U_k) for d_k, U_k in zip((d_z, d_r, d_u), U)])
    return d_gates, (d_h * z + dropped(d_d, m),)


def _gru_after_weight_gradients(saved, d_gates):
    d_z, d_r, _, d_u = d_gates
    d = saved(5)
    return [*(d_right(d, d_k) for d_k in (d_z, d_r, d_u)), tf.reduce_sum(d_u, axis=0)]


def _gru_before_forward(x, state, U, m):
    """Cho et al. (2014), with the reset gate before the product.

    z, r = sigmoid(x + h_tm1 U) each;  g = tanh(x + (r h_tm1) U);  h = z h_tm1 + (1 - z) g
    """
    h_tm1, = state
    d = dropped(h_tm1, m)
    z, r = (tf.sigmoid(x_k + tf.matmul(d, U_k)) for x_k, U_k in zip(x[:2], U[:2]))
    e = r * d
    g = tf.tanh(x[2] + tf.matmul(e, U[2]))
    return (z * h_tm1 + (1 - z) * g,), (z, r, g, h_tm1, d, e)


def _gru_before_backward(saved, d_state, U, m):
    z, r, g, h_tm1, d, _ = saved
    d_h, = d_state
    d_g = d_tanh(y=g, dy=d_h - d_h * z)
    d_e = d_left(d_g, U[2])
    d_gates = (d_sigmoid(y=z, dy=d_h * (h_tm1 - g)), d_sigmoid(y=r, dy=d_e * d), d_g)
    d_d = d_e * r + d_left(d_gates[0], U[0]) + d_left(d_gates[1], U[1])
    return d_gates, (d_h * z + dropped(d_d, m),)


def _gru_before_weight_gradients(saved, d_gates):
    d_z, d_r, d_g = d_gates
    d, e = saved(4), saved(5)
    return [d_right(d, d_z), d_right(d, d_r), d_right(e, d_g)]


LSTM = Cell('lstm', 4, 2, 7, 4, _lstm_forward, _lstm_backward, _lstm_weight_gradients, True)
GRU_RESET_AFTER = Cell('gru', 3, 1, 6, 4, _gru_after_forward, _gru_after_backward,
                       _gru_after_weight_gradients, True)
GRU_RESET_BEFORE = Cell('gru_reset_before', 3, 1, 6, 3, _gru_before_forward, _gru_before_backward,
                        _gru_before_weight_gradients, True)
