"""Convolutional encoders."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence

import tensorflow as tf

from seqmask import checks, data, kernels, noise
from seqmask.checks import TensorLike
from seqmask.layers import Activation, BatchNorm, Conv1D, Dropout, Sequential, SqueezeExcite
from seqmask.models.sequence_encoder import SequenceEncoder
from seqmask.models.tokens import TokenEmbedding, width_of


class ConvEncoder(SequenceEncoder):
    """A stack of convolutions, each with batch norm and relu.

    standardizer -> batch norm of the inputs -> dropout of steps -> `Conv1D`, `BatchNorm` and relu
    for each width, with `SqueezeExcite` after all but the last

    Combined with one LSTM in a `SequenceClassifier`, this is the MLSTM-FCN of Karim et al.

    Args:
      input_size: D.
      filters: Width of each convolution; the last one is also `output_size`.
      kernel_sizes: Window of each convolution, in steps.
      step_dropout: Share of the steps whose whole input is dropped in training.
      standardizer, embedding, dtype, seed: As of `Encoder`.

    Raises:
      ValueError: If filters and kernel_sizes differ in number or are empty.

    Source: Karim, Majumdar, Darabi, Harford. Multivariate LSTM-FCNs for time series classification.
      Neural Networks, 2019.

    >>> encoder = seqmask.models.ConvEncoder(input_size=4, filters=[6, 7, 8], seed=0)
    >>> encoder(tf.ones([2, 6, 4]), tf.constant([6, 2])).shape
    TensorShape([2, 6, 8])
    """

    def __init__(self, input_size: int | None = None, *, filters: Sequence[int] = (128, 256, 128),
                 kernel_sizes: Sequence[int] = (8, 5, 3), step_dropout: float = 0.0,
                 standardizer: Callable[..., tf.Tensor] | None = None,
                 embedding: TokenEmbedding | None = None, dtype: str | tf.DType = 'float32',
                 seed: int | None = None, name: str | None = None):
        if not filters or len(filters) != len(kernel_sizes):
            raise ValueError(f'filters and kernel_sizes must have the same number of entries, at '
                             f'least one, got {len(filters)} and {len(kernel_sizes)}.')
        checks.fraction('step_dropout', step_dropout)
        seeds = iter(noise.seeds(seed, 2 * len(filters) + 1))
        input_size = width_of(embedding, input_size)
        super().__init__(input_size, filters[-1], dtype=dtype, standardizer=standardizer,
                         embedding=embedding, name=name,
                         step_dropout=Dropout(step_dropout, per='step', seed=next(seeds)))
        self.normalize = BatchNorm(input_size, dtype=dtype)
        layers, below = [], input_size
        for index, (size, kernel_size) in enumerate(zip(filters, kernel_sizes)):
            layers += [Conv1D(below, size, kernel_size, dtype=dtype, seed=next(seeds)),
                       BatchNorm(size, dtype=dtype), Activation('relu')]
            if index < len(filters) - 1:
                layers.append(SqueezeExcite(size, dtype=dtype, seed=next(seeds)))
            below = size
        self.convolutions = Sequential(layers)

    def run(self, inputs: TensorLike, lengths: TensorLike, state: None = None, *,
            training: bool = False, standardized: bool = False) -> tuple[tf.Tensor, None]:
        """As of `Encoder`; there is no state."""
        if not standardized:
            inputs = self.standardize(inputs, lengths, training=training)
        inputs = self.normalize(inputs, lengths, training=training)
        inputs = self.step_dropout(inputs, lengths, training=training)
        return self.convolutions(inputs, lengths, training=training)[0], None


class DilatedEncoder(SequenceEncoder):
    """A stack of `Conv1D` with relu, with residual connections around all but the first.

    Dilations are 1, 2, 4, ...: the receptive field of L layers with windows of k steps is
    1 + (k - 1) (2^L - 1) steps.

    Args:
      input_size: D.
      hidden_size: Width of each convolution, and `output_size`.
      num_layers: L, at most 27.
      kernel_size: k.
      causal: Whether windows end at the current step, as streaming requires; else they are
        centered on it.
      standardizer, embedding, dtype, seed: As of `Encoder`.

    Source: A. van den Oord et al. WaveNet. 2016.

    >>> encoder = seqmask.models.DilatedEncoder(input_size=4, hidden_size=5, num_layers=2, seed=0)
    >>> encoder(tf.ones([2, 6, 4]), tf.constant([6, 2])).shape, encoder.streams()
    (TensorShape([2, 6, 5]), True)
    """

    def __init__(self, input_size: int | None = None, *, hidden_size: int = 64, num_layers: int = 5,
                 kernel_size: int = 3, causal: bool = True,
                 standardizer: Callable[..., tf.Tensor] | None = None,
                 embedding: TokenEmbedding | None = None, dtype: str | tf.DType = 'float32',
                 seed: int | None = None, name: str | None = None):
        input_size = width_of(embedding, input_size)
        super().__init__(input_size, hidden_size, dtype=dtype, standardizer=standardizer,
                         embedding=embedding, name=name)
        checks.size('num_layers', num_layers, maximum=27)       # the last window spans 2^26 steps
        self._streams = causal and standardizer is not data.standardize_sequences
        self.convolutions = [
            Conv1D(hidden_size if index else input_size, hidden_size, kernel_size,
                   dilation=2 ** index, padding='causal' if causal else 'same', dtype=dtype,
                   seed=layer_seed)
            for index, layer_seed in enumerate(noise.seeds(seed, num_layers))]

    def run(self, inputs: TensorLike, lengths: TensorLike, state: None = None, *,
            training: bool = False, standardized: bool = False) -> tuple[tf.Tensor, None]:
        """As of `Encoder`; there is no state.

        Raises:
          ValueError: If a state is passed.
        """
        if state is not None:
            raise ValueError('state must be None: only recurrent layers carry a state from chunk '
                             'to chunk. Use an Encoder.')
        outputs = inputs if standardized else self.standardize(inputs, lengths, training=training)
        for index, convolution in enumerate(self.convolutions):
            added, _ = convolution(outputs, lengths)
            outputs = tf.nn.relu(added) + (outputs if index else 0)
        return outputs, None

    def streams(self) -> bool:
        """Whether it supports `step`: it must be causal."""
        return self._streams

    def initial_state(self, batch: int | tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The contents of each window before the first step of `batch` sequences: zeros.

        Raises:
          ValueError: If it depends on later steps.
        """
        if not self._streams:
            return super().initial_state(batch)
        return tuple(convolution.initial_state(batch) for convolution in self.convolutions)

    def step(self, x_t: TensorLike, state: typing.Any) -> tuple[tf.Tensor, tuple]:
        """One step of a stream: float [B, D] and a state -> (output [B, output_size], state)."""
        output, new = self.standardize_step(x_t), []
        for index, (convolution, window) in enumerate(zip(self.convolutions, state)):
            added, window = convolution.step(output, window)
            output = tf.nn.relu(added) + (output if index else 0)
            new.append(window)
        return output, tuple(new)

    def stages(self) -> list[kernels.Stage] | None:
        """What a step consists of, as `StepRunner` runs it in C++; None if it cannot."""
        below = [part for part in (self.embedding, self.standardizer) if part is not None]
        found = kernels.stages_of(*below, *self.convolutions) if self._streams else None
        return found and found[:len(below)] + [
            stage._replace(relu=True, residual=index > 0)
            for index, stage in enumerate(found[len(below):])]
