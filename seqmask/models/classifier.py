"""A label for every sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from seqmask import checks, losses, noise
from seqmask.checks import TensorLike
from seqmask.layers import (GRU, LSTM, Activation, AttentionPool, BatchNorm, Bidirectional, Conv1D,
                            Dense, Dropout, LSTMState, Sequential, SqueezeExcite, Stacked, max_pool,
                            mean_pool)
from seqmask.metrics import Accuracy
from seqmask.operands import rounded
from seqmask.tally import Tally

CELLS = {'gru': GRU, 'lstm': LSTM}
POOLS = ('last', 'mean', 'max', 'attention')


class SequenceClassifier(tf.Module):
    """Recurrent layers, pooled, beside masked convolutions, and one logit a class.

    The convolutional branch is three times `Conv1D`, `BatchNorm` and relu, the first two followed
    by `SqueezeExcite`, and an average over time; with it and one LSTM this is the MLSTM-FCN of
    Karim et al., each layer of which knows where a sequence ends. A `BatchNorm` stands first.

    Args:
      input_size: D.
      num_classes: K.
      cell: 'gru' or 'lstm'.
      hidden_size: H of each recurrent layer and direction.
      num_layers: Recurrent layers; 0 for the convolutions alone.
      bidirectional: Whether each recurrent layer runs in both directions.
      pool: What becomes of the recurrent outputs: 'last', each direction's output after its last
        step, 'mean', 'max' or 'attention'.
      filters: Width of each convolution; () for recurrent layers alone.
      kernel_sizes: Steps in the window of each convolution.
      dropout: Share of the features dropped in training below each recurrent layer but the first,
        the same at all steps, and below the logits.
      step_dropout: Share of the steps whose input is dropped in training as a whole.
      implementation: As of `GRU` and `LSTM`.
      standardizer: Called first, as (inputs, lengths), such as a `data.Standardizer` or
        `data.standardize_sequences`; None for none. What it holds is saved with the model.
      dtype: Of weights, inputs and logits; float32 inputs are rounded to bfloat16 or float16.
      seed: int; the same seed gives the same weights and the same dropout.

    Raises:
      ValueError: If there are neither recurrent layers nor convolutions, or an option does not fit.

    Source: Karim, Majumdar, Darabi, Harford. Multivariate LSTM-FCNs for time series classification.
      Neural Networks, 2019.

    >>> model = seqmask.models.SequenceClassifier(
    ...     input_size=4, num_classes=3, hidden_size=5, filters=[6, 7, 8], seed=0)
    >>> model(tf.ones([2, 6, 4]), tf.constant([6, 2])).shape
    TensorShape([2, 3])
    """

    def __init__(self, input_size: int, num_classes: int, *, cell: str = 'lstm',
                 hidden_size: int = 64, num_layers: int = 1, bidirectional: bool = False,
                 pool: str = 'last', filters: Sequence[int] = (128, 256, 128),
                 kernel_sizes: Sequence[int] = (8, 5, 3), dropout: float = 0.0,
                 step_dropout: float = 0.0, implementation: str = 'auto',
                 standardizer: Callable[..., tf.Tensor] | None = None,
                 dtype: str | tf.DType = 'float32', seed: int | None = None,
                 name: str | None = None):
        super().__init__(name=name)
        checks.choice('cell', cell, tuple(CELLS))
        self.pool = checks.choice('pool', pool, POOLS)
        self.input_size = checks.size('input_size', input_size)
        checks.size('num_classes', num_classes)
        checks.size('num_layers', num_layers, minimum=0)
        if len(filters) != len(kernel_sizes) and filters:
            raise ValueError(f'filters and kernel_sizes must be as many, got {len(filters)} and '
                             f'{len(kernel_sizes)}.')
        if not num_layers and not filters:
            raise ValueError('a classifier needs num_layers > 0 or filters, got neither.')
        checks.fraction('step_dropout', step_dropout)
        seeds = iter(noise.seeds(seed, 2 * num_layers + 2 * len(filters) + 4))
        self.standardizer = standardizer
        self.dtype = checks.float_dtype('dtype', dtype)
        self.normalize = BatchNorm(input_size, dtype=dtype)
        self.step_dropout = Dropout(step_dropout, per='step', seed=next(seeds))
        width = 0
        self.recurrent = None
        if num_layers:
            width = hidden_size * (2 if bidirectional else 1)

            def one_direction(index):
                return CELLS[cell](width if index else input_size, hidden_size,
                                   dropout=dropout if index else 0.0, dtype=dtype,
                                   implementation=implementation, seed=next(seeds))

            self.recurrent = Stacked([
                Bidirectional(one_direction(index), one_direction(index)) if bidirectional
                else one_direction(index) for index in range(num_layers)])
            self.attention = (AttentionPool(width, hidden_size, dtype=dtype, seed=next(seeds))
                              if pool == 'attention' else None)
        self.convolutions = None
        if filters:
            layers, below = [], input_size
            for index, (size, kernel_size) in enumerate(zip(filters, kernel_sizes)):
                layers += [Conv1D(below, size, kernel_size, dtype=dtype, seed=next(seeds)),
                           BatchNorm(size, dtype=dtype), Activation('relu')]
                if index < len(filters) - 1:
                    layers.append(SqueezeExcite(size, dtype=dtype, seed=next(seeds)))
                below = size
            self.convolutions = Sequential(layers)
            width += below
        self.dropout = Dropout(dropout, seed=next(seeds))
        self.to_logits = Dense(width, num_classes, dtype=dtype, seed=next(seeds))

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Labels each sequence.

        Args:
          inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.
          training: Whether dropout applies, and batch norm takes the batch's statistics.

        Returns:
          Logits, float [B, K].

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T.
        """
        if self.standardizer is not None:
            inputs = self.standardizer(inputs, lengths)
        inputs = rounded(inputs, self.dtype)
        inputs = self.normalize(inputs, lengths, training=training)
        inputs = self.step_dropout(inputs, lengths, training=training)
        pooled = []
        if self.recurrent is not None:
            outputs, states = self.recurrent(inputs, lengths, training=training)
            pooled.append(self._pool(outputs, lengths, states[-1]))
        if self.convolutions is not None:
            pooled.append(mean_pool(*self.convolutions(inputs, lengths, training=training)))
        return self.to_logits(self.dropout(tf.concat(pooled, axis=-1), training=training))

    def _pool(self, outputs, lengths, state):
        if self.pool == 'last':
            return _output_of(state)
        if self.pool == 'attention':
            return self.attention(outputs, lengths)
        return {'mean': mean_pool, 'max': max_pool}[self.pool](outputs, lengths)

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """Cross-entropy per sequence, as `training.Trainer` takes it: `SequenceClassifier.loss`.

        Args:
          batch: dict with 'inputs' [B, T, D], 'lengths' [B], 'labels' int [B].
          training: As of a call.

        Returns:
          `seqmask.Tally`, in nats. A sequence without steps does not count.
        """
        return losses.sparse_softmax_cross_entropy(**_scored(
            self(batch['inputs'], batch['lengths'], training=training), batch))

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """What `training.Trainer` measures: `SequenceClassifier.measure`.

        Args:
          batch: As `loss` takes it.

        Returns:
          dict of `seqmask.Tally`: 'loss' and 'accuracy', of sequences.
        """
        scored = _scored(self(batch['inputs'], batch['lengths']), batch)
        return {'loss': losses.sparse_softmax_cross_entropy(**scored),
                'accuracy': Accuracy.tally(**scored)}


def _output_of(state):
    """The output that a state holds: after the last step, of each direction."""
    if isinstance(state, LSTMState):
        return state.hidden
    return tf.concat([_output_of(s) for s in state], axis=-1) if isinstance(state, tuple) else state


def _scored(logits, batch):
    return {'logits': logits, 'labels': batch['labels'], 'mask': batch['lengths'] > 0}
