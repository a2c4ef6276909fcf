"""Models with their usual encoders, in one call that routes each option to the right part."""

import tensorflow as tf

from seqmask import models, noise


def _two_seeds(seed):
    return (None, None) if seed is None else noise.seeds(seed, 2)


def labeller(input_size, num_classes, *, dropout=0.0, seed=None, **options):
    options = {'num_layers': 2, 'bidirectional': True, **options}
    of_head = {name: options.pop(name) for name in ('targets', 'features', 'crf')
               if name in options}
    first, second = _two_seeds(seed)
    encoder = models.Encoder(input_size, dropout=dropout, seed=first, **options)
    return models.SequenceLabeller(encoder, num_classes, dropout=dropout, seed=second, **of_head)


def classifier(input_size, num_classes, *, num_layers=1, pool='last', dropout=0.0, seed=None,
               filters=(128, 256, 128), kernel_sizes=(8, 5, 3), **options):
    first, second = _two_seeds(seed)
    shared = {name: options[name] for name in ('step_dropout', 'standardizer', 'dtype')
              if name in options}
    parts = []
    if num_layers:
        parts.append(models.Encoder(input_size, num_layers=num_layers, dropout=dropout, seed=first,
                                    normalize=True, **{'cell': 'lstm', 'hidden_size': 64,
                                                       **options}))
    if filters:
        parts.append(models.ConvEncoder(input_size, filters=filters, kernel_sizes=kernel_sizes,
                                        seed=first, **shared))
    return models.SequenceClassifier(
        parts[0], num_classes, branch=parts[1] if len(parts) > 1 else None, dropout=dropout,
        pool=pool if num_layers else 'mean', seed=second)


def detector(input_size, *, network='gru', causal=True, num_layers=None, kernel_size=3,
             hidden_size=64, dropout=0.0, implementation='auto', standardizer=None,
             dtype='float32', seed=None, **options):
    first, second = _two_seeds(seed)
    shared = dict(hidden_size=hidden_size, standardizer=standardizer, dtype=dtype, seed=first)
    if network == 'conv':
        encoder = models.DilatedEncoder(input_size, num_layers=5 if num_layers is None
                                        else num_layers, kernel_size=kernel_size, causal=causal,
                                        **shared)
    else:
        encoder = models.Encoder(input_size, cell=network, bidirectional=not causal,
                                 num_layers=1 if num_layers is None else num_layers,
                                 dropout=dropout, implementation=implementation, **shared)
    return models.EventDetector(encoder, dropout=dropout, seed=second, **options)


def autoencoder(input_size, *, cell='lstm', hidden_size=64, code_size=None, num_layers=1,
                bidirectional=False, bidirectional_decoder=False, autoregressive=False, mean=None,
                dropout=0.0, step_dropout=0.0, implementation='auto', standardizer=None,
                dtype='float32', seed=None, **options):
    first, second = _two_seeds(seed)
    shared = dict(cell=cell, hidden_size=hidden_size, num_layers=num_layers, dropout=dropout,
                  implementation=implementation, dtype=dtype)
    encoder = models.Encoder(input_size, bidirectional=bidirectional, step_dropout=step_dropout,
                             standardizer=standardizer, seed=first, **shared)
    width = (code_size or encoder.output_size) + (input_size if autoregressive else 0)
    decoder = models.Encoder(width, bidirectional=bidirectional_decoder, seed=second, **shared)
    model = models.SequenceAutoencoder(encoder, decoder, code_size=code_size, dropout=dropout,
                                       autoregressive=autoregressive, seed=first, **options)
    return model if mean is None else model.start_at(tf.constant(mean, dtype))


def rating_autoencoder(num_columns, *, hidden_sizes=(64,), activation='tanh', implicit=True,
                       dtype='float32', seed=None, **options):
    first, second = _two_seeds(seed)
    encoder = models.RatingEncoder(num_columns, hidden_sizes=hidden_sizes, activation=activation,
                                   implicit=implicit, dtype=dtype, seed=first)
    return models.RatingAutoencoder(encoder, seed=second, **options)
