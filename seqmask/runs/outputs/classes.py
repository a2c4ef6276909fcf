"""One of K classes for each step or each sequence."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from seqmask import data, models
from seqmask.data.sequences import place_of
from seqmask.masking import crop
from seqmask.runs.app import UserError
from seqmask.runs.labels import labels_of, named_labels
from seqmask.runs.outputs.output import Output, steps_of
from seqmask.training.trainer import Trainer


@dataclasses.dataclass(frozen=True)
class Classes(Output):
    """Classes of a `models.SequenceLabeller` or a `models.SequenceClassifier`.

    Attributes:
      names: Names of the K classes.
      per: 'step' or 'sequence': what a label belongs to.
    """

    names: Sequence[str]
    per: str = 'step'

    def check(self, sequences: data.Sequences, path: str) -> None:
        labels = self._fields(sequences).get('labels')
        if labels is None or labels.ndim != 1 or labels.dtype.kind != 'U':
            labels_of(sequences, labels_per=self.per, num_classes=len(self.names), path=path)
            return
        for k in np.flatnonzero(~np.isin(labels, self.names))[:1]:
            where = f'sequence {k}'
            if self.per == 'step':
                where = 'step {1} of sequence {0}'.format(*place_of(k, sequences.lengths))
            raise UserError(f'{path!r}: {where} has the label {str(labels[k])!r}; the model knows '
                            f'{", ".join(self.names)}.')

    def labelled(self, sequences: data.Sequences) -> data.Sequences:
        """The sequences with the number of each label that is text."""
        if 'labels' not in self._fields(sequences):
            return sequences
        found = {'labels': named_labels(self._fields(sequences)['labels'], self.names)}
        of_steps, of_sequences = (found, {}) if self.per == 'step' else ({}, found)
        return data.Sequences(sequences.frames, sequences.lengths,
                              {**sequences.steps, **of_steps},
                              {**sequences.sequences, **of_sequences})

    def _fields(self, sequences):
        return sequences.steps if self.per == 'step' else sequences.sequences

    def labels_in(self, sequences: data.Sequences) -> np.ndarray:
        """The labels of a collection: int [N] per step or [B] per sequence."""
        return self._fields(sequences)['labels']

    def predict(self, trainer: Trainer, batches: data.Batches) -> data.Sequences:
        """A model's outputs as one collection, in the order of the batches.

        Returns:
          `data.Sequences`. Its frames are the logits: float32 [N, K] for labels per step, with the
          lengths of the sequences; [B, K] for labels per sequence, each of length 1. Per frame it
          holds 'predicted', int32, the class of the largest logit, and 'probability', float32, of
          that class. A labeller with a CRF predicts its best labelling, 'probability' is each
          label's marginal.
        """
        collection = data.Sequences.from_list(
            [self._as_frames(logits) for logits in trainer.predict(batches, per=self.per)])
        crf = getattr(trainer.model, 'crf', None)
        predicted, probability = (self.decide(trainer.model, collection.frames) if crf is None
                                  else _best_labelling(crf, collection))
        return data.Sequences(collection.frames.astype(np.float32), collection.lengths,
                              steps={'predicted': predicted.astype(np.int32),
                                     'probability': probability.astype(np.float32)})

    def decide(self, model: models.SequenceModel,
               logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The prediction of each step or sequence, from its logits alone.

        Args:
          model: The model whose logits they are; not one with a CRF, which needs whole sequences.
          logits: float [N, K].

        Returns:
          (predicted int32 [N], probability float32 [N] of that class).
        """
        logits = logits.astype(np.float64)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (logits.argmax(axis=1).astype(np.int32),
                (odds.max(axis=1) / odds.sum(axis=1)).astype(np.float32))

    def rows(self, predictions: data.Sequences, sequences: data.Sequences | None = None,
             **first: typing.Any) -> Iterator[dict[str, typing.Any]]:
        """A row per step or sequence: 'sequence'; 'step' for labels per step; 'label', if there are
        labels, and 'predicted', names; 'probability', with four decimals."""
        labels = None if sequences is None else self.labels_in(sequences)
        for k, (sequence, step) in enumerate(steps_of(predictions.lengths)):
            row = {**first, 'sequence': sequence}
            if self.per == 'step':
                row['step'] = step
            if labels is not None:
                row['label'] = self.names[labels[k]]
            yield {**row, **dict(zip(self.step_header(), self._values(
                *(predictions.steps[name][k] for name in ('predicted', 'probability')))))}

    def step_header(self) -> list[str]:
        return ['predicted', 'probability']

    def step_values(self, model: models.StreamingModel, outputs: np.ndarray) -> list[str]:
        (predicted,), (probability,) = self.decide(model, outputs[None])
        return self._values(predicted, probability)

    def confusion_counts(self, predictions: data.Sequences,
                         sequences: data.Sequences) -> np.ndarray:
        """The confusion matrix, int64 [K, K]: rows are labels, columns predictions.

        Args:
          predictions: As returned by `predict`.
          sequences: `data.Sequences` with 'labels'. Sequences without steps are not counted.
        """
        labels, predicted = self.labels_in(sequences), predictions.steps['predicted']
        if self.per == 'sequence':
            labels, predicted = labels[sequences.lengths > 0], predicted[sequences.lengths > 0]
        size = len(self.names)
        pairs = labels.astype(np.int64) * size + predicted
        return np.bincount(pairs, minlength=size ** 2).reshape([size, size])

    def _as_frames(self, logits):
        return logits if self.per == 'step' else logits[None]

    def _values(self, predicted, probability):
        return [self.names[predicted], f'{probability:.4f}']


@dataclasses.dataclass(frozen=True)
class Events(Classes):
    """Event or nothing at each step: the decisions of a `models.EventDetector`, by its threshold.

    Predictions have one logit per step, [N, 1]; 'predicted' is 1 where it reaches the threshold,
    and 'probability' is that of an event.
    """

    def decide(self, model: models.EventDetector,
               logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logit = logits[:, 0].astype(np.float64)
        return ((logit >= model.threshold.numpy()).astype(np.int32),
                (1 / (1 + np.exp(np.log(model.pos_weight) - logit))).astype(np.float32))

    def _as_frames(self, logits):
        return logits[:, None]


def _best_labelling(crf, collection):
    """(Labels [N], their marginals [N]) of a collection of logits."""
    batches = data.Batches(collection, 256)
    spec = batches.element_spec

    @tf.function(input_signature=[spec['inputs'], spec['lengths']])
    def decoded(logits, lengths):
        labels, _ = crf.decode(logits, lengths)
        return labels, tf.gather(crf.marginals(logits, lengths), labels, batch_dims=2)

    predicted, probability = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for batch in batches:
        labels, marginals = decoded(batch['inputs'], batch['lengths'])
        predicted += crop(labels, batch['lengths'])
        probability += crop(marginals, batch['lengths'])
    return np.concatenate(predicted), np.concatenate(probability)
