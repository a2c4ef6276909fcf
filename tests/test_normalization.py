"""BatchNorm in training is the one operation that mixes a batch: it has its own contract here."""

import numpy as np
import pytest
import tensorflow as tf

import reference
import seqmask

LENGTHS = [3, 0, 5, 1]
B, T, D = 4, 5, 2
MASK = np.arange(T) < np.array(LENGTHS)[:, None]


def a_norm(dtype='float64', **options):
    """With gamma and beta that are not ones and zeros."""
    norm = seqmask.BatchNorm(D, dtype=dtype, **options)
    drawn = np.random.default_rng(3).normal(size=[2, D])
    norm.gamma.assign(drawn[0])
    norm.beta.assign(drawn[1])
    return norm


def a_batch(rng, dtype='float64', fill=0.0):
    inputs = rng.normal(2, 3, size=[B, T, D])
    return np.where(MASK[..., None], inputs, fill).astype(dtype)


def cotangent(inputs):
    """A fixed weight for every output, whatever T."""
    drawn = np.random.default_rng(7).normal(size=[B, 16, D])
    return tf.constant(drawn[:, :inputs.shape[1]], inputs.dtype)


def train(norm, inputs, lengths, weights):
    """Outputs in training, and the gradients of their weighted sum to inputs, gamma and beta."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = norm(inputs, lengths, training=True)
        loss = tf.reduce_sum(outputs * weights)
    return outputs, *tape.gradient(loss, [inputs, norm.gamma, norm.beta])


def trained(norm, inputs, lengths=LENGTHS):
    """`train`, in NumPy, and then the moving averages."""
    inputs = tf.constant(inputs)
    results = train(norm, inputs, lengths, cotangent(inputs))
    return [np.asarray(r) for r in [*results, norm.moving_mean, norm.moving_variance]]


def sequences_of(inputs, lengths=LENGTHS):
    return [row[:length] for row, length in zip(inputs, lengths)]


def weights_of(norm):
    return {'gamma': norm.gamma.numpy(), 'beta': norm.beta.numpy()}


# BatchNorm: statistics and moving averages

def test_without_momentum_the_averages_are_those_of_the_real_steps():
    norm = seqmask.BatchNorm(1, momentum=0.0)
    inputs = tf.constant([[[1.], [9.], [9.]], [[3.], [5.], [7.]], [[9.], [9.], [9.]]])
    norm(inputs, [1, 3, 0], training=True)
    assert norm.moving_mean.numpy() == (1 + 3 + 5 + 7) / 4
    assert norm.moving_variance.numpy() == (3 ** 2 + 1 ** 2 + 1 ** 2 + 3 ** 2) / 4
    norm(inputs, [1, 0, 0], training=True)
    assert norm.moving_mean.numpy() == 1            # 1 / 1: no epsilon beside the count
    assert norm.moving_variance.numpy() == 0


@pytest.mark.parametrize('seed', range(5))
def test_statistics_are_those_of_the_concatenated_real_steps(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, T + 1, size=B)
    lengths[0] = 2      # at least some
    norm, inputs = a_norm(momentum=0.0), a_batch(rng, fill=100.0)
    outputs = norm(inputs, lengths, training=True)
    wanted, mean, variance = reference.batch_norm_in_training(
        sequences_of(inputs, lengths), weights_of(norm))
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-12)
    for row, alone in zip(outputs.numpy(), wanted):
        np.testing.assert_allclose(row[:len(alone)], alone, rtol=1e-10, atol=1e-12)
        assert not row[len(alone):].any()


def test_outputs_in_training_have_mean_beta_and_deviation_gamma(rng):
    norm = a_norm(epsilon=0.0)
    real = norm(a_batch(rng), LENGTHS, training=True).numpy()[MASK]
    np.testing.assert_allclose(real.mean(axis=0), norm.beta, atol=1e-12)
    np.testing.assert_allclose(real.std(axis=0), np.abs(norm.gamma))


def statistics_of(norm, rng, count):
    """The norm, `count` batches later; means and variances of these batches."""
    found = []
    for _ in range(count):
        inputs = a_batch(rng)
        norm(inputs, LENGTHS, training=True)
        found.append((inputs[MASK].mean(axis=0), inputs[MASK].var(axis=0)))
    return [np.array(values) for values in zip(*found)]


@pytest.mark.parametrize('momentum', [0.0, 0.75, 0.9, 0.99])
@pytest.mark.parametrize('count', [1, 2, 3, 40])
def test_the_start_is_taken_out_of_the_averages_as_adam_does(count, momentum, rng):
    norm = a_norm(momentum=momentum)
    weights = (1 - momentum) * momentum ** np.arange(count)[::-1]       # of an average from 0
    for average, values in zip((norm.moving_mean, norm.moving_variance),
                               statistics_of(norm, rng, count)):
        np.testing.assert_allclose(average, weights @ values / (1 - momentum ** count), rtol=1e-9)
    np.testing.assert_allclose(norm.averaged, np.sum(weights) / (1 - momentum), rtol=1e-9)


def test_after_many_batches_they_are_the_usual_averages(rng):
    norm = a_norm(momentum=0.75)
    mean, variance = np.zeros(D), np.ones(D)        # as they would begin
    for one, other in zip(*statistics_of(norm, rng, 120)):
        mean, variance = 0.75 * mean + 0.25 * one, 0.75 * variance + 0.25 * other
    np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-12)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-12)
    np.testing.assert_allclose(norm.averaged, 1 / (1 - 0.75), rtol=1e-12)


def test_averages_that_are_put_in_count_when_told_to(rng):
    norm = a_norm(momentum=0.75)
    norm.moving_mean.assign([1.0, -2.0])
    norm.averaged.assign(1 / (1 - 0.75))
    (mean,), _ = statistics_of(norm, rng, 1)
    np.testing.assert_allclose(norm.moving_mean, 0.75 * np.array([1, -2]) + 0.25 * mean, rtol=1e-12)


def test_outside_of_training_the_averages_are_used_and_stay(rng):
    norm, inputs = a_norm(), a_batch(rng, fill=np.nan)
    norm.moving_mean.assign([1.0, -2.0])
    norm.moving_variance.assign([4.0, 0.25])
    outputs = norm(inputs, LENGTHS).numpy()
    wanted = reference.batch_norm(
        inputs[MASK], weights_of(norm), np.array([1.0, -2.0]), np.array([4.0, 0.25]))
    np.testing.assert_allclose(outputs[MASK], wanted, rtol=1e-12)
    assert not outputs[~MASK].any()
    assert norm.moving_mean.numpy().tolist() == [1.0, -2.0]
    assert norm.moving_variance.numpy().tolist() == [4.0, 0.25]


@pytest.mark.parametrize('epsilon', [1e-3, 0.0])
@pytest.mark.parametrize('shape', [(4, 5), (4, 0), (0, 5), (0, 0)], ids=str)
@pytest.mark.parametrize('wrap', [lambda f: f, tf.function], ids=['eager', 'graph'])
def test_a_batch_without_real_steps_moves_nothing(wrap, shape, epsilon, rng):
    norm = a_norm(dtype='float32', momentum=0.3, epsilon=epsilon)
    norm(a_batch(rng, 'float32'), LENGTHS, training=True)
    averages = [norm.moving_mean, norm.moving_variance, norm.averaged]
    before = [average.numpy() for average in averages]
    inputs = tf.fill([*shape, D], float('nan'))
    results = wrap(train)(norm, inputs, tf.zeros(shape[:1], tf.int32), tf.ones([*shape, D]))
    assert not any(r.numpy().any() for r in results)        # outputs and gradients
    for average, value in zip(averages, before):
        np.testing.assert_array_equal(average, value)


def test_only_gamma_and_beta_are_trained():
    norm = seqmask.BatchNorm(D)
    assert {v.name for v in norm.trainable_variables} == {'gamma:0', 'beta:0'}
    assert {v.name for v in norm.non_trainable_variables} == {
        'averaged:0', 'moving_mean:0', 'moving_variance:0'}
    assert norm.moving_mean.numpy().tolist() == [0, 0]
    assert norm.moving_variance.numpy().tolist() == [1, 1]
    assert norm.averaged.numpy() == 0


def test_a_checkpoint_keeps_the_averages(rng, tmp_path):
    norm = a_norm()
    norm(a_batch(rng), LENGTHS, training=True)
    path = tf.train.Checkpoint(norm=norm).save(str(tmp_path / 'checkpoint'))
    restored = seqmask.BatchNorm(D, dtype='float64')
    tf.train.Checkpoint(norm=restored).restore(path).assert_consumed()
    for name in ['gamma', 'beta', 'moving_mean', 'moving_variance', 'averaged']:
        np.testing.assert_array_equal(getattr(restored, name), getattr(norm, name))


# BatchNorm: the contract in training

@pytest.mark.parametrize('poison', [np.nan, np.inf, -1e38, 1e9])
def test_poison_in_the_padding_changes_nothing_in_training(poison, rng):
    clean = a_batch(rng, 'float32')
    poisoned = np.where(MASK[..., None], clean, np.float32(poison))
    for found, wanted in zip(trained(a_norm(dtype='float32'), poisoned),
                             trained(a_norm(dtype='float32'), clean)):
        np.testing.assert_array_equal(found, wanted)


def test_more_padding_changes_nothing_in_training(rng):
    inputs = a_batch(rng)
    longer = np.concatenate([inputs, np.full([B, 3, D], 9.0)], axis=1)
    outputs, gradient, *others = trained(a_norm(), longer)
    wanted_outputs, wanted_gradient, *wanted_others = trained(a_norm(), inputs)
    assert not outputs[:, T:].any() and not gradient[:, T:].any()
    for found, wanted in zip([outputs[:, :T], gradient[:, :T], *others],
                             [wanted_outputs, wanted_gradient, *wanted_others]):
        np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_silence_in_training(rng):
    outputs, gradient, *_ = trained(a_norm(), a_batch(rng, fill=3.0))
    assert not outputs[~MASK].any() and not gradient[~MASK].any()
    assert outputs[MASK].all() and gradient[MASK].all()


def test_sequences_without_steps_and_the_order_change_nothing(rng):
    inputs = a_batch(rng)
    outputs = trained(a_norm(), inputs)[0]
    kept = [3, 0, 2]        # without the empty one
    found = a_norm()(inputs[kept], [LENGTHS[b] for b in kept], training=True)
    np.testing.assert_allclose(found, outputs[kept], rtol=1e-10)


@pytest.mark.parametrize('lengths', [LENGTHS, [2, 0, 0, 0], [5, 5, 5, 5], [0, 0, 0, 1]], ids=str)
def test_gradients_in_training_are_those_of_finite_differences(lengths, rng):
    norm, inputs = a_norm(), rng.normal(size=[B, T, D])
    _, *gradients, _, _ = trained(norm, inputs, lengths)
    weights, cotangents = weights_of(norm), sequences_of(cotangent(inputs).numpy(), lengths)

    def loss():
        outputs, _, _ = reference.batch_norm_in_training(sequences_of(inputs, lengths), weights)
        return sum(np.sum(o * c) for o, c in zip(outputs, cotangents))

    step = 1e-6
    for point, gradient in zip([inputs, *weights.values()], gradients):
        for index in np.ndindex(*point.shape):
            kept = point[index]
            point[index] = kept + step
            above = loss()
            point[index] = kept - step
            below = loss()
            point[index] = kept
            np.testing.assert_allclose(gradient[index], (above - below) / (2 * step),
                                       rtol=1e-5, atol=1e-7)


def test_one_trace_in_training_for_20_widths(rng):
    norm, same, traces = a_norm(dtype='float32'), a_norm(dtype='float32'), []

    @tf.function(input_signature=[tf.TensorSpec([None] * 3), tf.TensorSpec([None], tf.int32)])
    def call(inputs, lengths):
        traces.append(1)
        return train(norm, inputs, lengths, 2 * inputs)
    for maxlen in range(20):
        inputs = tf.constant(rng.normal(size=[2, maxlen, D]), tf.float32)
        lengths = tf.constant([maxlen, maxlen // 2])
        for found, wanted in zip(call(inputs, lengths), train(same, inputs, lengths, 2 * inputs)):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(norm.moving_mean, same.moving_mean, rtol=1e-5, atol=1e-6)
    assert len(traces) == 1


def test_compiled_equals_eager_in_training(rng):
    norm, inputs = a_norm(), tf.constant(a_batch(rng, fill=np.nan))
    compiled = tf.function(lambda x: train(norm, x, LENGTHS, cotangent(x)), jit_compile=True)
    found = [*compiled(inputs), norm.moving_mean, norm.moving_variance]
    for one, other in zip(found, trained(a_norm(), inputs)):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


# BatchNorm: replicas

def on_two_replicas(strategy, norm, shards, wrap):
    """What `train` gives on each replica: a list for each result."""
    def pick(k):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(shards[context.replica_id_in_sync_group][k]))

    def replicate(inputs, lengths, weights):
        return strategy.run(train, args=[norm, inputs, lengths, weights])
    results = wrap(replicate)(pick(0), pick(1), pick(2))
    return [[np.asarray(part) for part in strategy.experimental_local_results(r)] for r in results]


@pytest.mark.parametrize('cut, wrap', [
    (1, lambda f: f), (1, tf.function), (2, tf.function), (4, tf.function)],
    ids=['3 and 6, eager', '3 and 6', '3 and 6, one row empty', 'no row'])
def test_two_replicas_equal_one_device_on_the_joint_batch(cut, wrap, rng, strategy):
    inputs, lengths = a_batch(rng, fill=np.nan), np.array(LENGTHS, 'int32')
    alone = a_norm(momentum=0.6)
    outputs, d_inputs, d_gamma, d_beta, mean, variance = trained(alone, inputs)
    with strategy.scope():
        norm = a_norm(momentum=0.6)
    weights = cotangent(inputs).numpy()
    found = on_two_replicas(strategy, norm, [
        (inputs[rows], lengths[rows], weights[rows]) for rows in [slice(cut), slice(cut, B)]], wrap)
    tight = {'rtol': 1e-10, 'atol': 1e-12}
    np.testing.assert_allclose(np.concatenate(found[0]), outputs, **tight)
    np.testing.assert_allclose(np.concatenate(found[1]), d_inputs, **tight)
    np.testing.assert_allclose(sum(found[2]), d_gamma, **tight)
    np.testing.assert_allclose(sum(found[3]), d_beta, **tight)
    for average, wanted in [(norm.moving_mean, mean), (norm.moving_variance, variance)]:
        np.testing.assert_allclose(average, wanted, **tight)
        for own in strategy.experimental_local_results(average):
            np.testing.assert_allclose(own, wanted, **tight)


def test_a_replica_without_real_steps_and_two_of_them(rng, strategy):
    inputs = a_batch(rng)
    with strategy.scope():
        norm = a_norm(momentum=0.0)
    nothing = (np.full([2, T, D], np.nan), np.zeros(2, 'int32'), np.ones([2, T, D]))
    something = (inputs, np.array(LENGTHS, 'int32'), np.ones([B, T, D]))
    outputs, *gradients = on_two_replicas(strategy, norm, [nothing, something], tf.function)
    np.testing.assert_allclose(outputs[1], a_norm()(inputs, LENGTHS, training=True), rtol=1e-10)
    assert not outputs[0].any()
    assert all(np.isfinite(part).all() for gradient in gradients for part in gradient)
    np.testing.assert_allclose(norm.moving_mean, inputs[MASK].mean(axis=0), rtol=1e-12)
    before = [norm.moving_mean.numpy(), norm.moving_variance.numpy()]
    on_two_replicas(strategy, norm, [nothing, nothing], tf.function)
    np.testing.assert_array_equal([norm.moving_mean, norm.moving_variance], before)


def test_averages_of_replicas_go_to_one_device_and_back(rng, strategy, tmp_path):
    with strategy.scope():
        norm = a_norm()
    shard = a_batch(rng), np.array(LENGTHS, 'int32'), np.ones([B, T, D])
    on_two_replicas(strategy, norm, [shard, shard], tf.function)
    path = tf.train.Checkpoint(norm=norm).save(str(tmp_path / 'checkpoint'))
    alone = seqmask.BatchNorm(D, dtype='float64')
    tf.train.Checkpoint(norm=alone).restore(path).assert_consumed()
    with strategy.scope():
        again = seqmask.BatchNorm(D, dtype='float64')
        tf.train.Checkpoint(norm=again).restore(path).assert_consumed()
    for name in ['moving_mean', 'moving_variance', 'averaged']:
        np.testing.assert_array_equal(getattr(alone, name), getattr(norm, name).numpy())
        for own in strategy.experimental_local_results(getattr(again, name)):
            np.testing.assert_array_equal(own, getattr(norm, name).numpy())


# BatchNorm: training steps, peers, narrow dtypes

class Model(tf.Module):

    def __init__(self):
        super().__init__()
        self.norm = seqmask.BatchNorm(D, momentum=0.5)

    def loss(self, batch, training):
        outputs = self.norm(batch['inputs'], batch['lengths'], training=training)
        return seqmask.losses.squared_error(
            predictions=outputs, labels=tf.ones_like(outputs), mask=MASK)


@pytest.mark.parametrize('wrap', [lambda f: f, tf.function], ids=['eager', 'graph'])
def test_a_skipped_step_leaves_the_averages(wrap, rng):
    model, optimizer = Model(), tf.keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    inputs = a_batch(rng, 'float32')
    step = wrap(lambda x: seqmask.training.train_step(
        model, lambda model, batch, training: model.loss(batch, training), optimizer,
        {'inputs': x, 'lengths': LENGTHS}))
    assert step(tf.constant(inputs)).applied
    before = [v.numpy() for v in model.variables]
    assert model.norm.moving_mean.numpy().any()
    inputs[2, 4] = np.nan       # a real step
    assert not step(tf.constant(inputs)).applied
    for variable, value in zip(model.variables, before):
        np.testing.assert_array_equal(variable, value)


def test_inference_equals_keras(rng):
    norm, inputs = a_norm(dtype='float32'), a_batch(rng, 'float32')
    norm(inputs, LENGTHS, training=True)
    peer = tf.keras.layers.BatchNormalization(epsilon=norm.epsilon)
    peer.build(inputs.shape)
    peer.set_weights([norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance])
    np.testing.assert_allclose(norm(inputs, LENGTHS).numpy()[MASK],
                               peer(inputs, training=False).numpy()[MASK], rtol=1e-5, atol=1e-6)


def test_training_equals_keras_but_for_its_epsilon_beside_the_count(rng):
    norm, inputs = a_norm(momentum=0.0), a_batch(rng, fill=9.0)
    peer = tf.keras.layers.BatchNormalization(momentum=0.0, epsilon=norm.epsilon, dtype='float64')
    peer.build(inputs.shape)
    peer.set_weights([norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance])
    outputs = norm(inputs, LENGTHS, training=True).numpy()
    theirs = peer(inputs, training=True, mask=tf.constant(MASK)).numpy()
    np.testing.assert_allclose(outputs[MASK], theirs[MASK], rtol=1e-5, atol=1e-6)
    count = sum(LENGTHS)
    share = count / (count + tf.keras.config.epsilon())
    np.testing.assert_allclose(peer.moving_mean, share * norm.moving_mean.numpy(), rtol=1e-12)
    np.testing.assert_allclose(peer.moving_variance, share * norm.moving_variance.numpy(),
                               rtol=1e-12)
    assert (np.abs(peer.moving_mean - norm.moving_mean) > 1e-9).all()
    assert theirs[~MASK].all() and not outputs[~MASK].any()     # Keras leaves beta in the padding


@pytest.mark.parametrize('make', [seqmask.BatchNorm, seqmask.LayerNorm])
@pytest.mark.parametrize('dtype, largest', [('float16', 60000), ('bfloat16', 1e30)])
def test_narrow_dtypes_with_4096_steps(dtype, largest, make, rng):
    lengths = [4096, 0, 3000]
    inputs = tf.cast(rng.uniform(-1, 1, size=[3, 4096, D]) * largest ** (dtype == 'float16'), dtype)
    norm = make(D, dtype=dtype)
    assert norm.gamma.dtype == norm.beta.dtype == tf.float32
    options = {'training': True} if make is seqmask.BatchNorm else {}
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = norm(inputs, lengths, **options)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) ** 2)
    gradients = tape.gradient(loss, [inputs, norm.gamma, norm.beta])
    assert outputs.dtype == gradients[0].dtype == dtype
    sequences = sequences_of(tf.cast(inputs, tf.float64).numpy(), lengths)
    if make is seqmask.BatchNorm:
        wanted, mean, variance = reference.batch_norm_in_training(sequences, weights_of(norm))
        np.testing.assert_allclose(norm.moving_mean, mean, rtol=1e-3)
        np.testing.assert_allclose(norm.moving_variance, variance, rtol=1e-3)
    else:
        wanted = [reference.layer_norm(x, weights_of(norm)) for x in sequences]
    for row, alone in zip(tf.cast(outputs, tf.float64).numpy(), wanted):
        np.testing.assert_allclose(row[:len(alone)], alone, rtol=0.02, atol=0.02)
        assert not row[len(alone):].any()
    assert all(np.isfinite(tf.cast(g, tf.float32)).all() for g in gradients)


# LayerNorm

def test_each_step_is_normalised_over_its_own_features():
    norm = seqmask.LayerNorm(2, epsilon=0.0)
    norm.gamma.assign([10., 100.])
    norm.beta.assign([1., 2.])
    outputs = norm([[[3., 7.], [0., 1.], [9., 9.]]], [2])
    assert outputs.numpy().tolist() == [[[1 - 10, 2 + 100], [1 - 10, 2 + 100], [0, 0]]]


@pytest.mark.parametrize('poison', [0.0, 5.0, np.nan, np.inf, 1e38])
def test_no_epsilon_is_needed_in_the_padding(poison, rng):
    norm = seqmask.LayerNorm(D, epsilon=0.0)
    inputs = tf.constant(a_batch(rng, 'float32', fill=poison))
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = norm(inputs, LENGTHS)
        loss = tf.reduce_sum(outputs ** 3)
    gradients = tape.gradient(loss, [inputs, norm.gamma, norm.beta])
    assert all(np.isfinite(g).all() for g in gradients)
    assert not gradients[0].numpy()[~MASK].any() and not outputs.numpy()[~MASK].any()


def test_layer_norm_equals_keras_at_real_steps(rng):
    inputs = rng.normal(size=[B, T, 6]).astype('float32')
    norm = seqmask.LayerNorm(6)
    peer = tf.keras.layers.LayerNormalization(epsilon=norm.epsilon)
    peer.build(inputs.shape)
    norm.gamma.assign(rng.normal(size=[6]))
    norm.beta.assign(rng.normal(size=[6]))
    peer.set_weights([norm.gamma, norm.beta])
    np.testing.assert_allclose(norm(inputs, LENGTHS).numpy()[MASK], peer(inputs).numpy()[MASK],
                               rtol=1e-4, atol=1e-5)


# Errors

@pytest.mark.parametrize('make', [seqmask.BatchNorm, seqmask.LayerNorm])
@pytest.mark.parametrize('shape, dtype, lengths, error, message', [
    ([2, 3], 'float32', [1, 1], ValueError, r'inputs must have rank 3 \[B, T, D\]'),
    ([2, 3, 5], 'float32', [1, 1], ValueError, 'inputs must have input_size = 2 on axis -1'),
    ([2, 3, 2], 'float16', [1, 1], TypeError, 'dtype of the layer, float32, got float16'),
    ([2, 3, 2], 'float32', [1], ValueError, 'each of the 2 sequences'),
    ([2, 3, 2], 'float32', [1, 4], tf.errors.InvalidArgumentError, 'must not exceed')])
def test_calls_that_do_not_fit_are_errors(make, shape, dtype, lengths, error, message):
    with pytest.raises(error, match=message):
        make(D)(tf.zeros(shape, dtype), lengths)


@pytest.mark.parametrize('options, error, message', [
    ({'input_size': 0}, ValueError, 'input_size must be at least 1'),
    ({'momentum': 1.0}, ValueError, r'momentum must be in \[0, 1\)'),
    ({'epsilon': -1e-3}, ValueError, 'epsilon must be finite and not negative'),
    ({'dtype': 'int32'}, TypeError, 'dtype must be floating-point')])
def test_layers_that_cannot_be_are_errors(options, error, message):
    with pytest.raises(error, match=message):
        seqmask.BatchNorm(**{'input_size': D, **options})
