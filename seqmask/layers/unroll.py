"""Any cell over time, and resets of its state."""

from __future__ import annotations

import typing
from collections.abc import Callable

import tensorflow as tf

from seqmask import checks, known
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask, reverse as reverse_steps
from seqmask.packing import take_rows


def unroll(cell: Callable[..., tuple[typing.Any, typing.Any]], inputs: typing.Any,
           lengths: TensorLike, initial_state: typing.Any, *,
           reverse: bool = False) -> tuple[typing.Any, typing.Any]:
    """Runs your own cell over the real steps of a batch.

    output_t, state_t = cell(x_t, state_tm1)      for t < length
    output_t, state_t = 0, state_tm1              after it

    The loop ends with the longest sequence. Once a sequence has ended, the cell is given a copy of
    the longest sequence's row in its place, and the result is discarded. So a pole at zero, or at
    the padding, never enters values or gradients.

    Args:
      cell: (x_t, state) -> (output, state), on [B, ...] tensors, each row independently. States and
        outputs may have any structure.
      inputs: [B, T, ...], or a structure of such tensors. Values at padded steps are ignored.
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.
      initial_state: Structure of [B, ...] tensors.
      reverse: Whether each sequence runs from its own last step to its first; the output of a step
        stays at that step.

    Returns:
      (outputs [B, T, ...], 0 at padded steps; final_state).

    Raises:
      ValueError: If a rank or a static size does not fit.
      TypeError: If lengths is not int32 or int64.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).

    >>> add = lambda x_t, state: (state + x_t, state + x_t)
    >>> sums, final = seqmask.unroll(add, tf.constant([[[1.], [2.], [9.]]]), tf.constant([2]),
    ...                              tf.zeros([1, 1]))
    >>> sums.numpy().ravel(), final.numpy().ravel()
    (array([1., 3., 0.], dtype=float32), array([3.], dtype=float32))
    """
    inputs = tf.nest.map_structure(lambda x: checks.tensor('inputs', x, 'B, T, ...'), inputs)
    first = tf.nest.flatten(inputs)[0]
    batch, maxlen = known.sizes(first)
    lengths = checks.lengths(lengths, batch=batch, maxlen=maxlen)
    state = tf.nest.map_structure(lambda s: checks.tensor('a state', s, 'B, ...'), initial_state)
    if reverse:
        inputs = tf.nest.map_structure(lambda x: reverse_steps(x, lengths), inputs)
    longest = tf.reduce_max(tf.concat([lengths, [0]], axis=0))
    longest_row = tf.argsort(lengths)[-1:]      # [1]; [0] if B = 0

    def substitute(value, alive):
        return _select(alive, value, take_rows(value, longest_row))

    def body(t, state, outputs):
        alive = t < lengths
        x_t = tf.nest.map_structure(lambda x: substitute(x[:, t], alive), inputs)
        output, new = cell(x_t, tf.nest.map_structure(lambda s: substitute(s, alive), state))
        tf.nest.assert_same_structure(new, state)
        state = tf.nest.map_structure(lambda n, s: _select(alive, n, s), new, state)
        outputs = tf.nest.map_structure(
            lambda array, o: array.write(t, apply_mask(o, alive)), outputs, output)
        return t + 1, state, outputs

    # Filled with zeros, for the steps after the longest sequence; never empty, because an empty
    # array does not know the shape of its elements.
    steps = tf.maximum(maxlen, 1)
    outputs = tf.nest.map_structure(lambda o: tf.TensorArray(
        o.dtype, steps, element_shape=o.shape, clear_after_read=False).unstack(
            tf.zeros(tf.concat([[steps], tf.shape(o)], axis=0), o.dtype)),
        _example_output(cell, inputs, state, batch))
    _, state, outputs = tf.while_loop(lambda t, *_: t < longest, body,
                                      (tf.constant(0), state, outputs),
                                      maximum_iterations=maxlen)
    outputs = tf.nest.map_structure(
        lambda array: _batch_major(array.stack()[:maxlen], first.shape[:2]), outputs)
    if reverse:
        outputs = tf.nest.map_structure(lambda o: reverse_steps(o, lengths), outputs)
    return outputs, state


def _select(alive, values, others):
    mask = tf.reshape(alive, [-1] + [1] * (values.shape.rank - 1))
    return tf.where(mask, values, others)


def _example_output(cell, inputs, state, batch):
    """The output of a step of zeros, for its shapes and dtypes: the batch may have no real step."""
    def zeros(x):
        x_t = tf.zeros(tf.concat([[batch], tf.shape(x)[2:]], axis=0), x.dtype)
        return tf.ensure_shape(x_t, x.shape[:1] + x.shape[2:])
    return cell(tf.nest.map_structure(zeros, inputs), state)[0]


def _batch_major(outputs, batch_and_time):
    axes = tf.concat([[1, 0], tf.range(2, tf.rank(outputs))], axis=0)
    return tf.ensure_shape(tf.transpose(outputs, axes), batch_and_time + outputs.shape[2:])


def reset_rows(state: typing.Any, rows: TensorLike) -> typing.Any:
    """Resets chosen rows of a state to zero, between two parts of a stream.

    out[b] = 0 where rows[b] else state[b]

    Args:
      state: [B, ...], or any structure of such tensors, as a recurrent layer returns it.
      rows: bool [B]. True = reset.

    Returns:
      The structure of state.

    Raises:
      TypeError: If rows is not bool.
      ValueError: If rows does not have one entry for each sequence.

    >>> seqmask.reset_rows(tf.constant([[1.], [2.]]), tf.constant([True, False])).numpy()
    array([[0.],
           [2.]], dtype=float32)
    """
    rows = checks.tensor('rows', rows, 'B')
    if rows.dtype != tf.bool:
        raise TypeError(f'rows must be bool [B], True = reset, got {rows.dtype.name}.')
    return tf.nest.map_structure(lambda part: apply_mask(part, tf.logical_not(rows)), state)
