"""Sequences from a table in memory: a pandas DataFrame, an Arrow table and the like."""

from __future__ import annotations

import typing

import numpy as np

from seqmask import checks
from seqmask.data.sequences import Sequences
from seqmask.data.stream import Stream
from seqmask.data.times import seconds_of


def from_dataframe(frame: typing.Any, *, sequence: str, time: str | None = None,
                   labels: str | None = None, labels_per: str = 'step',
                   features: list[str] | None = None, tokens: str | None = None) -> Stream:
    """A stream of a table with one row per step.

    The rows of a sequence are those with its name, in the order of the table; they need not be
    contiguous. pandas is not needed: any table will do whose columns are `frame[name]`, listed in
    `columns`, or `column_names` as those of an Arrow table are.

    Args:
      frame: `pandas.DataFrame`, `pyarrow.Table`, or a dict of arrays.
      sequence: Column that names the sequence of a row.
      time: Column of times, numbers, dates or ISO 8601 texts, strictly ascending within a sequence;
        dates become seconds since 1970.
      labels: Column of labels: whole numbers, or text.
      labels_per: 'step'; or 'sequence', if all rows of a sequence have the same label.
      features: Columns of 'inputs', in this order; None for all other columns of numbers.
      tokens: Column of tokens, which are 'inputs' then; features, if they are named, become a field
        'features' per step.

    Returns:
      `Stream` with 'inputs' (features as float32), 'sequence' (the name), 'time' and 'labels'; its
      `features` lists the feature columns, and `unused` the columns left out.

    Raises:
      ValueError: If a column is missing, a value is missing or does not fit, times do not ascend,
        or labels per sequence differ; the message names the row, from 0, and the column.

    >>> table = {'user': ['ann', 'bob', 'ann'], 'x': [1., 2., 3.], 'mood': ['good', 'bad', 'good']}
    >>> stream = seqmask.data.from_dataframe(table, sequence='user', labels='mood',
    ...                                      labels_per='sequence')
    >>> read = stream.to_sequences()
    >>> read.frames.ravel(), read.lengths, read.sequences['labels'].tolist()
    (array([1., 3., 2.], dtype=float32), array([2, 1], dtype=int32), ['good', 'bad'])
    """
    checks.choice('labels_per', labels_per, ('step', 'sequence'))
    names = [str(name) for name in getattr(frame, 'column_names', getattr(frame, 'columns', frame))]
    roles = {'sequence': sequence, 'time': time, 'labels': labels, 'tokens': tokens}
    taken = [name for name in roles.values() if name is not None]
    for name in [*taken, *(features or [])]:
        if name not in names:
            raise ValueError(f'there is no column {name!r}; there are '
                             f'{", ".join(map(repr, names))}.')
    if len(set(taken)) < len(taken):
        raise ValueError(f'{", ".join(role for role, name in roles.items() if name)} must be '
                         f'different columns, got {", ".join(map(repr, taken))}.')
    if features is None:
        features = [] if tokens else [name for name in names if name not in taken
                                      and _column(frame, name).dtype.kind in 'biuf']
    if not features and tokens is None:
        raise ValueError(f'no column of numbers is left for features; there are '
                         f'{", ".join(map(repr, names))}.')
    ids = _texts(frame, sequence)
    different, first, ranks = np.unique(ids, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(np.argsort(first))[ranks], kind='stable')
    lengths = np.bincount(ranks, minlength=len(different))[np.argsort(first)]
    fields = {}
    if features:
        fields['features'] = np.stack([_numbers(frame, name) for name in features], axis=1)[order]
    if tokens is not None:
        fields['tokens'] = _labels(frame, tokens)[order]
    steps, sequences = {}, {'sequence': ids[np.sort(first)]}
    if time is not None:
        steps['time'] = seconds_of(f'column {time!r}', frame[time])[order]
        _require_ascending(time, steps['time'], lengths, order)
    if labels is not None:
        values = _labels(frame, labels)[order]
        if labels_per == 'sequence':
            sequences['labels'] = one_per_sequence(
                f'column {labels!r}', values, lengths, lambda k: f'row {order[k]}')
        else:
            steps['labels'] = values
    inputs = fields.pop('tokens', None)
    inputs = fields.pop('features') if inputs is None else inputs
    stream = Stream.from_sequences(Sequences(inputs, lengths, {**fields, **steps}, sequences))
    stream.features = list(features)
    stream.unused = [name for name in names if name not in (*taken, *features)]
    return stream


def one_per_sequence(what: str, values: np.ndarray, lengths: np.ndarray,
                     place: typing.Callable[[int], str]) -> np.ndarray:
    """The first value of each sequence [B] of values [N]; `place` names the k-th one in an error.

    Raises:
      ValueError: If a sequence has different values.
    """
    starts = np.cumsum(lengths) - lengths
    first = np.repeat(values[starts], lengths)
    for k in np.flatnonzero(values != first)[:1]:
        raise ValueError(f'{what} must be the same in all rows of a sequence, because it labels '
                         f'the sequence: {place(k)} has {_shown(values[k])} after '
                         f'{_shown(first[k])}. For a label per step leave '
                         f"labels_per='sequence' out.")
    return values[starts]


def _shown(value):
    value = value.decode() if isinstance(value, bytes) else value
    return repr(value.item() if isinstance(value, np.generic) else value)


def _column(frame, name):
    values = frame[name]
    array = np.asarray(values)
    if array.dtype == object and getattr(getattr(values, 'dtype', None), 'kind', 'O') in 'biuf':
        # pandas's own kind of numbers, of which some may be missing.
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    return array


def _numbers(frame, name):
    values = _column(frame, name)
    if values.dtype.kind not in 'biuf':
        raise ValueError(f'column {name!r} must hold numbers, got {values.dtype}.')
    with np.errstate(over='ignore'):
        numbers = values.astype(np.float32)
    for row in np.flatnonzero(~np.isfinite(numbers))[:1]:
        what = 'is missing (NaN)' if np.isnan(numbers[row]) else f'is {values[row]}'
        raise ValueError(f'column {name!r} must hold finite numbers; that of row {row} {what}. '
                         f'Fill it, for example with the value before it in the same sequence, or '
                         f'leave the column out by naming all others in features.')
    return numbers


def _labels(frame, name):
    values = np.asarray(frame[name])
    return values if values.dtype.kind in 'iu' else _texts(frame, name)


def _texts(frame, name):
    values = np.asarray(frame[name])
    if values.dtype.kind not in 'OU':
        return values.astype(str)
    texts = values.tolist()
    for row, text in enumerate(texts):
        if text is None or not isinstance(text, str) and text != text:
            raise ValueError(f'column {name!r} has no value in row {row}. Fill it, or leave that '
                             f'row out.')
    return np.array([str(text) for text in texts], str)


def _require_ascending(name, times, lengths, order):
    before = np.append([-np.inf], times[:-1])
    before[(np.cumsum(lengths) - lengths)[lengths > 0]] = -np.inf
    for k in np.flatnonzero(times <= before)[:1]:
        raise ValueError(f'column {name!r} must ascend within a sequence; row {order[k]} has '
                         f'{times[k]} after {before[k]}. Sort the table by sequence and time.')
