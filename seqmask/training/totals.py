"""Means over many batches: sums and counts are added first and divided once."""

from __future__ import annotations

from collections.abc import Collection

from seqmask.tally import Tally, precise


def mean_of(total: Tally) -> float:
    """The mean of a `Tally` as a float; NaN if its count is 0, which is never better."""
    return float(total.mean()) if float(total.count) else float('nan')


class Totals:
    """The tallies of several batches, added up by name, in float64."""

    def __init__(self):
        self._totals = {}

    def add(self, tallies: dict[str, Tally]) -> None:
        """Adds the tallies of one batch."""
        for name, tally in tallies.items():
            self._totals[name] = precise(tally) + self._totals.get(name, Tally(0.0, 0.0))

    def means(self) -> dict[str, float]:
        """The mean of each name over all batches; NaN if its count is 0.

        Raises:
          ValueError: If there was no batch, or all counts are 0.
        """
        if not self._totals:
            raise ValueError('there must be at least one batch to evaluate, got none. A generator '
                             'is empty after one pass: pass something that can be iterated again.')
        if not any(float(total.count) for total in self._totals.values()):
            raise ValueError('there must be at least one real step to evaluate, got none: all '
                             'sequences are empty, or all weights are 0.')
        return {name: mean_of(total) for name, total in self._totals.items()}


def as_metrics(found: object, others: Collection[str]) -> dict[str, float]:
    """What a user's `measure_all` returned, checked: a dict of name to float.

    Raises:
      TypeError: If it is anything else.
      ValueError: If a name is one of `others`.
    """
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise TypeError(f'measure_all must return a dict of name to number, got {found!r}.')
    for name in found:
        if name in others:
            raise ValueError(f'measure_all must name its metrics differently than the loss and '
                             f'measure do, got {name!r}.')
    try:
        return {name: float(value) for name, value in found.items()}
    except (TypeError, ValueError) as error:
        raise TypeError(f'measure_all must return a dict of name to number, got '
                        f'{found!r}.') from error
