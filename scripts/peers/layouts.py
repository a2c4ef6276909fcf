"""Weights from Keras's layout to other frameworks', and their gradients back."""

import numpy as np


def swap_gates(weight):
    """A GRU's gates in the order r, z, h from z, r, h, or the other way round; axis -1."""
    first, second, last = np.split(weight, 3, axis=-1)
    return np.concatenate([second, first, last], axis=-1)


def reorder(cell, weight):
    """From Keras's order of gates to that of PyTorch and Flax, or back; for an LSTM they agree."""
    return swap_gates(weight) if cell == 'gru' else weight


def real_steps(lengths, maxlen):
    """bool [B, T]: True = real."""
    return np.arange(maxlen) < lengths[:, None]


def named(outputs, loss, gradients):
    """What all peers must agree on: outputs at real steps [N, H], loss, gradients as in Keras."""
    kernel, recurrent_kernel, bias = gradients
    return {'outputs': outputs, 'loss': loss, 'gradient of kernel': kernel,
            'gradient of recurrent_kernel': recurrent_kernel, 'gradient of bias': bias}
