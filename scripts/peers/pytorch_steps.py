"""One step at a time in PyTorch: LSTMCell and GRUCell."""

import torch

from peers import layouts
from peers.pytorch_layers import start  # noqa: F401


def build(peer, data, settings):
    cell = settings['cell']
    steps = list(torch.from_numpy(data['inputs']))
    zeros = torch.zeros(len(steps[0]), len(data['recurrent_kernel']))
    layer = make_cell(cell, data)

    @torch.inference_mode()
    def run():
        state = (zeros, zeros) if cell == 'lstm' else zeros
        for x_t in steps:
            state = layer(x_t, state)
        return state[0] if cell == 'lstm' else state

    return {'step': run}, {'outputs': run().numpy()}, {}


def make_cell(cell, data):
    """As `pytorch_layers.make_layer`."""
    make = {'lstm': torch.nn.LSTMCell, 'gru': torch.nn.GRUCell}[cell]
    layer = make(len(data['kernel']), len(data['recurrent_kernel']))
    kernel, recurrent_kernel, bias = (torch.from_numpy(layouts.reorder(cell, data[name])) for name
                                      in ('kernel', 'recurrent_kernel', 'bias'))
    with torch.no_grad():
        layer.weight_ih.copy_(kernel.T)
        layer.weight_hh.copy_(recurrent_kernel.T)
        layer.bias_ih.copy_(bias if cell == 'lstm' else bias[0])
        layer.bias_hh.copy_(torch.zeros_like(bias) if cell == 'lstm' else bias[1])
    return layer
