"""Generated ratings of films, of which the best possible prediction is known."""

from __future__ import annotations

import math

import numpy as np

USERS, ITEMS = 943, 1682
FEWEST, MEDIAN, MOST = 20, 65, 737      # ratings of a user
MEAN = 3.10
USER_DEVIATION, ITEM_DEVIATION = 0.42, 0.52
QUALITY = 0.5                           # correlation of a film's quality and popularity
STEPS = (1, 2, 3, 4, 5)


def low_rank_ratings(seed: int = 0, *, rank: int = 16, variance: float = 0.32, noise: float = 0.88,
                     choice: float = 0.8) -> dict[str, np.ndarray]:
    """About 100,000 ratings from 1 to 5 of 1,682 films by 943 people: a list per person.

    rating = mean + user + item + sum over f < rank of p_f q_f + noise, rounded, clipped to 1 to 5

    The `rank` dimensions of taste have weights 1, 1/2, 1/3, ... Each person rates at least 20
    films. Few films are rated often, those are better, and people prefer films that they will like.

    'expected' is the expectation of the rating given everything but the noise. No prediction has a
    lower expected squared error, so the best possible score can be computed.

    Args:
      seed: int >= 0. Another seed gives other people and films.
      rank: int. Dimensions of taste.
      variance: Of the contribution of taste to a rating.
      noise: Standard deviation of the noise.
      choice: By how much one deviation of taste shifts the log odds of watching a film.

    Returns:
      Dict of NumPy arrays, B = 943 people, N ratings:
        'frames': float32 [N, 1]. The ratings.
        'lengths': int32 [B]. Of each person.
        'columns': int32 [N]. The films, ascending within a person.
        'expected': float32 [N].

    >>> ratings = seqmask.datasets.low_rank_ratings()
    >>> len(ratings['lengths']), np.unique(ratings['frames']).tolist()
    (943, [1.0, 2.0, 3.0, 4.0, 5.0])
    """
    rng = np.random.default_rng([seed, 26])
    weights = 1 / np.arange(1, rank + 1)
    weights *= math.sqrt(variance / np.sum(weights ** 2))
    taste = rng.normal(size=[USERS, rank]) * weights @ rng.normal(size=[rank, ITEMS])
    popularity = rng.normal(size=ITEMS)
    quality = ITEM_DEVIATION * (QUALITY * popularity
                                + math.sqrt(1 - QUALITY ** 2) * rng.normal(size=ITEMS))
    user = USER_DEVIATION * rng.normal(size=[USERS, 1])
    preference = 1.55 * popularity + choice * taste / math.sqrt(variance)
    # Gumbel noise: the n highest are a draw of n without replacement.
    order = np.argsort(-(preference + rng.gumbel(size=preference.shape)), axis=1)
    lengths = FEWEST + rng.lognormal(math.log(MEDIAN - FEWEST), 1.15, USERS)
    lengths = np.minimum(lengths, MOST).astype(np.int32)
    columns = np.concatenate([np.sort(films[:n]) for films, n in zip(order, lengths)])
    rows = np.repeat(np.arange(USERS), lengths)
    noiseless = (MEAN + user + quality + taste)[rows, columns]
    ratings = np.clip(np.rint(noiseless + noise * rng.normal(size=len(rows))), STEPS[0], STEPS[-1])
    return {'frames': ratings.astype(np.float32)[:, None], 'lengths': lengths,
            'columns': columns.astype(np.int32),
            'expected': _expected(noiseless, noise).astype(np.float32)}


def _expected(noiseless, noise):
    """Expectation of noiseless + noise, rounded and clipped: 1 + sum of P(rating > step)."""
    above = [_normal_above((step + 0.5 - noiseless) / noise) for step in STEPS[:-1]]
    return STEPS[0] + np.sum(above, axis=0)


def _normal_above(x):
    return np.array([math.erfc(value / math.sqrt(2)) / 2 for value in x])
