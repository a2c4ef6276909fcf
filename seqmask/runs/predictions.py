"""A model's predictions, cropped to the real steps, as a collection or as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow as tf

from seqmask import data, models
from seqmask.masking import crop
from seqmask.training.trainer import Trainer


def predict_sequences(trainer: Trainer, batches: data.Batches, *,
                      labels_per: str) -> data.Sequences:
    """A model's outputs as one collection, in the order of the batches.

    Args:
      trainer: `Trainer`.
      batches: `data.Batches`, not shuffled.
      labels_per: 'step' or 'sequence': what a label belongs to.

    Returns:
      `data.Sequences`. Its frames are the logits: float32 [N, K] for labels per step, with the
      lengths of the sequences; [B, K] for labels per sequence, each of length 1. Per frame it holds
      'predicted', int32, the class of the largest logit, and 'probability', float32, of that class.
      A labeller with a CRF predicts its best labelling, 'probability' is each label's marginal. An
      `EventDetector` has one logit, [N, 1]: 'predicted' is 1 where it reaches the threshold, and
      'probability' is that of an event.
    """
    outputs = list(trainer.predict(batches, per=labels_per))
    model = trainer.model
    if labels_per == 'sequence' or isinstance(model, models.EventDetector):
        outputs = [logits[None] if labels_per == 'sequence' else logits[:, None]
                   for logits in outputs]
    collection = data.Sequences.from_list(outputs)
    if getattr(model, 'crf', None) is not None:
        predicted, probability = _best_labelling(model.crf, collection)
    else:
        predicted, probability = decide(model, collection.frames)
    return data.Sequences(collection.frames.astype(np.float32), collection.lengths,
                          steps={'predicted': predicted.astype(np.int32),
                                 'probability': probability.astype(np.float32)})


def decide(model: models.SequenceModel, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The prediction of each step or sequence, from its logits alone.

    Args:
      model: The model whose logits they are; not one with a CRF, which needs whole sequences.
      logits: float [N, K]; of an `EventDetector` [N, 1].

    Returns:
      (predicted int32 [N], the class of the largest logit, or 1 where the threshold is reached;
      probability float32 [N], of that class, or of an event).
    """
    logits = logits.astype(np.float64)
    if isinstance(model, models.EventDetector):
        predicted = logits[:, 0] >= model.threshold.numpy()
        probability = 1 / (1 + np.exp(np.log(model.pos_weight) - logits[:, 0]))
    else:
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        predicted = logits.argmax(axis=1)
        probability = odds.max(axis=1) / odds.sum(axis=1)
    return predicted.astype(np.int32), probability.astype(np.float32)


def _best_labelling(crf, collection):
    """(Labels [N], their marginals [N]) of a collection of logits."""
    @tf.function(reduce_retracing=True)
    def decoded(logits, lengths):
        labels, _ = crf.decode(logits, lengths)
        return labels, tf.gather(crf.marginals(logits, lengths), labels, batch_dims=2)

    predicted, probability = [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for batch in data.Batches(collection, 256):
        labels, marginals = decoded(batch['inputs'], batch['lengths'])
        predicted += crop(labels, batch['lengths'])
        probability += crop(marginals, batch['lengths'])
    return np.concatenate(predicted), np.concatenate(probability)


def reconstruct_sequences(model: models.SequenceAutoencoder,
                          batches: data.Batches) -> data.Sequences:
    """An autoencoder's reconstructions as one collection, in the order of the batches.

    Args:
      model: `models.SequenceAutoencoder`.
      batches: `data.Batches`, not shuffled.

    Returns:
      `data.Sequences`. Its frames are the reconstructions, float32 [N, D], in the units of the data
      if the standardizer is invertible, else standardized. Per sequence it holds 'codes',
      float32 [B, C], and 'error', float32 [B], the mean squared error in standardized units.
    """
    invertible = model.is_invertible()
    outputs, codes, errors = [], [], []
    for batch in batches:
        inputs, lengths = batch['inputs'], batch['lengths']
        standardized = crop(model(inputs, lengths), lengths)
        for frames, target in zip(standardized, crop(model.targets(inputs, lengths), lengths)):
            squares = np.square(np.float32(frames) - np.float32(target))    # NumPy lacks bfloat16
            errors.append(squares.mean() if len(squares) else 0.0)
        outputs += crop(model.reconstruct(inputs, lengths), lengths) if invertible else standardized
        codes.append(np.float32(model.encode(inputs, lengths)))
    return data.Sequences(
        np.concatenate(outputs).astype(np.float32), [len(frames) for frames in outputs],
        sequences={'codes': np.concatenate(codes), 'error': np.array(errors, np.float32)})


def code_rows(predictions: data.Sequences) -> Iterator[dict]:
    """The result of `reconstruct_sequences` as rows of a table: a dict per sequence."""
    for k, (code, error) in enumerate(zip(*(predictions.sequences[name]
                                            for name in ('codes', 'error')))):
        yield {'sequence': k, 'steps': predictions.lengths[k], 'error': f'{error:.6g}',
               **{f'code_{c}': f'{value:.6g}' for c, value in enumerate(code)}}


def prediction_rows(predictions: data.Sequences, names: Sequence[str], *, labels_per: str,
                    labels: np.ndarray | None = None, **first) -> Iterator[dict]:
    """Predictions as rows of a table.

    Args:
      predictions: As returned by `predict_sequences`.
      names: Names of the K classes.
      labels_per: 'step' or 'sequence'.
      labels: int [N] or [B] for the column 'label'; or None.
      **first: Leading columns, the same in every row.

    Yields:
      dict: 'sequence', counted from 0; 'step' for labels per step; 'label' if given; 'predicted', a
      name; 'probability', with four decimals.
    """
    steps = np.concatenate([np.arange(n) for n in predictions.lengths] or [[]]).astype(int)
    sequences = np.repeat(np.arange(len(predictions)), predictions.lengths)
    for k, best in enumerate(predictions.steps['predicted']):
        row = {**first, 'sequence': sequences[k]}
        if labels_per == 'step':
            row['step'] = steps[k]
        if labels is not None:
            row['label'] = names[labels[k]]
        yield {**row, 'predicted': names[best],
               'probability': f'{predictions.steps["probability"][k]:.4f}'}


def confusion_counts(predictions: data.Sequences, sequences: data.Sequences,
                     num_classes: int, *, labels_per: str) -> np.ndarray:
    """The confusion matrix, int64 [K, K]: rows are labels, columns predictions.

    Args:
      predictions: As returned by `predict_sequences`.
      sequences: `data.Sequences` with 'labels'. Sequences without steps are not counted.
      num_classes: K.
      labels_per: 'step' or 'sequence'.
    """
    labels, predicted = labels_in(sequences, labels_per), predictions.steps['predicted']
    if labels_per == 'sequence':
        labels, predicted = labels[sequences.lengths > 0], predicted[sequences.lengths > 0]
    pairs = labels.astype(np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes ** 2).reshape([num_classes, num_classes])


def labels_in(sequences: data.Sequences, labels_per: str) -> np.ndarray:
    """The labels of a collection: int [N] per step or [B] per sequence."""
    return (sequences.steps if labels_per == 'step' else sequences.sequences)['labels']
