"""The most likely outputs of any decoder that runs step by step.

Shared arguments:

  step: (tokens int32 [N], state) -> (logits or log probabilities float [N, K], state). It is given
    the token before, `start` first, and works on each row independently. With `memory` it is
    called as step(tokens, state, memory).
  state: Structure of tensors [B, ...], the state before the first step.
  max_length: int32 [B], the most labels of each sequence; or int, of all. An output that long ends
    without an end symbol.
  end: int in [0, K). The symbol that ends an output; no label of it.
  start: int. The first token; `end` by default.
  memory: Structure of tensors [B, ...] that stay the same, such as encoded inputs. A step's N rows
    are the same number of rows for each sequence of the memory, sequence by sequence.
  maxlen: int or int scalar. L, the padded width; by default the largest of max_length. XLA and
    TensorFlow Lite want a number here.

The loop ends with the longest output. Sequences that have ended leave it as soon as half of those
in it have, so the step sees fewer rows then (not under XLA). No gradient flows back.

Raises:
  ValueError: If a rank, a size or an option does not fit.
  TypeError: If a dtype does not fit.
  tf.errors.InvalidArgumentError: If a length is negative or exceeds maxlen (clipped under XLA).
"""

from __future__ import annotations

import typing
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from seqmask import checks, kernels
from seqmask.checks import TensorLike
from seqmask.decode.beams import (Beams, array_of_zeros, continued, first_beams, penalized,
                                  traced_back)

Step = Callable[..., typing.Tuple[tf.Tensor, typing.Any]]


