"""Sequences of different lengths in one batch, in plain TensorFlow.

Every operation that takes `lengths` or `mask` equals running each sequence alone, without padding,
and padding the results with zeros; so do its gradients.

In all shapes: B sequences, T padded time steps, D features, H hidden units, K classes.
"""

from seqmask import data, datasets, losses, metrics, models, training
from seqmask.layers import (GRU, LSTM, Activation, AttentionPool, BatchNorm, Bidirectional, Conv1D,
                            Dense, Dropout, LayerNorm, LSTMState, Residual, SelfAttention,
                            Sequential, SqueezeExcite, Stacked, average_pool1d, masked_softmax,
                            max_pool, max_pool1d, mean_pool, reset_rows, unroll)
from seqmask.lengths import (count_used_frames, lengths_from_features, lengths_from_mask,
                             move_padding_right, sequence_mask)
from seqmask.masking import (apply_mask, concat_time, crop, from_ragged, last_relevant,
                             mask_gradient, repeat, reverse, to_ragged)
from seqmask.packing import Packed, pack, unpack
from seqmask.tally import Tally
from seqmask.version import __version__

__all__ = [
    'Activation', 'AttentionPool', 'BatchNorm', 'Bidirectional', 'Conv1D', 'Dense', 'Dropout',
    'GRU', 'LSTM', 'LSTMState', 'LayerNorm', 'Packed', 'Residual', 'SelfAttention', 'Sequential',
    'SqueezeExcite', 'Stacked', 'Tally', '__version__', 'apply_mask', 'average_pool1d',
    'concat_time', 'count_used_frames', 'crop', 'data', 'datasets', 'from_ragged', 'last_relevant',
    'lengths_from_features', 'lengths_from_mask', 'losses', 'mask_gradient', 'masked_softmax',
    'max_pool', 'max_pool1d', 'mean_pool', 'metrics', 'models', 'move_padding_right', 'pack',
    'repeat', 'reset_rows', 'reverse', 'sequence_mask', 'to_ragged', 'training', 'unpack', 'unroll',
]
