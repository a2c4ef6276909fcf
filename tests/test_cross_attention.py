"""Attention of a decoder: what contracts.py does not ask of it."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask.layers.cross_attention import KINDS

LENGTHS = [3, 0, 5, 1]
every_kind = pytest.mark.parametrize('kind', KINDS)


def an_attention(kind, **options):
    heads = {'num_heads': 2} if kind == 'multihead' else {}
    return seqmask.Attention(4, 4, kind=kind, seed=0, **heads, **options)


@every_kind
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_padding_has_no_weight_in_half_precision(kind, dtype, rng):
    attention = an_attention(kind, dtype=dtype)
    # Scores beyond the range of float16, and padding at its ends.
    memory = rng.normal(size=[4, 5, 4]) * 300
    memory[np.arange(5) >= np.array(LENGTHS)[:, None]] = 65504
    prepared = attention.project(tf.constant(memory, dtype), tf.constant(LENGTHS))
    queries = tf.constant(rng.normal(size=[4, 3, 4]) * 300, dtype)
    weights = attention.weights(queries, prepared)
    assert weights.dtype == tf.float32
    for row, length in zip(weights.numpy(), LENGTHS):
        assert not row[:, length:].any()
        np.testing.assert_allclose(row.sum(axis=-1), float(length > 0), rtol=1e-6)
    contexts = attention(queries, prepared)
    assert contexts.dtype == dtype
    assert np.isfinite(tf.cast(contexts, tf.float32)).all()
    assert not tf.cast(contexts[1], tf.float32).numpy().any()       # an empty memory


@every_kind
def test_one_query_is_many_queries_of_one(kind, rng):
    attention = an_attention(kind)
    memory = attention.project(tf.constant(rng.normal(size=[4, 5, 4]), tf.float32), LENGTHS)
    queries = tf.constant(rng.normal(size=[4, 3, 4]), tf.float32)
    together = attention(queries, memory), attention.weights(queries, memory)
    for t in range(3):
        one = attention(queries[:, t], memory), attention.weights(queries[:, t], memory)
        for part, whole in zip(one, together):
            np.testing.assert_allclose(part, whole[:, t], atol=1e-6)


def test_memories_are_projected_once():
    attention = an_attention('additive')
    memory = attention.project(tf.ones([2, 3, 4]), [3, 1])
    before = attention(tf.ones([2, 4]), memory)
    attention.key.assign(tf.zeros_like(attention.key))
    np.testing.assert_array_equal(attention(tf.ones([2, 4]), memory), before)


@pytest.mark.parametrize('sizes, options, words', [
    ((4, 3), {'kind': 'dot'}, "query_size must equal memory_size for kind='dot', got 4 and 3"),
    ((4, 4), {'kind': 'bahdanau'}, "kind must be one of 'dot', 'general', 'additive', 'multihead'"),
    ((4, 4), {'num_heads': 2}, "num_heads is for kind='multihead', got 2 of 'additive'"),
    ((4, 4), {'kind': 'multihead', 'num_heads': 3}, 'num_heads must divide hidden_size'),
    ((0, 4), {}, 'query_size must be at least 1')])
def test_options_that_do_not_fit_are_refused(sizes, options, words):
    with pytest.raises(ValueError, match=words):
        seqmask.Attention(*sizes, **options)


def test_operands_that_do_not_fit_are_refused():
    attention = an_attention('general')
    memory = attention.project(tf.ones([2, 3, 4]), [3, 1])
    with pytest.raises(ValueError, match='queries must have query_size = 4 on axis -1'):
        attention(tf.ones([2, 5]), memory)
    with pytest.raises(TypeError, match='queries must have the dtype of the layer, float32'):
        attention(tf.ones([2, 4], tf.float64), memory)
    with pytest.raises(tf.errors.InvalidArgumentError, match='must not exceed the number of time'):
        attention.project(tf.ones([2, 3, 4]), [4, 1])
