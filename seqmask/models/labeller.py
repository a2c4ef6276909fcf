"""A label for every step."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, kernels, losses, noise
from seqmask.checks import TensorLike
from seqmask.layers import Dense, Dropout
from seqmask.metrics import Accuracy, ErrorRate, SequenceAccuracy
from seqmask.models.protocol import SequenceEncoder, StreamingModel, scored_steps
from seqmask.tally import Tally


class SequenceLabeller(StreamingModel):
    """An encoder, and a linear head with one logit per class at every step.

    Args:
      encoder: `Encoder`, or as of `SequenceModel`.
      num_classes: K.
      dropout: Share of the encoder's outputs dropped in training, with one mask per sequence.
      encoder_size: As of `SequenceModel`.
      seed: int; the same seed gives the same weights and the same dropout.

    >>> encoder = seqmask.models.Encoder(input_size=4, hidden_size=5, seed=0)
    >>> model = seqmask.models.SequenceLabeller(encoder, num_classes=3, seed=0)
    >>> logits = model(tf.ones([2, 6, 4]), tf.constant([6, 2]))
    >>> logits.shape, bool(tf.reduce_all(logits[1, 2:] == 0))
    (TensorShape([2, 6, 3]), True)
    """

    def __init__(self, encoder: SequenceEncoder | Callable[..., typing.Any], num_classes: int, *,
                 dropout: float = 0.0, encoder_size: int | None = None, seed: int | None = None,
                 name: str | None = None):
        super().__init__(encoder, encoder_size, name)
        checks.size('num_classes', num_classes)
        dropout_seed, dense_seed = noise.seeds(seed, 2)
        self.dropout = Dropout(dropout, per='sequence', seed=dropout_seed)
        self.to_logits = Dense(self.encoder.output_size, num_classes, dtype=self.dtype,
                               seed=dense_seed)

    def head(self, outputs: tf.Tensor, lengths: TensorLike | None, *,
             training: bool = False) -> tf.Tensor:
        """Logits [B, T, K] from the encoder's outputs; [B, K] from those of one step."""
        return self.to_logits(self.dropout(outputs, lengths, training=training), lengths)

    def stages(self) -> list[kernels.Stage] | None:
        """What a step consists of, as `StepRunner` runs it in C++; None if it cannot."""
        return kernels.stages_of(self.encoder, self.to_logits)

    def loss_of(self, logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> Tally:
        """Cross-entropy of logits per real step, in nats."""
        return losses.sparse_softmax_cross_entropy(**scored_steps(logits, batch))

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """Metrics of a batch as of `loss`, for `Trainer(measure=SequenceLabeller.measure)`.

        Returns:
          dict of `seqmask.Tally`: 'loss'; 'accuracy', of steps; 'sequence_error', the share of
          wrong steps per sequence, averaged over sequences; 'sequence_accuracy', the share of
          sequences without a wrong step.
        """
        scored = scored_steps(self(batch['inputs'], batch['lengths']), batch)
        return {'loss': losses.sparse_softmax_cross_entropy(**scored),
                'accuracy': Accuracy.tally(**scored),
                'sequence_error': ErrorRate.tally(**scored, per='sequence'),
                'sequence_accuracy': SequenceAccuracy.tally(**scored)}
