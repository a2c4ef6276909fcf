"""Arithmetic of gradients, dense ones and `tf.IndexedSlices` alike."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask.tally import widen

Gradient = typing.Union[tf.Tensor, tf.IndexedSlices]


def map_values(function: Callable[[tf.Tensor], tf.Tensor], gradient: Gradient) -> Gradient:
    """Applies an element-wise function that keeps 0 to a gradient, or to its slices."""
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(function(gradient.values), gradient.indices, gradient.dense_shape)
    return function(gradient)


def add(gradient: Gradient, more: Gradient) -> Gradient:
    """The sum of two gradients of a variable; sparse if both are."""
    if isinstance(gradient, tf.IndexedSlices) and isinstance(more, tf.IndexedSlices):
        return tf.IndexedSlices(tf.concat([gradient.values, more.values], axis=0),
                                tf.concat([gradient.indices, more.indices], axis=0),
                                gradient.dense_shape)
    return tf.convert_to_tensor(gradient) + more


def sum_rows(gradient: Gradient) -> Gradient:
    """Sums duplicate rows: Adam and the norm would square the parts instead of their sum."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, places = tf.unique(gradient.indices)
    values = tf.cond(
        tf.size(rows) == tf.size(places), lambda: gradient.values,
        lambda: tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows)))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def global_norm(gradients: list[Gradient]) -> tf.Tensor:
    """Norm of all gradients together, in the widest of their dtypes."""
    values = [widen(g.values if isinstance(g, tf.IndexedSlices) else g) for g in gradients]
    widest = max((v.dtype for v in values), key=lambda dtype: dtype.size, default=tf.float32)
    return tf.linalg.global_norm([tf.cast(v, widest) for v in values])
