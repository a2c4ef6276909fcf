"""Peers that train for whole epochs: seqmask's Trainer, and Keras's Model.fit on the same network,
with Keras's layers and with those of seqmask.keras.

The network is a labeller: recurrent layers, a linear map of each step, cross-entropy, Adam. In
Keras it starts with a Masking layer, which the other layers and the loss follow.
"""

import functools

import tensorflow as tf

import seqmask
from peers.tensorflow_layers import start
from seqmask import data as sequence_data

__all__ = ['build', 'start']        # called by a worker

BUCKETS = 8
LEARNING_RATE = 1e-3


def build(peer, data, settings):
    weights = [data[f'weight_{i}'] for i in range(settings['weights'])]
    sequences = sequence_data.Sequences(data['frames'], data['lengths'],
                                        steps={'labels': data['labels']})
    batches = sequence_data.Batches(
        sequences, settings['batch_size'], shuffle=True, seed=0,
        bucket_boundaries=BUCKETS if peer == 'seqmask_buckets' else None)
    first = next(iter(sequence_data.Batches(sequences, settings['batch_size'])))
    train = {'keras_fit': functools.partial(fit_keras, tf.keras.layers),
             'seqmask_in_keras_fit': functools.partial(fit_keras, seqmask.keras)
             }.get(peer, fit_ours)
    epoch, logits, loss = train(sequences, batches, first, int(data['classes']), weights, settings)
    real = tf.sequence_mask(first['lengths'])
    values = {'logits': logits[real].numpy(), 'loss': float(loss)}
    return {'epoch': epoch}, values, {'padding': batches.padding_share(0)}


def fit_ours(sequences, batches, first, classes, weights, settings):
    """(function that trains an epoch with `Trainer.fit`; logits and loss of the first batch)."""
    encoder = seqmask.models.Encoder(
        sequences.frames.shape[1], seed=0,
        **{name: settings[name] for name in
           ('cell', 'hidden_size', 'num_layers', 'bidirectional', 'implementation')})
    model = seqmask.models.SequenceLabeller(encoder, classes, seed=0)
    variables = [variable for layer in encoder.recurrent.layers for direction in
                 ([layer.forward, layer.backward] if settings['bidirectional'] else [layer])
                 for variable in (direction.kernel, direction.recurrent_kernel, direction.bias)]
    variables += [model.to_logits.kernel, model.to_logits.bias]
    for variable, value in zip(variables, weights):
        variable.assign(value)
    loss = seqmask.models.SequenceLabeller.loss
    trainer = seqmask.training.Trainer(
        model, loss, tf.keras.optimizers.Adam(LEARNING_RATE), progress=False)
    finished = iter(range(1, 10**9))

    def epoch():
        trainer.fit(batches, epochs=next(finished))

    logits = model(first['inputs'], first['lengths'])
    return epoch, logits, loss(model, first, training=False).mean()


def fit_keras(module, sequences, batches, first, classes, weights, settings):
    """The same with `keras.Model.fit`; the recurrent layers come from `module`."""
    layers = tf.keras.layers
    make = {'lstm': module.LSTM, 'gru': module.GRU}[settings['cell']]
    recurrent = [make(settings['hidden_size'], return_sequences=True)
                 for _ in range(settings['num_layers'])]
    if settings['bidirectional']:
        recurrent = [module.Bidirectional(layer) for layer in recurrent]
    model = tf.keras.Sequential([
        layers.Input([None, sequences.frames.shape[1]]), layers.Masking(), *recurrent,
        layers.Dense(classes)])
    model.set_weights(weights)
    model.compile(tf.keras.optimizers.Adam(LEARNING_RATE),
                  tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  jit_compile=False)        # the default on a CPU
    numbers = iter(range(10**9))

    def epoch():
        pairs = batches.at_epoch(next(numbers)).map(lambda b: (b['inputs'], b['labels']))
        model.fit(pairs, epochs=1, verbose=0)

    logits = model(first['inputs'])
    return epoch, logits, model.test_on_batch(first['inputs'], first['labels'])
