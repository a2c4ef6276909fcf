"""Every recurrent layer, by the name of its cell, for tests that apply to all of them."""

import pytest

import seqmask

MAKERS = {
    'gru': seqmask.GRU,
    'gru reset before': lambda *args, **k: seqmask.GRU(*args, reset_after=False, **k),
    'lstm': seqmask.LSTM,
    'mgu': seqmask.MGU,
}
every_cell = pytest.mark.parametrize('make', MAKERS.values(), ids=MAKERS)


def num_gates(make):
    """G, of the weights [D, G H]."""
    return make(1, 1).kernel.shape[-1]
