"""Converts layers from PyTorch: reorders the gates, transposes the kernels, merges the biases."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from seqmask import layers
from seqmask.keras.weights import assign_weights

# PyTorch's gates in seqmask's order, by their number. LSTM: i, f, g, o in both; GRU: z, r, n.
GATES = {4: [0, 1, 2, 3], 3: [1, 0, 2]}
NORM = {'momentum': 0.9, 'epsilon': 1e-5}   # PyTorch's defaults, which are not in a state_dict


def from_pytorch(state_dict: dict[str, np.ndarray], **options) -> tf.Module:
    """The seqmask layer that computes what a PyTorch layer does, with the same weights.

    PyTorch's LSTM and GRU have two biases; an LSTM gets their sum, a GRU both (`reset_after=True`).
    PyTorch's weights are [out, in], seqmask's [in, out].

    Args:
      state_dict: dict of name -> NumPy array, of one layer: `{name: value.numpy() for name, value
        in layer.state_dict().items()}`. LSTM and GRU (any number of layers, one or two directions,
        with or without bias; no projections), Linear, Conv1d, BatchNorm1d.
      **options: Arguments that a state_dict does not contain: of `Conv1D` (strides, padding,
        dilation, groups), `BatchNorm` (momentum, 1 minus PyTorch's; epsilon) or `LSTM` and `GRU`
        (dropout). The defaults are PyTorch's: padding 'valid', momentum 0.9, epsilon 1e-5.

    Returns:
      `LSTM` or `GRU`, in `Bidirectional` for two directions, in `Stacked` for several layers;
      `Dense`, `Conv1D` or `BatchNorm`.

    Raises:
      ValueError: If these are not the weights of exactly one such layer.

    >>> dense = seqmask.keras.from_pytorch(
    ...     {'weight': np.array([[1., 2.]], 'f'), 'bias': np.array([3.], 'f')})
    >>> dense(tf.ones([1, 1, 2]), tf.constant([1])).numpy().ravel()      # 1 + 2 + 3
    array([6.], dtype=float32)
    """
    weights = {name: np.asarray(value) for name, value in state_dict.items()}
    if 'weight_hh_l0' in weights:
        return _recurrent(weights, options)
    if 'running_mean' in weights:
        norm = layers.BatchNorm(weights['running_mean'].size, **{**NORM, **options})
        return assign_weights(
            norm, gamma=weights.get('weight'), beta=weights.get('bias'),
            moving_mean=weights['running_mean'], moving_variance=weights['running_var'],
            averaged=1 / (1 - norm.momentum))
    rank = weights['weight'].ndim if 'weight' in weights else 0
    if rank == 2:
        kernel = weights['weight'].T
        return assign_weights(layers.Dense(*kernel.shape, **options), kernel=kernel,
                              bias=weights.get('bias'))
    if rank == 3:
        kernel = weights['weight'].transpose([2, 1, 0])
        conv = layers.Conv1D(kernel.shape[1] * options.get('groups', 1), kernel.shape[2],
                             kernel.shape[0], **{'padding': 'valid', **options})
        return assign_weights(conv, kernel=kernel, bias=weights.get('bias'))
    raise ValueError(f'state_dict must be that of one LSTM, GRU, Linear, Conv1d or BatchNorm1d, '
                     f'got the names {", ".join(weights)}.')


def _recurrent(weights, options):
    if any('weight_hr' in name for name in weights):
        raise ValueError('an LSTM with projections has no seqmask layer: proj_size must be 0.')

    def convert(layer, suffix):
        kernel, recurrent = (weights[f'weight_{name}_l{layer}{suffix}'] for name in ('ih', 'hh'))
        size = recurrent.shape[1]
        order = GATES.get(recurrent.shape[0] // size)
        if order is None:
            raise ValueError(f'weight_hh_l{layer} must be [4 H, H] of an LSTM or [3 H, H] of a '
                             f'GRU, got {recurrent.shape}.')
        rows = np.concatenate([gate * size + np.arange(size) for gate in order])
        biases = [weights.get(f'bias_{name}_l{layer}{suffix}', np.zeros(len(order) * size))[rows]
                  for name in ('ih', 'hh')]
        is_lstm = len(order) == 4
        ours = (layers.LSTM if is_lstm else layers.GRU)(kernel.shape[1], size, **options)
        return assign_weights(ours, kernel=kernel[rows].T, recurrent_kernel=recurrent[rows].T,
                              bias=biases[0] + biases[1] if is_lstm else np.stack(biases))

    stack = []
    while f'weight_hh_l{len(stack)}' in weights:
        layer = len(stack)
        forward = convert(layer, '')
        if f'weight_hh_l{layer}_reverse' in weights:
            stack.append(layers.Bidirectional(forward, convert(layer, '_reverse')))
        else:
            stack.append(forward)
    return stack[0] if len(stack) == 1 else layers.Stacked(stack)
