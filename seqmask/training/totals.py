"""Means over many batches: sums and counts are added first and divided once."""

from __future__ import annotations

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
