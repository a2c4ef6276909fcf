"""Minimal gated unit."""

from __future__ import annotations

import tensorflow as tf

from seqmask.kernels import cells
from seqmask.layers.recurrent import Recurrent


def _forward(x, state, U, m):
    h_tm1, = state
    d = cells.dropped(h_tm1, m)
    f = tf.sigmoid(x[0] + tf.matmul(d, U[0]))
    e = f * d
    g = tf.tanh(x[1] + tf.matmul(e, U[1]))
    return (h_tm1 + f * (g - h_tm1),), (f, g, h_tm1, d, e)


def _backward(saved, d_state, U, m):
    f, g, h_tm1, d, _ = saved
    d_h, = d_state
    d_g = cells.d_tanh(y=g, dy=d_h * f)
    d_e = cells.d_left(d_g, U[1])
    d_f = cells.d_sigmoid(y=f, dy=d_h * (g - h_tm1) + d_e * d)
    d_d = d_e * f + cells.d_left(d_f, U[0])
    return (d_f, d_g), (d_h - d_h * f + cells.dropped(d_d, m),)


def _weight_gradients(saved, d_gates):
    return [cells.d_right(saved(3), d_gates[0]), cells.d_right(saved(4), d_gates[1])]


class MGU(Recurrent):
    """Minimal gated unit: a GRU with one gate, and two thirds of its weights.

    f = sigmoid(x_t W + h_tm1 U + b);   g = tanh(x_t W + (f h_tm1) U + b), each with its own W, U, b
    h_t = (1 - f) h_tm1 + f g           for t < length; after it, the state stays

    `kernel` [D, 2H], `recurrent_kernel` [H, 2H], `bias` [2H], gates in the order f, g. Arguments
    and errors are those of `GRU`, without reset_after; without a C++ kernel, 'auto' is 'graph'.

    Source: Zhou, Wu, Zhang, Zhou. Minimal Gated Unit for Recurrent Neural Networks. 2016.

    >>> outputs, state = seqmask.MGU(2, 3, seed=0)(tf.ones([2, 4, 2]), tf.constant([4, 1]))
    >>> bool(tf.reduce_all(outputs[1, 0] == state[1])), bool(tf.reduce_all(outputs[1, 1:] == 0))
    (True, True)
    """

    _cell = cells.Cell('mgu', 2, 1, 5, 2, _forward, _backward, _weight_gradients)
    _bias = 0.0, 0.0
