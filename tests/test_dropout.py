"""Dropout, as a layer and inside of recurrent layers."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from recurrent_layers import every_cell

LENGTHS = [5, 0, 3, 1]
B, T, D, H = 4, 5, 30, 20
MASK = np.arange(T) < np.array(LENGTHS)[:, None]


def inputs_of(rng, dtype='float32'):
    return tf.constant(rng.normal(size=[B, T, D]), dtype)


# The layer

@pytest.mark.parametrize('rate', [0.0, 0.5])
def test_nothing_is_dropped_outside_of_training(rate, rng):
    inputs = inputs_of(rng)
    wanted = np.where(MASK[..., None], inputs, 0)
    dropout = seqmask.Dropout(rate, seed=0)
    np.testing.assert_array_equal(dropout(inputs, LENGTHS), wanted)
    np.testing.assert_array_equal(seqmask.Dropout(0)(inputs, LENGTHS, training=True), wanted)


@pytest.mark.parametrize('rate', [0.2, 0.5, 0.75])
@pytest.mark.parametrize('per', ['element', 'sequence'])
def test_what_is_kept_is_scaled_up(per, rate):
    outputs = seqmask.Dropout(rate, per=per, seed=0)(
        tf.ones([50, 4, 100]), [4] * 50, training=True).numpy()
    assert set(outputs.ravel()) == {0, np.float32(1 / (1 - rate))}
    assert abs(np.mean(outputs == 0) - rate) < 0.02     # of 5000 draws or more


def test_per_sequence_all_steps_share_one_mask_and_no_two_sequences_do(rng):
    outputs = seqmask.Dropout(0.5, per='sequence', seed=0)(
        tf.ones([3, T, 40]), [T] * 3, training=True).numpy()
    assert (outputs == outputs[:, :1]).all()
    assert len({row.tobytes() for row in outputs[:, 0]}) == 3


def test_per_element_no_two_steps_share_a_mask():
    outputs = seqmask.Dropout(0.5, seed=0)(tf.ones([3, T, 40]), [T] * 3, training=True).numpy()
    assert len({row.tobytes() for row in outputs.reshape(-1, 40)}) == 3 * T


def test_per_step_all_features_share_one_mask_and_no_two_sequences_do():
    outputs = seqmask.Dropout(0.5, per='step', seed=0)(
        tf.ones([3, 40, D]), [40] * 3, training=True).numpy()
    assert (outputs == outputs[..., :1]).all()
    assert set(outputs.ravel()) == {0, 1 / (1 - 0.5)}
    assert len({row.tobytes() for row in outputs[..., 0]}) == 3


@pytest.mark.parametrize('per', ['element', 'sequence', 'step'])
@pytest.mark.parametrize('poison', [np.nan, np.inf])
def test_the_padding_stays_silent_and_without_gradient(per, poison, rng):
    dropout = seqmask.Dropout(0.5, per=per, seed=0)
    inputs = tf.where(MASK[..., None], inputs_of(rng), poison)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = dropout(inputs, LENGTHS, training=True)
    gradient = tape.gradient(outputs, inputs).numpy()
    assert not outputs.numpy()[~MASK].any()
    assert not gradient[~MASK].any()
    assert set(gradient[MASK].ravel()) == {0, 1 / (1 - 0.5)}
    np.testing.assert_array_equal(outputs.numpy()[MASK], inputs.numpy()[MASK] * gradient[MASK])


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16', 'float64'])
def test_other_dtypes(dtype):
    outputs = seqmask.Dropout(0.5, seed=0)(tf.ones([B, T, D], dtype), LENGTHS, training=True)
    assert outputs.dtype == dtype
    assert set(tf.cast(outputs, tf.float32).numpy().ravel()) == {0, 2}


def test_the_same_seed_gives_the_same_draws():
    def draws(seed):
        dropout = seqmask.Dropout(0.5, seed=seed)
        return [dropout(tf.ones([B, T, D]), [T] * B, training=True).numpy() for _ in range(2)]
    first, second = draws(0)
    assert (first != second).any()
    np.testing.assert_array_equal(draws(0), [first, second])
    assert (draws(1)[0] != first).any()
    assert (draws(None)[0] != draws(None)[0]).any()


@pytest.mark.parametrize('compiled', [False, True], ids=['graph', 'xla'])
def test_every_call_of_a_graph_draws_anew(compiled):
    dropout, traces = seqmask.Dropout(0.5, seed=0), []

    @tf.function(jit_compile=compiled)
    def call(inputs):
        traces.append(1)
        return dropout(inputs, [T] * B, training=True)
    first, second = call(tf.ones([B, T, D])).numpy(), call(tf.ones([B, T, D])).numpy()
    assert len(traces) == 1
    assert (first != second).any()
    assert set(first.ravel()) == set(second.ravel()) == {0, 2}


@pytest.mark.parametrize('arguments, error, message', [
    ({'rate': 1.0}, ValueError, r'rate must be in \[0, 1\), got 1.0'),
    ({'rate': -0.1}, ValueError, r'rate must be in \[0, 1\)'),
    ({'rate': float('nan')}, ValueError, r'rate must be in \[0, 1\)'),
    ({'rate': 'half'}, TypeError, 'rate must be a number'),
    ({'rate': 0.5, 'per': 'batch'}, ValueError, "per must be one of 'element', .*, got 'batch'")])
def test_layers_that_cannot_be_are_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        seqmask.Dropout(**arguments)


@pytest.mark.parametrize('inputs, lengths, error, message', [
    (tf.ones([2, 3]), [1, 1], ValueError, r'inputs must have rank 3 \[B, T, D\]'),
    (tf.ones([2, 3, 1], 'int32'), [1, 1], TypeError, 'inputs must be floating-point'),
    (tf.ones([2, 3, 1]), [1], ValueError, 'each of the 2 sequences'),
    (tf.ones([2, 3, 1]), [1, 4], tf.errors.InvalidArgumentError, 'must not exceed')])
def test_calls_that_do_not_fit_are_errors(inputs, lengths, error, message):
    with pytest.raises(error, match=message):
        seqmask.Dropout(0.5)(inputs, lengths, training=True)


# Inside of recurrent layers

KINDS = {'inputs': {'dropout': 0.5}, 'state': {'recurrent_dropout': 0.5},
         'both': {'dropout': 0.5, 'recurrent_dropout': 0.5}}
every_kind = pytest.mark.parametrize('options', KINDS.values(), ids=KINDS)


def masks_of(layer, batch):
    """The masks that the next call in training will draw, in its order; the stream stays put."""
    state = layer._noise.state.value()
    masks = {}
    for name, width, rate in [('inputs', layer.input_size, layer.dropout),
                              ('state', layer.hidden_size, layer.recurrent_dropout)]:
        if rate:
            drawn = layer._noise.uniform([batch, width]).numpy()
            masks[name] = (drawn >= rate) / (1 - rate)
    layer._noise.reset(state)
    return masks


@every_cell
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
def test_the_features_of_a_sequence_are_dropped_at_all_its_steps_alike(make, reverse, rng):
    layer, inputs = make(D, H, dropout=0.5, seed=0), inputs_of(rng)
    mask = masks_of(layer, B)['inputs']
    found, _ = layer(inputs, LENGTHS, reverse=reverse, training=True)
    wanted, _ = layer(inputs * mask[:, None], LENGTHS, reverse=reverse)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert set(mask.ravel()) == {0, 1 / (1 - 0.5)}
    assert len({row.tobytes() for row in mask}) == B


@every_cell
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
def test_the_units_of_a_state_are_hidden_from_the_gates_at_all_steps_alike(make, reverse, rng):
    layer, inputs = make(D, H, recurrent_dropout=0.5, seed=0), inputs_of(rng)
    mask = masks_of(layer, B)['state']
    found, _ = layer(inputs, LENGTHS, reverse=reverse, training=True)
    plain = make(D, H, seed=0)
    for b, length in enumerate(LENGTHS):
        # A unit that is dropped, or doubled, is a row of the recurrent kernel that is.
        plain.recurrent_kernel.assign(layer.recurrent_kernel * mask[b][:, None])
        wanted, _ = plain(inputs[b:b + 1], [length], reverse=reverse)
        np.testing.assert_allclose(found[b:b + 1], wanted, rtol=1e-5, atol=1e-6)
    assert set(mask.ravel()) == {0, 1 / (1 - 0.5)}


@every_cell
@every_kind
def test_nothing_is_dropped_in_a_recurrent_layer_outside_of_training(make, options, rng):
    layer, plain, inputs = make(D, H, seed=0, **options), make(D, H, seed=0), inputs_of(rng)
    np.testing.assert_array_equal(layer(inputs, LENGTHS)[0], plain(inputs, LENGTHS)[0])
    state = layer.initial_state(B)
    np.testing.assert_array_equal(layer.step(inputs[:, 0], state)[0],
                                  plain.step(inputs[:, 0], state)[0])
    np.testing.assert_array_equal(plain(inputs, LENGTHS, training=True)[0],
                                  plain(inputs, LENGTHS)[0])


@every_cell
@pytest.mark.parametrize('kind, run, reverse', [
    ('inputs', 'eager', False), ('state', 'eager', False), ('both', 'eager', True),
    ('both', 'xla', False)])
def test_gradients_with_dropout_are_those_of_finite_differences(make, kind, run, reverse, rng):
    layer = make(3, 2, dtype='float64', seed=0, **KINDS[kind])
    layer.bias.assign(rng.normal(size=layer.bias.shape))
    lengths = [3, 0, 2]
    inputs = tf.constant(rng.normal(size=[3, 3, 3]))
    variables = list(layer.trainable_variables)
    direction = [rng.normal(size=p.shape) for p in [inputs, *variables]]

    def loss_and_gradient(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            results = tf.nest.flatten(layer(inputs, lengths, reverse=reverse, training=True))
            loss = tf.add_n([tf.reduce_sum(tf.sin(3 * r)) for r in results])
        return loss, tape.gradient(loss, [inputs, *variables])

    def with_the_same_masks(inputs):
        layer._noise.reset_from_seed(3)
        return call(inputs)

    call = tf.function(loss_and_gradient, jit_compile=True) if run == 'xla' else loss_and_gradient
    _, gradient = with_the_same_masks(inputs)
    step, start, sides = 1e-6, [v.numpy() for v in variables], []
    for sign in (1, -1):
        for variable, value, d in zip(variables, start, direction[1:]):
            variable.assign(value + sign * step * d)
        sides.append(with_the_same_masks(inputs + sign * step * direction[0])[0])
    numeric = (sides[0] - sides[1]) / (2 * step)
    slope = sum(np.sum(g * d) for g, d in zip(gradient, direction))
    np.testing.assert_allclose(slope, numeric, rtol=1e-6)


@every_cell
@every_kind
def test_a_feature_that_is_dropped_has_no_gradient(make, options, rng):
    layer, inputs = make(D, H, seed=0, **options), inputs_of(rng)
    masks = masks_of(layer, B)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs, _ = layer(inputs, LENGTHS, training=True)
    seen = tape.gradient(outputs, inputs).numpy() != 0
    wanted = MASK[..., None] & (masks['inputs'][:, None] > 0 if 'inputs' in masks else True)
    np.testing.assert_array_equal(seen, np.broadcast_to(wanted, seen.shape))


def layers_with_noise():
    return seqmask.Stacked([
        seqmask.Bidirectional(seqmask.LSTM(D, 2, dropout=0.5, seed=0),
                              seqmask.GRU(D, 2, recurrent_dropout=0.5, seed=1)),
        seqmask.GRU(4, 3, dropout=0.5, seed=2)])


def test_the_same_seed_gives_the_same_masks(rng):
    inputs = inputs_of(rng)
    one, same = layers_with_noise(), layers_with_noise()
    for _ in range(2):
        outputs, _ = one(inputs, LENGTHS, training=True)
        np.testing.assert_array_equal(outputs, same(inputs, LENGTHS, training=True)[0])
    assert (outputs.numpy() != one(inputs, LENGTHS, training=True)[0].numpy()).any()


def test_a_checkpoint_goes_on_with_the_next_masks(rng, tmp_path):
    inputs, model = inputs_of(rng), layers_with_noise()
    model(inputs, LENGTHS, training=True)
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / 'checkpoint'))
    wanted = [model(inputs, LENGTHS, training=True)[0] for _ in range(2)]
    restored = layers_with_noise()
    tf.train.Checkpoint(model=restored).restore(path).assert_consumed()
    for outputs in wanted:
        np.testing.assert_array_equal(restored(inputs, LENGTHS, training=True)[0], outputs)


def test_noise_is_no_weight():
    layer = seqmask.GRU(D, H, dropout=0.5)
    assert len(layer.trainable_variables) == 3
    assert len(seqmask.Dropout(0.5).trainable_variables) == 0
