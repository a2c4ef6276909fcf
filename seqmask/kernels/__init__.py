"""Recurrences that visit real steps only.

`cells` holds one step of each cell, forward and backward, in the letters of its equations; `graph`
runs a cell over time in TensorFlow operations.
"""

from seqmask.kernels.cells import GRU_RESET_AFTER, GRU_RESET_BEFORE, LSTM, Cell
from seqmask.kernels.graph import Packing, Padding, inside_xla, recur

__all__ = ['Cell', 'GRU_RESET_AFTER', 'GRU_RESET_BEFORE', 'LSTM', 'Packing', 'Padding',
           'inside_xla', 'recur']
