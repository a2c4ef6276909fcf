"""One batch, several devices: which replica takes which rows, and how their results add up.

Every process reads each batch whole, and each replica takes its own rows. So all workers run the
same number of training steps, whatever the lengths, and the sums equal those of one device.
"""

from __future__ import annotations

import functools
import typing
import zlib
from collections.abc import Callable

import tensorflow as tf


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes and prints: the only one, or the chief of several workers."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.cluster_spec().as_dict():
        return True
    jobs = resolver.cluster_spec().as_dict()
    return resolver.task_type == 'chief' or ('chief' not in jobs and resolver.task_id == 0)


def check_scope(strategy: tf.distribute.Strategy, **made) -> None:
    """Checks that lists of variables, by owner's name, were created under the strategy's scope.

    Raises:
      ValueError: If one was not; the message names its owner.
    """
    for name, variables in made.items():
        # A Keras variable wraps a TensorFlow variable.
        inner = [v if isinstance(v, tf.Variable) else v.value for v in variables]
        if not all(map(strategy.extended.variable_created_in_scope, inner)):
            raise ValueError(f'{name} must be made under the scope of the trainer\'s strategy, got '
                             f'one that was not. Make it in `with strategy.scope():`, and pass '
                             f'strategy to Trainer.')


def own_rows(batch: typing.Any) -> typing.Any:
    """This replica's rows of a batch: replica k of R takes rows k, k + R, ..., perhaps none.

    `batch` is a structure of tensors [B, ...]. To be called in replica context, inside
    `strategy.run`.
    """
    replica = tf.distribute.get_replica_context()
    return _strided(batch, replica.replica_id_in_sync_group, replica.num_replicas_in_sync)


def sum_over_replicas(values: typing.Any) -> typing.Any:
    """The sum over all replicas, the same on each. To be called in replica context.

    `values` is a structure of float tensors and `tf.IndexedSlices`; over several replicas the sum
    of the latter is dense.
    """
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync == 1:
        return values
    summed = replica.all_reduce(tf.distribute.ReduceOp.SUM,
                                [_dense(value) for value in tf.nest.flatten(values)])
    return tf.nest.pack_sequence_as(values, summed)


def first_result(values: typing.Any) -> typing.Any:
    """The result of `strategy.run` on the first replica of this process."""
    strategy = tf.distribute.get_strategy()
    return tf.nest.map_structure(lambda v: strategy.experimental_local_results(v)[0], values)


def run_on_rows(function: Callable[..., typing.Any], batch: typing.Any) -> typing.Any:
    """Applies `function` to a batch whose rows are split among this process's replicas.

    Args:
      function: Of a structure of tensors [b, ...]; returns a structure of tensors [b, ...].
      batch: Structure of tensors [B, ...].

    Returns:
      Structure of tensors [B, ...], their rows in the order of the batch.
    """
    strategy = tf.distribute.get_strategy()
    alone = strategy.num_replicas_in_sync == 1
    count = 1 if alone else len(strategy.extended.worker_devices)
    if count == 1:
        return first_result(strategy.run(function, args=(batch,)))

    def on_replica():
        k = tf.distribute.get_replica_context().replica_id_in_sync_group % count
        return function(_strided(batch, k, count))

    def joined(result):
        parts = strategy.experimental_local_results(result)
        rows = tf.range(sum(tf.shape(part)[0] for part in parts))
        order = tf.concat([rows[k::count] for k in range(count)], axis=0)
        return tf.gather(tf.concat(parts, axis=0), tf.argsort(order))

    return tf.nest.map_structure(joined, strategy.run(on_replica))


def all_agree(strategy: tf.distribute.Strategy, text: str) -> bool:
    """Whether all workers pass the same text. Blocks until every worker has called it."""
    if strategy.cluster_resolver is None:
        return True
    number = tf.constant(zlib.crc32(text.encode()) & 0xfffff, tf.float64)   # its square is exact
    with strategy.scope():
        count, total, squares = _power_sums(strategy)(number)
    return bool(count * squares == total * total)       # zero variance: all are equal


def wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Blocks until every worker has called it."""
    all_agree(strategy, '')


@functools.cache
def _power_sums(strategy):
    """Traced once: number -> sums of its powers 0, 1, 2 over all replicas."""
    return tf.function(lambda number: first_result(strategy.run(
        lambda: sum_over_replicas([number ** power for power in range(3)]))))


def _strided(batch, k, count):
    if count == 1:
        return batch
    return tf.nest.map_structure(
        lambda v: (v if tf.is_tensor(v) else tf.convert_to_tensor(v))[k::count], batch)


def _dense(value):
    if isinstance(value, tf.IndexedSlices):
        return tf.math.unsorted_segment_sum(value.values, value.indices, value.dense_shape[0])
    return tf.convert_to_tensor(value)
