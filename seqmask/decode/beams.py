"""The best outputs found so far, and how each step continues them."""

from __future__ import annotations

import typing

import tensorflow as tf


class Beams(typing.NamedTuple):
    """What stands in the W places of each sequence, best first: [B, W] each.

    Attributes:
      tokens: int32. The last token of each.
      log_p: float32. Log probability so far, of the end, too, where it has ended; -inf in a place
        that is free.
      lengths: int32. Labels; the end is none.
      ended: bool. A free place counts as ended.
    """
    tokens: tf.Tensor
    log_p: tf.Tensor
    lengths: tf.Tensor
    ended: tf.Tensor


def first_beams(limits: tf.Tensor, width: int, start: int) -> Beams:
    """One empty output of each sequence, in the first of its places."""
    shape = [tf.size(limits), width]
    taken = tf.tile(tf.range(width)[None] == 0, [shape[0], 1])
    return Beams(tf.fill(shape, start), tf.where(taken, 0.0, float('-inf')),
                 tf.zeros(shape, tf.int32), ~taken | (limits <= 0)[:, None])


def continued(beams: Beams, log_p: tf.Tensor, limits: tf.Tensor, end: int,
              length_penalty: float) -> tuple[Beams, tf.Tensor]:
    """The W best of all continuations, and of the outputs that have ended.

    Args:
      beams: `Beams` of A sequences.
      log_p: float32 [A, W, K], of each next symbol.
      limits: int32 [A]. Most labels of an output.

    Returns:
      (`Beams`, best first; int32 [A, W], the place from which each was continued).
    """
    width, num_classes = tf.shape(log_p)[1], tf.shape(log_p)[2]
    is_label = tf.range(num_classes) != end                                     # [K]
    # What has ended goes on in one way only, and loses nothing by it.
    staying = tf.where(is_label, float('-inf'), 0.0)
    log_p = beams.log_p[..., None] + tf.where(beams.ended[..., None], staying, log_p)
    lengths = beams.lengths[..., None] + tf.cast(is_label, tf.int32)            # [A, W, K]
    flat = [-1, width * num_classes]
    ranked = tf.reshape(penalized(log_p, lengths, length_penalty), flat)
    best = tf.math.top_k(ranked, beams.tokens.shape[1])[1]
    parents, tokens = best // num_classes, best % num_classes
    log_p = tf.gather(tf.reshape(log_p, flat), best, batch_dims=1)
    is_free = log_p == float('-inf')
    lengths = tf.where(is_free, 0, tf.gather(tf.reshape(lengths, flat), best, batch_dims=1))
    ended = is_free | (tokens == end) | (lengths >= limits[:, None]) | tf.gather(
        beams.ended, parents, batch_dims=1)
    return Beams(tokens, log_p, lengths, ended), parents


def penalized(log_p: tf.Tensor, lengths: tf.Tensor, length_penalty: float) -> tf.Tensor:
    """log_p / ((5 + lengths) / 6) ^ length_penalty."""
    if not length_penalty:
        return log_p
    return log_p / ((5 + tf.cast(lengths, log_p.dtype)) / 6) ** length_penalty


def traced_back(tokens: tf.TensorArray, parents: tf.TensorArray, steps: tf.Tensor,
                size: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """The tokens of each output, from those of each step and the places they continue.

    Args:
      tokens, parents: Of each step, int32 [B, W].
      steps: int32 scalar. Number of steps; those after it give 0.
      size: int32 scalar. L.
      like: [B, W].

    Returns:
      int32 [L, B, W].
    """
    def body(t, places, found):
        found = found.write(t, tf.gather(tokens.read(t), places, batch_dims=1))
        return t - 1, tf.gather(parents.read(t), places, batch_dims=1), found

    places = tf.range(like.shape[1])[None] + tf.zeros_like(like, tf.int32)
    *_, found = tf.while_loop(lambda t, *_: t >= 0, body,
                              (steps - 1, places, array_of_zeros(size, like)),
                              maximum_iterations=size)
    return found.stack()


def array_of_zeros(size: tf.Tensor, like: tf.Tensor) -> tf.TensorArray:
    """A TensorArray of int32 zeros, of the shape of `like` each, that may be read more than once.
    """
    zeros = tf.zeros(tf.concat([[size], tf.shape(like)], axis=0), tf.int32)
    return tf.TensorArray(tf.int32, size, element_shape=like.shape,
                          clear_after_read=False).unstack(zeros)
