"""Baselines of rating prediction without a network: means, biases, factors. NumPy alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from seqmask import checks
from seqmask.checks import TensorLike


def rating_biases(rows: TensorLike, columns: TensorLike, ratings: TensorLike,
                  shape: tuple[int, int], *, shrinkage: float = 5.0,
                  sweeps: int = 10) -> tuple[float, np.ndarray, np.ndarray]:
    """Deviations of each row's and each column's ratings from the mean.

    column[c] = sum over the ratings of c of (r - mean - row) / (n_c + shrinkage)
    row[b]    = sum over the ratings of b of (r - mean - column) / (n_b + shrinkage)

    in turns, so that a generous row does not look like a good column; 0 where there is no rating.

    Args:
      rows, columns: int [N]. Who rated what.
      ratings: float [N].
      shape: (number of rows, number of columns).
      shrinkage: float >= 0. Number of ratings at the mean to add to each row and column.
      sweeps: int. Number of alternations.

    Returns:
      (mean, a float; row float64 [rows]; column float64 [columns]).

    >>> mean, row, column = seqmask.models.rating_biases(
    ...     [0, 0, 1], [0, 1, 0], [5., 3., 5.], (2, 2), shrinkage=0.0)
    >>> column.round(3).tolist()        # 5 - 13 / 3,  3 - 13 / 3
    [0.667, -1.333]
    """
    checks.positive('shrinkage', shrinkage, or_zero=True)
    rows, columns, ratings = np.asarray(rows), np.asarray(columns), np.asarray(ratings, np.float64)
    mean = float(ratings.mean()) if len(ratings) else 0.0
    row, column = np.zeros(shape[0]), np.zeros(shape[1])
    for _ in range(sweeps):
        column = _shrunken(columns, ratings - mean - row[rows], shape[1], shrinkage)
        row = _shrunken(rows, ratings - mean - column[columns], shape[0], shrinkage)
    return mean, row, column


def factorize_ratings(rows: TensorLike, columns: TensorLike, ratings: TensorLike,
                      shape: tuple[int, int], *, size: int = 8, decay: float = 14.0,
                      sweeps: int = 15, seed: int = 0) -> Callable[..., np.ndarray]:
    """Biased matrix factorization by alternating least squares, for comparison.

    minimizes the sum of (r - base - row_b - column_c - p_b . q_c)^2
              + decay (sum of |p_b|^2 + sum of |q_c|^2 + sum of row_b^2 + sum of column_c^2)

    where base is the mean and the biases of `rating_biases`.

    Args:
      rows, columns, ratings, shape: As of `rating_biases`.
      size: int. Factors of each row and column.
      decay: float > 0.
      sweeps: int. How often to solve for all rows, then all columns.
      seed: int >= 0.

    Returns:
      Function: (rows, columns), ints of one shape, -> float64 predictions.

    Source: Koren, Bell, Volinsky. Matrix factorization techniques for recommender systems. IEEE
      Computer, 2009.

    >>> predict = seqmask.models.factorize_ratings([0, 0, 1], [0, 1, 0], [5., 3., 5.], (2, 2))
    >>> bool(3 < predict([1], [1])[0] < 5)
    True
    """
    checks.positive('decay', decay)
    rows, columns = np.asarray(rows), np.asarray(columns)
    mean, row, column = rating_biases(rows, columns, ratings, shape)
    residuals = np.asarray(ratings, np.float64) - mean - row[rows] - column[columns]
    rng = np.random.default_rng(seed)
    # The last entry of a vector is its bias; the other side's vector has a 1 there.
    of_rows, of_columns = (np.append(rng.normal(0, 0.1, [n, size]), np.zeros([n, 1]), axis=1)
                           for n in shape)
    by_row, by_column = _members(rows, shape[0]), _members(columns, shape[1])
    ridge = decay * np.eye(size + 1)
    for _ in range(sweeps):
        for own, other, groups, partners in [(of_rows, of_columns, by_row, columns),
                                             (of_columns, of_rows, by_column, rows)]:
            for b, members in enumerate(groups):
                x = other[partners[members]]
                y = residuals[members] - x[:, size]
                x[:, size] = 1
                own[b] = np.linalg.solve(x.T @ x + ridge, x.T @ y)

    def predict(rows, columns):
        p, q = of_rows[rows], of_columns[columns]
        return (mean + row[rows] + column[columns] + p[..., size] + q[..., size]
                + np.sum(p[..., :size] * q[..., :size], axis=-1))

    return predict


def _shrunken(groups, values, number, shrinkage):
    counts = np.bincount(groups, minlength=number) + shrinkage
    sums = np.bincount(groups, values, number)
    return np.divide(sums, counts, out=np.zeros(number), where=counts > 0)


def _members(groups, number):
    """Indices of the members of each group."""
    ends = np.cumsum(np.bincount(groups, minlength=number))
    return np.split(np.argsort(groups, kind='stable'), ends[:-1])
