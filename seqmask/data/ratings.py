"""Who rated what, and how: from files to lists of unequal length."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqmask.checks import PathLike, TensorLike
from seqmask.data.files.csv_rows import is_number
from seqmask.data.sequences import Sequences, cast_frames

SEPARATORS = ('::', '\t', ',', ';')


class Ratings(NamedTuple):
    """A table of ratings, one a line; users and items are numbers.

    Attributes:
      users, items: int32 [N].
      values: float32 [N].
      user_names, item_names: Lists of str: what each number is called.
    """

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    user_names: list[str]
    item_names: list[str]


def read_ratings(path: PathLike, *, rating_range: tuple[float, float] | None = None,
                 after: Ratings | None = None) -> Ratings:
    """Reads a table `user,item,rating[,timestamp]`.

    Fields are separated by commas, tabs, semicolons or `::`, whichever the first line has. The
    first line is a header if its third field is no number. Users and items may be called anything,
    and are numbered as they come. Time stamps are not looked at, blank lines passed over.

    Args:
      path: Of the file, UTF-8.
      rating_range: (lowest, highest) rating that may occur; None for any.
      after: `Ratings` whose numbers hold here too; who is new gets the next ones. A pair that is
        in both is an error.

    Returns:
      `Ratings`.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If a line does not fit, or there is none; the message names file and line.

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
    own_users, own_items, texts, lines = [], [], [], []
    for number, user, item, text in _fields(path):
        own_users.append(users.setdefault(user, len(users)))
        own_items.append(items.setdefault(item, len(items)))
        texts.append(text)
        lines.append(number)
    if not texts:
        raise ValueError(f'{path}: the file must hold ratings, a line user,item,rating each; it '
                         f'holds none.')
    ratings = Ratings(np.array(own_users, np.int32), np.array(own_items, np.int32),
                      _numbers(path, texts, lines, rating_range), list(users), list(items))
    _refuse_twice(path, ratings, lines, after)
    return ratings


def split_ratings(ratings: int | TensorLike, fraction: float,
                  seed: int | Sequence[int] = 0) -> np.ndarray:
    """Draws a part of the ratings at random.

    Args:
      ratings: int, how many there are; or bool [N], those to draw from.
      fraction: float in (0, 1). Of them, the part drawn; rounded.
      seed: int >= 0, or several.

    Returns:
      bool [N], True = drawn.

    Raises:
      ValueError: If there are too few to draw one and leave one.

    >>> int(seqmask.data.split_ratings(10, 0.2).sum())
    2
    """
    eligible = np.ones(ratings, bool) if isinstance(ratings, int) else np.asarray(ratings)
    among = np.flatnonzero(eligible)
    number = int(round(fraction * len(among)))
    if not 0 < number < len(among):
        raise ValueError(f'there are too few ratings, {len(among)}, to divide off a part of '
                         f'{fraction:g}.')
    drawn = np.zeros(len(eligible), bool)
    drawn[np.random.default_rng(seed).permutation(among)[:number]] = True
    return drawn


