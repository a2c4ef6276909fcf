"""What a model says of each sequence, cropped to its real steps, as rows or as a collection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from seqmask import data, models
from seqmask.masking import crop
from seqmask.training.trainer import Trainer


def predict_sequences(trainer: Trainer, batches: data.Batches, *,
                      labels_per: str) -> data.Sequences:
    """A model's outputs as one collection, in the order of the batches.

    Args:
      trainer: `Trainer`.
      batches: `data.Batches`, not shuffled.
      labels_per: 'step' or 'sequence': what each label is of.

    Returns:
      `data.Sequences`. Its frames are the logits, float32 [N, K] for labels per step, with the
      lengths of the sequences; [B, K] for labels per sequence, each of length 1. Per step there are
      'predicted', int32, the class of the largest logit, and 'probability', float32, that of it. A
      model with a `threshold` has one logit, [N, 1]: predicted is 1 where it reaches that, and
      probability that of an event.
    """
    outputs = list(trainer.predict(batches, per=labels_per))
    model = trainer.model
    threshold = model.threshold if isinstance(model, models.EventDetector) else None
    if labels_per == 'sequence' or threshold is not None:
        outputs = [logits[None] if labels_per == 'sequence' else logits[:, None]
                   for logits in outputs]
    collection = data.Sequences.from_list(outputs)
    logits = collection.frames.astype(np.float64)        # [N, K]
    if threshold is not None:                            # [N, 1]: events, yes or no
        predicted = logits[:, 0] >= threshold.numpy()
        probability = 1 / (1 + np.exp(np.log(model.pos_weight) - logits[:, 0]))
    else:
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        predicted = logits.argmax(axis=1)
        probability = odds.max(axis=1) / odds.sum(axis=1)
    return data.Sequences(collection.frames.astype(np.float32), collection.lengths,
                          steps={'predicted': predicted.astype(np.int32),
                                 'probability': probability.astype(np.float32)})


def reconstruct_sequences(model: models.SequenceAutoencoder,
                          batches: data.Batches) -> data.Sequences:
    """What an autoencoder makes of sequences, as one collection, in the order of the batches.

    Args:
      model: `models.SequenceAutoencoder`.
      batches: `data.Batches`, not shuffled.

    Returns:
      `data.Sequences`. Its frames are the reconstructions, float32 [N, D], in the units of the data
      where the standardizer can be undone, else in its own. Per sequence there are 'codes',
      float32 [B, C], and 'error', float32 [B], the mean squared error in the standardizer's units.
    """
    undone = model.is_invertible()
    outputs, codes, errors = [], [], []
    for batch in batches:
        inputs, lengths = batch['inputs'], batch['lengths']
        shown = crop(model(inputs, lengths), lengths)
        for frames, target in zip(shown, crop(model.targets(inputs, lengths), lengths)):
            squares = np.square(np.float32(frames) - np.float32(target))    # NumPy lacks bfloat16
            errors.append(squares.mean() if len(squares) else 0.0)
        outputs += crop(model.reconstruct(inputs, lengths), lengths) if undone else shown
        codes.append(np.float32(model.encode(inputs, lengths)))
    return data.Sequences(
        np.concatenate(outputs).astype(np.float32), [len(frames) for frames in outputs],
        sequences={'codes': np.concatenate(codes), 'error': np.array(errors, np.float32)})


def code_rows(predictions: data.Sequences) -> Iterator[dict]:
    """What `reconstruct_sequences` gives as rows of a table: a dict for each sequence."""
    for k, (code, error) in enumerate(zip(*(predictions.sequences[name]
                                            for name in ('codes', 'error')))):
        yield {'sequence': k, 'steps': predictions.lengths[k], 'error': f'{error:.6g}',
               **{f'code_{c}': f'{value:.6g}' for c, value in enumerate(code)}}


def prediction_rows(predictions: data.Sequences, names: Sequence[str], *, labels_per: str,
                    labels: np.ndarray | None = None, **first) -> Iterator[dict]:
    """Predictions as rows of a table.

    Args:
      predictions: `data.Sequences` as `predict_sequences` gives it.
      names: Of the K classes.
      labels_per: 'step' or 'sequence'.
      labels: int [N] or [B], shown beside; or None.
      **first: Values in front of every row, by name.

    Yields:
      dict: 'sequence', counted from 0; 'step', where there is a label per step; 'label', if given;
      'predicted', a name; 'probability', four decimals.
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
    """Which class was taken for which.

    Args:
      predictions: `data.Sequences` as `predict_sequences` gives it.
      sequences: `data.Sequences` with 'labels'. A sequence without steps does not count.
      num_classes: K.
      labels_per: 'step' or 'sequence'.

    Returns:
      int64 [K, K]. Rows are the labels, columns what was taken for them.
    """
    labels, predicted = _of(sequences, labels_per), predictions.steps['predicted']
    if labels_per == 'sequence':
        labels, predicted = labels[sequences.lengths > 0], predicted[sequences.lengths > 0]
    pairs = labels.astype(np.int64) * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes ** 2).reshape([num_classes, num_classes])


def examples(predictions: data.Sequences, sequences: data.Sequences, names: Sequence[str], *,
             labels_per: str, number: int = 3) -> tuple[list[dict], list[dict]]:
    """Sequences to look at: some as they come, then those with the most mistakes.

    Args:
      predictions: `data.Sequences` as `predict_sequences` gives it.
      sequences: `data.Sequences` with 'labels'.
      names: Of the K classes.
      labels_per: 'step' or 'sequence'.
      number: int. How many of each kind at most; sequences without steps are not shown.

    Returns:
      (usual, mistaken), as `pictures.predictions` takes them.
    """
    labels, predicted = _of(sequences, labels_per), predictions.steps['predicted']
    wrong = labels != predicted
    if labels_per == 'step':
        ends = np.cumsum(sequences.lengths)
        mistakes = np.array([wrong[end - n:end].sum() for end, n in zip(ends, sequences.lengths)])
    else:
        mistakes = wrong.astype(int)
    filled = np.flatnonzero(sequences.lengths)
    usual = filled[np.unique(np.linspace(0, len(filled) - 1, number).astype(int))]
    rest = np.setdiff1d(filled[mistakes[filled] > 0], usual)
    worst = rest[np.argsort(-mistakes[rest], kind='stable')][:number]

    def one(i):
        shown = {'inputs': sequences.sequence(i)['inputs'], 'right': not mistakes[i]}
        length = sequences.lengths[i]
        if labels_per == 'step':
            shown.update(labels=labels[ends[i] - length:ends[i]],
                         predicted=predicted[ends[i] - length:ends[i]],
                         title=f'sequence {i}: {mistakes[i]} of {length} steps wrong')
        else:
            shown['title'] = (
                f'sequence {i}: label {names[labels[i]]}, predicted {names[predicted[i]]} '
                f'({predictions.steps["probability"][i]:.0%})')
        return shown

    return [one(i) for i in usual], [one(i) for i in worst]


def _of(sequences, labels_per):
    return (sequences.steps if labels_per == 'step' else sequences.sequences)['labels']
