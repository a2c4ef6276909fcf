"""A label for every step."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, data, known, losses, noise
from seqmask.checks import TensorLike
from seqmask.layers import (GRU, LSTM, Activation, BatchNorm, Bidirectional, Conv1D, Dense, Dropout,
                            Sequential, Stacked)
from seqmask.lengths import sequence_mask
from seqmask.metrics import Accuracy, ErrorRate, SequenceAccuracy
from seqmask.operands import rounded
from seqmask.tally import Tally

CELLS = {'gru': GRU, 'lstm': LSTM}


class SequenceLabeller(tf.Module):
    """Recurrent layers, one above the other, and a linear map to one logit a class at every step.

    Args:
      input_size: D.
      num_classes: K.
      cell: 'gru' or 'lstm'.
      hidden_size: H of each layer and direction.
      num_layers: Recurrent layers.
      bidirectional: Whether each layer runs in both directions.
      filters: Width of a convolution below the recurrent layers, with batch norm and relu; 0 for
        none.
      kernel_size: Steps in the window of that convolution.
      dropout: Share of the features dropped in training, the same at all steps of a sequence, below
        the linear map and below each recurrent layer but the first.
      input_dropout: Share of the input features dropped in training, the same at all steps.
      step_dropout: Share of the steps whose input is dropped in training as a whole, so that the
        model learns to label a step from those around it.
      recurrent_dropout: Share of the hidden units dropped inside the recurrence in training.
      implementation: As of `GRU` and `LSTM`.
      standardizer: Called first, as (inputs, lengths), such as a `data.Standardizer` or
        `data.standardize_sequences`; by `step` as ([B, D], None). None for none. What it holds is
        saved with the model.
      dtype: Of weights, inputs and logits; float32 inputs are rounded to bfloat16 or float16.
      seed: int; the same seed gives the same weights and the same dropout.

    >>> model = seqmask.models.SequenceLabeller(input_size=4, num_classes=3, hidden_size=5, seed=0)
    >>> logits = model(tf.ones([2, 6, 4]), tf.constant([6, 2]))
    >>> logits.shape, bool(tf.reduce_all(logits[1, 2:] == 0))
    (TensorShape([2, 6, 3]), True)
    """

    def __init__(self, input_size: int, num_classes: int, *, cell: str = 'gru',
                 hidden_size: int = 128, num_layers: int = 2, bidirectional: bool = True,
                 filters: int = 0, kernel_size: int = 3, dropout: float = 0.0,
                 input_dropout: float = 0.0, step_dropout: float = 0.0,
                 recurrent_dropout: float = 0.0, implementation: str = 'auto',
                 standardizer: Callable[..., tf.Tensor] | None = None,
                 dtype: str | tf.DType = 'float32', seed: int | None = None,
                 name: str | None = None):
        super().__init__(name=name)
        layer = CELLS[checks.choice('cell', cell, tuple(CELLS))]
        self.input_size = checks.size('input_size', input_size)
        checks.size('num_layers', num_layers)
        checks.size('num_classes', num_classes)
        checks.fraction('input_dropout', input_dropout)
        checks.fraction('step_dropout', step_dropout)
        checks.size('filters', filters, minimum=0)
        below = filters or input_size
        width = hidden_size * (2 if bidirectional else 1)
        seeds = iter(noise.seeds(seed, 2 * num_layers + 4))

        def one_direction(index):
            return layer(width if index else below, hidden_size,
                         dropout=dropout if index else input_dropout,
                         recurrent_dropout=recurrent_dropout, implementation=implementation,
                         dtype=dtype, seed=next(seeds))

        def one_layer(index):
            forward = one_direction(index)
            return Bidirectional(forward, one_direction(index)) if bidirectional else forward

        self._goes_on = not (bidirectional or filters
                             or standardizer is data.standardize_sequences)
        self.standardizer = standardizer
        self.dtype = checks.float_dtype('dtype', dtype)
        self.step_dropout = Dropout(step_dropout, per='step', seed=next(seeds))
        self.recurrent = Stacked([one_layer(index) for index in range(num_layers)])
        self.dropout = Dropout(dropout, per='sequence', seed=next(seeds))
        self.to_logits = Dense(width, num_classes, dtype=dtype, seed=next(seeds))
        self.convolution = None if not filters else Sequential([
            Conv1D(input_size, filters, kernel_size, dtype=dtype, seed=next(seeds)),
            BatchNorm(filters, dtype=dtype), Activation('relu')])

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Labels the real steps.

        Args:
          inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.
          training: Whether dropout applies.

        Returns:
          Logits, float [B, T, K], 0 at padded steps.

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T.
        """
        return self._run(inputs, lengths, None, training)[0]

    def _run(self, inputs, lengths, state, training):
        if self.standardizer is not None:
            inputs = self.standardizer(inputs, lengths)
        inputs = rounded(inputs, self.dtype)
        inputs = self.step_dropout(inputs, lengths, training=training)
        if self.convolution is not None:
            inputs, _ = self.convolution(inputs, lengths, training=training)
        outputs, state = self.recurrent(inputs, lengths, state, training=training)
        outputs = self.dropout(outputs, lengths, training=training)
        return self.to_logits(outputs, lengths), state

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """Cross-entropy per real step, as `training.Trainer` takes it: `SequenceLabeller.loss`.

        Args:
          batch: dict with 'inputs' [B, T, D], 'lengths' [B], 'labels' int [B, T].
          training: Whether dropout applies.

        Returns:
          `seqmask.Tally`, in nats.
        """
        logits = self(batch['inputs'], batch['lengths'], training=training)
        return losses.sparse_softmax_cross_entropy(**_scored(logits, batch))

    def initial_state(self, batch: int | tf.Tensor) -> tuple:
        """The state before the first step of `batch` sequences, for `step`, `chunk_loss`: zeros.

        Raises:
          ValueError: If the model sees steps to come, so that no state holds all it knows.
        """
        if not self._goes_on:
            raise ValueError('a model that goes through a sequence step by step or chunk by chunk '
                             'sees no steps to come: bidirectional must be False, filters 0 and '
                             'standardizer none that sees sequences whole.')
        return self.recurrent.initial_state(batch)

    def step(self, x_t: TensorLike, state: tuple) -> tuple[tf.Tensor, tuple]:
        """One step of a stream; step by step equals the whole call.

        Args:
          x_t: float [B, D].
          state: `initial_state(batch)`, or as the last step returned it.

        Returns:
          (logits float [B, K], state).

        Raises:
          ValueError: If the model sees steps to come, or its standardizer does, or a size does not
            fit.
          TypeError: If a dtype does not fit.
        """
        self.initial_state(1)           # refuses what sees steps to come
        x_t = checks.floating('x_t', x_t, 'B, D')
        if self.standardizer is not None:
            x_t = self.standardizer(x_t, None)
        output, state = self.recurrent.step(rounded(x_t, self.dtype), state)
        return self.to_logits(output), state

    def chunk_loss(self, batch: dict[str, tf.Tensor], state: tuple,
                   training: bool) -> tuple[Tally, tuple]:
        """`loss` of the next chunk of each sequence, as `training.ChunkLoss` takes it.

        Args:
          batch: As `loss` takes it.
          state: As `initial_state`, or as the chunk before returned it.
          training: Whether dropout applies.

        Returns:
          (`seqmask.Tally`, in nats; the state after the chunk).
        """
        logits, state = self._run(batch['inputs'], batch['lengths'], state, training)
        return losses.sparse_softmax_cross_entropy(**_scored(logits, batch)), state

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """What `training.Trainer` measures: `SequenceLabeller.measure`.

        Args:
          batch: As `loss` takes it.

        Returns:
          dict of `seqmask.Tally`: 'loss'; 'accuracy', of steps; 'sequence_error', the share of
          wrong steps of a sequence, averaged over sequences; 'sequence_accuracy', of sequences
          without a wrong step.
        """
        scored = _scored(self(batch['inputs'], batch['lengths']), batch)
        return {'loss': losses.sparse_softmax_cross_entropy(**scored),
                'accuracy': Accuracy.tally(**scored),
                'sequence_error': ErrorRate.tally(**scored, per='sequence'),
                'sequence_accuracy': SequenceAccuracy.tally(**scored)}


def _scored(logits, batch):
    mask = sequence_mask(batch['lengths'], known.sizes(logits)[1])
    return {'logits': logits, 'labels': batch['labels'], 'mask': mask}
