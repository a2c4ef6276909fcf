"""The encoder of most models: recurrent layers, and the preprocessing below them."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, data, kernels, noise
from seqmask.checks import TensorLike
from seqmask.layers import (GRU, LSTM, MGU, Activation, BatchNorm, Bidirectional, Conv1D, Dropout,
                            LSTMState, Sequential, Stacked)
from seqmask.models.sequence_encoder import SequenceEncoder
from seqmask.models.tokens import TokenEmbedding, width_of

CELLS = {'gru': GRU, 'lstm': LSTM, 'mgu': MGU}


class Encoder(SequenceEncoder):
    """A stack of recurrent layers, in one or both directions.

    standardizer or embedding -> batch norm, if `normalize` -> dropout of steps -> convolution with
    batch norm and relu, if `filters` -> recurrent layers

    Args:
      input_size: D; with an embedding that is its width, and may be left out.
      cell: 'gru', 'lstm' or 'mgu'.
      hidden_size: H of each layer and direction.
      num_layers: Number of recurrent layers.
      bidirectional: Whether each layer runs in both directions; then outputs are 2 H wide.
      normalize: Whether to apply a `BatchNorm` to the inputs first.
      filters: Width of a convolution below the recurrent layers; 0 for none.
      kernel_size: Window of that convolution, in steps.
      dropout: Share of the features dropped in training below each recurrent layer but the first,
        with one mask per sequence.
      input_dropout: The same below the first one.
      step_dropout: Share of the steps whose whole input is dropped in training, so that the model
        learns to infer a step from its neighbors.
      recurrent_dropout: Share of the hidden units dropped inside the recurrence in training.
      implementation: As of `GRU` and `LSTM`.
      standardizer: Function of (inputs, lengths), applied first, such as a `data.Standardizer` or
        `data.standardize_sequences`; `step` calls it with ([B, D], None). None for none. Its
        variables are saved with the model.
      embedding: `TokenEmbedding`, applied first, so that inputs are tokens [B, T]; None for none.
      dtype: Of weights, inputs and outputs; float32 inputs are rounded to bfloat16, or to float16,
        whose largest number is 65,504.
      seed: int; the same seed gives the same weights and the same dropout.

    Raises:
      ValueError: If an option does not fit.

    >>> encoder = seqmask.models.Encoder(input_size=4, hidden_size=5, bidirectional=True, seed=0)
    >>> outputs = encoder(tf.ones([2, 6, 4]), tf.constant([6, 2]))
    >>> outputs.shape, bool(tf.reduce_all(outputs[1, 2:] == 0)), encoder.streams()
    (TensorShape([2, 6, 10]), True, False)
    """

    def __init__(self, input_size: int | None = None, *, cell: str = 'gru', hidden_size: int = 128,
                 num_layers: int = 1, bidirectional: bool = False, normalize: bool = False,
                 filters: int = 0, kernel_size: int = 3, dropout: float = 0.0,
                 input_dropout: float = 0.0, step_dropout: float = 0.0,
                 recurrent_dropout: float = 0.0, implementation: str = 'auto',
                 standardizer: Callable[..., tf.Tensor] | None = None,
                 embedding: TokenEmbedding | None = None, dtype: str | tf.DType = 'float32',
                 seed: int | None = None, name: str | None = None):
        width = checks.width('hidden_size', hidden_size) * (2 if bidirectional else 1)
        layer = CELLS[checks.choice('cell', cell, tuple(CELLS))]
        checks.size('num_layers', num_layers)
        checks.fraction('input_dropout', input_dropout)
        checks.fraction('step_dropout', step_dropout)
        input_size = width_of(embedding, input_size)
        below = checks.width('filters', filters, minimum=0) or input_size
        seeds = iter(noise.seeds(seed, 2 * num_layers + 2))
        super().__init__(input_size, width, dtype=dtype, standardizer=standardizer,
                         embedding=embedding, name=name,
                         step_dropout=Dropout(step_dropout, per='step', seed=next(seeds)))

        def one_direction(index):
            return layer(width if index else below, hidden_size,
                         dropout=dropout if index else input_dropout,
                         recurrent_dropout=recurrent_dropout, implementation=implementation,
                         dtype=dtype, seed=next(seeds))

        def one_layer(index):
            forward = one_direction(index)
            return Bidirectional(forward, one_direction(index)) if bidirectional else forward

        self._streams = not (bidirectional or normalize or filters
                             or standardizer is data.standardize_sequences)
        self.normalize = BatchNorm(input_size, dtype=dtype) if normalize else None
        self.convolution = None if not filters else Sequential([
            Conv1D(input_size, filters, kernel_size, dtype=dtype, seed=next(seeds)),
            BatchNorm(filters, dtype=dtype), Activation('relu')])
        self.recurrent = Stacked([one_layer(index) for index in range(num_layers)])

    def run(self, inputs: TensorLike, lengths: TensorLike, state: tuple | None = None, *,
            training: bool = False, standardized: bool = False) -> tuple[tf.Tensor, tuple]:
        """A call that takes an initial state and returns the final one.

        Args:
          inputs, lengths, training: As of a call.
          state: Tuple of the layers' states; None for zeros.
          standardized: Whether `standardize` has been applied to the inputs.

        Returns:
          (outputs, state after each sequence's own last step).
        """
        if not standardized:
            inputs = self.standardize(inputs, lengths, training=training)
        if self.normalize is not None:
            inputs = self.normalize(inputs, lengths, training=training)
        inputs = self.step_dropout(inputs, lengths, training=training)
        if self.convolution is not None:
            inputs, _ = self.convolution(inputs, lengths, training=training)
        return self.recurrent(inputs, lengths, state, training=training)

    def last(self, outputs: tf.Tensor, lengths: TensorLike, state: tuple) -> tf.Tensor:
        """The top layer's last output in each direction, concatenated: float [B, output_size]."""
        bidirectional = isinstance(self.recurrent.layers[-1], Bidirectional)
        directions = state[-1] if bidirectional else state[-1:]
        # The output of an LSTM is the hidden part of its state; other cells output the state.
        return tf.concat([part.hidden if isinstance(part, LSTMState) else part
                          for part in directions], axis=-1)

    def streams(self) -> bool:
        """Whether it runs step by step and chunk by chunk: in one direction, without `normalize`
        or `filters`, and with a standardizer that does not need whole sequences."""
        return self._streams

    def initial_state(self, batch: int | tf.Tensor) -> tuple:
        """The state before the first step of `batch` sequences: zeros.

        Raises:
          ValueError: If it depends on later steps.
        """
        layers = self.recurrent if self._streams else super()
        return layers.initial_state(batch)

    def step(self, x_t: TensorLike, state: tuple) -> tuple[tf.Tensor, tuple]:
        """One step of a stream: float [B, D] or tokens [B], and a state -> (output [B,
        output_size], state)."""
        return self.recurrent.step(self.standardize_step(x_t), state)

    def stages(self) -> list[kernels.Stage] | None:
        """What a step consists of, as `StepRunner` runs it in C++; None if it cannot."""
        below = [part for part in (self.embedding, self.standardizer) if part is not None]
        return kernels.stages_of(*below, self.recurrent) if self._streams else None
