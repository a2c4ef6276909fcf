"""Peers in PyTorch: its layers on a packed sequence and on the padded batch."""

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from peers import layouts


def start(threads):
    torch.set_num_threads(threads)
    torch.set_num_interop_threads(1)
    return {'PyTorch': torch.__version__}


def build(peer, data, settings):
    cell = settings['cell']
    inputs, lengths, targets = (torch.from_numpy(data[name]) for name in
                                ('inputs', 'lengths', 'targets'))
    maxlen = inputs.shape[1]
    mask = torch.from_numpy(layouts.sequence_mask(data['lengths'], maxlen))
    layer = make_layer(cell, data)

    def run():
        if peer == 'pytorch_padded':
            return layer(inputs)[0]
        packed = pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(layer(packed)[0], batch_first=True, total_length=maxlen)[0]

    def forward():
        with torch.inference_mode():
            return run()

    def train():
        layer.zero_grad(set_to_none=True)
        errors = torch.where(mask[:, :, None], (run() - targets) ** 2, 0.0)
        loss = errors.mean(dim=-1).sum() / mask.sum()
        loss.backward()
        return loss

    values = layouts.named(forward()[mask].numpy(), train().detach().numpy(),
                           gradients(cell, layer))
    return {'forward': forward, 'train': train}, values, {}


def make_layer(cell, data):
    """torch.nn.LSTM or GRU with weights converted from Keras's layout: [4H, D] in the order i, f,
    g, o, or [3H, D] in the order r, z, n. PyTorch adds two biases where Keras's LSTM has one."""
    input_size, hidden_size = len(data['kernel']), len(data['recurrent_kernel'])
    make = {'lstm': torch.nn.LSTM, 'gru': torch.nn.GRU}[cell]
    layer = make(input_size, hidden_size, batch_first=True)
    bias = torch.from_numpy(layouts.reorder(cell, data['bias']))
    biases = [bias, torch.zeros_like(bias)] if cell == 'lstm' else bias
    weights = [torch.from_numpy(layouts.reorder(cell, data[name])).T for name in
               ('kernel', 'recurrent_kernel')]
    with torch.no_grad():
        for name, value in zip(('weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0'),
                               [*weights, *biases]):
            getattr(layer, name).copy_(value)
    return layer


def gradients(cell, layer):
    kernel, recurrent_kernel = (layouts.reorder(cell, weight.grad.T.numpy()) for weight in
                                (layer.weight_ih_l0, layer.weight_hh_l0))
    biases = [layer.bias_ih_l0.grad]
    if cell == 'gru':
        biases.append(layer.bias_hh_l0.grad)
    bias = layouts.reorder(cell, torch.stack(biases).numpy())
    return kernel, recurrent_kernel, bias if cell == 'gru' else bias[0]
