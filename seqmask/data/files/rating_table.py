"""Ratings from a table of separated text."""

from __future__ import annotations

import itertools
import os

import numpy as np

from seqmask.checks import PathLike
from seqmask.data.files.csv_rows import is_number, lines_of, rows_of
from seqmask.data.ratings import Ratings

SEPARATORS = ('::', '\t', ',', ';')


def read_ratings(path: PathLike, *, rating_range: tuple[float, float] | None = None,
                 after: Ratings | None = None) -> Ratings:
    """Reads a table `user,item,rating[,timestamp]`.

    Fields are separated by commas, tabs, semicolons or `::`, whichever the first line has. The
    first line is a header if its third field is not a number. Users and items may have any names,
    and are numbered in the order in which they occur. Time stamps and blank lines are ignored. A
    quoted name may hold the separator, unless that is `::`.

    Args:
      path: Of the file, UTF-8.
      rating_range: (lowest, highest) rating allowed; None for any.
      after: `Ratings` whose numbers are kept here; new users and items get the next ones. A pair
        that is in both is an error.

    Returns:
      `Ratings`.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If a line does not fit or there is none; the message names file and line.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, 'ratings.csv')
    ...     with open(path, 'w') as file:
    ...         _ = file.write('user,film,stars\\nann,heat,4\\nbob,heat,3.5\\n')
    ...     seqmask.data.read_ratings(path).values
    array([4. , 3.5], dtype=float32)
    """
    path = os.fsdecode(path)
    users, items = ({name: k for k, name in enumerate(names)} for names in (
        (after.user_names, after.item_names) if after is not None else ([], [])))
    user_numbers, item_numbers, texts, lines = [], [], [], []
    for number, user, item, text in _fields(path):
        user_numbers.append(users.setdefault(user, len(users)))
        item_numbers.append(items.setdefault(item, len(items)))
        texts.append(text)
        lines.append(number)
    if not texts:
        raise ValueError(f'{path}: the file must hold ratings, a line user,item,rating each; it '
                         f'holds none.')
    ratings = Ratings(np.array(user_numbers, np.int32), np.array(item_numbers, np.int32),
                      _numbers(path, texts, lines, rating_range), list(users), list(items))
    _refuse_duplicates(path, ratings, lines, after)
    return ratings


def _fields(path):
    """Yields (number of the line, user, item, text of the rating)."""
    lines = itertools.chain.from_iterable(lines_of(path, cut=True))
    first = next(lines, None)
    if first is None:
        return
    separator = next((mark for mark in SEPARATORS if mark.encode() in first[1]), ',')
    rows = rows_of(path, itertools.chain([first], lines), separator=separator)
    rows = ((number, fields) for number, fields in rows if any(map(str.strip, fields)))
    for row, (number, fields) in enumerate(rows):
        if row == 0:
            if len(fields) not in (3, 4):
                raise ValueError(f'{path}: line {number} must be user, item, rating and optionally '
                                 f'a time stamp, separated by commas, tabs, semicolons or ::, got '
                                 f'{len(fields)} fields.')
            if not is_number(fields[2]):
                continue
        user, item = fields[0].strip(), fields[1].strip()
        if not (user and item):
            raise ValueError(f'{path}: line {number} must name a user and an item.')
        yield number, user, item, fields[2]


def _numbers(path, texts, lines, rating_range):
    try:
        values = np.array(texts, np.float64)
        if any('_' in text for text in texts):
            raise ValueError
    except ValueError:
        number, text = next(pair for pair in zip(lines, texts) if not is_number(pair[1]))
        raise ValueError(f'{path}: line {number}: the rating must be a number, got '
                         f'{text!r}.') from None
    low, high = rating_range or (-np.inf, np.inf)
    with np.errstate(over='ignore'):
        rounded = values.astype(np.float32)         # inf beyond its range
    for k in np.flatnonzero(~(np.isfinite(rounded) & (values >= low) & (values <= high)))[:1]:
        expected = (f'in [{low:g}, {high:g}]' if rating_range else
                    'in the range of float32' if np.isfinite(values[k]) else 'finite')
        raise ValueError(f'{path}: line {lines[k]}: the rating must be {expected}, got '
                         f'{values[k]:g}.')
    return rounded


def _refuse_duplicates(path, ratings, lines, after):
    width = len(ratings.item_names)
    pairs = ratings.users.astype(np.int64) * width + ratings.items
    order = np.argsort(pairs, kind='stable')
    again = order[1:][pairs[order[1:]] == pairs[order[:-1]]]
    if len(again):
        k = again.min()
        first = lines[np.flatnonzero(pairs == pairs[k])[0]]
        raise ValueError(f'{path}: line {lines[k]}: user {ratings.user_names[ratings.users[k]]!r} '
                         f'rates item {ratings.item_names[ratings.items[k]]!r} again, after line '
                         f'{first}. Keep one rating of a pair.')
    if after is None:
        return
    both = np.isin(pairs, after.users.astype(np.int64) * width + after.items)
    for k in np.flatnonzero(both)[:1]:
        raise ValueError(f'{path}: line {lines[k]}: the rating of item '
                         f'{ratings.item_names[ratings.items[k]]!r} by user '
                         f'{ratings.user_names[ratings.users[k]]!r} is in the training file too: '
                         f'do not test on what the model was trained on.')
