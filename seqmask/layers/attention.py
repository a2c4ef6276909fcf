"""Attention over real steps only."""

from __future__ import annotations

import tensorflow as tf

from seqmask import checks, noise
from seqmask.checks import TensorLike
from seqmask.masking import apply_mask, masked_softmax
from seqmask.operands import real_only
from seqmask.tally import widen


class AttentionPool(tf.Module):
    """Average of each sequence's real steps, with learned weights.

    score[b, t] = tanh(x[b, t] W + b) v
    out[b] = sum over t < n of softmax(score[b, :n])[t] x[b, t],  n = lengths[b];   0 where n = 0

    Variables: `kernel` [D, hidden_size], `bias` [hidden_size], `scorer` [hidden_size].

    Args:
      input_size: D.
      hidden_size: Width of the scoring layer.
      dtype: Of weights, inputs and outputs.
      seed: int; the same seed gives the same weights.

    Source: Yang et al. Hierarchical Attention Networks for Document Classification. NAACL 2016.

    >>> pool = seqmask.AttentionPool(input_size=1, hidden_size=4, seed=0)
    >>> pool(tf.constant([[[7.], [7.], [9.]]]), tf.constant([2])).numpy().round(4)
    array([[7.]], dtype=float32)
    """

    def __init__(self, input_size: int, hidden_size: int, *, dtype: str | tf.DType = 'float32',
                 seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.width('input_size', input_size)
        checks.width('hidden_size', hidden_size)
        self.dtype = checks.float_dtype('dtype', dtype)
        seeds = noise.seeds(seed, 2)
        glorot = tf.keras.initializers.GlorotUniform
        self.kernel = tf.Variable(
            tf.cast(glorot(seeds[0])([input_size, hidden_size]), self.dtype), name='kernel')
        self.bias = tf.Variable(tf.zeros([hidden_size], self.dtype), name='bias')
        self.scorer = tf.Variable(
            tf.cast(glorot(seeds[1])([hidden_size, 1])[:, 0], self.dtype), name='scorer')

    def __call__(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """Pools the real steps.

        Args and errors: As of `mean_pool`.

        Returns:
          float [B, D]. float16 and bfloat16 are summed in float32.
        """
        inputs, _, mask = real_only(inputs, lengths, self.input_size, self.dtype)
        hidden = tf.tanh(tf.tensordot(inputs, self.kernel, 1) + self.bias)
        weights = masked_softmax(widen(tf.tensordot(hidden, self.scorer, 1)), mask)     # [B, T]
        return tf.cast(tf.linalg.matmul(weights[:, None], widen(inputs))[:, 0], self.dtype)


class SelfAttention(tf.Module):
    """Multi-head attention of each step to the real steps of its own sequence.

    Q, K, V = x Wq + bq, x Wk + bk, x Wv + bv, split into heads of head_size
    out = [softmax(Q K^T / sqrt(head_size)) V of each head] Wo + bo

    for t < lengths[b];   0 after it. With causal=True a step does not attend to later steps.

    Variables: `query`, `key`, `value` [D, num_heads head_size] and `output` back to D, each with
    a bias (`query_bias`, ...).

    Args:
      input_size: D.
      num_heads: int.
      head_size: Width of a head; by default D / num_heads.
      causal: Whether to hide later steps.
      dtype: Of weights, inputs and outputs.
      seed: int; the same seed gives the same weights.

    Source: Vaswani et al. Attention Is All You Need. NIPS 2017.

    >>> attention = seqmask.SelfAttention(input_size=4, num_heads=2, seed=0)
    >>> outputs = attention(tf.ones([1, 3, 4]), tf.constant([2]))
    >>> outputs.shape, bool(tf.reduce_all(outputs[0, 2] == 0))
    (TensorShape([1, 3, 4]), True)
    """

    def __init__(self, input_size: int, num_heads: int, *, head_size: int | None = None,
                 causal: bool = False, dtype: str | tf.DType = 'float32',
                 seed: int | None = None, name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.width('input_size', input_size)
        self.num_heads = checks.size('num_heads', num_heads)
        if head_size is None and input_size % num_heads:
            raise ValueError(f'num_heads must divide input_size, got {num_heads} and '
                             f'{input_size}; or give head_size.')
        self.head_size = checks.size(
            'head_size', input_size // num_heads if head_size is None else head_size)
        self.causal = bool(causal)
        self.dtype = checks.float_dtype('dtype', dtype)
        width = self.num_heads * self.head_size
        seeds = noise.seeds(seed, 4)

        def weight(index, name, shape):
            value = tf.keras.initializers.GlorotUniform(seeds[index])(shape)
            return (tf.Variable(tf.cast(value, self.dtype), name=name),
                    tf.Variable(tf.zeros(shape[1:], self.dtype), name=f'{name}_bias'))

        self.query, self.query_bias = weight(0, 'query', [input_size, width])
        self.key, self.key_bias = weight(1, 'key', [input_size, width])
        self.value, self.value_bias = weight(2, 'value', [input_size, width])
        self.output, self.output_bias = weight(3, 'output', [width, input_size])

    def __call__(self, inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """Attends among the real steps.

        Args and errors: As of `mean_pool`.

        Returns:
          float [B, T, D], 0 at padded steps.
        """
        inputs, _, mask = real_only(inputs, lengths, self.input_size, self.dtype)
        shape = tf.shape(inputs)

        def heads(kernel, bias):
            values = tf.tensordot(inputs, kernel, 1) + bias
            values = tf.reshape(values, [shape[0], shape[1], self.num_heads, self.head_size])
            return tf.transpose(values, [0, 2, 1, 3])                   # [B, heads, T, head_size]

        query, key, value = (heads(self.query, self.query_bias), heads(self.key, self.key_bias),
                             heads(self.value, self.value_bias))
        # Scaled before the product, which could overflow in float16.
        scores = tf.matmul(query * self.head_size ** -0.5, key, transpose_b=True)
        seen = mask[:, None, None]                                      # [B, 1, 1, T]
        if self.causal:
            seen &= tf.range(shape[1])[:, None] >= tf.range(shape[1])   # [B, 1, T, T]
        attended = tf.matmul(masked_softmax(scores, seen), value)
        width = self.num_heads * self.head_size
        attended = tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [shape[0], shape[1], width])
        outputs = tf.tensordot(attended, self.output, 1) + self.output_bias
        return apply_mask(tf.ensure_shape(outputs, inputs.shape), mask)
