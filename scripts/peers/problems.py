"""The problems: data and weights, as dicts of arrays, the same for all peers."""

import numpy as np

from seqmask import data, datasets

SPREAD = 0.6        # standard deviation of the logarithm of lengths
CLASSES = 10        # of generated sequences


def draw_lengths(count, maxlen, fill, rng):
    """Log-normal lengths of 1 to maxlen, int32 [count], with a mean of fill * maxlen."""
    drawn = np.exp(SPREAD * rng.normal(size=count))

    def lengths(scale):
        return np.clip(np.round(scale * drawn), 1, maxlen)

    low, high = 0.0, 1e3 * maxlen
    for _ in range(100):
        scale = (low + high) / 2
        enough = lengths(scale).mean() >= fill * maxlen
        low, high = (low, scale) if enough else (scale, high)
    return lengths(high).astype(np.int32)


def layer_problem(cell, batch_size, maxlen, input_size, hidden_size, fill):
    """A padded batch, targets for each step, and weights in Keras's layout."""
    rng = np.random.default_rng(0)
    lengths = draw_lengths(batch_size, maxlen, fill, rng)
    kernel, recurrent_kernel, bias = weights_of(cell, input_size, hidden_size, rng)
    return {
        'inputs': normal(rng, batch_size, maxlen, input_size), 'lengths': lengths,
        'targets': normal(rng, batch_size, maxlen, hidden_size),
        'kernel': kernel, 'recurrent_kernel': recurrent_kernel, 'bias': bias,
    }


def step_problem(cell, batch_size, steps, input_size, hidden_size):
    """Steps one after the other, [steps, B, D], and weights as of `layer_problem`."""
    rng = np.random.default_rng(0)
    kernel, recurrent_kernel, bias = weights_of(cell, input_size, hidden_size, rng)
    return {'inputs': normal(rng, steps, batch_size, input_size),
            'kernel': kernel, 'recurrent_kernel': recurrent_kernel, 'bias': bias}


def weights_of(cell, input_size, hidden_size, rng):
    """kernel, recurrent_kernel and bias in Keras's layout; biases are not 0, to be compared too."""
    width = {'lstm': 4, 'gru': 3}[cell] * hidden_size
    bias = 0.1 * normal(rng, *([width] if cell == 'lstm' else [2, width]))
    if cell == 'lstm':
        bias[hidden_size:2 * hidden_size] += 1
    return [normal(rng, input_size, width) / np.float32(np.sqrt(input_size)),
            normal(rng, hidden_size, width) / np.float32(np.sqrt(4 * hidden_size)), bias]


def sequences_problem(source, limit, batch_size, maxlen, input_size, fill):
    """Labelled sequences, their frames concatenated.

    Args:
      source: 'handwriting' or 'log-normal'.
      limit: int. Number of sequences; 0 for all, or for 20 batches of generated ones.
    """
    rng = np.random.default_rng(0)
    if source == 'handwriting':
        letters = datasets.ocr_letters()
        sequences = data.Sequences(letters['frames'], letters['lengths'],
                                   steps={'labels': letters['labels']})
        if limit:       # a random sample: equal words are adjacent
            sequences = sequences.select(rng.permutation(len(sequences))[:limit])
        return {'frames': sequences.frames, 'lengths': sequences.lengths,
                'labels': sequences.steps['labels'], 'classes': np.array(26)}
    lengths = draw_lengths(limit or 20 * batch_size, maxlen, fill, rng)
    labels = rng.integers(0, CLASSES, size=lengths.sum()).astype(np.int32)
    return {'frames': normal(rng, len(labels), input_size), 'lengths': lengths, 'labels': labels,
            'classes': np.array(CLASSES)}


def labeller_weights(cell, input_size, hidden_size, num_layers, bidirectional, classes):
    """Weights of the recurrent layers, bottom up, forward before backward, then the linear map."""
    rng = np.random.default_rng(1)
    directions = 2 if bidirectional else 1
    weights, below = [], input_size
    for _ in range(num_layers):
        for _ in range(directions):
            weights += weights_of(cell, below, hidden_size, rng)
        below = directions * hidden_size
    return [*weights, normal(rng, below, classes) / np.float32(np.sqrt(below)),
            normal(rng, classes)]


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)
