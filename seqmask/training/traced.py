"""Functions of batches, traced once for all batch sizes."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

BatchIterable = Iterable[dict[str, tf.Tensor]]


@typing.runtime_checkable
class EpochBatches(typing.Protocol):
    """Batches with a separate order for each epoch, such as `data.Batches`."""

    def at_epoch(self, epoch: int) -> BatchIterable:
        """The batches of one epoch, counted from 0."""


class Traced:
    """Traces each function once under a strategy, for batches of all sizes."""

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self._traced = {}

    def __call__(self, function: Callable[..., typing.Any], batches: BatchIterable,
                 count: int = 1) -> Callable[..., typing.Any]:
        """`function` of `count` of the `batches`, traced; call it in the strategy's scope."""
        spec = _spec(batches)
        key = function.__name__, str(spec), count
        if key not in self._traced:
            self._traced[key] = tf.function(function, input_signature=spec and [spec] * count,
                                            reduce_retracing=spec is None)
        return self._traced[key]

    def result_names(self, function: Callable[..., dict[str, typing.Any]],
                     batches: BatchIterable) -> list[str]:
        """Keys of the dict that `function` of a batch returns, found by tracing alone.

        Empty if there is no batch, or if `batches` is an iterator, whose first batch would be lost.
        """
        arguments = []
        if _spec(batches) is None:
            first = iter(batches)
            arguments = [] if first is batches else list(itertools.islice(first, 1))
            if not arguments:
                return []
        with self._strategy.scope():
            traced = self(function, batches).get_concrete_function(*arguments)
        return list(traced.structured_outputs)


def _spec(batches):
    """The signature of a batch, if the batches have one, as a `tf.data.Dataset` has; or None."""
    return getattr(batches, 'element_spec', None)


def groups(batches: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` batches; the last one may be shorter."""
    batches = iter(batches)
    while group := list(itertools.islice(batches, size)):
        yield group


def number_of(batches: Iterable, size: int) -> int | None:
    """How many lists `groups` yields; None if unknown."""
    try:
        return -(-len(batches) // size)
    except TypeError:
        return None
