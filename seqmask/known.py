"""What is already known about a tensor, and need not be checked again?

While a graph is traced, a tensor carries the facts established about it: the two scalars (B, T)
that are its sizes, and the sizes that lengths were checked against. Values and sizes of a tensor
never change, so a fact holds wherever the tensor is used. Tensors that the caller derives carry no
facts, and are checked.
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
    """`values`, recorded to have the batch and the time steps of `of`.

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
    """`lengths`, recorded as checked: one for each of `batch` rows, 0 <= lengths <= maxlen.

    Args:
      lengths: int32 [B].
      batch: B, or None if unknown.
      maxlen: T, or None if unknown.
      raw: The lengths before the check; `checked_already(raw, ...)` will return the checked ones.
    """
    for tensor in (lengths,) if raw is None else (lengths, raw):
        remember(tensor, 'checked', (lengths, batch, maxlen))
    if all(tf.is_tensor(size) and size.dtype == tf.int32 for size in (batch, maxlen)):
        remember(lengths, 'sizes', (batch, maxlen))
    return lengths


def checked_already(lengths: typing.Any, batch: typing.Any,
                    maxlen: typing.Any) -> tf.Tensor | None:
    """The checked lengths, if `lengths` were checked against the given sizes; else None."""
    found, *sizes = recall(lengths, 'checked') or (None, None, None)
    fits = all(size is None or are_same(size, s) for size, s in zip((batch, maxlen), sizes))
    return found if fits else None


def are_same(first: typing.Any, second: typing.Any) -> bool:
    """Whether two sizes are known to be the same: one tensor, or one number."""
    if first is second:
        return True
    first, second = (None if s is None else tf.get_static_value(s) for s in (first, second))
    return first is not None and second is not None and int(first) == int(second)


def recall(value: typing.Any, fact: str) -> typing.Any:
    """A fact that `remember` recorded, or None."""
    return getattr(value, f'_seqmask_{fact}', None)


def remember(value: tf.Tensor, fact: str, known: typing.Any) -> None:
    """Records a fact on a tensor.

    Only in the tensor's own graph, because a tensor made in a branch or a loop is not accessible
    outside. Eagerly nothing is recorded: there a tensor may share memory with the caller's array.
    """
    if not tf.executing_eagerly() and (
            getattr(value, 'graph', None) is tf.compat.v1.get_default_graph()):
        setattr(value, f'_seqmask_{fact}', known)
