"""What all batches share, and how every `tf.data` pipeline of the library runs."""

from __future__ import annotations

import abc
import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from seqmask import checks


class EpochDatasets(abc.ABC):
    """Batches in an order that is a function of `seed` and epoch; iterating them gives epoch 0."""

    seed: int

    @abc.abstractmethod
    def at_epoch(self, epoch: int) -> tf.data.Dataset:
        """The batches of one epoch, made in the background.

        Args:
          epoch: int >= 0.

        Returns:
          `tf.data.Dataset` of dicts.
        """

    def __iter__(self) -> Iterator[dict[str, tf.Tensor]]:
        return iter(self.at_epoch(0))

    @property
    def dataset(self) -> tf.data.Dataset:
        """Epoch 0 as a `tf.data.Dataset`."""
        return self.at_epoch(0)

    @functools.cached_property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        """`tf.TypeSpec` of a batch of unknown size: `tf.function(input_signature=[...])`."""
        return self.dataset.element_spec

    def _rng(self, epoch):
        return np.random.default_rng([self.seed, checks.size('epoch', epoch, minimum=0)])


def untuned(dataset: tf.data.Dataset, options: tf.data.Options | None = None) -> tf.data.Dataset:
    """The dataset without `tf.data`'s autotuner, which has nothing to tune here.

    All parallelism and buffers are fixed. The autotuner's thread sleeps between its rounds, longer
    each time, and deleting an iterator waits for it to wake: an epoch could take twice as long.
    """
    options = options or tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
