"""Batch norm's averages, of the weights as they are now."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import tensorflow as tf

from seqmask.layers import BatchNorm
from seqmask.training.replicas import own_rows
from seqmask.training.step import Loss
from seqmask.training.traced import BatchIterable, Traced
from seqmask.variables import model_parts

MOST = 32       # batches. More would change little, and cost time


class Averages:
    """The moving averages of all `BatchNorm` layers of a model, to be taken anew.

    Moving averages are those of the weights of the last batches, which on small data are those of
    epochs ago. The plain average over a pass with the weights as they are has no such lag.

    Args:
      model: `tf.Module`.
      loss: (model, batch, training) -> `Tally`.
      strategy: `tf.distribute.Strategy` under whose scope the model was made.

    Source: Wu, Johnson. Rethinking "Batch" in BatchNorm. 2021, section 3.
    """

    def __init__(self, model: tf.Module, loss: Loss, strategy: tf.distribute.Strategy):
        self._model, self._loss, self._strategy = model, loss, strategy
        self._traced = Traced(strategy)
        self._norms = [part for part in model_parts(model) if isinstance(part, BatchNorm)]

    def take(self, batches: BatchIterable) -> None:
        """Replaces the averages by those of the first batches, 32 at most, in training.

        Nothing else of the model moves. A batch whose statistics are not finite does not count.
        Without a BatchNorm, or from an iterator that is used up, all stays as it is.
        """
        if not self._norms or isinstance(batches, Iterator):
            return
        for norm in self._norms:
            for part in self._strategy.experimental_local_results(norm.averaged):
                part.assign(0)
        take = self._traced(self._taken, batches)
        for batch in itertools.islice(batches, MOST):
            take(batch)

    def _taken(self, batch):
        # Around the replicas, not in each: these are traced in turns.
        with _all_batches_alike(self._norms):
            self._strategy.run(lambda: self._take_in(own_rows(batch)))

    def _take_in(self, batch):
        averages = [average for norm in self._norms
                    for average in (norm.moving_mean, norm.moving_variance, norm.averaged)]
        before = [tf.identity(average) for average in averages]
        self._loss(self._model, batch, training=True)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(average)) for average in averages])
        for average, value in zip(averages, before):
            average.assign(tf.where(finite, average, value))


@contextlib.contextmanager
def _all_batches_alike(norms):
    """While the call is traced: with momentum 1 a moving average is the average of all batches."""
    momentums = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momentums):
            norm.momentum = momentum
