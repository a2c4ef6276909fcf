"""The interface of encoders to models, training and export."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping

import tensorflow as tf

from seqmask import checks, kernels
from seqmask.checks import TensorLike
from seqmask.layers import Dropout
from seqmask.masking import last_relevant
from seqmask.models.tokens import TokenEmbedding
from seqmask.operands import rounded


class SequenceEncoder(tf.Module):
    """Maps inputs [B, T, D] to outputs [B, T, output_size], 0 at padded steps.

    A subclass implements `run`; and, if no step depends on later ones, `streams`, `initial_state`
    and `step`.

    Args:
      input_size: D; None if unknown.
      output_size: Width of the outputs.
      dtype: Of weights and outputs.
      standardizer: Function of (inputs, lengths), applied first; or None.
      embedding: `TokenEmbedding`, applied first, if the inputs are tokens; or None. Its
        `output_size` is input_size then.
      step_dropout: `Dropout` of whole steps; none by default.

    Raises:
      ValueError: If neither input_size nor an embedding is given where one is needed, the two do
        not agree, or there is a standardizer, too.
    """

    def __init__(self, input_size: int | None, output_size: int, *,
                 dtype: str | tf.DType = 'float32',
                 standardizer: Callable[..., tf.Tensor] | None = None,
                 embedding: TokenEmbedding | None = None, step_dropout: Dropout | None = None,
                 name: str | None = None):
        super().__init__(name=name)
        self.step_dropout = step_dropout or Dropout(0.0, per='step')
        if embedding is not None and standardizer is not None:
            raise ValueError('a standardizer scales features, and tokens have no scale: give '
                             'either an embedding or a standardizer.')
        self.embedding = embedding
        self.input_size = None if input_size is None else checks.width('input_size', input_size)
        self.output_size = checks.width('output_size', output_size)
        self.dtype = checks.float_dtype('dtype', dtype)
        self.standardizer = standardizer

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Encodes the real steps.

        Args:
          inputs: float [B, T, D], or what its `embedding` takes, such as tokens [B, T]. Values at
            padded steps are ignored, NaN included.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.
          training: Whether dropout applies, and batch norm takes the batch's statistics.

        Returns:
          float [B, T, output_size], 0 at padded steps.

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
        """
        return self.run(inputs, lengths, training=training)[0]

    def inputs_of(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor | dict[str, tf.Tensor]:
        """What it reads of a batch: 'inputs', or a dict, if its embedding takes several fields."""
        if len(self.fields) == 1:
            return batch['inputs']
        return {name: batch[name] for name in self.fields}

    @property
    def fields(self) -> dict[str, tuple[tf.DType, tuple[int | None, ...]]]:
        """The fields of a batch that it reads: dict of name -> (dtype, shape of a step)."""
        if self.embedding is not None:
            return self.embedding.fields
        return {'inputs': (tf.float32, (self.input_size,))}

    def standardize(self, inputs: TensorLike, lengths: TensorLike | None, *,
                    training: bool = False) -> tf.Tensor:
        """The inputs of the layers, embedded if they are tokens; lengths are None for single steps.

        Raises:
          tf.errors.InvalidArgumentError: If a finite real step would be infinite in float16.
        """
        if self.embedding is not None:
            return self.embedding(inputs, lengths, training=training)
        if self.standardizer is not None:
            inputs = self.standardizer(inputs, lengths)
        return rounded(inputs, self.dtype, lengths)

    def standardize_step(self, x_t: TensorLike) -> tf.Tensor:
        """`standardize` of one step of a stream: float [B, D], or tokens [B]."""
        return self.standardize(x_t if self.embedding is not None else
                                checks.floating('x_t', x_t, 'B, D'), None)

    def last(self, outputs: tf.Tensor, lengths: TensorLike, state: typing.Any) -> tf.Tensor:
        """The last output of each sequence, float [B, output_size], from the results of `run`."""
        return last_relevant(outputs, lengths)

    def streams(self) -> bool:
        """Whether it supports `step`, because no step depends on later ones."""
        return False

    def initial_state(self, batch: int | tf.Tensor) -> typing.Any:
        """The state before the first step of `batch` sequences.

        Raises:
          ValueError: If it depends on later steps.
        """
        raise ValueError('a model that runs step by step or chunk by chunk cannot use later steps: '
                         'bidirectional and normalize must be False, filters 0, causal True, and '
                         'standardizer must not need whole sequences.')

    def stages(self) -> list[kernels.Stage] | None:
        """What a step consists of, as `StepRunner` runs it in C++; None if it cannot."""
        return None


class OwnEncoder(SequenceEncoder):
    """Wraps any callable (inputs, lengths, *, training) -> outputs as an encoder.

    Args:
      function: The callable. It returns outputs [B, T, output_size], or a tuple that begins with
        them, such as (outputs, state).
      output_size: Width of its outputs.
      input_size: D, required by the autoencoder and `export`; None if unknown.
      dtype: Of its outputs.

    >>> encoder = seqmask.models.OwnEncoder(seqmask.GRU(4, 5, seed=0), output_size=5, input_size=4)
    >>> encoder(tf.ones([2, 6, 4]), tf.constant([6, 2])).shape
    TensorShape([2, 6, 5])
    """

    def __init__(self, function: Callable[..., typing.Any], output_size: int, *,
                 input_size: int | None = None, dtype: str | tf.DType = 'float32',
                 name: str | None = None):
        super().__init__(input_size, output_size, dtype=dtype, name=name)
        self.function = function

    def run(self, inputs: TensorLike, lengths: TensorLike, state: None = None, *,
            training: bool = False, standardized: bool = False) -> tuple[tf.Tensor, None]:
        outputs = self.function(rounded(inputs, self.dtype, lengths), lengths,
                                training=training)
        return outputs[0] if isinstance(outputs, tuple) else outputs, None
