"""A tag, known by its name, for each step."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from seqmask import data, metrics, models
from seqmask.lengths import sequence_mask
from seqmask.runs.outputs.classes import Classes
from seqmask.tags import read_bio
from seqmask.tally import Tally
from seqmask.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Tags(Classes):
    """Tags of a `models.SequenceLabeller`, whose labels in a file are their names, or numbers.

    If the names are BIO tags ('O', 'B-PER', 'I-PER'), the F1 of spans is measured, too.
    """

    def __post_init__(self):
        if self.per != 'step':
            raise ValueError(f"per must be 'step', got {self.per!r}.")
        # Here, because a traced function must make no variables.
        spans = metrics.SpanF1(self.names) if self.has_spans else None
        object.__setattr__(self, '_spans', spans)

    @classmethod
    def of(cls, parts: Sequence[data.Sequences]) -> Tags:
        """The tags that occur in any of the parts, sorted; or the numbers up to the highest."""
        labels = [part.steps['labels'] for part in parts]
        if labels[0].dtype.kind == 'U':
            return cls(np.unique(np.concatenate(labels)).tolist())
        highest = max(int(part.max(initial=0)) for part in labels)
        return cls([str(k) for k in range(highest + 1)])

    @property
    def has_spans(self) -> bool:
        """Whether the names are BIO tags of at least one kind."""
        try:
            return bool(read_bio(self.names).kind_names)
        except ValueError:
            return False

    def measure(self, model: models.SequenceLabeller,
                batch: dict[str, tf.Tensor]) -> dict[str, Tally]:
        lengths = batch['lengths']
        logits = model(model.inputs_of(batch), lengths)
        measured = model.measure_of(logits, batch)
        if self._spans is not None:
            measured['span_f1'] = self._spans.tally(
                labels=batch['labels'], predictions=model.label_of(logits, lengths),
                mask=sequence_mask(lengths, tf.shape(logits)[1]))
        return measured

    def predict(self, trainer: Trainer, batches: data.Batches) -> data.Sequences:
        """As of `Classes`; 'token' per step is the token, if the inputs are tokens."""
        predictions = super().predict(trainer, batches)
        tokens = [batch['inputs'].numpy()[batch['lengths'].numpy()[:, None] > np.arange(
            batch['inputs'].shape[1])] for batch in batches if batch['inputs'].shape.rank == 2]
        if tokens:
            found = np.concatenate(tokens)
            predictions.steps['token'] = np.array(
                [token.decode() for token in found], str) if found.dtype == object else found
        return predictions

    def rows(self, predictions: data.Sequences, sequences: data.Sequences | None = None,
             **first: typing.Any) -> Iterator[dict[str, typing.Any]]:
        """As of `Classes`, with the 'token' of each step before its label, if there is one."""
        tokens = predictions.steps.get('token')
        for k, row in enumerate(super().rows(predictions, sequences, **first)):
            if tokens is not None:
                place = list(row).index('step') + 1
                cells = list(row.items())
                row = dict([*cells[:place], ('token', tokens[k]), *cells[place:]])
            yield row

    def span_scores(self, predictions: data.Sequences,
                    sequences: data.Sequences) -> dict[str, metrics.spans.SpanScores]:
        """`metrics.SpanF1.scores` of predictions, compared with `labelled` sequences."""
        metric = metrics.SpanF1(self.names)
        compared = data.Sequences(predictions.steps['predicted'], predictions.lengths,
                                  {'labels': sequences.steps['labels']})
        for batch in data.Batches(compared, 256):
            metric.update(labels=batch['labels'], predictions=batch['inputs'],
                          mask=sequence_mask(batch['lengths'], tf.shape(batch['labels'])[1]))
        return metric.scores()
