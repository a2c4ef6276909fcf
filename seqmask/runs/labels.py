"""Labels in a user's file: one for each step or sequence, or unaligned ones of a sequence."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from seqmask import data, losses
from seqmask.data.sequences import place_of
from seqmask.runs.app import UserError

# Without --num_classes, labels must be below this, or below their number where that is larger.
MIN_LABEL_BOUND = 1000
WHOLE = re.compile(r'\s*[+-]?\d+\s*')


def class_names(sequences: data.Sequences, labels_per: str, num_classes: int) -> list[str] | None:
    """The names of the classes, sorted, if labels are text; None if they are numbers, or most are.

    Raises:
      UserError: If `num_classes` is given, and there are more names.
    """
    labels = (sequences.steps if labels_per == 'step' else sequences.sequences).get('labels')
    if labels is None or labels.ndim != 1 or labels.dtype.kind != 'U':
        return None
    names, counts = np.unique(labels, return_counts=True)
    whole = sum(count for name, count in zip(names, counts) if WHOLE.fullmatch(name))
    if 2 * whole > len(labels):
        return None         # of numbers, some are damaged: `labels_of` names the first one
    if num_classes and num_classes != len(names):
        raise UserError(f'--num_classes is for labels that are numbers; there are {len(names)} '
                        f'names of labels: {", ".join(names[:20])}. Leave it out.')
    return names.tolist()


def named_labels(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Labels as numbers, int32: text by its place among the names; numbers as they are."""
    if labels.dtype.kind != 'U':
        return labels
    numbers = {name: k for k, name in enumerate(names)}
    return np.array([numbers[label] for label in labels.tolist()], np.int32)


def labels_of(sequences: data.Sequences, *, labels_per: str, num_classes: int,
              path: str) -> tuple[np.ndarray, int]:
    """Checks and returns the labels of sequences read from a file.

    Args:
      sequences: `data.Sequences`.
      labels_per: 'step' or 'sequence': what a label belongs to.
      num_classes: K, or 0 for the highest label + 1. That label must then be below the number of
        labels, or below 1,000 if there are fewer.
      path: Named in errors.

    Returns:
      (int [N] or [B], K).

    Raises:
      UserError: If there are no labels, or one is out of range; the message names the sequence.
    """
    fields, unit = {'step': (sequences.steps, 'frame'),
                    'sequence': (sequences.sequences, 'sequence')}[labels_per]
    labels = fields.get('labels')
    if labels is None or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f'{path!r} must hold `labels`, a whole number for each {unit}'
                        f'{_first_non_integer(labels, sequences, labels_per)}.')
    return labels, _num_classes(labels, num_classes, path,
                                lambda k: _sequence_of(k, sequences, labels_per))


def _num_classes(labels, num_classes, path, sequence_of):
    """K, all labels being in [0, K); `sequence_of` names the sequence of a label."""
    bound, highest = max(MIN_LABEL_BOUND, len(labels)), int(labels.max(initial=0))
    if not num_classes and highest >= bound:
        raise UserError(f'{len(labels)} labels are expected to be below {bound}; '
                        f'{sequence_of(labels.argmax())} of {path!r} has {highest}. Fix it, or, if '
                        f'it is correct, pass the number of classes: --num_classes.')
    num_classes = num_classes or highest + 1
    for wrong in np.flatnonzero((labels < 0) | (labels >= num_classes))[:1]:
        raise UserError(f'labels must be in [0, {num_classes}); {sequence_of(wrong)} of {path!r} '
                        f'has {labels[wrong]}.')
    return num_classes


def _sequence_of(label, sequences, labels_per):
    """The sequence that a label belongs to: its number, and its name if it has one."""
    number = place_of(label, sequences.lengths)[0] if labels_per == 'step' else label
    names = sequences.sequences.get('sequence')         # only tables have names
    return f'sequence {number}' + ('' if names is None else f' ({str(names[number])!r})')


def _first_non_integer(labels, sequences, labels_per):
    """Names the first label of a table that is not an integer; all are strings then."""
    if labels is None or labels.ndim != 1 or labels.dtype.kind != 'U':
        return ''
    for k, label in enumerate(labels):
        if not WHOLE.fullmatch(label):
            return f'; {_sequence_of(k, sequences, labels_per)} has {str(label)!r}'
    return ''


