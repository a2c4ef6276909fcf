"""A learned vector for each token."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks, known, noise
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask
from seqmask.operands import real_tokens


class Embedding(tf.Module):
    """Looks up the vector of each token.

    out[b, t] = embeddings[tokens[b, t]] for t < lengths[b];   0 after it
    out[b] = embeddings[tokens[b]] for single tokens, which have no time axis and no lengths

    No token is reserved for the padding, where any integer may stand. The gradient is a
    `tf.IndexedSlices` with the rows of real steps only, so `training.LazyAdam` leaves all others as
    they are.

    Variable: `embeddings` [num_tokens, size] (uniform in +-0.05, as in Keras).

    Args:
      num_tokens: Number of different tokens, 0 to num_tokens - 1.
      size: Width of the vectors.
      dtype: Of the vectors.
      seed: int; the same seed gives the same weights.

    >>> embedding = seqmask.Embedding(num_tokens=5, size=3, seed=0)
    >>> outputs = embedding(tf.constant([[4, 1], [2, -1]]), tf.constant([2, 1]))
    >>> outputs.shape, bool(tf.reduce_all(outputs[0, 0] == embedding.embeddings[4]))
    (TensorShape([2, 2, 3]), True)
    >>> outputs[1, 1].numpy()
    array([0., 0., 0.], dtype=float32)
    >>> embedding(tf.constant([4, 1])).shape
    TensorShape([2, 3])
    """

    def __init__(self, num_tokens: int, size: int, *, dtype: str | tf.DType = 'float32',
                 seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.num_tokens = checks.width('num_tokens', num_tokens)
        self.output_size = checks.width('size', size)
        self.dtype = checks.float_dtype('dtype', dtype)
        uniform = tf.keras.initializers.RandomUniform(-0.05, 0.05, seed=noise.seeds(seed, 1)[0])
        self.embeddings = tf.Variable(tf.cast(uniform([num_tokens, size]), self.dtype),
                                      name='embeddings')

    def __call__(self, tokens: TensorLike, lengths: TensorLike | None = None) -> tf.Tensor:
        """Looks up the real steps, or single tokens.

        Args:
          tokens: int [B, T], any value at padded steps; or int [B], single tokens.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T; None for single tokens.

        Returns:
          float [B, T, size], 0 at padded steps; or float [B, size].

        Raises:
          ValueError: If a rank or a static size does not fit, or [B, T] come without lengths.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If the token of a real step is not in [0, num_tokens), or
            a length is negative or exceeds T (all clipped under XLA).
        """
        tokens = checks.dense('tokens', tokens)
        if not tokens.dtype.is_integer:
            raise TypeError(f'tokens must be integers, got {tokens.dtype.name}. Strings become '
                            f'integers with a data.Vocabulary; features need no embedding.')
        if lengths is None:
            if tokens.shape.rank == 2:
                raise ValueError('tokens [B, T] need lengths, int32 [B]; only single tokens [B] go '
                                 f'without. Got shape {checks.shown(tokens.shape)}.')
            return tf.gather(self.embeddings, self._legal(checks.tensor('tokens', tokens, 'B')))
        tokens, _, mask = real_tokens(tokens, lengths)
        real = self._legal(tokens)
        # A padded step looks up what a real one does, too, so that it adds no row to the gradient.
        rows = tf.where(mask, real, tf.reduce_max(real))
        return apply_mask(known.with_sizes_of(tf.gather(self.embeddings, rows), tokens), mask)

    def _legal(self, tokens):
        """The tokens as int32, compared with the number of rows; clipped where XLA drops that."""
        tokens = tf.cast(tokens, tf.int64)
        legal = (tokens >= 0) & (tokens < self.num_tokens)
        checked = checks.after([checks.require(
            tf.reduce_all(legal), 'tokens must be in [0, num_tokens) at real steps; num_tokens, '
            'the lowest and the highest token are', self.num_tokens, tf.reduce_min(tokens),
            tf.reduce_max(tokens))], tokens)
        return tf.cast(checked if tf.executing_eagerly() else tf.where(legal, checked, 0), tf.int32)
