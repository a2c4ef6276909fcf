"""Recurrences that visit real steps only.

`cells` holds one step of each cell, forward and backward, in the notation of its equations; `graph`
runs a cell over time in TensorFlow operations; `native` runs it in C++ (`cpp/`), and `network` runs
whole models step by step there. `build` compiles it on first use, or `python -m seqmask.kernels`
ahead of time.
"""

from seqmask.kernels import native
from seqmask.kernels.cells import GRU_RESET_AFTER, GRU_RESET_BEFORE, LSTM, Cell
from seqmask.kernels.graph import (Packing, Padding, fixed_shapes, inside_export,
                                   inside_forward_mode, inside_pfor, inside_xla, recur)
from seqmask.kernels.network import Network, Stage, stages_of

__all__ = ['Cell', 'GRU_RESET_AFTER', 'GRU_RESET_BEFORE', 'LSTM', 'Network', 'Packing', 'Padding',
           'Stage', 'fixed_shapes', 'inside_export', 'inside_forward_mode', 'inside_pfor',
           'inside_xla', 'native', 'recur', 'stages_of']
