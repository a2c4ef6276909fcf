"""The interface of encoders, and of models on them, to training, export and scripts."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, kernels, known
from seqmask.checks import TensorLike
from seqmask.layers import Dropout
from seqmask.lengths import sequence_mask
from seqmask.masking import last_relevant
from seqmask.operands import rounded
from seqmask.tally import Tally


class SequenceEncoder(tf.Module):
    """Maps inputs [B, T, D] to outputs [B, T, output_size], 0 at padded steps.

    A subclass implements `run`; and, if no step depends on later ones, `streams`, `initial_state`
    and `step`.

    Args:
      input_size: D; None if unknown.
      output_size: Width of the outputs.
      dtype: Of weights and outputs.
      standardizer: Function of (inputs, lengths), applied first; or None.
      step_dropout: `Dropout` of whole steps; none by default.
    """

    def __init__(self, input_size: int | None, output_size: int, *,
                 dtype: str | tf.DType = 'float32',
                 standardizer: Callable[..., tf.Tensor] | None = None,
                 step_dropout: Dropout | None = None, name: str | None = None):
        super().__init__(name=name)
        self.step_dropout = step_dropout or Dropout(0.0, per='step')
        self.input_size = None if input_size is None else checks.width('input_size', input_size)
        self.output_size = checks.width('output_size', output_size)
        self.dtype = checks.float_dtype('dtype', dtype)
        self.standardizer = standardizer

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Encodes the real steps.

        Args:
          inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
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

    def standardize(self, inputs: TensorLike, lengths: TensorLike | None) -> tf.Tensor:
        """The inputs of the layers; lengths are None for vectors [B, D].

        Raises:
          tf.errors.InvalidArgumentError: If a finite real step would be infinite in float16.
        """
        if self.standardizer is not None:
            inputs = self.standardizer(inputs, lengths)
        return rounded(inputs, self.dtype, lengths)

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


class SequenceModel(tf.Module):
    """Base of models: an encoder and a head.

    Besides its call, (inputs, lengths, *, training) -> outputs, a model has

      loss(batch, training) -> Tally, measure(batch) -> dict of Tally     for `training.Trainer`
      streams() -> bool     whether it supports `initial_state`, `step` and `chunk_loss`
      results(outputs, lengths) -> dict     the outputs of an exported model, by name

    Args:
      encoder: `Encoder`, another `SequenceEncoder`, or any callable (inputs, lengths, *, training)
        -> outputs float32 [B, T, encoder_size], 0 at padded steps.
      encoder_size: Width of the outputs of a callable that is not a `SequenceEncoder`.
    """

    def __init__(self, encoder: SequenceEncoder | Callable[..., typing.Any],
                 encoder_size: int | None, name: str | None):
        super().__init__(name=name)
        if not callable(encoder):
            raise TypeError(f'encoder must be a models.Encoder, or a callable (inputs, lengths, *, '
                            f'training) -> outputs, got {encoder!r}.')
        if not isinstance(encoder, SequenceEncoder):
            if encoder_size is None:
                raise ValueError('a custom encoder needs encoder_size, the width of its outputs. '
                                 'Pass it, or wrap the encoder in models.OwnEncoder.')
            encoder = OwnEncoder(encoder, encoder_size)
        self.encoder = encoder

    @property
    def input_size(self) -> int | None:
        """D; None for a custom encoder."""
        return self.encoder.input_size

    @property
    def dtype(self) -> tf.DType:
        return self.encoder.dtype

    def streams(self) -> bool:
        """Whether it supports `initial_state`, `step` and `chunk_loss`."""
        return False

    def results(self, outputs: tf.Tensor, lengths: TensorLike | None) -> dict[str, tf.Tensor]:
        """The outputs of an exported model, by name, from those of a call, or of `step`.

        `lengths` are int32 [B]; None for the outputs of `step`.
        """
        return {'outputs': outputs}


class StreamingModel(SequenceModel):
    """A model with an output at every step; it runs step by step if its encoder does.

    A subclass implements `head` and `loss_of`.
    """

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Computes logits, float [B, T, ...], 0 at padded steps.

        Args and raises: As a call of `SequenceEncoder`.
        """
        outputs, _ = self.encoder.run(inputs, lengths, training=training)
        return self.head(outputs, lengths, training=training)

    def streams(self) -> bool:
        """Whether the encoder does, so that `initial_state`, `step` and `chunk_loss` work."""
        return self.encoder.streams()

    def initial_state(self, batch: int | tf.Tensor) -> typing.Any:
        """The state before the first step of `batch` sequences, for `step` and `chunk_loss`: zeros.

        Raises:
          ValueError: If the model depends on later steps.
        """
        return self.encoder.initial_state(batch)

    def step(self, x_t: TensorLike, state: typing.Any) -> tuple[tf.Tensor, typing.Any]:
        """One step of a stream. Step by step equals the whole call.

        Args:
          x_t: float [B, D].
          state: `initial_state(batch)`, or the state that the previous step returned.

        Returns:
          (logits float [B, ...], state).

        Raises:
          ValueError: If the model depends on later steps, or a size does not fit.
          TypeError: If a dtype does not fit.
        """
        self.initial_state(1)           # raises if the model depends on later steps
        output, state = self.encoder.step(x_t, state)
        return self.head(output, None), state

    def stages(self) -> list[kernels.Stage] | None:
        """What a step consists of, as `StepRunner` runs it in C++; None if it cannot."""
        return None

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """The loss per real step, for `training.Trainer`.

        Args:
          batch: dict with 'inputs' [B, T, D], 'lengths' [B], 'labels' [B, T].
          training: Whether dropout applies.

        Returns:
          `seqmask.Tally`, in nats.
        """
        return self.loss_of(self(batch['inputs'], batch['lengths'], training=training), batch)

    def chunk_loss(self, batch: dict[str, tf.Tensor], state: typing.Any,
                   training: bool) -> tuple[Tally, typing.Any]:
        """`loss` of the next chunk of each sequence, for `training.ChunkLoss`.

        Args:
          batch, training: As of `loss`.
          state: `initial_state(batch)`, or the state that the previous chunk returned.

        Returns:
          (`seqmask.Tally`, in nats; the state after the chunk).

        Raises:
          ValueError: If the encoder cannot start from a state.
        """
        outputs, state = self.encoder.run(batch['inputs'], batch['lengths'], state,
                                          training=training)
        logits = self.head(outputs, batch['lengths'], training=training)
        return self.loss_of(logits, batch), state


def scored_steps(logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Arguments of a loss or a metric per step: 'logits', 'labels' and the 'mask' of real steps."""
    mask = sequence_mask(batch['lengths'], known.sizes(logits)[1])
    return {'logits': logits, 'labels': batch['labels'], 'mask': mask}
