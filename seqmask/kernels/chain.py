"""A linear chain of labels: the sum over all labellings of a sequence, and its marginals.

The score of a labelling y of n steps, with logits x [n, K], is

  s(y) = start[y_0] + sum over t of x[t, y_t] + sum over t > 0 of transitions[y_t-1, y_t]
         + end[y_n-1]

Sums are computed with probabilities in float64, one matrix product per step for the whole batch. If
a reachable label has less than 1e-280 of a step's probability (scores about 640 nats apart), they
are computed again in log space, which has no such limit.

Shared arguments:

  logits: float [B, T, K], finite at padded steps.
  lengths: int32 [B].
  scores: `Scores`, -inf where forbidden.
"""

from __future__ import annotations

import typing

import tensorflow as tf

TINY = 1e-280


class Scores(typing.NamedTuple):
    """`transitions` float64 [K, K] (from, to), `start` and `end` float64 [K]."""
    transitions: tf.Tensor
    start: tf.Tensor
    end: tf.Tensor


class _Steps(typing.NamedTuple):
    """Logits x [T + 1, B, K], which steps are real [T + 1, B, 1], and where the last is [B, 2].

    With one padded step more than T, because TensorFlow cannot stack zero steps.
    """
    x: tf.Tensor
    real: tf.Tensor
    last: tf.Tensor

    @property
    def count(self):
        return tf.shape(self.x)[0] if self.x.shape[0] is None else self.x.shape[0]

    @property
    def any_real(self):
        return self.real[0, :, 0]       # [B]

    def at_last(self, values):
        """[T + 1, B, K] at each sequence's last step: [B, K]."""
        return tf.gather_nd(values, self.last)

    def from_last(self, values):
        """[B, K] at each sequence's last step, 0 elsewhere: [T + 1, B, K]."""
        return tf.scatter_nd(self.last, tf.where(self.any_real[:, None], values, 0.0),
                             tf.shape(self.x))


def log_partition(logits: tf.Tensor, lengths: tf.Tensor, scores: Scores) -> tf.Tensor:
    """log of the sum over all labellings of exp(s(y)): float64 [B], 0 for a sequence of length 0.

    Its gradient is the marginals, in closed form.
    """
    @tf.custom_gradient
    def run(logits, *scores):
        steps = _steps(logits, lengths)
        log_sum, passed = _forward(steps, Scores(*scores))

        def gradient(d):
            found, pairs = _backward(steps, Scores(*scores), passed, d)
            return (_batch_major(found, logits.dtype), pairs, tf.reduce_sum(found[0], axis=0),
                    tf.reduce_sum(tf.where(steps.any_real[:, None], steps.at_last(found), 0.0),
                                  axis=0))

        return log_sum, gradient

    return run(logits, *scores)


def marginals(logits: tf.Tensor, lengths: tf.Tensor, scores: Scores) -> tf.Tensor:
    """Probability of each label at each step: [B, T, K]."""
    steps = _steps(logits, lengths)
    _, passed = _forward(steps, scores)
    found, _ = _backward(steps, scores, passed, tf.ones(tf.shape(lengths), tf.float64))
    return _batch_major(found, logits.dtype)


def _steps(logits, lengths):
    x = tf.transpose(tf.pad(logits, [[0, 0], [0, 1], [0, 0]]), [1, 0, 2])
    rows = tf.range(tf.size(lengths))
    real = tf.transpose(tf.sequence_mask(lengths, tf.shape(x)[0]))[:, :, None]
    last = tf.stack([tf.maximum(lengths - 1, 0), rows], axis=1)
    return _Steps(tf.cast(x, tf.float64), real, last)


def _batch_major(values, dtype):
    return tf.transpose(tf.cast(values[:-1], dtype), [1, 0, 2])


def _forward(steps, scores):
    """(Log of the sums [B], values that `_backward` needs)."""
    first, second, log_sum, safe = _forward_with_probabilities(steps, scores)
    first, second, log_sum = tf.cond(
        safe, lambda: (first, second, log_sum), lambda: _forward_in_log_space(steps, scores))
    return tf.where(steps.any_real, log_sum, 0.0), (first, second, safe)


