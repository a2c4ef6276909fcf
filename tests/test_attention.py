import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask

LENGTHS = [3, 0, 5, 1]
B, T, D = 4, 5, 4
MASK = np.arange(T) < np.array(LENGTHS)[:, None]


def inputs_of(rng, dtype='float32', fill=0.0):
    inputs = rng.normal(size=[B, T, D])
    return tf.constant(np.where(MASK[..., None], inputs, fill), dtype)


def weights_of(layer):
    return {v.name.split(':')[0]: v.numpy() for v in layer.trainable_variables}


def with_biases(layer, rng):
    for variable in layer.trainable_variables:
        if 'bias' in variable.name:
            variable.assign(rng.normal(size=variable.shape))
    return layer


# masked_softmax

def test_rows_of_real_places_sum_to_1(rng):
    out = seqmask.masked_softmax(rng.normal(size=[B, T]), MASK).numpy()
    np.testing.assert_allclose(out.sum(axis=-1), np.array(LENGTHS) > 0, rtol=1e-12)
    assert (out[MASK] > 0).all() and not out[~MASK].any()


def test_arithmetic():
    out = seqmask.masked_softmax(np.log([[1., 3., 9.]]), [[True, True, False]])
    np.testing.assert_allclose(out, [[1 / (1 + 3), 3 / (1 + 3), 0]])


@pytest.mark.parametrize('hidden', [np.nan, np.inf, -np.inf, 60000.0])
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float32', 'float64'])
def test_what_is_masked_is_not_seen(dtype, hidden):
    logits = tf.constant([[1.0, hidden, -2.0, hidden], [hidden] * 4, [hidden, 0.5, hidden, hidden]],
                         dtype)
    mask = tf.constant([[1, 0, 1, 0], [0] * 4, [0, 1, 0, 0]]) > 0
    with tf.GradientTape() as tape:
        tape.watch(logits)
        out = seqmask.masked_softmax(logits, mask)
        first = out[:, 0]
    gradient = tf.cast(tape.gradient(first, logits), tf.float64).numpy()
    p = np.exp(1.0) / (np.exp(1.0) + np.exp(-2.0))
    assert out.dtype == dtype
    np.testing.assert_allclose(tf.cast(out, tf.float64), [
        [p, 0, 1 - p, 0], [0] * 4, [0, 1, 0, 0]], rtol=5e-3)
    np.testing.assert_allclose(gradient, [
        [p * (1 - p), 0, -p * (1 - p), 0], [0] * 4, [0] * 4], rtol=2e-2, atol=1e-7)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_narrow_logits_do_not_overflow(dtype):
    logits = tf.constant([[60000., -60000., 60000.], [-60000., -60000., 60000.]], dtype)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        out = seqmask.masked_softmax(logits, [[True] * 3, [True, True, False]])
        loss = tf.reduce_sum(tf.cast(out, tf.float32) ** 2)
    assert out.numpy().tolist() == [[0.5, 0, 0.5], [0.5, 0.5, 0]]
    assert np.isfinite(tf.cast(tape.gradient(loss, logits), tf.float32)).all()


def test_narrow_logits_are_summed_in_float32():
    steps = 4096
    out = seqmask.masked_softmax(tf.zeros([1, 2 * steps], tf.float16),
                                 seqmask.sequence_mask([steps], 2 * steps))
    assert set(out.numpy().ravel().tolist()) == {0, 1 / steps}


def test_places_that_weigh_nothing_change_nothing_beside_masked_ones():
    wanted = tf.nn.softmax([[2.0, float('-inf')]])
    out = seqmask.masked_softmax([[2.0, float('-inf'), 7.0]], [[True, True, False]])
    np.testing.assert_array_equal(out[:, :2], wanted)


@pytest.mark.parametrize('real', [np.nan, np.inf, -np.inf])
def test_rows_without_a_softmax_have_none_beside_masked_places_either(real):
    out = seqmask.masked_softmax([[real, real, 7.0]], [[True, True, False]]).numpy()
    assert np.isnan(out[0, :2]).all() and out[0, 2] == 0
    assert np.isnan(tf.nn.softmax([[real, real]])).all()


@pytest.mark.parametrize('shape', [[B, 1, T], [1, 1, T], [B, 3, T], [1, 3, 1], [1, 1, 1]], ids=str)
def test_masks_of_size_1_apply_to_all(shape, rng):
    logits, mask = rng.normal(size=[B, 3, T]), rng.uniform(size=shape) < 0.6
    whole = np.broadcast_to(mask, logits.shape)
    np.testing.assert_array_equal(seqmask.masked_softmax(logits, mask),
                                  seqmask.masked_softmax(logits, whole))


@pytest.mark.parametrize('shape', [[2, 0], [0, 3], [0, 0], [2, 3, 0]], ids=str)
def test_nothing_to_weigh(shape):
    logits = tf.zeros(shape)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        out = seqmask.masked_softmax(logits, tf.zeros(shape, tf.bool))
    assert out.shape == tape.gradient(out, logits).shape == shape