def transcripts_of(sequences: data.Sequences, *, num_classes: int, skip: bool = False,
                   slots: int = 1, path: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Checks and returns the unaligned labels of sequences read from a file.

    Args:
      sequences: `data.Sequences`, as `unaligned` takes them.
      num_classes: K, or 0 for the highest label + 1, as of `labels_of`.
      skip: Whether a sequence may have too few steps for its labels.
      slots: Places for a label at each step.
      path: Named in errors.

    Returns:
      (labels int32 [B, L], 0 in the padding; label_lengths int32 [B]; K).

    Raises:
      UserError: If there are no such labels, one is out of range, or a sequence has too few steps;
        the message names the sequence.
    """
    labels, lengths = unaligned(sequences, path)
    real = np.arange(labels.shape[1]) < lengths[:, None]
    places, found = np.nonzero(real)[0], labels[real]
    num_classes = _num_classes(found, num_classes, path,
                               lambda k: _sequence_of(places[k], sequences, 'sequence'))
    possible = np.asarray(losses.ctc_possible(lengths=slots * sequences.lengths, labels=labels,
                                              label_lengths=lengths))
    for wrong in np.flatnonzero(~possible & (not skip))[:1]:
        raise UserError(
            f'there must be a place for each label, and one more between equal labels; '
            f'{_sequence_of(wrong, sequences, "sequence")} of {path!r} has '
            f'{sequences.lengths[wrong]} steps of {slots} places for {lengths[wrong]} labels. '
            f'Train with more --slots, or with --impossible=skip, which leaves such sequences out '
            f'of the loss.')
    return labels, lengths, num_classes


def unaligned(sequences: data.Sequences, path: str) -> tuple[np.ndarray, np.ndarray]:
    """The unaligned labels of sequences read from a file, whatever classes they are.

    Args:
      sequences: `data.Sequences` with 'labels' [B, L], padded with anything, and 'label_lengths'
        [B]; or, from a table, 'labels' per step, of which those that are not -1 count.
      path: Named in errors.

    Returns:
      (labels int32 [B, L], 0 in the padding; label_lengths int32 [B]).

    Raises:
      UserError: If there are no such labels, or a length is out of range.
    """
    if 'sequence' in sequences.sequences and 'labels' in sequences.steps:
        return _of_table(sequences, path)
    labels, lengths = (sequences.sequences.get(name) for name in ('labels', 'label_lengths'))
    if not (_are_integers(labels, 2) and _are_integers(lengths, 1)):
        raise UserError(f'{path!r} must hold `labels` [B, L], whole numbers, and `label_lengths` '
                        f'[B], how many of them each sequence has'
                        + (': in a table, a column labels.' if path.endswith('.csv') else '.'))
    longest = labels.shape[1]
    for wrong in np.flatnonzero((lengths < 0) | (lengths > longest))[:1]:
        raise UserError(f'`label_lengths` must be in [0, {longest}], as `labels` has shape '
                        f'{labels.shape}; that of {_sequence_of(wrong, sequences, "sequence")} of '
                        f'{path!r} is {lengths[wrong]}.')
    real = np.arange(longest) < lengths[:, None]
    for wrong in np.argwhere(real & ~((labels >= 0) & (labels < 2**31)))[:1]:
        raise UserError(f'labels must be whole numbers from 0; '
                        f'{_sequence_of(wrong[0], sequences, "sequence")} of {path!r} has '
                        f'{labels[tuple(wrong)]}.')
    return np.where(real, labels, 0).astype(np.int32), lengths.astype(np.int32)


def _of_table(sequences, path):
    labels = sequences.steps['labels']
    if labels.dtype.kind not in 'iu':
        raise UserError(f'`labels` must be whole numbers, -1 for none'
                        f'{_first_non_integer(labels, sequences, "step")}, in {path!r}.')
    for wrong in np.flatnonzero((labels < -1) | (labels >= 2**31))[:1]:
        raise UserError(f'labels must be whole numbers from 0, or -1 for none; '
                        f'{_sequence_of(wrong, sequences, "step")} of {path!r} has '
                        f'{labels[wrong]}.')
    filled, ends = labels >= 0, np.cumsum(sequences.lengths)[:-1]
    lengths = np.array([part.sum() for part in np.split(filled, ends)], np.int32)
    rows = np.zeros([len(lengths), max(1, lengths.max(initial=0))], np.int32)
    rows[np.arange(rows.shape[1]) < lengths[:, None]] = labels[filled]
    return rows, lengths


def _are_integers(values, rank):
    return values is not None and values.ndim == rank and values.dtype.kind in 'iu'
