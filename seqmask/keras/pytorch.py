"""PyTorch's weights in seqmask's layers: gates in their order, both biases."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from seqmask import layers

GATES = {4: [0, 1, 2, 3], 3: [1, 0, 2]}     # LSTM: i, f, g, o in both; GRU: r, z, n there; z, r, g
NORM = {'momentum': 0.9, 'epsilon': 1e-5}   # PyTorch's defaults, which its state_dict lacks


def from_pytorch(state_dict: dict[str, np.ndarray], **options) -> tf.Module:
    """The seqmask layer that computes what a PyTorch layer does, with the same weights.

    PyTorch's LSTM and GRU add two biases; those of an LSTM become their sum, those of a GRU stay
    two (`reset_after=True`). Weights are [out, in] there, and [in, out] here.

    Args:
      state_dict: dict of names to NumPy arrays, of one layer: `{name: value.numpy() for name, value
        in layer.state_dict().items()}`. LSTM and GRU (any number of layers, one or two directions,
        with or without bias; no projections), Linear, Conv1d, BatchNorm1d.
      **options: What a state_dict does not tell, as of `Conv1D` (strides, padding, dilation,
        groups), `BatchNorm` (momentum, 1 minus PyTorch's; epsilon) or `LSTM` and `GRU` (dropout).
        By default they are PyTorch's: padding 'valid', momentum 0.9, epsilon 1e-5.

    Returns:
      `LSTM` or `GRU`, in a `Bidirectional` for two directions, in a `Stacked` for several layers;
      `Dense`, `Conv1D` or `BatchNorm`.

    Raises:
      ValueError: If these are not the weights of one such layer.

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
        return _assigned(norm, gamma=weights.get('weight'), beta=weights.get('bias'),
                         moving_mean=weights['running_mean'],
                         moving_variance=weights['running_var'], averaged=1 / (1 - norm.momentum))
    rank = weights['weight'].ndim if 'weight' in weights else 0
    if rank == 2:
        kernel = weights['weight'].T
        return _assigned(layers.Dense(*kernel.shape, **options), kernel=kernel,
                         bias=weights.get('bias'))
    if rank == 3:
        kernel = weights['weight'].transpose([2, 1, 0])
        conv = layers.Conv1D(kernel.shape[1] * options.get('groups', 1), kernel.shape[2],
                             kernel.shape[0], **{'padding': 'valid', **options})
        return _assigned(conv, kernel=kernel, bias=weights.get('bias'))
    raise ValueError(f'state_dict must be that of one LSTM, GRU, Linear, Conv1d or BatchNorm1d, '
                     f'got the names {", ".join(weights)}.')


def _recurrent(weights, options):
    if any('weight_hr' in name for name in weights):
        raise ValueError('an LSTM with projections has no counterpart here: proj_size must be 0.')

    def one(layer, suffix):
        kernel, recurrent = (weights[f'weight_{name}_l{layer}{suffix}'] for name in ('ih', 'hh'))
        size = recurrent.shape[1]
        order = GATES.get(recurrent.shape[0] // size)
        if order is None:
            raise ValueError(f'weight_hh_l{layer} must be [4 H, H] of an LSTM or [3 H, H] of a '
                             f'GRU, got {recurrent.shape}.')
        places = np.concatenate([gate * size + np.arange(size) for gate in order])
        biases = [weights.get(f'bias_{name}_l{layer}{suffix}', np.zeros(len(order) * size))[places]
                  for name in ('ih', 'hh')]
        is_lstm = len(order) == 4
        ours = (layers.LSTM if is_lstm else layers.GRU)(kernel.shape[1], size, **options)
        return _assigned(ours, kernel=kernel[places].T, recurrent_kernel=recurrent[places].T,
                         bias=biases[0] + biases[1] if is_lstm else np.stack(biases))

    stack = []
    while f'weight_hh_l{len(stack)}' in weights:
        layer = len(stack)
        forward = one(layer, '')
        both = f'weight_hh_l{layer}_reverse' in weights
        stack.append(layers.Bidirectional(forward, one(layer, '_reverse')) if both else forward)
    return stack[0] if len(stack) == 1 else layers.Stacked(stack)


def _assigned(layer, **values):
    for name, value in values.items():
        if value is not None:
            getattr(layer, name).assign(tf.cast(value, getattr(layer, name).dtype))
    return layer