def _backward(steps, scores, passed, d):
    """d times the marginals [T + 1, B, K], and times those of pairs in a row, summed up [K, K]."""
    first, second, safe = passed
    return tf.cond(safe, lambda: _backward_with_probabilities(steps, scores, first, second, d),
                   lambda: _backward_in_log_space(steps, scores, first, second, d))


# With probabilities: p[t] of each label at step t, given the logits up to t; r[t] before the logits
# of t: r[t] = p[t - 1] exp(transitions), and p[t] is proportional to r[t] exp(x[t]).

def _forward_with_probabilities(steps, scores):
    factors, peak = _factors(scores)
    before = tf.where(tf.range(steps.count)[:, None] == 0, scores.start, peak)      # [T + 1, K]
    x = steps.x + before[:, None]
    top = _finite_max(x, axis=-1)                                       # [T + 1, B, 1]
    weights = tf.exp(x - top)
    read = _reader(weights)

    def body(t, r_t, r, p, z):
        joint = r_t * read(t)
        z_t = tf.reduce_sum(joint, axis=-1, keepdims=True)
        p_t = tf.math.divide_no_nan(joint, z_t)
        return t + 1, p_t @ factors, r.write(t, r_t), p.write(t, p_t), z.write(t, z_t)

    *_, r, p, z = tf.while_loop(
        lambda t, *_: t < steps.count, body,
        (0, tf.ones_like(weights[0]), _array(weights), _array(weights), _array(top)),
        maximum_iterations=steps.count)
    r, p, z = r.stack(), p.stack(), z.stack()
    at_end, top_end = _at_end(steps, scores, p)
    of_steps = tf.where(steps.real, tf.math.log(z) + top, 0.0)
    log_sum = (tf.reduce_sum(of_steps, axis=[0, 2])
               + tf.math.log(tf.reduce_sum(at_end, axis=-1)) + top_end)
    joint = r * weights
    small = steps.real & (tf.reduce_min(joint, axis=-1, keepdims=True) < TINY)
    small_end = steps.any_real & (tf.reduce_min(at_end, axis=-1) < TINY)
    safe = tf.cond(tf.reduce_any(small) | tf.reduce_any(small_end),
                   lambda: ~_lost(steps, scores, p, joint, at_end), lambda: True)
    return p, r, log_sum, safe


def _lost(steps, scores, p, joint, at_end):
    """Whether anything is too small for float64 that is not exactly 0 because it is forbidden."""
    may_follow = tf.cast(scores.transitions > float('-inf'), tf.float32)
    reached = tf.concat([
        tf.broadcast_to(scores.start > float('-inf'), tf.shape(p[:1])),
        tf.tensordot(tf.cast(p[:-1] > 0, tf.float32), may_follow, 1) > 0], axis=0)
    may_end = steps.any_real[:, None] & (steps.at_last(p) > 0) & (scores.end > float('-inf'))
    return (tf.reduce_any(steps.real & reached & (joint < TINY))
            | tf.reduce_any(may_end & (at_end < TINY)))


def _backward_with_probabilities(steps, scores, p, r, d):
    factors, _ = _factors(scores)
    at_end, _ = _at_end(steps, scores, p)
    ends = d[:, None] * tf.math.divide_no_nan(at_end, tf.reduce_sum(at_end, -1, keepdims=True))
    shares = tf.where(steps.real, tf.math.divide_no_nan(tf.ones([], r.dtype), r), 0.0)
    read_p, read_ends, read_shares = map(_reader, (p, steps.from_last(ends), shares))

    def body(t, share, found):
        of_step = read_p(t) * tf.matmul(share, factors, transpose_b=True) + read_ends(t)
        return t - 1, of_step * read_shares(t), found.write(t, of_step)

    *_, found = tf.while_loop(lambda t, *_: t >= 0, body,
                              (steps.count - 1, tf.zeros_like(p[0]), _array(p)),
                              maximum_iterations=steps.count)
    found = found.stack()
    width = [-1, found.shape[-1]]
    pairs = tf.matmul(tf.reshape(p[:-1], width), tf.reshape((found * shares)[1:], width),
                      transpose_a=True)
    return found, factors * pairs


