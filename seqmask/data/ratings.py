"""From a table of ratings to lists of unequal length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqmask.checks import TensorLike
from seqmask.data.sequences import Sequences, cast_frames


class Ratings(NamedTuple):
    """A table of ratings: who rated what, and how.

    Attributes:
      users, items: int32 [N]. Numbers, from 0.
      values: float32 [N].
      user_names, item_names: Lists of str. The names that the numbers stand for.
    """

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray
    user_names: list[str]
    item_names: list[str]


def split_ratings(ratings: int | TensorLike, fraction: float,
                  seed: int | Sequence[int] = 0) -> np.ndarray:
    """Draws a part of the ratings at random.

    Args:
      ratings: int, their number; or bool [N], those to draw from.
      fraction: float in (0, 1). The part to draw; rounded to a number of ratings.
      seed: int >= 0, or several.

    Returns:
      bool [N], True = drawn.

    Raises:
      ValueError: If there are too few to draw at least one and leave at least one.

    >>> int(seqmask.data.split_ratings(10, 0.2).sum())
    2
    """
    eligible = np.ones(ratings, bool) if isinstance(ratings, int) else np.asarray(ratings)
    candidates = np.flatnonzero(eligible)
    number = int(round(fraction * len(candidates)))
    if not 0 < number < len(candidates):
        raise ValueError(f'there are too few ratings, {len(candidates)}, to draw a fraction of '
                         f'{fraction:g}.')
    drawn = np.zeros(len(eligible), bool)
    drawn[np.random.default_rng(seed).permutation(candidates)[:number]] = True
    return drawn


def rating_rows(ratings: Ratings, given: TensorLike, scored: TensorLike | None = None, *,
                by: str = 'user') -> Sequences:
    """The ratings of each user, or of each item, as a list: what `models.RatingAutoencoder` takes.

    Args:
      ratings: `Ratings`.
      given: bool [N]. The ratings that come first in each list.
      scored: bool [N]. Those that follow, which are hidden from the model; None for none.
      by: 'user' or 'item': the lists' owners.

    Returns:
      `Sequences`: a list per user or item, which may have length 0. Its frames are the ratings
      [N, 1]; its steps 'columns', int32, the number of the item or user; 'number', int32, of each
      rating in the table; and, if scored is not None, 'given', bool.

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
