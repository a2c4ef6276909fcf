"""Converts weights from Keras's layout to that of other frameworks, and gradients back."""

import numpy as np


def reorder(cell, weight):
    """From Keras's order of gates (last axis) to that of PyTorch and Flax, or back.

    GRU: z, r, h <-> r, z, h; an LSTM's gates have the same order in all.
    """
    if cell == 'lstm':
        return weight
    first, second, last = np.split(weight, 3, axis=-1)
    return np.concatenate([second, first, last], axis=-1)


def sequence_mask(lengths, maxlen):
    """bool [B, T]: True = real."""
    return np.arange(maxlen) < lengths[:, None]


def named(outputs, loss, gradients):
    """What peers must agree on: outputs at real steps [N, H], loss, gradients in Keras's layout."""
    kernel, recurrent_kernel, bias = gradients
    return {'outputs': outputs, 'loss': loss, 'gradient of kernel': kernel,
            'gradient of recurrent_kernel': recurrent_kernel, 'gradient of bias': bias}
