"""The interface of models on an encoder to training, export and scripts."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping

import tensorflow as tf

from seqmask import kernels, known
from seqmask.checks import TensorLike
from seqmask.lengths import sequence_mask
from seqmask.models.sequence_encoder import OwnEncoder, SequenceEncoder
from seqmask.tally import Tally


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

    Attributes:
      per: 'step' or 'sequence': what its outputs are for, [B, T, ...] or [B, ...].
    """

    per = 'step'

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

    def inputs_of(self, batch: Mapping[str, tf.Tensor]) -> tf.Tensor | dict[str, tf.Tensor]:
        """The first argument of its call, from a batch: 'inputs', or a dict of several fields."""
        return self.encoder.inputs_of(batch)

    @property
    def fields(self) -> dict[str, tuple[tf.DType, tuple[int | None, ...]]]:
        """The fields of a batch that it reads: dict of name -> (dtype, shape of a step)."""
        return self.encoder.fields

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
        return self.loss_of(self(self.inputs_of(batch), batch['lengths'], training=training), batch)

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
        outputs, state = self.encoder.run(self.inputs_of(batch), batch['lengths'], state,
                                          training=training)
        logits = self.head(outputs, batch['lengths'], training=training)
        return self.loss_of(logits, batch), state


def inputs_of(model: tf.Module, batch: Mapping[str, tf.Tensor]) -> typing.Any:
    """The first argument of a model's call, from a batch; 'inputs' for a model of one's own."""
    return model.inputs_of(batch) if isinstance(model, SequenceModel) else batch['inputs']


def scored_steps(logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Arguments of a loss or a metric per step: 'logits', 'labels' and the 'mask' of real steps."""
    mask = sequence_mask(batch['lengths'], known.sizes(logits)[1])
    return {'logits': logits, 'labels': batch['labels'], 'mask': mask}
