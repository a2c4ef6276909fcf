"""What training, export and scripts may ask of an encoder, and of a model that stands on one."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks
from seqmask.checks import TensorLike
from seqmask.layers import Dropout
from seqmask.masking import last_relevant
from seqmask.operands import rounded
from seqmask.tally import Tally


class SequenceEncoder(tf.Module):
    """From inputs [B, T, D] to outputs [B, T, output_size], 0 at padded steps.

    A subclass overrides `run`; and, if no step depends on later ones, `streams`, `initial_state`
    and `step`.

    Args:
      input_size: D; None if it is not known.
      output_size: Width of the outputs.
      dtype: Of weights and outputs.
      standardizer: Called first, as (inputs, lengths); or None.
      step_dropout: `Dropout` of whole steps; none by default.
    """

    def __init__(self, input_size: int | None, output_size: int, *,
                 dtype: str | tf.DType = 'float32',
                 standardizer: Callable[..., tf.Tensor] | None = None,
                 step_dropout: Dropout | None = None, name: str | None = None):
        super().__init__(name=name)
        self.step_dropout = step_dropout or Dropout(0.0, per='step')
        self.input_size = None if input_size is None else checks.size('input_size', input_size)
        self.output_size = checks.size('output_size', output_size)
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
        """The inputs as the layers get to see them; vectors [B, D] go without lengths."""
        if self.standardizer is not None:
            inputs = self.standardizer(inputs, lengths)
        return rounded(inputs, self.dtype)

    def last(self, outputs: tf.Tensor, lengths: TensorLike, state: typing.Any) -> tf.Tensor:
        """What is known after each sequence's last step: float [B, output_size].

        Args:
          outputs, state: As `run` returned them.
          lengths: int32 [B].
        """
        return last_relevant(outputs, lengths)

    def streams(self) -> bool:
        """Whether it also goes step by step: no step depends on later ones."""
        return False

    def initial_state(self, batch: int | tf.Tensor) -> typing.Any:
        """The state before the first step of `batch` sequences.

        Raises:
          ValueError: If it does not go step by step.
        """
        raise ValueError('a model that goes through a sequence step by step or chunk by chunk sees '
                         'no steps to come: bidirectional and normalize must be False, filters 0, '
                         'causal True, and standardizer none that sees sequences whole.')


class OwnEncoder(SequenceEncoder):
    """Any callable (inputs, lengths, *, training) -> outputs [B, T, output_size] as an encoder.

    Of a layer that returns (outputs, state) or (outputs, lengths) the outputs are taken.

    Args:
      function: The callable.
      output_size: Width of its outputs.
      input_size: D, which the autoencoder and `export` need; None if it is not known.
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
        outputs = self.function(rounded(inputs, self.dtype), lengths, training=training)
        return outputs[0] if isinstance(outputs, tuple) else outputs, None


class SequenceModel(tf.Module):
    """An encoder, and what a model adds to it.

    Besides its call, (inputs, lengths, *, training) -> outputs, a model has

      loss(batch, training) -> Tally, measure(batch) -> dict of Tally     for `training.Trainer`
      streams() -> bool     whether it goes step by step: `initial_state`, `step`, `chunk_loss`
      results(outputs, lengths) -> dict     what an exported model gives, by name

    Args:
      encoder: `Encoder`, another `SequenceEncoder`, or any callable (inputs, lengths, *, training)
        -> outputs float32 [B, T, encoder_size], 0 at padded steps.
      encoder_size: Width of the outputs of a callable that is no `SequenceEncoder`.
    """

    def __init__(self, encoder: SequenceEncoder | Callable[..., typing.Any],
                 encoder_size: int | None, name: str | None):
        super().__init__(name=name)
        if not callable(encoder):
            raise TypeError(f'encoder must be a models.Encoder, or a callable (inputs, lengths, *, '
                            f'training) -> outputs, got {encoder!r}.')
        if not isinstance(encoder, SequenceEncoder):
            if encoder_size is None:
                raise ValueError('an encoder of your own needs encoder_size, the width of its '
                                 'outputs; or models.OwnEncoder around it, which says it.')
            encoder = OwnEncoder(encoder, encoder_size)
        self.encoder = encoder

    @property
    def input_size(self) -> int | None:
        """D; None if the encoder is one of your own."""
        return self.encoder.input_size

    @property
    def dtype(self) -> tf.DType:
        return self.encoder.dtype

    def streams(self) -> bool:
        """Whether `initial_state`, `step` and `chunk_loss` can be used: no step depends on later
        ones."""
        return False

    def results(self, outputs: tf.Tensor, lengths: TensorLike | None) -> dict[str, tf.Tensor]:
        """What an exported model gives, by name, from the outputs of a call.

        Args:
          outputs: As a call returns them; or as `step` does.
          lengths: int32 [B]; None for those of `step`.
        """
        return {'outputs': outputs}


class StreamingModel(SequenceModel):
    """A model that gives an output at every step, and goes step by step if its encoder does.

    A subclass overrides `head` and `loss_of`.
    """

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Outputs for the real steps, 0 at padded ones.

        Args:
          inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.
          training: Whether dropout applies.

        Returns:
          Logits, float [B, T, ...].

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
        """
        outputs, _ = self.encoder.run(inputs, lengths, training=training)
        return self.head(outputs, lengths, training=training)

    def streams(self) -> bool:
        """Whether `initial_state`, `step` and `chunk_loss` can be used."""
        return self.encoder.streams()

    def initial_state(self, batch: int | tf.Tensor) -> typing.Any:
        """The state before the first step of `batch` sequences, for `step` and `chunk_loss`: zeros.

        Raises:
          ValueError: If the model sees steps to come, so that no state holds all it knows.
        """
        return self.encoder.initial_state(batch)

    def step(self, x_t: TensorLike, state: typing.Any) -> tuple[tf.Tensor, typing.Any]:
        """One step of a stream; step by step equals the whole call.

        Args:
          x_t: float [B, D].
          state: `initial_state(batch)`, or as the last step returned it.

        Returns:
          (logits float [B, ...], state).

        Raises:
          ValueError: If the model sees steps to come, or a size does not fit.
          TypeError: If a dtype does not fit.
        """
        self.initial_state(1)           # refuses what sees steps to come
        output, state = self.encoder.step(x_t, state)
        return self.head(output, None), state

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """The loss per real step, as `training.Trainer` takes it.

        Args:
          batch: dict with 'inputs' [B, T, D], 'lengths' [B], 'labels' [B, T].
          training: Whether dropout applies.

        Returns:
          `seqmask.Tally`, in nats.
        """
        return self.loss_of(self(batch['inputs'], batch['lengths'], training=training), batch)

    def chunk_loss(self, batch: dict[str, tf.Tensor], state: typing.Any,
                   training: bool) -> tuple[Tally, typing.Any]:
        """`loss` of the next chunk of each sequence, as `training.ChunkLoss` takes it.

        Args:
          batch: As `loss` takes it.
          state: As `initial_state`, or as the chunk before returned it.
          training: Whether dropout applies.

        Returns:
          (`seqmask.Tally`, in nats; the state after the chunk).

        Raises:
          ValueError: If the encoder cannot go on from a state.
        """
        outputs, state = self.encoder.run(batch['inputs'], batch['lengths'], state,
                                          training=training)
        logits = self.head(outputs, batch['lengths'], training=training)
        return self.loss_of(logits, batch), state
