"""Unaligned labels of a sequence: letters of a handwritten word, phonemes of speech."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, decode, kernels, losses, noise
from seqmask.checks import TensorLike
from seqmask.layers import Dense, Dropout
from seqmask.metrics import EditDistance, Mean
from seqmask.models.protocol import StreamingModel
from seqmask.models.sequence_encoder import SequenceEncoder
from seqmask.tally import Tally


class SequenceTranscriber(StreamingModel):
    """An encoder, and a linear head with one logit per class, including the blank, at every step.

    Trained with `losses.ctc` on labels that are not aligned to steps. With slots > 1 each step has
    so many places for a label, one after the other, each with logits of its own: then a sequence,
    such as the letters of a word, may have fewer steps than labels, its phonemes.

    Args:
      encoder: `Encoder`, or as of `SequenceModel`.
      num_classes: K, including the blank: with blank=0 labels are 1 to K - 1.
      blank: int. The class that means no label.
      slots: int. Places for a label at each step; outputs are [B, T, slots K].
      impossible: 'error' or 'skip', for sequences with too few steps, as of `losses.ctc`.
      dropout: Share of the encoder's outputs dropped in training, with one mask per sequence.
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
                 blank: int = 0, slots: int = 1, impossible: str = 'error', dropout: float = 0.0,
                 encoder_size: int | None = None, seed: int | None = None,
                 name: str | None = None):
        super().__init__(encoder, encoder_size, name)
        self.slots = checks.size('slots', slots)
        self.num_classes = checks.size('num_classes', num_classes, minimum=2)
        self.blank = checks.size('blank', blank, minimum=0)
        if self.blank >= self.num_classes:
            raise ValueError(f'blank must be in [0, num_classes), got {blank} of {num_classes}.')
        self.impossible = checks.choice('impossible', impossible, ['error', 'skip'])
        dropout_seed, dense_seed = noise.seeds(seed, 2)
        self.dropout = Dropout(dropout, per='sequence', seed=dropout_seed)
        self.to_logits = Dense(self.encoder.output_size, slots * num_classes, dtype=self.dtype,
                               seed=dense_seed)

    def head(self, outputs: tf.Tensor, lengths: TensorLike | None, *,
             training: bool = False) -> tf.Tensor:
        """Logits [B, T, slots K] from the encoder's outputs; [B, slots K] from those of one step.
        """
        return self.to_logits(self.dropout(outputs, lengths, training=training), lengths)

    def stages(self) -> list[kernels.Stage] | None:
        """What a step consists of, as `StepRunner` runs it in C++; None if it cannot."""
        return kernels.stages_of(self.encoder, self.to_logits)

    def in_slots(self, logits: tf.Tensor,
                 lengths: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
        """The logits of a call, slot by slot: ([B, T slots, K], lengths slots)."""
        lengths = tf.convert_to_tensor(lengths)
        if self.slots == 1:
            return logits, lengths
        batch, steps = tf.shape(logits)[0], tf.shape(logits)[1]
        return (tf.reshape(logits, [batch, steps * self.slots, self.num_classes]),
                lengths * self.slots)

    def transcribe(self, inputs: TensorLike, lengths: TensorLike, *,
                   width: int = 1) -> tuple[tf.Tensor, tf.Tensor]:
        """Predicted labels.

        Args:
          inputs, lengths: As of a call.
          width: int. 1 for the best path; more for a beam search of that width.

        Returns:
          (labels int32 [B, T slots], 0 in the padding; label_lengths int32 [B]).

        Raises:
          As a call; ValueError if width does not fit.
        """
        checks.size('width', width)
        logits, lengths = self.in_slots(self(inputs, lengths), lengths)
        if width == 1:
            return decode.ctc_best_path(logits, lengths, self.blank)[:2]
        return decode.ctc_beam_search(logits, lengths, width=width, blank=self.blank)[:2]

    def results(self, outputs: tf.Tensor, lengths: TensorLike | None) -> dict[str, tf.Tensor]:
        """Logits as 'outputs'; for whole sequences also the best path's 'labels' and
        'label_lengths'."""
        if lengths is None:
            return {'outputs': outputs}
        labels, label_lengths, _ = decode.ctc_best_path(*self.in_slots(outputs, lengths),
                                                        self.blank)
        return {'outputs': outputs, 'labels': labels, 'label_lengths': label_lengths}

    def loss_of(self, logits: tf.Tensor, batch: dict[str, tf.Tensor]) -> Tally:
        """`losses.ctc` of logits, in nats per sequence."""
        logits, lengths = self.in_slots(logits, batch['lengths'])
        return losses.ctc(logits=logits, lengths=lengths, labels=batch['labels'],
                          label_lengths=batch['label_lengths'], blank=self.blank,
                          impossible=self.impossible)

    def loss(self, batch: dict[str, tf.Tensor], training: bool) -> Tally:
        """The loss per sequence, for `Trainer(loss=SequenceTranscriber.loss)`.

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
        """Refused, because labels are not assigned to chunks.

        Raises:
          ValueError: Always.
        """
        raise ValueError('a transcriber trains on whole sequences: their labels are not assigned '
                         'to chunks.')

    def measure(self, batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """Metrics of a batch as of `loss`, for `Trainer(measure=SequenceTranscriber.measure)`.

        Returns:
          dict of `seqmask.Tally`: 'loss'; of the best path 'label_error', edits per label, and
          'sequence_accuracy', the share of sequences without an error; 'impossible', the share of
          sequences with too few steps for their labels, which count in the other two as well.
        """
        logits = self(self.inputs_of(batch), batch['lengths'])
        in_slots, lengths = self.in_slots(logits, batch['lengths'])
        predictions, prediction_lengths, _ = decode.ctc_best_path(in_slots, lengths, self.blank)
        of = {name: batch[name] for name in ('labels', 'label_lengths')}
        compared = dict(**of, predictions=predictions, prediction_lengths=prediction_lengths)
        wrong = EditDistance.wrong_tally(**compared)
        impossible = ~losses.ctc_possible(lengths=lengths, **of)
        return {'loss': self.loss_of(logits, batch),
                'label_error': EditDistance.tally(**compared),
                'sequence_accuracy': Tally(wrong.count - wrong.total, wrong.count),
                'impossible': Mean.tally(values=tf.cast(impossible, tf.float32), mask=None)}
