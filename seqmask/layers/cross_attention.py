"""Attention of a decoder to the real steps of another sequence, its memory."""

from __future__ import annotations

import typing

import tensorflow as tf

from seqmask import checks, known, noise
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask, masked_softmax
from seqmask.operands import real_only
from seqmask.tally import widen

KINDS = ('dot', 'general', 'additive', 'multihead')


class AttentionMemory(typing.NamedTuple):
    """Memories as `Attention.project` prepares them, once for all queries.

    Attributes:
      keys: float [B, heads, S, width]. What queries are compared with; one head but for
        'multihead'.
      values: float [B, heads, S, width]. What is averaged.
      mask: bool [B, S]. True = real.
    """
    keys: tf.Tensor
    values: tf.Tensor
    mask: tf.Tensor


class Attention(tf.Module):
    """Attention of queries to the real steps of memories, which have lengths of their own.

    context[b, t] = sum over s < m of softmax(score[b, t, :m])[s] memory[b, s],
    m = memory_lengths[b];   0 where m = 0

    score = q . memory[s]                              'dot'
    score = q . (memory[s] W)                          'general'
    score = tanh(q Wq + memory[s] Wk + b) . v          'additive'
    score = (q Wq + bq) . (memory[s] Wk + bk) / sqrt(hidden_size / num_heads)     'multihead'

    'multihead' attends with each of num_heads parts of its hidden_size numbers separately, to
    memory[s] Wv + bv, and maps the results, side by side, by Wo + bo. All kinds sum in float32 at
    least. 'additive' takes B T S hidden_size numbers of memory.

    `project` prepares memories once; each call, on one query per sequence or on many, uses them.

    Variables: 'general' has `key` [M, Q]; 'additive' `query` [Q, hidden_size], `key` [M,
    hidden_size], `bias`, `scorer` [hidden_size]; 'multihead' `query`, `key`, `value` to hidden_size
    and `output` [hidden_size, M], each with a bias (`query_bias`, ...).

    Args:
      query_size: Q; for 'dot' it equals memory_size.
      memory_size: M, also the width of the context.
      kind: 'dot', 'general', 'additive' or 'multihead'.
      hidden_size: Width of the scoring layer of 'additive' and 'multihead'; by default M.
      num_heads: int, for 'multihead'; it divides hidden_size.
      dtype: Of weights, queries, memories and contexts.
      seed: int; the same seed gives the same weights.

    Raises:
      ValueError: If an option does not fit.

    Source: 'additive': Bahdanau, Cho, Bengio. Neural Machine Translation by Jointly Learning to
      Align and Translate. ICLR 2015. 'dot', 'general': Luong, Pham, Manning. Effective Approaches
      to Attention-based Neural Machine Translation. EMNLP 2015. 'multihead': Vaswani et al.
      Attention Is All You Need. NIPS 2017.

    >>> attention = seqmask.Attention(query_size=2, memory_size=2, kind='dot')
    >>> memory = attention.project(tf.constant([[[1., 0.], [1., 2.], [9., 9.]]]), tf.constant([2]))
    >>> attention(tf.constant([[7., 0.]]), memory).numpy()
    array([[1., 1.]], dtype=float32)
    >>> attention.weights(tf.constant([[7., 0.]]), memory).numpy()
    array([[0.5, 0.5, 0. ]], dtype=float32)
    """

    def __init__(self, query_size: int, memory_size: int, *, kind: str = 'additive',
                 hidden_size: int | None = None, num_heads: int = 1,
                 dtype: str | tf.DType = 'float32', seed: int | None = None,
                 name: str | None = None):
        super().__init__(name=name)
        self.query_size = checks.width('query_size', query_size)
        self.memory_size = self.output_size = checks.width('memory_size', memory_size)
        self.kind = checks.choice('kind', kind, KINDS)
        self.num_heads = checks.size('num_heads', num_heads)
        self.dtype = checks.float_dtype('dtype', dtype)
        width = memory_size if hidden_size is None else checks.width('hidden_size', hidden_size)
        if kind == 'dot' and query_size != memory_size:
            raise ValueError(f"query_size must equal memory_size for kind='dot', got {query_size} "
                             f"and {memory_size}; kind='general' takes any two.")
        if num_heads > 1 and kind != 'multihead':
            raise ValueError(f"num_heads is for kind='multihead', got {num_heads} of {kind!r}.")
        if width % num_heads:
            raise ValueError(f'num_heads must divide hidden_size, got {num_heads} and {width}.')
        seeds = iter(noise.seeds(seed, 4))

        def weight(name, shape):
            value = tf.keras.initializers.GlorotUniform(next(seeds))(shape)
            # A scorer is a vector.
            value = value[:, 0] if name == 'scorer' else value
            return tf.Variable(tf.cast(value, self.dtype), name=name)

        def bias(name, width):
            return tf.Variable(tf.zeros([width], self.dtype), name=name)

        if kind == 'general':
            self.key = weight('key', [memory_size, query_size])
        if kind in ('additive', 'multihead'):
            self.query = weight('query', [query_size, width])
            self.key = weight('key', [memory_size, width])
        if kind == 'additive':
            self.bias = bias('bias', width)
            self.scorer = weight('scorer', [width, 1])
        if kind == 'multihead':
            self.query_bias, self.key_bias = bias('query_bias', width), bias('key_bias', width)
            self.value = weight('value', [memory_size, width])
            self.output = weight('output', [width, memory_size])
            self.value_bias = bias('value_bias', width)
            self.output_bias = bias('output_bias', memory_size)

    def project(self, memory: TensorLike, memory_lengths: TensorLike) -> AttentionMemory:
        """Prepares memories: their keys and values, once for all queries.

        Args:
          memory: float [B, S, M]. Values at padded steps are ignored, NaN included.
          memory_lengths: int32 [B]. Steps of each memory, 0 <= memory_lengths <= S.

        Returns:
          `AttentionMemory`.

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds S (clipped under XLA).
        """
        memory, _, mask = real_only(memory, memory_lengths, self.memory_size, self.dtype)
        keys = values = memory
        if self.kind != 'dot':
            keys = tf.tensordot(memory, self.key, 1)
        if self.kind == 'additive':
            keys += self.bias
        if self.kind == 'multihead':
            keys += self.key_bias
            values = tf.tensordot(memory, self.value, 1) + self.value_bias
        return AttentionMemory(self._heads(keys), self._heads(values), mask)

    def __call__(self, queries: TensorLike, memory: AttentionMemory,
                 lengths: TensorLike | None = None) -> tf.Tensor:
        """Computes the context of each query.

        Args:
          queries: float [B, Q], one query per sequence; or [B, T, Q].
          memory: As returned by `project`.
          lengths: int32 [B]. Real queries of each sequence, 0 <= lengths <= T; None if all are.

        Returns:
          float [B, M]; or [B, T, M], 0 at padded queries.

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
        """
        queries, mask = self._real(queries, lengths)
        weights = self._weights(queries, memory)                        # [B, heads, T, S]
        context = self._joined(tf.cast(tf.matmul(weights, widen(memory.values)), self.dtype))
        if self.kind == 'multihead':
            attended = tf.tensordot(context, self.output, 1) + self.output_bias
            # An empty memory gives 0, not the bias.
            context = tf.where(tf.reduce_any(memory.mask, axis=1)[:, None, None], attended,
                               tf.zeros([], self.dtype))
        context = tf.ensure_shape(context, [*queries.shape[:-1], self.memory_size])
        return self._as_given(context, mask)

    def weights(self, queries: TensorLike, memory: AttentionMemory,
                lengths: TensorLike | None = None) -> tf.Tensor:
        """The weight of each step of a memory in each query's context, averaged over the heads.

        Args and raises: As of a call.

        Returns:
          float32 (or float64) [B, S]; or [B, T, S], 0 at padded steps and at padded queries. Those
          of a real query sum to 1, or are 0 if the memory is empty.
        """
        queries, mask = self._real(queries, lengths)
        return self._as_given(tf.reduce_mean(self._weights(queries, memory), axis=1), mask)

    def _real(self, queries, lengths):
        """(queries [B, T, Q], 0 at padded ones; their mask [B, T], 'single' or None)."""
        queries = checks.dense('queries', queries)
        if lengths is not None:
            queries, _, mask = real_only(queries, lengths, self.query_size, self.dtype)
            return queries, mask
        legend, mask = ('B, Q', 'single') if queries.shape.rank == 2 else ('B, T, Q', None)
        queries = checks.floating('queries', queries, legend, dtype=self.dtype)
        checks.axis_size('queries', queries, -1, self.query_size, 'query_size')
        return queries if mask is None else queries[:, None], mask

    def _as_given(self, results, mask):
        """Results [B, T, ...] for the queries as they were given."""
        if isinstance(mask, str):
            return results[:, 0]
        return results if mask is None else apply_mask(results, mask)

    def _weights(self, queries, memory):
        if self.kind in ('additive', 'multihead'):
            queries = tf.tensordot(queries, self.query, 1)
        if self.kind == 'additive':
            sums = tf.tanh(queries[:, :, None] + memory.keys)           # [B, T, S, hidden_size]
            scores = tf.tensordot(widen(sums), widen(self.scorer), 1)[:, None]
        else:
            if self.kind == 'multihead':
                queries = (queries + self.query_bias) * (
                    queries.shape[-1] // self.num_heads) ** -0.5
            scores = tf.matmul(widen(self._heads(queries)), widen(memory.keys), transpose_b=True)
        return masked_softmax(scores, memory.mask[:, None, None])

    def _heads(self, values):
        """[B, T, width] -> [B, heads, T, width / heads]."""
        if self.num_heads == 1:
            return values[:, None]
        batch, steps = known.sizes(values)
        parts = tf.reshape(values, [batch, steps, self.num_heads,
                                    values.shape[-1] // self.num_heads])
        return tf.transpose(parts, [0, 2, 1, 3])

    def _joined(self, values):
        """[B, heads, T, width / heads] -> [B, T, width]."""
        if self.num_heads == 1:
            return values[:, 0]
        batch, steps = tf.shape(values)[0], tf.shape(values)[2]
        return tf.reshape(tf.transpose(values, [0, 2, 1, 3]),
                          [batch, steps, self.num_heads * values.shape[-1]])
