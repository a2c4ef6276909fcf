"""What PyTorch does with padding: the PyTorch column of README.md's table of layers, cell by cell.

PyTorch is no dependency, not even of the tests; where it is installed, these run.
"""

import numpy as np
import pytest

torch = pytest.importorskip('torch', reason='PyTorch is not installed')
nn = torch.nn
LENGTH = 3


def frames(padding):
    """[1, 5, 4], of which 3 steps are real."""
    x = np.random.default_rng(0).normal(size=[1, 5, 4]).astype('f')
    x[:, LENGTH:] = padding
    return torch.tensor(x)


def channels(padding):
    """The same as PyTorch's convolutions take it, [1, 4, 5]."""
    return frames(padding).transpose(1, 2)


@pytest.mark.parametrize('make', [nn.GRU, nn.LSTM])
def test_recurrent_layers_stop_if_packed(make):
    layer = make(4, 3, batch_first=True)
    packed = nn.utils.rnn.pack_padded_sequence(frames(7.0), [LENGTH], batch_first=True)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(
        layer(packed)[0], batch_first=True, padding_value=-1.0, total_length=5)
    assert (outputs[0, LENGTH:] == -1).all()
    again = nn.utils.rnn.pack_padded_sequence(frames(np.nan), [LENGTH], batch_first=True)
    assert torch.equal(layer(again)[0].data, layer(packed)[0].data)


def test_recurrent_layers_do_not_stop_otherwise():
    layer = nn.GRU(4, 3, batch_first=True)
    assert not torch.allclose(layer(frames(0.0))[1], layer(frames(7.0))[1])


def test_conv1d_sees_the_padding_and_its_bias_fills_it():
    layer = nn.Conv1d(4, 2, 3, padding='same')
    clean, dirty = layer(channels(0.0)), layer(channels(7.0))
    assert not torch.allclose(clean[..., 2], dirty[..., 2])
    assert torch.equal(clean[0, :, 4], layer.bias)


def test_same_convolution_is_not_strided():
    with pytest.raises(ValueError, match='strided'):
        nn.Conv1d(4, 2, 3, padding='same', stride=2)


@pytest.mark.parametrize('make', [
    lambda: nn.BatchNorm1d(4), lambda: nn.AdaptiveAvgPool1d(1), lambda: nn.AdaptiveMaxPool1d(1),
    lambda: nn.AvgPool1d(5), lambda: nn.MaxPool1d(5)])
def test_padding_counts(make):
    layer = make()
    assert not torch.allclose(layer(channels(0.0))[..., 0], layer(channels(7.0))[..., 0])


@pytest.mark.parametrize('make', [lambda: nn.LayerNorm(4), lambda: nn.Linear(4, 4)])
def test_the_bias_fills_the_padding(make):
    layer = make()
    nn.init.ones_(layer.bias)
    assert (layer(frames(0.0))[0, LENGTH:] == 1).all()


def test_activations_are_not_silent():
    assert (nn.Sigmoid()(frames(0.0))[0, LENGTH:] == 0.5).all()


def test_attention_takes_a_mask_and_gives_nan_where_nothing_is_real():
    layer = nn.MultiheadAttention(4, 1, batch_first=True)
    padded = torch.tensor([[False] * LENGTH + [True] * 2])
    clean, _ = layer(frames(0.0), frames(0.0), frames(0.0), key_padding_mask=padded)
    dirty, _ = layer(frames(7.0), frames(7.0), frames(7.0), key_padding_mask=padded)
    assert torch.allclose(clean[0, :LENGTH], dirty[0, :LENGTH], atol=1e-5)
    assert dirty[0, LENGTH:].abs().min() > 0
    nothing, _ = layer(frames(0.0), frames(0.0), frames(0.0), key_padding_mask=padded | True)
    assert nothing.isnan().all()
