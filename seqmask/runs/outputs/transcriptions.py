"""Labels that are not aligned to steps: the letters of a word, the phonemes of speech."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Sequence

import numpy as np

from seqmask import data, decode, models
from seqmask.metrics import EditDistance
from seqmask.runs.labels import transcripts_of, unaligned
from seqmask.runs.outputs.output import Output
from seqmask.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Texts(Output):
    """Base: labels of each sequence that are a sequence of their own.

    Predictions hold, per sequence, 'predicted', int32 [B, L], 0 in the padding;
    'predicted_lengths', int32 [B]; and 'log_probability', float32 [B], in nats.

    Attributes:
      names: Names of the K labels.
      separator: Between the labels of a sequence, as text.
    """

    names: Sequence[str]
    separator: str = ' '

    def labels_in(self, sequences: data.Sequences, path: str) -> tuple[np.ndarray, np.ndarray]:
        """(labels int32 [B, L], 0 in the padding; label_lengths int32 [B])."""
        return unaligned(sequences, path)

    def labelled(self, sequences: data.Sequences) -> data.Sequences:
        """With 'labels' int32 [B, L] and 'label_lengths' int32 [B], whatever they were."""
        labels, lengths = self.labels_in(sequences, '')
        others = {name: values for name, values in sequences.sequences.items()
                  if name not in ('labels', 'label_lengths')}
        return data.Sequences(
            sequences.frames, sequences.lengths,
            {name: values for name, values in sequences.steps.items() if name != 'labels'},
            {**others, 'labels': labels, 'label_lengths': lengths})

    def rows(self, predictions: data.Sequences, sequences: data.Sequences | None = None,
             **first: typing.Any) -> Iterator[dict[str, typing.Any]]:
        """A row per sequence: 'sequence'; 'label', if there are labels, and 'predicted', texts;
        'log_probability' of the prediction; 'edits', if there are labels, between the texts."""
        of = predictions.sequences
        wrong = None if sequences is None else edits(predictions, sequences)
        for k, log_probability in enumerate(of['log_probability']):
            row = {**first, 'sequence': k}
            if sequences is not None:
                row['label'] = self.text(sequences.sequences['labels'][k],
                                         sequences.sequences['label_lengths'][k])
            row['predicted'] = self.text(of['predicted'][k], of['predicted_lengths'][k])
            row['log_probability'] = f'{log_probability:.4f}'
            yield row if wrong is None else {**row, 'edits': wrong[k]}

    def text(self, labels: np.ndarray, length: int) -> str:
        """The names of the first `length` labels, joined."""
        return self.separator.join(self.names[label] for label in labels[:length])


@dataclasses.dataclass(frozen=True)
class Transcriptions(Texts):
    """Labels that a `models.SequenceTranscriber` reads from each sequence, along its best path.

    The blank is none of the `names`.

    Attributes:
      skip: Whether a sequence may have too few steps for its labels.
      slots: Places for a label at each step.
    """

    skip: bool = False
    slots: int = 1

    def check(self, sequences: data.Sequences, path: str) -> None:
        transcripts_of(sequences, num_classes=len(self.names), skip=self.skip, slots=self.slots,
                       path=path)

    def predict(self, trainer: Trainer, batches: data.Batches) -> data.Sequences:
        """Transcriptions as one collection.

        Returns:
          `data.Sequences`. Its frames are the logits, float32 [N, slots (K + 1)], the last one of
          each slot that of the blank. Per sequence it holds 'predicted', int32 [B, L], 0 in the
          padding; 'predicted_lengths', int32 [B]; and 'log_probability', float32 [B], of the best
          path, in nats.
        """
        logits = data.Sequences.from_list(trainer.predict(batches))
        model, found = trainer.model, []
        for batch in data.Batches(logits, 256):
            found += zip(*(values.numpy() for values in decode.ctc_best_path(
                *model.in_slots(batch['inputs'], batch['lengths']), model.blank)))
        return data.Sequences(logits.frames.astype(np.float32), logits.lengths,
                              sequences=collected(found))

    def step_header(self) -> list[str]:
        return ['predicted', 'probability']

    def step_values(self, model: models.StreamingModel, outputs: np.ndarray) -> list[str]:
        """The label of the largest logit, empty for the blank, and its probability; of several
        slots the labels, joined, and the product."""
        logits = outputs.astype(np.float64).reshape([self.slots, -1])
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        labels = [k for k in odds.argmax(axis=1) if k != model.blank]
        probability = np.prod(odds.max(axis=1) / odds.sum(axis=1))
        return [self.text(labels, len(labels)), f'{probability:.4f}']


def collected(found: list[tuple[np.ndarray, int, float]]) -> dict[str, np.ndarray]:
    """The fields of predictions, from (labels, their number, log probability) of each sequence."""
    longest = max((count for _, count, _ in found), default=0)
    predicted = np.zeros([len(found), longest], np.int32)
    for row, (labels, count, _) in zip(predicted, found):
        row[:count] = labels[:count]
    return {'predicted': predicted,
            'predicted_lengths': np.array([count for _, count, _ in found], np.int32),
            'log_probability': np.array([nats for *_, nats in found], np.float32)}


def edits(predictions: data.Sequences, sequences: data.Sequences) -> np.ndarray:
    """Labels to replace, insert or delete in each sequence: int [B].

    Args:
      predictions: As returned by `predict` of a kind of `Texts`.
      sequences: As returned by its `labelled`.
    """
    return EditDistance.distances(
        labels=sequences.sequences['labels'], predictions=predictions.sequences['predicted'],
        label_lengths=sequences.sequences['label_lengths'],
        prediction_lengths=predictions.sequences['predicted_lengths']).numpy().astype(int)