def _at_end(steps, scores, p):
    """(Probabilities after the last step times exp(end - top), top)."""
    top = _finite_max(scores.end, axis=-1)
    return steps.at_last(p) * tf.exp(scores.end - top), top[0]


def _factors(scores):
    """exp(transitions - peak) [K, K], and peak [K], the largest to each label."""
    peak = _finite_max(scores.transitions, axis=0)
    return tf.exp(scores.transitions - peak), peak[0]


# In log space: a[t] = log of the sum over the labellings up to t that end in each label, and g[t]
# the same without the logits of t.

def _forward_in_log_space(steps, scores):
    read = _reader(steps.x)

    def body(t, g_t, a, g):
        a_t = g_t + read(t)
        return (t + 1, _log_sum_exp(a_t[:, :, None] + scores.transitions, axis=1), a.write(t, a_t),
                g.write(t, g_t))

    *_, a, g = tf.while_loop(
        lambda t, *_: t < steps.count, body,
        (0, tf.zeros_like(steps.x[0]) + scores.start, _array(steps.x), _array(steps.x)),
        maximum_iterations=steps.count)
    a, g = a.stack(), g.stack()
    return a, g, _log_sum_exp(steps.at_last(a) + scores.end, axis=-1)


def _backward_in_log_space(steps, scores, a, g, d):
    at_end = steps.at_last(a) + scores.end
    ends = d[:, None] * _exp_of_difference(at_end, _log_sum_exp(at_end, axis=-1)[:, None])
    nothing = tf.zeros_like(a[0])
    infinite = nothing + float('inf')       # nothing follows the last step
    read_a, read_g, read_ends = map(
        _reader, (a, tf.where(steps.real, g, infinite), steps.from_last(ends)))

    def body(t, later, g_later, pairs, found):
        both = later[:, None, :] * _exp_of_difference(
            read_a(t)[:, :, None] + scores.transitions, g_later[:, None, :])        # [B, K, K]
        of_step = tf.reduce_sum(both, axis=2) + read_ends(t)
        return (t - 1, of_step, read_g(t), pairs + tf.reduce_sum(both, axis=0),
                found.write(t, of_step))

    *_, pairs, found = tf.while_loop(
        lambda t, *_: t >= 0, body,
        (steps.count - 1, nothing, infinite, tf.zeros_like(scores.transitions), _array(a)),
        maximum_iterations=steps.count)
    return found.stack(), pairs


def _log_sum_exp(values, axis):
    """-inf, with a gradient of 0, where all are -inf."""
    top = _finite_max(values, axis)
    total = tf.reduce_sum(tf.exp(values - top), axis=axis)
    logarithm = tf.math.log(tf.where(total > 0, total, 1.0)) + tf.squeeze(top, axis)
    return tf.where(total > 0, logarithm, float('-inf'))


def _exp_of_difference(values, of):
    """exp(values - of); 0 where `of` is -inf, and so are the values."""
    finite = of > float('-inf')
    return tf.where(finite, tf.exp(values - tf.where(finite, of, 0.0)), 0.0)


def _finite_max(values, axis):
    """Maximum along a kept axis, without a gradient; 0 where that is -inf."""
    top = tf.stop_gradient(tf.reduce_max(values, axis=axis, keepdims=True))
    return tf.where(top > float('-inf'), top, 0.0)


def _array(like):
    """An empty array for as many steps as `like` [T + 1, B, ...]."""
    return tf.TensorArray(like.dtype, tf.shape(like)[0] if like.shape[0] is None else like.shape[0],
                          element_shape=like.shape[1:])


def _reader(values):
    """t -> values[t], without a copy per step."""
    array = tf.TensorArray(values.dtype, tf.shape(values)[0], element_shape=values.shape[1:],
                           clear_after_read=False)
    return array.unstack(values).read
