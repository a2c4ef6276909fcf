"""A label for every sequence."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, losses, noise
from seqmask.checks import TensorLike
from seqmask.layers import AttentionPool, Dense, Dropout, max_pool, mean_pool
from seqmask.metrics import Accuracy
from seqmask.models.protocol import SequenceModel
from seqmask.models.sequence_encoder import SequenceEncoder
from seqmask.tally import Tally

POOLS = ('last', 'mean', 'max', 'attention')


class SequenceClassifier(SequenceModel):
    """An encoder, pooled over time, and one logit per class; optionally a second encoder.

    logits = dropout([pool(encoder(inputs)), mean over time of branch(inputs)]) W + b

    Args:
      encoder: `Encoder`, `ConvEncoder`, or as of `SequenceModel`.
      num_classes: K.
      pool: How outputs are pooled over time: 'mean', 'max', 'attention', or 'last', which is each
        direction's output after its last step.
      branch: A second `SequenceEncoder`, whose outputs are averaged over time and concatenated; or
        None. An `Encoder` of one LSTM with a `ConvEncoder` is the MLSTM-FCN of Karim et al.
      dropout: Share of the pooled features dropped in training.
      encoder_size: As of `SequenceModel`.
      seed: int; the same seed gives the same weights and the same dropout.

    Raises:
      ValueError: If an option does not fit.

    Source: Karim, Majumdar, Darabi, Harford. Multivariate LSTM-FCNs for time series classification.
      Neural Networks, 2019.

    >>> model = seqmask.models.SequenceClassifier(
    ...     seqmask.models.Encoder(4, cell='lstm', hidden_size=5, seed=0), num_classes=3,
    ...     branch=seqmask.models.ConvEncoder(4, filters=[6, 7, 8], seed=0), seed=0)
    >>> model(tf.ones([2, 6, 4]), tf.constant([6, 2])).shape
    TensorShape([2, 3])
    """

    per = 'sequence'

    def __init__(self, encoder: SequenceEncoder | Callable[..., typing.Any], num_classes: int, *,
                 pool: str = 'mean', branch: SequenceEncoder | None = None, dropout: float = 0.0,
                 encoder_size: int | None = None, seed: int | None = None,
                 name: str | None = None):
        super().__init__(encoder, encoder_size, name)
        self.pool = checks.choice('pool', pool, POOLS)
        checks.width('num_classes', num_classes)
        width = self.encoder.output_size
        dropout_seed, dense_seed, attention_seed = noise.seeds(seed, 3)
        self.attention = (AttentionPool(width, width, dtype=self.dtype, seed=attention_seed)
                          if pool == 'attention' else None)
        self.branch = branch
        self.dropout = Dropout(dropout, seed=dropout_seed)
        self.to_logits = Dense(width + (0 if branch is None else branch.output_size), num_classes,
                               dtype=self.dtype, seed=dense_seed)

    def __call__(self, inputs: TensorLike, lengths: TensorLike, *,
                 training: bool = False) -> tf.Tensor:
        """Computes logits, float [B, K].

        Args and raises: As a call of `SequenceEncoder`.
        """
        outputs, state = self.encoder.run(inputs, lengths, training=training)
        pooled = [self._pool(outputs, lengths, state)]
        if self.branch is not None:
            pooled.append(mean_pool(self.branch(inputs, lengths, training=training), lengths))
        return self.to_logits(self.dropout(tf.concat(pooled, axis=-1), training=training))

    def _pool(self, outputs, lengths, state):
        if self.pool == 'last':
            return self.encoder.last(outputs, lengths, state)
        if self.pool == 'attention':
            return self.attention(outputs, lengths)
        return {'mean': mean_pool, 'max': max_pool}[self.pool](outputs, lengths)

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """Cross-entropy per sequence, for `training.Trainer(loss=SequenceClassifier.loss)`.

        Args:
          batch: dict with 'inputs' [B, T, D], 'lengths' [B], 'labels' int [B].
          training: As of a call.

        Returns:
          `seqmask.Tally`, in nats. Sequences without steps do not count.
        """
        return losses.sparse_softmax_cross_entropy(**_scored(
            self(self.inputs_of(batch), batch['lengths'], training=training), batch))

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """Metrics of a batch as of `loss`, for `Trainer(measure=SequenceClassifier.measure)`.

        Returns:
          dict of `seqmask.Tally`: 'loss' and 'accuracy', of sequences.
        """
        scored = _scored(self(self.inputs_of(batch), batch['lengths']), batch)
        return {'loss': losses.sparse_softmax_cross_entropy(**scored),
                'accuracy': Accuracy.tally(**scored)}


def _scored(logits, batch):
    return {'logits': logits, 'labels': batch['labels'], 'mask': batch['lengths'] > 0}