def greedy(step: Step, state: typing.Any, *, max_length: TensorLike, end: int,
           start: int | None = None, memory: typing.Any = None,
           maxlen: TensorLike | None = None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The most likely label at each step: not always the most likely labels.

    y_t = argmax over k of log p(k | y_<t), until it is `end` or max_length labels are there

    Args: As above.

    Returns:
      (labels int32 [B, L], 0 in the padding; label_lengths int32 [B]; log probabilities of the
      labels and of their end, float32 [B]).

    >>> def step(tokens, state):                 # counts to 2, and ends
    ...     return tf.one_hot(state, 4, on_value=0., off_value=-9.), state + 1
    >>> labels, label_lengths, _ = seqmask.decode.greedy(step, tf.constant([1, 2]), max_length=4,
    ...                                                  end=3)
    >>> labels.numpy().tolist(), label_lengths.numpy().tolist()
    ([[1, 2, 0, 0], [2, 0, 0, 0]], [2, 1])
    """
    results = beam_search(step, state, width=1, max_length=max_length, end=end, start=start,
                          memory=memory, maxlen=maxlen)
    return tuple(part[:, 0] for part in results)


def beam_search(step: Step, state: typing.Any, *, width: int, max_length: TensorLike, end: int,
                start: int | None = None, length_penalty: float = 0.0, memory: typing.Any = None,
                maxlen: TensorLike | None = None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The outputs with the highest scores, found by beam search.

    score(y) = log p(y) / ((5 + |y|) / 6) ^ length_penalty,   |y| labels, the end not counted

    Each step keeps the `width` best of all continuations and of the outputs that have ended, whose
    scores stay. All are found where there are no more than `width` in all.

    Args: As above, and
      width: int. W, the number of outputs kept, and returned, of each sequence.
      length_penalty: number >= 0. More prefers longer outputs; 0 compares log probabilities.

    Returns:
      (labels int32 [B, W, L], 0 in the padding; label_lengths int32 [B, W]; scores float32 [B,
      W]), best first. Where there are fewer than W different outputs, the last ones are empty with
      the score -inf.

    Source: Wu et al. Google's Neural Machine Translation System. 2016, section 7; without its
      coverage penalty.

    >>> def step(tokens, state):                 # 0 or 1, or 2, the end
    ...     return tf.math.log([[0.5, 0.2, 0.3]] * len(tokens)), state
    >>> labels, label_lengths, scores = seqmask.decode.beam_search(
    ...     step, tf.zeros([1, 0]), width=3, max_length=1, end=2)
    >>> labels[0, :, 0].numpy().tolist(), label_lengths[0].numpy().tolist()
    ([0, 0, 1], [1, 0, 1])
    >>> tf.exp(scores[0]).numpy().round(2).tolist() == np.float32([0.5, 0.3, 0.2]).tolist()
    True
    """
    checks.size('width', width)
    checks.positive('length_penalty', length_penalty, or_zero=True)
    end = checks.size('end', end, minimum=0)
    start = end if start is None else checks.size('start', start, minimum=0)
    constants = () if memory is None else (memory,)
    state, constants = _checked('a state', state), _checked('a memory', constants)
    limits, maxlen = _limits(max_length, maxlen, tf.nest.flatten((state, constants)))
    # Elsewhere all shapes are fixed.
    shrinks = not (kernels.inside_xla() or kernels.inside_pfor())

    def body(t, rows, state, constants, beams, tokens, parents):
        mine = _take(beams, rows) if shrinks else beams
        logits, after = step(tf.reshape(mine.tokens, [-1]), state, *constants)
        after = _like(after, state)
        chosen, parent = continued(mine, _log_p(logits, end, width), tf.gather(limits, rows), end,
                                   length_penalty)
        kept, few, parent_of_all = tf.range(tf.size(rows)), tf.constant(False), parent
        if shrinks:
            few, kept = _running(chosen.ended)
            constants = _take(constants, kept, few)
            beams = Beams(*(_put(part, rows, new) for part, new in zip(beams, chosen)))
            parent_of_all = _put(tf.zeros_like(beams.tokens) + tf.range(width), rows, parent)
            rows = tf.gather(rows, kept)
        else:
            beams = chosen
        if width > 1:
            after = _take(after, tf.reshape(
                kept[:, None] * width + tf.gather(parent, kept), [-1]))
        elif shrinks:
            after = _take(after, kept, few)
        return (t + 1, rows, after, constants, beams, tokens.write(t, beams.tokens),
                parents.write(t, parent_of_all))

    beams = first_beams(limits, width, start)
    size = tf.maximum(maxlen, 1)            # an empty array does not know its elements
    variables = (tf.constant(0), tf.range(tf.size(limits)),
                 tf.nest.map_structure(lambda part: tf.repeat(part, width, axis=0), state),
                 constants, beams, array_of_zeros(size, beams.tokens),
                 array_of_zeros(size, beams.tokens))
    steps, *_, beams, tokens, parents = tf.while_loop(
        lambda t, rows, state, constants, beams, *_: ~tf.reduce_all(beams.ended), body, variables,
        shape_invariants=_invariants(variables, shrinks), maximum_iterations=maxlen)
    found = (tokens.stack() if width == 1 else
             traced_back(tokens, parents, steps, size, beams.tokens))           # [L, B, W]
    labels = tf.transpose(found[:maxlen], [1, 2, 0])
    labels = tf.where(tf.range(maxlen) < beams.lengths[..., None], labels, 0)
    scores = penalized(beams.log_p, beams.lengths, length_penalty)
    return labels, beams.lengths, tf.stop_gradient(scores)


def _checked(name, structure):
    return tf.nest.map_structure(lambda part: checks.tensor(name, part, 'B, ...'), structure)


def _limits(max_length, maxlen, parts):
    """(The most labels of each sequence, int32 [B]; L)."""
    batch = tf.shape(parts[0])[0] if parts else None
    if not tf.is_tensor(max_length) and np.ndim(max_length) == 0:
        if batch is None:
            raise ValueError('max_length must be int32 [B], one for each sequence, if there is '
                             'neither a state nor a memory.')
        max_length = tf.fill([batch], checks.size('max_length', max_length, minimum=0))
    limits = checks.lengths(max_length, batch, maxlen, name='max_length')
    checked = [checks.require(
        tf.reduce_all(tf.shape(part)[0] == tf.size(limits)),
        'a state and a memory must have one row for each sequence; rows and sequences are',
        tf.shape(part)[0], tf.size(limits)) for part in parts]
    limits = checks.after(checked, limits)
    return limits, (tf.reduce_max(tf.concat([limits, [0]], axis=0)) if maxlen is None
                    else tf.convert_to_tensor(maxlen, tf.int32))


def _log_p(logits, end, width):
    """Log probabilities float32 [A, W, K] of each next symbol."""
    logits = tf.cast(checks.floating('the logits of a step', logits, 'N, K'), tf.float32)
    num_classes = logits.shape[1]
    if num_classes is not None and end >= num_classes:
        raise ValueError(f'end must be in [0, K), got {end}; a step returned logits of '
                         f'{num_classes} classes.')
    return tf.reshape(tf.nn.log_softmax(logits), [-1, width, tf.shape(logits)[1]])


def _running(ended):
    """(Whether half of the rows, or more, have ended; the others then, else all)."""
    over = tf.reduce_all(ended, axis=1)
    few = 2 * tf.math.count_nonzero(~over, dtype=tf.int32) <= tf.size(over)
    return few, tf.cast(tf.where(~over | ~few)[:, 0], tf.int32)


def _take(structure, rows, needed=None):
    """Rows of each part; only where `needed`, if given, else all as they are."""
    def taken():
        return tf.nest.map_structure(lambda part: tf.gather(part, rows), structure)

    if needed is None or not tf.nest.flatten(structure):
        return taken()
    return tf.cond(needed, taken, lambda: structure)


def _put(whole, rows, parts):
    return tf.tensor_scatter_nd_update(whole, rows[:, None], parts)


def _like(after, before):
    """The state after a step, of the structure and the shapes of that before it."""
    tf.nest.assert_same_structure(after, before)

    def checked(new, old):
        if not new.shape[1:].is_compatible_with(old.shape[1:]) or new.dtype != old.dtype:
            raise ValueError(f'a step must return a state of the shapes and dtypes it was given: '
                             f'{old.dtype.name} {checks.shown(old.shape)}, got {new.dtype.name} '
                             f'{checks.shown(new.shape)}.')
        return tf.ensure_shape(new, [None, *old.shape[1:]])

    return tf.nest.map_structure(checked, after, before)


def _invariants(variables, shrinks):
    """Shapes of the loop's variables: the number of rows may fall, of all but the beams."""
    t, rows, state, constants, beams, *arrays = variables
    shape = (lambda part: tf.TensorShape([None, *part.shape[1:]])) if shrinks else (
        lambda part: part.shape)
    shapes = tf.nest.map_structure(shape, (rows, state, constants))
    return (t.shape, *shapes, tf.nest.map_structure(lambda part: part.shape, beams),
            *(tf.TensorShape([]) for _ in arrays))