@pytest.mark.parametrize('logits, mask, error, message', [
    (tf.zeros([2, 3]), np.ones([2, 3]), TypeError, 'mask must be bool'),
    (tf.zeros([2, 3], 'int32'), np.ones([2, 3], bool), TypeError, 'logits must be floating-point'),
    (tf.zeros([2, 3]), np.ones([3], bool), ValueError,
     r'mask must have the shape of logits, or 1 for an axis, got mask \(3,\) for logits \(2, 3\)'),
    (tf.zeros([2, 3]), np.ones([3, 3], bool), ValueError, r'mask \(3, 3\) for logits \(2, 3\)'),
    (tf.zeros([2, 1]), np.ones([2, 3], bool), ValueError, r'mask \(2, 3\) for logits \(2, 1\)'),
    (tf.zeros([]), np.array(True), ValueError, 'logits must have rank at least 1')])
def test_masks_that_do_not_fit_are_errors(logits, mask, error, message):
    with pytest.raises(error, match=message):
        seqmask.masked_softmax(logits, mask)


def test_masks_that_do_not_fit_are_errors_when_sizes_become_known():
    call = tf.function(seqmask.masked_softmax, input_signature=[
        tf.TensorSpec([None, None]), tf.TensorSpec([None, None], tf.bool)])
    assert call(tf.zeros([2, 3]), tf.ones([2, 1]) > 0).shape == (2, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match='mask must have the shape of logits'):
        call(tf.zeros([2, 3]), tf.ones([2, 2]) > 0)


# AttentionPool

@pytest.mark.parametrize('fill', [0.0, np.nan, np.inf])
def test_pooling_weighs_the_real_steps(fill, rng):
    pool = with_biases(seqmask.AttentionPool(D, 3, dtype='float64', seed=0), rng)
    inputs = inputs_of(rng, 'float64', fill)
    outputs = pool(inputs, LENGTHS).numpy()
    for row, length, found in zip(inputs.numpy(), LENGTHS, outputs):
        np.testing.assert_allclose(found, reference.attention_pool(row[:length], weights_of(pool)))
    np.testing.assert_allclose(outputs[3], inputs[3, 0])        # length 1: that step
    assert not outputs[1].any()                                 # length 0


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_narrow_pooling_over_4096_steps(dtype):
    pool = seqmask.AttentionPool(2, 3, dtype=dtype, seed=0)
    inputs = tf.fill([2, 4096, 2], tf.constant(60000.0, dtype))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = pool(inputs, [4096, 3])
    np.testing.assert_allclose(tf.cast(outputs, tf.float32), tf.cast(inputs[:, 0], tf.float32),
                               rtol=0.01)
    gradients = tape.gradient(outputs, [inputs, *pool.trainable_variables])
    assert all(np.isfinite(tf.cast(g, tf.float32)).all() for g in gradients)


# SelfAttention

@pytest.mark.parametrize('causal', [False, True])
@pytest.mark.parametrize('num_heads, head_size', [(1, None), (2, None), (4, None), (3, 5)])
def test_each_sequence_attends_to_itself(num_heads, head_size, causal, rng):
    attention = with_biases(seqmask.SelfAttention(
        D, num_heads, head_size=head_size, causal=causal, dtype='float64', seed=0), rng)
    inputs = inputs_of(rng, 'float64', np.nan)
    outputs = attention(inputs, LENGTHS).numpy()
    for row, length, found in zip(inputs.numpy(), LENGTHS, outputs):
        np.testing.assert_allclose(found[:length], reference.self_attention(
            row[:length], weights_of(attention), num_heads, causal), rtol=1e-9)
    assert not outputs[~MASK].any()


