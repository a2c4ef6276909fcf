"""The next frame of each step."""

from __future__ import annotations

import typing

import tensorflow as tf

from seqmask import checks, kernels, known
from seqmask.checks import TensorLike
from seqmask.data import Standardizer
from seqmask.lengths import sequence_mask
from seqmask.masking import apply_mask
from seqmask.models.labeller import SequenceLabeller
from seqmask.models.sequence_encoder import SequenceEncoder
from seqmask.tally import Tally, widen

TARGETS = ('squared', 'absolute', 'huber', 'binary')


class FramePredictor(SequenceLabeller):
    """Predicts a later frame at every step, from those so far.

    out[b, t] = inputs[b, t] + scale (W h[b, t] + b)   for t < lengths[b];   0 after it
    out[b, t] = W h[b, t] + b                          for targets='binary', logits of 1

    where h are the encoder's outputs, and scale is that of its `data.Standardizer`, 1 without one.
    So the outputs are in the units of the data, and the model starts from the frame before as its
    prediction (W and b are 0 at first), which is hard to beat where frames change slowly.

    Labels are [B, T, D], as `data.next_step` makes them. Loss and metrics are those of the outputs
    and labels divided by scale, so that each feature counts alike: the mean over features, in nats
    per frame for 'binary'.

    Args:
      encoder: `Encoder`, or another that `streams()`: others would see the frames to be predicted.
      targets: 'squared', 'absolute' or 'huber': that error; 'binary': features of 0 or 1.
      dropout, seed: As of `SequenceLabeller`.

    Raises:
      ValueError: If the encoder sees later steps, its inputs are tokens, or targets do not fit.

    >>> encoder = seqmask.models.Encoder(input_size=2, hidden_size=4, seed=0)
    >>> model = seqmask.models.FramePredictor(encoder, seed=0)
    >>> frames = tf.constant([[[1., 5.], [2., 5.], [0., 0.]]])
    >>> model(frames, tf.constant([2])).numpy().tolist()        # untrained: nothing changes
    [[[1.0, 5.0], [2.0, 5.0], [0.0, 0.0]]]
    """

    def __init__(self, encoder: SequenceEncoder, *, targets: str = 'squared', dropout: float = 0.0,
                 seed: int | None = None, name: str | None = None):
        checks.choice('targets', targets, TARGETS)
        if encoder.embedding is not None or encoder.input_size is None:
            raise ValueError('later frames are predicted of features, [B, T, D]: the encoder must '
                             'have an input_size and no embedding.')
        if not encoder.streams():
            raise ValueError('the encoder must not see later steps, which are to be predicted: '
                             'bidirectional and normalize must be False, filters 0, causal True, '
                             'and standardizer must not need whole sequences.')
        super().__init__(encoder, encoder.input_size, dropout=dropout, targets=targets,
                         features='sum' if targets == 'binary' else 'mean', seed=seed, name=name)
        if targets != 'binary':
            self.to_logits.kernel.assign(tf.zeros_like(self.to_logits.kernel))

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Predicts a later frame at each step: [B, T, D], 0 at padded steps.

        Args and raises: As a call of `SequenceEncoder`.
        """
        return self._onward(inputs, super().__call__(inputs, lengths, training=training), lengths)

    def step(self, x_t: TensorLike, state: typing.Any) -> tuple[tf.Tensor, typing.Any]:
        """One step of a stream: (prediction [B, D], state); as of `SequenceLabeller`."""
        changes, state = super().step(x_t, state)
        return self._onward(x_t, changes, None), state

    def chunk_loss(self, batch: dict[str, tf.Tensor], state: typing.Any,
                   training: bool) -> tuple[Tally, typing.Any]:
        """`loss` of the next chunk of each sequence, as of `SequenceLabeller`."""
        inputs, lengths = batch['inputs'], batch['lengths']
        outputs, state = self.encoder.run(inputs, lengths, state, training=training)
        changes = self.head(outputs, lengths, training=training)
        return self.loss_of(self._onward(inputs, changes, lengths), batch), state

    def stages(self) -> list[kernels.Stage] | None:
        """None for numbers: the C++ core does not add what it was given to what it found."""
        return super().stages() if self.targets == 'binary' else None

    def loss_of(self, logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> Tally:
        """The loss per real step, from the outputs of a call."""
        return super().loss_of(*self._scaled(logits, batch))

    def measure_of(self, logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """`measure`, from the outputs of a call."""
        return super().measure_of(*self._scaled(logits, batch))

    @property
    def scale(self) -> tf.Tensor | float:
        """What the loss divides by: [D], or 1."""
        of = self.encoder.standardizer
        return of.scale if isinstance(of, Standardizer) and self.targets != 'binary' else 1.0

    def _onward(self, inputs, changes, lengths):
        if self.targets == 'binary':
            return changes
        changes = widen(changes)        # a small change of a large number
        outputs = tf.cast(inputs, changes.dtype) + tf.cast(self.scale, changes.dtype) * changes
        if lengths is None:
            return outputs
        return apply_mask(known.with_sizes_of(outputs, changes),
                          sequence_mask(lengths, known.sizes(changes)[1]))

    def _scaled(self, outputs, batch):
        """(Outputs, batch) with outputs and labels divided by the scale."""
        if self.targets == 'binary':
            return outputs, batch
        scale = tf.cast(self.scale, outputs.dtype)
        labels = tf.cast(batch['labels'], outputs.dtype) / scale
        return known.with_sizes_of(outputs / scale, outputs), {**batch, 'labels': labels}