def rating_rows(ratings: Ratings, given: TensorLike, scored: TensorLike | None = None, *,
                by: str = 'user') -> Sequences:
    """Each user's ratings as a list, or each item's: what `models.RatingAutoencoder` takes.

    Args:
      ratings: `Ratings`.
      given: bool [N]. Those that come first in each list.
      scored: bool [N]. Those that follow, and that the model is not to see; None for none.
      by: 'user' or 'item': whose lists.

    Returns:
      `Sequences`: a list for everybody, of length 0 for who has no such rating. Its frames are the
      ratings [., 1]; its steps 'columns', int32, the other side's numbers; 'number', int32, of each
      rating in the table; and, where scored is given, 'given', bool.

    Raises:
      ValueError: If a rating is beyond float32's range.

    >>> table = seqmask.data.Ratings(np.array([0, 1, 0]), np.array([1, 1, 0]),
    ...                              np.array([4., 2., 5.]), ['ann', 'bob'], ['heat', 'alien'])
    >>> rows = seqmask.data.rating_rows(table, given=np.array([True, True, False]),
    ...                                 scored=np.array([False, False, True]))
    >>> rows.lengths, rows.steps['columns'], rows.steps['given']
    (array([2, 1], dtype=int32), array([1, 0, 1], dtype=int32), array([ True, False,  True]))
    """
    sides = [(ratings.users, ratings.user_names), (ratings.items, ratings.item_names)]
    (rows, names), (columns, _) = sides if by == 'user' else sides[::-1]
    parts = [np.flatnonzero(given), np.flatnonzero(scored if scored is not None else [])]
    number = np.concatenate(parts).astype(np.int32)
    seen = np.repeat([True, False], [len(part) for part in parts])
    order = np.argsort(rows[number], kind='stable')
    number, seen = number[order], seen[order]
    steps = {'columns': columns[number].astype(np.int32), 'number': number}
    if scored is not None:
        steps['given'] = seen
    lengths = np.bincount(rows[number], minlength=len(names)).astype(np.int32)
    values = cast_frames('ratings', ratings.values[number][:, None], lengths, np.float32)
    return Sequences(values, lengths, steps=steps)


def _fields(path):
    """Yields (number of the line, user, item, text of the rating)."""
    with open(path, newline='', encoding='utf-8-sig') as file:
        reader = None
        try:
            separator = _separator(file)
            if separator == '::':
                rows = enumerate((line.rstrip('\r\n').split('::') for line in file), 1)
            else:
                reader = csv.reader(file, delimiter=separator)
                rows = ((reader.line_num, fields) for fields in reader)
            count = None
            for number, fields in rows:
                if not any(field.strip() for field in fields):
                    continue
                if count is None:
                    count = len(fields)
                    if count not in (3, 4):
                        raise ValueError(f'{path}: line {number} must be user, item, rating and at '
                                         f'most a time stamp, separated by commas, tabs, '
                                         f'semicolons or ::, got {count} fields.')
                    if not is_number(fields[2]):
                        continue
                if len(fields) != count:
                    raise ValueError(f'{path}: line {number} must have {count} fields, as the '
                                     f'first line has, got {len(fields)}.')
                user, item = fields[0].strip(), fields[1].strip()
                if not (user and item):
                    raise ValueError(f'{path}: line {number} must name a user and an item.')
                yield number, user, item, fields[2]
        except UnicodeDecodeError as error:
            raise ValueError(f'{path}: line {_undecodable(path)} must be UTF-8.') from error
        except csv.Error as error:
            raise ValueError(f'{path}: line {reader.line_num} cannot be read as CSV: '
                             f'{error}.') from error


def _separator(file):
    first = next((line for line in file if line.strip()), '')
    file.seek(0)
    return next((separator for separator in SEPARATORS if separator in first), ',')


def _undecodable(path):
    """Number of the first line that is not UTF-8; a text file knows only how far it read ahead."""
    with open(path, 'rb') as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number


def _numbers(path, texts, lines, rating_range):
    try:
        values = np.array(texts, np.float64)
    except ValueError:
        number, text = next(pair for pair in zip(lines, texts) if not is_number(pair[1]))
        raise ValueError(f'{path}: line {number}: the rating must be a number, got '
                         f'{text!r}.') from None
    low, high = rating_range or (-np.inf, np.inf)
    with np.errstate(over='ignore'):
        rounded = values.astype(np.float32)         # what is beyond its range becomes inf
    for k in np.flatnonzero(~(np.isfinite(rounded) & (values >= low) & (values <= high)))[:1]:
        wanted = (f'in [{low:g}, {high:g}]' if rating_range else
                  'in the range of float32' if np.isfinite(values[k]) else 'finite')
        raise ValueError(f'{path}: line {lines[k]}: the rating must be {wanted}, got '
                         f'{values[k]:g}.')
    return rounded


def _refuse_twice(path, ratings, lines, after):
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
                         f'what is tested must not be trained on.')
