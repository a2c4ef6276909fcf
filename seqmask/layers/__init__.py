"""Layers: one idea per module."""

from seqmask.layers.activation import Activation
from seqmask.layers.attention import AttentionPool, SelfAttention
from seqmask.layers.convolution import Conv1D
from seqmask.layers.crf import CRF, Constraints, bio_constraints
from seqmask.layers.cross_attention import Attention, AttentionMemory
from seqmask.layers.dense import Dense
from seqmask.layers.dropout import Dropout
from seqmask.layers.embedding import Embedding
from seqmask.layers.excitation import SqueezeExcite
from seqmask.layers.gru import GRU
from seqmask.layers.lstm import LSTM
from seqmask.layers.mgu import MGU
from seqmask.layers.normalization import BatchNorm, LayerNorm
from seqmask.layers.pooling import average_pool1d, max_pool, max_pool1d, mean_pool
from seqmask.layers.recurrent import LSTMState
from seqmask.layers.sequential import Residual, Sequential
from seqmask.layers.stacked import Bidirectional, Stacked
from seqmask.layers.unroll import reset_rows, unroll

__all__ = [
    'Activation', 'Attention', 'AttentionMemory', 'AttentionPool', 'BatchNorm', 'Bidirectional',
    'CRF', 'Constraints', 'Conv1D', 'Dense', 'Dropout', 'Embedding', 'GRU', 'LSTM', 'LSTMState',
    'LayerNorm', 'MGU', 'Residual', 'SelfAttention', 'Sequential', 'SqueezeExcite', 'Stacked',
    'average_pool1d', 'bio_constraints', 'max_pool', 'max_pool1d', 'mean_pool', 'reset_rows',
    'unroll',
]
