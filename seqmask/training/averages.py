"""Batch norm's running statistics, recomputed with the current weights."""

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

MAX_BATCHES = 32        # more would cost time and change little


class RunningStatistics:
    """The running statistics of all `BatchNorm` layers of a model.

    Moving averages lag behind the weights: on small data they date from epochs ago. The plain
    average over one pass with the current weights does not. Arguments are as of `Trainer`.

    Source: Wu, Johnson. Rethinking "Batch" in BatchNorm. 2021, section 3.
    """

    def __init__(self, model: tf.Module, loss: Loss, strategy: tf.distribute.Strategy):
        self._model, self._loss, self._strategy = model, loss, strategy
        self._traced = Traced(strategy)
        self._norms = [part for part in model_parts(model) if isinstance(part, BatchNorm)]

    def recompute(self, batches: BatchIterable) -> None:
        """Replaces the statistics by their averages over the first 32 batches, in training mode.

        Nothing else in the model changes, and batches with non-finite statistics are skipped. Does
        nothing for a model without BatchNorm or an iterator, which is used up already.
        """
        if not self._norms or isinstance(batches, Iterator):
            return
        for norm in self._norms:
            for part in self._strategy.experimental_local_results(norm.averaged):
                part.assign(0)
        add = self._traced(self._add, batches)
        for batch in itertools.islice(batches, MAX_BATCHES):
            with self._strategy.scope():
                add(batch)

    def _add(self, batch):
        # Around the replicas, not in each: they are traced in turns.
        with _equal_weights(self._norms):
            self._strategy.run(lambda: self._add_rows(own_rows(batch)))

    def _add_rows(self, batch):
        averages = [average for norm in self._norms
                    for average in (norm.moving_mean, norm.moving_variance, norm.averaged)]
        before = [tf.identity(average) for average in averages]
        self._loss(self._model, batch, training=True)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(average)) for average in averages])
        for average, value in zip(averages, before):
            average.assign(tf.where(finite, average, value))


@contextlib.contextmanager
def _equal_weights(norms):
    """While the call is traced: momentum 1 makes the moving average the mean of all batches."""
    momentums = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momentums):
            norm.momentum = momentum
