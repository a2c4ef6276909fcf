"""Layers: one idea a module."""

from seqmask.layers.dense import Dense
from seqmask.layers.dropout import Dropout
from seqmask.layers.recurrent import GRU, LSTM, LSTMState, reset_rows
from seqmask.layers.stacked import Bidirectional, Stacked
from seqmask.layers.unroll import unroll

__all__ = ['Bidirectional', 'Dense', 'Dropout', 'GRU', 'LSTM', 'LSTMState', 'Stacked', 'reset_rows',
           'unroll']
