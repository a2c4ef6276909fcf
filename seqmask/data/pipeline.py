"""How every `tf.data` pipeline of the library runs. Apart, as all that make one are to use it."""

from __future__ import annotations

import tensorflow as tf


def untuned(dataset: tf.data.Dataset, options: tf.data.Options | None = None) -> tf.data.Dataset:
    """The dataset without `tf.data`'s autotuner, which has nothing to tune where it is used.

    All parallelism and buffers here are fixed numbers. The autotuner's thread sleeps between its
    rounds, twice as long each time, and deleting an iterator waits for it to wake: an epoch would
    end up to as late again as it took.

    Args:
      dataset: `tf.data.Dataset`.
      options: Further options; this function completes them.

    Returns:
      `tf.data.Dataset`.
    """
    options = options or tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
