"""Labels for a sequence, without saying at which step: letters of a word, phonemes of speech."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, decode, losses, noise
from seqmask.checks import TensorLike
from seqmask.layers import Dense, Dropout
from seqmask.metrics import EditDistance, Mean
from seqmask.models.protocol import SequenceEncoder, StreamingModel
from seqmask.tally import Tally


class SequenceTranscriber(StreamingModel):
    """An encoder, and a linear map to one logit a class at every step, the blank among them.

    It learns by `losses.ctc` from labels that are as many as they are, at most one a step.

    Args:
      encoder: `Encoder`, or as of `SequenceModel`.
      num_classes: K, one of which is the blank: labels are the others, 1 to K - 1 if that is 0.
      blank: int. The class that stands for no label.
      impossible: What becomes of a sequence with too few steps for its labels: as of `losses.ctc`.
      dropout: Share of the encoder's outputs dropped in training, the same at all steps of a
        sequence.
      encoder_size: As of `SequenceModel`.
      seed: int; the same seed gives the same weights and the same dropout.

    Raises:
      ValueError: If an option does not fit.

    Source: A. Graves, S. Fernández, F. Gomez, J. Schmidhuber. Connectionist Temporal
      Classification: Labelling Unsegmented Sequence Data with Recurrent Neural Networks. ICML 2006.

    >>> encoder = seqmask.models.Encoder(input_size=4, hidden_size=5, seed=0)
    >>> model = seqmask.models.SequenceTranscriber(encoder, num_classes=3, seed=0)
    >>> batch = {'inputs': tf.ones([2, 6, 4]), 'lengths': tf.constant([6, 3]),
    ...          'labels': tf.constant([[1, 2, 2], [2, 0, 0]]),
    ...          'label_lengths': tf.constant([3, 1])}
    >>> float(model.loss(batch, training=False).count)
    2.0
    >>> labels, label_lengths = model.transcribe(batch['inputs'], batch['lengths'])
    >>> labels.shape, label_lengths.shape
    (TensorShape([2, 6]), TensorShape([2]))
    """

    def __init__(self, encoder: SequenceEncoder | Callable[..., typing.Any], num_classes: int, *,
                 blank: int = 0, impossible: str = 'error', dropout: float = 0.0,
                 encoder_size: int | None = None, seed: int | None = None,
                 name: str | None = None):
        super().__init__(encoder, encoder_size, name)
        self.num_classes = checks.size('num_classes', num_classes, minimum=2)
        self.blank = checks.size('blank', blank, minimum=0)
        if self.blank >= self.num_classes:
            raise ValueError(f'blank must be in [0, num_classes), got {blank} of {num_classes}.')
        self.impossible = checks.choice('impossible', impossible, ['error', 'skip'])
        dropout_seed, dense_seed = noise.seeds(seed, 2)
        self.dropout = Dropout(dropout, per='sequence', seed=dropout_seed)
        self.to_logits = Dense(self.encoder.output_size, num_classes, dtype=self.dtype,
                               seed=dense_seed)

    def head(self, outputs: tf.Tensor, lengths: TensorLike | None, *,
             training: bool = False) -> tf.Tensor:
        """Logits [B, T, K] from the encoder's outputs; [B, K] from those of one step."""
        return self.to_logits(self.dropout(outputs, lengths, training=training), lengths)

    def transcribe(self, inputs: TensorLike, lengths: TensorLike, *,
                   width: int = 1) -> tuple[tf.Tensor, tf.Tensor]:
        """The labels that it reads.

        Args:
          inputs, lengths: As of a call.
          width: int. 1 takes the best path, more a beam search of that width.

        Returns:
          (labels int32 [B, T], 0 behind the last one; label_lengths int32 [B]).

        Raises:
          As a call; ValueError if width does not fit.
        """
        checks.size('width', width)
        logits = self(inputs, lengths)
        if width == 1:
            return decode.ctc_best_path(logits, lengths, self.blank)[:2]
        return decode.ctc_beam_search(logits, lengths, width=width, blank=self.blank)[:2]

    def results(self, outputs: tf.Tensor, lengths: TensorLike | None) -> dict[str, tf.Tensor]:
        """The logits as 'outputs'; of whole sequences also 'labels' and 'label_lengths', those of
        the best path."""
        if lengths is None:
            return {'outputs': outputs}
        labels, label_lengths, _ = decode.ctc_best_path(outputs, lengths, self.blank)
        return {'outputs': outputs, 'labels': labels, 'label_lengths': label_lengths}

    def loss_of(self, logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> Tally:
        """`losses.ctc` of logits per sequence, in nats."""
        return losses.ctc(logits=logits, lengths=batch['lengths'], labels=batch['labels'],
                          label_lengths=batch['label_lengths'], blank=self.blank,
                          impossible=self.impossible)

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """The loss per sequence, as `training.Trainer` takes it: `SequenceTranscriber.loss`.

        Args:
          batch: dict with 'inputs' [B, T, D], 'lengths' [B], 'labels' int [B, L], 'label_lengths'
            int [B].
          training: Whether dropout applies.

        Returns:
          `seqmask.Tally`, in nats.
        """
        return super().loss(batch, training)

    def chunk_loss(self, batch: dict[str, tf.Tensor], state: typing.Any,
                   training: bool) -> tuple[Tally, typing.Any]:
        """Refused: no label says in which chunk it is.

        Raises:
          ValueError: Always.
        """
        raise ValueError('a transcriber learns from whole sequences: their labels do not say in '
                         'which chunk they are.')

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """What `training.Trainer` measures: `SequenceTranscriber.measure`.

        Args:
          batch: As `loss` takes it.

        Returns:
          dict of `seqmask.Tally`: 'loss'; of the best path 'label_error', edits per label, and
          'sequence_accuracy', the share of sequences that are right from end to end; 'impossible',
          the share of sequences that have too few steps for their labels, which are in these two.
        """
        logits = self(batch['inputs'], batch['lengths'])
        predictions, prediction_lengths, _ = decode.ctc_best_path(logits, batch['lengths'],
                                                                  self.blank)
        of = {name: batch[name] for name in ('labels', 'label_lengths')}
        compared = dict(**of, predictions=predictions, prediction_lengths=prediction_lengths)
        wrong = EditDistance.wrong_tally(**compared)
        impossible = ~losses.ctc_possible(lengths=batch['lengths'], **of)
        return {'loss': self.loss_of(logits, batch),
                'label_error': EditDistance.tally(**compared),
                'sequence_accuracy': Tally(wrong.count - wrong.total, wrong.count),
                'impossible': Mean.tally(values=tf.cast(impossible, tf.float32), mask=None)}
