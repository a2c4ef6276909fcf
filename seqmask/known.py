"""What is known of a tensor already, so that it is not checked again?

While a graph is traced, a tensor carries the facts that were found out about it: the two scalars
(B, T) that are its sizes, and what lengths were checked against. Neither values nor sizes of a
tensor ever change, so a fact holds wherever the tensor is used. What the caller makes of tensors
carries nothing, and is checked.
"""

from __future__ import annotations

import typing

import tensorflow as tf


def sizes(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(B, T) of `values` [B, T, ...]; while a graph is traced, the same two each time."""
    known = recall(values, 'sizes')
    if known is None:
        shape = tf.shape(values)
        known = shape[0], shape[1]
        remember(values, 'sizes', known)
    return known


def with_sizes_of(values: tf.Tensor, of: tf.Tensor) -> tf.Tensor:
    """`values`, which were made in such a way that they have the batch and the time steps of `of`.

    Args:
      values: [B, T, ...].
      of: [B, T, ...]; or lengths [B] that were checked against B and T.
    """
    known = recall(of, 'sizes')
    if known is not None:
        remember(values, 'sizes', known)
    return values


def have_same_sizes(first: tf.Tensor, second: tf.Tensor) -> bool:
    """Whether two tensors [B, T, ...] are known to have the same batch and time steps."""
    both = recall(first, 'sizes'), recall(second, 'sizes')
    return None not in both and all(map(are_same, *both))


def checked(lengths: tf.Tensor, batch: typing.Any, maxlen: typing.Any,
            raw: tf.Tensor | None = None) -> tf.Tensor:
    """`lengths`, one for each of `batch` rows, none negative or above `maxlen`.

    Args:
      lengths: int32 [B].
      batch: B; None if that is not known.
      maxlen: T; None if that is not known.
      raw: What `lengths` were before they were checked; whoever asks of it is handed these.
    """
    for tensor in (lengths,) if raw is None else (lengths, raw):
        remember(tensor, 'checked', (lengths, batch, maxlen))
    if all(tf.is_tensor(size) and size.dtype == tf.int32 for size in (batch, maxlen)):
        remember(lengths, 'sizes', (batch, maxlen))
    return lengths


def checked_already(lengths: typing.Any, batch: typing.Any,
                    maxlen: typing.Any) -> tf.Tensor | None:
    """The checked lengths, if these were checked against the sizes that are given; or None."""
    found, *of = recall(lengths, 'checked') or (None, None, None)
    fits = all(size is None or are_same(size, s) for size, s in zip((batch, maxlen), of))
    return found if fits else None


def are_same(first: typing.Any, second: typing.Any) -> bool:
    """Whether two sizes are known to be the same: one tensor, or one number."""
    if first is second:
        return True
    first, second = (None if s is None else tf.get_static_value(s) for s in (first, second))
    return first is not None and second is not None and int(first) == int(second)


def recall(value: typing.Any, fact: str) -> typing.Any:
    """What was remembered, or None."""
    return getattr(value, f'_seqmask_{fact}', None)


def remember(value: tf.Tensor, fact: str, known: typing.Any) -> None:
    """Keeps a fact on a tensor.

    Only in the tensor's own graph, for what a branch or a loop makes is not to be had outside of
    it. Eagerly nothing is kept: there a tensor may share its memory with an array of the caller's.
    """
    if not tf.executing_eagerly() and (
            getattr(value, 'graph', None) is tf.compat.v1.get_default_graph()):
        setattr(value, f'_seqmask_{fact}', known)