@pytest.mark.parametrize('causal', [False, True])
def test_self_attention_equals_keras_at_real_steps(causal, rng):
    heads, size = 2, 3
    attention = with_biases(seqmask.SelfAttention(
        D, heads, head_size=size, causal=causal, seed=0), rng)
    inputs = inputs_of(rng)
    peer = tf.keras.layers.MultiHeadAttention(heads, size)
    peer.build([B, T, D], [B, T, D])
    weights = weights_of(attention)
    for name in ['query', 'key', 'value']:
        getattr(peer, f'{name}_dense').set_weights([
            weights[name].reshape([D, heads, size]),
            weights[f'{name}_bias'].reshape([heads, size])])
    peer.output_dense.set_weights([
        weights['output'].reshape([heads, size, D]), weights['output_bias']])
    both = MASK[:, :, None] & MASK[:, None]
    theirs = peer(inputs, inputs, attention_mask=both, use_causal_mask=causal).numpy()
    np.testing.assert_allclose(attention(inputs, LENGTHS).numpy()[MASK], theirs[MASK],
                               rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('causal', [False, True])
def test_causal_steps_do_not_see_later_ones(causal, rng):
    attention, inputs = seqmask.SelfAttention(D, 2, causal=causal, seed=0), inputs_of(rng)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(attention(inputs, [T] * B)[:, 2])
    sees = tape.gradient(loss, inputs).numpy().any(axis=(0, 2))
    assert sees.tolist() == [True, True, True, not causal, not causal]
    shorter = attention(inputs[:, :3], [3] * B)
    same = np.allclose(attention(inputs, [T] * B)[:, :3], shorter, rtol=1e-5, atol=1e-6)
    assert same == causal


def test_one_step_attends_to_itself(rng):
    attention = with_biases(seqmask.SelfAttention(D, 2, dtype='float64', seed=0), rng)
    x, w = rng.normal(size=[1, 1, D]), weights_of(attention)
    wanted = (x @ w['value'] + w['value_bias']) @ w['output'] + w['output_bias']
    np.testing.assert_allclose(attention(x, [1]), wanted)


def test_scores_of_float16_that_fit_only_when_scaled():
    attention = seqmask.SelfAttention(4, 1, dtype='float16')
    for kernel in [attention.query, attention.key, attention.value, attention.output]:
        kernel.assign(tf.eye(4, dtype=tf.float16))
    inputs = tf.constant([[[160.] * 4, [0.] * 4]], tf.float16)
    assert 4 * 160 ** 2 > float(tf.float16.max) > 4 * 160 ** 2 / 4 ** 0.5
    assert attention(inputs, [2]).numpy().tolist() == [[[160.] * 4, [80.] * 4]]


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_narrow_self_attention_over_4096_steps(dtype, rng):
    attention = seqmask.SelfAttention(2, 1, dtype=dtype, seed=0)
    steps = rng.normal(size=[1, 4096, 2])
    inputs = tf.cast(tf.concat([steps[:, :4000], tf.fill([1, 96, 2], np.nan)], axis=1), dtype)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = attention(inputs, [4000])
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32))
    gradients = tape.gradient(loss, [inputs, *attention.trainable_variables])
    wide = {k: w.astype('float64') for k, w in weights_of(attention).items()}
    wanted = reference.self_attention(tf.cast(inputs[0, :4000], tf.float64).numpy(), wide, 1)
    np.testing.assert_allclose(tf.cast(outputs[0, :4000], tf.float64), wanted, atol=0.05)
    assert not tf.cast(outputs[0, 4000:], tf.float32).numpy().any()
    assert all(np.isfinite(tf.cast(g, tf.float32)).all() for g in gradients)


# Both

MAKERS = {
    'pool': lambda **options: seqmask.AttentionPool(D, 3, seed=0, **options),
    'self': lambda **options: seqmask.SelfAttention(D, 2, seed=0, **options),
    'causal': lambda **options: seqmask.SelfAttention(D, 2, causal=True, seed=0, **options)}
every_layer = pytest.mark.parametrize('make', MAKERS.values(), ids=MAKERS)


@every_layer
def test_the_same_seed_gives_the_same_weights(make):
    one, same = make(), make()
    assert len({v.name for v in one.trainable_variables}) == len(one.trainable_variables)
    for a, b in zip(one.trainable_variables, same.trainable_variables):
        np.testing.assert_array_equal(a, b)
        assert ('bias' in a.name) == (not a.numpy().any())


@every_layer
@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_dtypes(make, dtype, rng):
    layer = make(dtype=dtype)
    assert {v.dtype for v in layer.trainable_variables} == {tf.as_dtype(dtype)}
    assert layer(inputs_of(rng, dtype), LENGTHS).dtype == dtype


@every_layer
@pytest.mark.parametrize('shape, dtype, lengths, error, message', [
    ([2, 4], 'float32', [1, 1], ValueError, r'inputs must have rank 3 \[B, T, D\]'),
    ([2, 3, 5], 'float32', [1, 1], ValueError, 'inputs must have input_size = 4 on axis -1'),
    ([2, 3, 4], 'float16', [1, 1], TypeError, 'dtype of the layer, float32, got float16'),
    ([2, 3, 4], 'float32', [1], ValueError, 'each of the 2 sequences'),
    ([2, 3, 4], 'float32', [1, 4], tf.errors.InvalidArgumentError, 'must not exceed')])
def test_calls_that_do_not_fit_are_errors(make, shape, dtype, lengths, error, message):
    with pytest.raises(error, match=message):
        make()(tf.zeros(shape, dtype), lengths)


@pytest.mark.parametrize('make, error, message', [
    (lambda: seqmask.SelfAttention(4, 3), ValueError, 'num_heads must divide input_size, got 3'),
    (lambda: seqmask.SelfAttention(4, 0), ValueError, 'num_heads must be at least 1, got 0'),
    (lambda: seqmask.SelfAttention(4, 1.5), TypeError, 'num_heads must be an int'),
    (lambda: seqmask.SelfAttention(4, 2, head_size=0), ValueError, 'head_size must be at least 1'),
    (lambda: seqmask.SelfAttention(0, 1), ValueError, 'input_size must be at least 1'),
    (lambda: seqmask.AttentionPool(4, 0), ValueError, 'hidden_size must be at least 1'),
    (lambda: seqmask.AttentionPool(4, 1, dtype='int32'), TypeError, 'dtype must be floating')])
def test_layers_that_cannot_be_are_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()
