"""A sum and its number of terms, divided as late as possible."""

import typing

import tensorflow as tf


class Tally(typing.NamedTuple):
    """A sum and the number of its terms.

    mean = total / count;   0 where count = 0

    Tallies of micro-batches, batches and replicas add up; the mean of their sum weighs every step
    alike, which a mean of means does not. A tally without terms has the mean 0 and no gradient.

    Attributes:
      total: float scalar. Sum of (weighted) terms.
      count: float scalar. Number of terms, or the sum of their weights.

    >>> one, nine = seqmask.Tally(0.0, 1.0), seqmask.Tally(9.0, 9.0)
    >>> round(float((one + nine).mean()), 3), float(seqmask.Tally(0.0, 0.0).mean())
    (0.9, 0.0)
    """
    total: typing.Any
    count: typing.Any

    def __add__(self, other):
        if not isinstance(other, Tally):
            return NotImplemented
        return Tally(self.total + other.total, self.count + other.count)

    def __radd__(self, other):
        # sum() starts from the integer 0.
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def mean(self):
        """total / count as a float scalar tensor; 0 where count is 0."""
        return tf.math.divide_no_nan(tf.convert_to_tensor(self.total), self.count)
