"""Sequences of labels from sequences of steps or tokens: phonemes from letters."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from seqmask import data, models
from seqmask.metrics import EditDistance
from seqmask.models.protocol import inputs_of
from seqmask.runs.app import UserError
from seqmask.runs.labels import transcripts_of
from seqmask.runs.outputs.transcriptions import Texts, collected
from seqmask.tally import Tally
from seqmask.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Translations(Texts):
    """Labels that a `models.SequenceToSequence` writes for each sequence.

    Attributes:
      width: Of the beam search; 1 for greedy outputs.
      merged: Of each label, the lowest one that counts as the same in a second pair of errors, such
        as a vowel whatever its stress; empty for no such pair.
    """

    width: int = 1
    merged: Sequence[int] = ()

    def check(self, sequences: data.Sequences, path: str) -> None:
        labels, lengths = self.labels_in(sequences, path)
        transcripts_of(data.Sequences(sequences.frames, sequences.lengths, sequences={
            **sequences.sequences, 'labels': labels, 'label_lengths': lengths}),
            num_classes=len(self.names), skip=True, path=path)

    def labels_in(self, sequences: data.Sequences, path: str) -> tuple[np.ndarray, np.ndarray]:
        """As the base; labels that are text, one for each sequence, are split into names."""
        texts = sequences.sequences.get('labels')
        if texts is None or texts.dtype.kind != 'U' or texts.ndim != 1:
            return super().labels_in(sequences, path)
        return numbered(texts, self.names, self.separator, path)

    def measure(self, model: models.SequenceModel,
                batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        """'loss'; 'label_error' and 'sequence_error', of labels and of sequences with any error;
        the same as 'merged_error' and 'merged_sequence_error' where some labels are merged."""
        found, found_lengths = model.transcribe(inputs_of(model, batch), batch['lengths'],
                                                width=self.width)
        compared = dict(labels=batch['labels'], label_lengths=batch['label_lengths'],
                        predictions=found, prediction_lengths=found_lengths)
        results = {'loss': model.loss(batch, training=False),
                   **_errors('label_', 'sequence_', compared)}
        if self.merged:
            same = tf.constant([*self.merged, 0], tf.int32)
            compared.update({name: tf.gather(same, tf.clip_by_value(
                tf.cast(compared[name], tf.int32), 0, len(self.merged)))
                for name in ('labels', 'predictions')})
            results.update(_errors('merged_', 'merged_sequence_', compared))
        return results

    def predict(self, trainer: Trainer, batches: data.Batches) -> data.Sequences:
        """Outputs as one collection of sequences without steps."""
        model, width, found = trainer.model, self.width, []
        specs = {name: tf.TensorSpec([None, None, *shape], dtype)
                 for name, (dtype, shape) in model.fields.items()}
        search = tf.function(lambda inputs, lengths: model.search(inputs, lengths, width=width),
                             input_signature=[inputs_of(model, specs),
                                              tf.TensorSpec([None], tf.int32)])
        for batch in batches:
            found += zip(*(part[:, 0].numpy() for part in search(
                inputs_of(model, batch), batch['lengths'])))
        return data.Sequences(np.zeros([0, 1], np.float32), np.zeros(len(found), np.int32),
                              sequences=collected(found))

    def rows(self, predictions: data.Sequences, sequences: data.Sequences | None = None,
             **first: typing.Any) -> Iterator[dict[str, typing.Any]]:
        """As the base, and after 'sequence' the 'tokens' of the input, if they are given."""
        for row in super().rows(predictions, sequences, **first):
            if sequences is not None and sequences.are_tokens:
                tokens = sequences.sequence(row['sequence'])['inputs'].astype(str).tolist()
                space = '' if max(map(len, tokens), default=0) == 1 else ' '
                cells = list(row.items())
                place = list(row).index('sequence') + 1
                row = dict([*cells[:place], ('tokens', space.join(tokens)), *cells[place:]])
            yield row


def numbered(texts: Sequence[str], names: Sequence[str], separator: str,
             path: str) -> tuple[np.ndarray, np.ndarray]:
    """Texts as numbers of names: (labels int32 [B, L], 0 in the padding; label_lengths int32 [B]).

    Raises:
      UserError: If a text holds another name.
    """
    numbers = {name: k for k, name in enumerate(names)}
    rows = [units(text, separator) for text in texts]
    for k, row in enumerate(rows):
        for name in row:
            if name not in numbers:
                raise UserError(f'sequence {k} of {path!r} has the label {name!r}, which the model '
                                f'does not know; it has {len(names)}: {", ".join(names[:20])}.')
    lengths = np.array([len(row) for row in rows], np.int32)
    labels = np.zeros([len(rows), max(1, lengths.max(initial=0))], np.int32)
    for row, found in zip(labels, rows):
        row[:len(found)] = [numbers[name] for name in found]
    return labels, lengths


def units(text: str, separator: str) -> list[str]:
    """The parts of a text: characters, or, with a separator, what stands between spaces."""
    return text.split() if separator else list(text)


def _errors(of_labels, of_sequences, compared):
    return {f'{of_labels}error': EditDistance.tally(**compared),
            f'{of_sequences}error': EditDistance.wrong_tally(**compared)}
