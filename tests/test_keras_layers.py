"""seqmask.keras: Keras's layers are the oracle, with a mask or on each sequence alone."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask.keras
from test_contracts import LENGTHS

K = tf.keras.layers
B, T, D = len(LENGTHS), 5, 3
MASK = np.arange(T) < np.array(LENGTHS)[:, None]
MASKS = {'none': None, 'right-padded': MASK, 'left-padded': MASK[:, ::-1],
         'holes': np.random.default_rng(5).random([B, T]) < 0.5}


@pytest.fixture
def inputs(rng):
    return rng.normal(size=[B, T, D]).astype('f')


def pair(name, *args, **options):
    """Keras's layer and ours with the same weights."""
    theirs, ours = (getattr(room, name)(*args, **options) for room in (K, seqmask.keras))
    for layer in (theirs, ours):
        layer.build([None, None, D])
    rng = np.random.default_rng(3)
    theirs.set_weights([rng.uniform(0.1, 1, size=w.shape) for w in theirs.get_weights()])
    ours.set_weights(theirs.get_weights())
    return theirs, ours


RECURRENT = [('LSTM', {}), ('LSTM', {'go_backwards': True}), ('LSTM', {'use_bias': False}),
             ('LSTM', {'activation': 'relu'}), ('GRU', {}), ('GRU', {'reset_after': False}),
             ('GRU', {'go_backwards': True, 'recurrent_activation': 'hard_sigmoid'})]


@pytest.mark.parametrize('mask', MASKS.values(), ids=MASKS)
@pytest.mark.parametrize('name, options', RECURRENT, ids=str)
def test_recurrent_layers_are_keras_s_at_real_steps_and_0_elsewhere(name, options, mask, inputs):
    theirs, ours = pair(name, 4, return_sequences=True, return_state=True, **options)
    poisoned = inputs if mask is None else np.where(mask[..., None], inputs, np.nan)
    wanted, *wanted_states = theirs(inputs, mask=mask)
    outputs, *states = ours(poisoned, mask=mask)
    if mask is not None:
        real = mask[:, ::-1] if 'go_backwards' in options else mask
        wanted = np.where(real[..., None], wanted, 0)
    np.testing.assert_allclose(outputs, wanted, atol=2e-6)
    for state, its in zip(states, wanted_states):
        np.testing.assert_allclose(state, its, atol=2e-6)
    last = getattr(seqmask.keras, name)(4, **options)
    last.build([None, None, D])
    last.set_weights(ours.get_weights())
    np.testing.assert_array_equal(last(poisoned, mask=mask), states[0])


@pytest.mark.parametrize('merge_mode', ['concat', 'sum', 'ave', 'mul', None])
def test_both_directions(merge_mode, inputs):
    def make(room, bidirectional):
        return bidirectional(room.GRU(4, return_sequences=True, seed=0), merge_mode=merge_mode)

    theirs, ours = make(K, K.Bidirectional), make(seqmask.keras, seqmask.keras.Bidirectional)
    ours.build([None, None, D]), theirs.build([None, None, D])
    ours.set_weights(theirs.get_weights())
    wrapped = make(K, seqmask.keras.Bidirectional)      # Keras's layers in our wrapper
    wrapped.build([None, None, D])
    wrapped.set_weights(theirs.get_weights())
    wanted = [np.where(MASK[..., None], outputs, 0)
              for outputs in tf.nest.flatten(theirs(inputs, mask=MASK))]
    for layer in (ours, wrapped):
        for outputs, its in zip(tf.nest.flatten(layer(inputs, lengths=LENGTHS)), wanted):
            np.testing.assert_allclose(outputs, its, atol=2e-6)


def test_states_are_returned_and_taken(inputs):
    layer = seqmask.keras.Bidirectional(seqmask.keras.LSTM(4, return_state=True, seed=0))
    outputs, *states = layer([inputs, LENGTHS])
    assert [state.shape for state in states] == [[B, 4]] * 4
    again, *_ = layer(inputs, lengths=LENGTHS, initial_state=states)
    assert np.abs(again - outputs).max() > 0.01
    empty = LENGTHS.index(0)
    np.testing.assert_array_equal(layer(inputs, lengths=LENGTHS, initial_state=states)[1][empty],
                                  states[0][empty])


def test_the_mask_on_inputs_counts_beside_an_initial_state_which_keras_forgets(inputs):
    masked = K.Masking()(np.where(MASK[..., None], inputs, 0))
    layer, state = seqmask.keras.GRU(4, seed=0), tf.ones([B, 4])
    np.testing.assert_array_equal(layer(masked, initial_state=state),
                                  layer(inputs, lengths=LENGTHS, initial_state=state))


def test_a_stateful_layer_goes_on(inputs):
    layer = seqmask.keras.GRU(4, stateful=True, return_sequences=True, seed=0)
    whole = seqmask.keras.GRU(4, return_sequences=True)
    parts = [layer(tf.constant(inputs[:, :2]), mask=MASK[:, :2]),
             layer(tf.constant(inputs[:, 2:]), mask=MASK[:, 2:])]
    whole.build([None, None, D])
    whole.set_weights(layer.get_weights())
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole(inputs, lengths=LENGTHS),
                               atol=1e-6)


@pytest.mark.parametrize('told', ['mask', 'lengths', 'below', 'functional'])
@pytest.mark.parametrize('name, options', [
    ('LSTM', {}), ('GRU', {'return_state': True}), ('GRU', {'activation': 'relu'})], ids=str)
def test_backwards_the_mask_stands_in_the_order_of_the_outputs(name, options, told, inputs):
    tf.keras.utils.set_random_seed(0)       # one draw of ten gives relu a real step of all zeros
    layer = getattr(seqmask.keras, name)(4, return_sequences=True, go_backwards=True, **options)
    if told == 'mask':
        outputs = layer(inputs, mask=MASK)
    elif told == 'lengths':
        outputs = layer(inputs, lengths=LENGTHS)
    else:
        features = np.where(MASK[..., None], inputs, 0)
        symbolic = tf.keras.Input([None, D])
        if told == 'below':
            outputs = layer(K.Masking()(features))
        else:
            outputs = tf.keras.Model(symbolic, layer(K.Masking()(symbolic)))(features)
    outputs = tf.nest.flatten(outputs)[0]
    np.testing.assert_array_equal(outputs._keras_mask, MASK[:, ::-1])
    np.testing.assert_array_equal(np.any(outputs, axis=-1), MASK[:, ::-1])
    masks = tf.nest.flatten(layer.compute_mask(inputs, MASK))       # what Keras asks for
    np.testing.assert_array_equal(masks[0], MASK[:, ::-1])
    # A layer above sees the real steps, so it equals itself on each sequence alone.
    layer_above = seqmask.keras.GRU(2, seed=0)
    above = layer_above(outputs)
    if told == 'lengths':
        for b, n in enumerate(LENGTHS):
            if not n:       # Keras asks for a first step
                continue
            alone = layer_above(outputs[b:b + 1, T - n:])
            np.testing.assert_allclose(above[b], alone[0], atol=1e-6)


def test_two_backward_layers_are_in_the_order_of_the_inputs_again(inputs):
    lower, upper = (seqmask.keras.GRU(4, return_sequences=True, go_backwards=True, seed=seed)
                    for seed in range(2))
    outputs = upper(lower(inputs, lengths=LENGTHS))
    np.testing.assert_array_equal(outputs._keras_mask, MASK)
    np.testing.assert_array_equal(np.any(outputs, axis=-1), MASK)
    for b, n in enumerate(LENGTHS):
        if not n:
            continue
        alone = upper(lower(inputs[b:b + 1, :n]))
        np.testing.assert_allclose(outputs[b, :n], alone[0], atol=1e-6)


@pytest.mark.parametrize('name', ['LSTM', 'GRU'])
@pytest.mark.parametrize('options', [{}, {'dropout': 0.5}, {'recurrent_dropout': 0.5},
                                     {'dropout': 0.3, 'recurrent_dropout': 0.3}], ids=str)
def test_the_implementation_that_keras_calls_1(name, options, inputs):
    layer = getattr(seqmask.keras, name)(64, return_sequences=True, implementation=1, seed=1,
                                         **options)
    first, second = (layer(inputs, lengths=LENGTHS, training=True) for _ in range(2))
    assert (np.abs(first - second).max() > 0.01) == bool(options)
    assert not np.any(first[~MASK]) and np.any(first[MASK])
    layer(inputs, training=True)                            # told nothing of real steps
    plain = getattr(seqmask.keras, name)(64, return_sequences=True)
    plain.build([None, None, D])
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(layer(inputs, lengths=LENGTHS), plain(inputs, lengths=LENGTHS),
                               atol=1e-6)
    both = seqmask.keras.Bidirectional(layer)(inputs, lengths=LENGTHS, training=True)
    assert not np.any(both[~MASK]) and np.any(both[MASK])


@pytest.mark.parametrize('options', [{'dropout': 0.5}, {'recurrent_dropout': 0.5}], ids=str)
def test_dropout_is_the_same_at_all_steps_and_none_at_inference(options, inputs):
    layer = seqmask.keras.LSTM(64, return_sequences=True, seed=1, **options)
    ones = np.ones([2, T, D], 'f')
    first, second = (layer(ones, lengths=[T, 2], training=True) for _ in range(2))
    assert np.abs(first - second).max() > 0.01 and not np.any(first[1, 2:])
    plain = seqmask.keras.LSTM(64, return_sequences=True)
    plain.build([None, None, D])
    plain.set_weights(layer.get_weights())
    np.testing.assert_array_equal(layer(inputs, lengths=LENGTHS), plain(inputs, lengths=LENGTHS))


@pytest.mark.parametrize('options', [
    {}, {'padding': 'same', 'activation': 'sigmoid'}, {'padding': 'causal', 'dilation_rate': 2},
    {'strides': 2}, {'padding': 'causal', 'strides': 2}, {'groups': 3}, {'use_bias': False},
], ids=str)
def test_convolution_equals_keras_s_on_each_sequence_alone(options, inputs):
    theirs, ours = pair('Conv1D', 6, 2, **options)
    outputs = ours(np.where(MASK[..., None], inputs, np.nan), lengths=LENGTHS)
    np.testing.assert_array_equal(ours(np.where(MASK[..., None], inputs, np.nan), mask=MASK),
                                  outputs)
    lengths = ours.output_lengths(LENGTHS).numpy()
    for b, n in enumerate(LENGTHS):
        # Keras's cannot convolve fewer steps than its kernel has; no window lies inside.
        alone = (theirs(inputs[b:b + 1, :n])[0] if n > 1 or n and 'padding' in options
                 else np.zeros([0, 6]))
        assert len(alone) == lengths[b]
        np.testing.assert_allclose(outputs[b, :len(alone)], alone, atol=1e-5)
        assert not np.any(outputs[b, len(alone):])
    np.testing.assert_array_equal(outputs._keras_mask,
                                  np.arange(outputs.shape[1]) < lengths[:, None])
    np.testing.assert_array_equal(ours(inputs), theirs(inputs))


def test_batch_normalization_takes_real_steps(inputs):
    _, layer = pair('BatchNormalization', momentum=0.5)
    _, alone = pair('BatchNormalization', momentum=0.5)
    outputs = layer(np.where(MASK[..., None], inputs, np.nan), lengths=LENGTHS, training=True)
    wanted = alone(inputs[MASK][None], training=True)[0]
    np.testing.assert_allclose(outputs[MASK], wanted, atol=1e-5)
    assert not np.any(outputs[~MASK])
    for ours, its in zip(layer.get_weights(), alone.get_weights()):
        np.testing.assert_allclose(ours, its, atol=1e-6)
    before = layer.get_weights()
    layer(inputs, lengths=np.zeros([B], np.int32), training=True)
    for ours, its in zip(layer.get_weights(), before):
        np.testing.assert_array_equal(ours, its)
    np.testing.assert_allclose(layer(inputs, mask=MASK)[MASK], alone(inputs[MASK][None])[0],
                               atol=1e-5)


@pytest.mark.parametrize('mask', [mask for mask in MASKS.values() if mask is not None],
                         ids=list(MASKS)[1:])
@pytest.mark.parametrize('name, reduce', [('GlobalAveragePooling1D', np.mean),
                                          ('GlobalMaxPooling1D', np.max)])
def test_pooling_takes_real_steps(name, reduce, mask, inputs):
    layer = getattr(seqmask.keras, name)()
    outputs = layer(np.where(mask[..., None], inputs - 9, np.nan), mask=mask)
    for b in range(B):
        wanted = reduce(inputs[b, mask[b]] - 9, axis=0) if mask[b].any() else 0
        np.testing.assert_allclose(outputs[b], wanted * np.ones(D), rtol=1e-5)
    assert getattr(seqmask.keras, name)(keepdims=True)(inputs, mask=mask).shape == [B, 1, D]


LAYERS = {'LSTM': {'units': 2, 'return_sequences': True}, 'GRU': {'units': 2},
          'Conv1D': {'filters': 2, 'kernel_size': 2, 'padding': 'same'}, 'BatchNormalization': {},
          'GlobalAveragePooling1D': {}, 'GlobalMaxPooling1D': {}}


@pytest.mark.parametrize('name', LAYERS)
def test_lengths_in_a_list_a_keyword_and_a_mask_are_one(name, inputs):
    layer = getattr(seqmask.keras, name)(**LAYERS[name])
    wanted = layer(inputs, lengths=tf.constant(LENGTHS))
    np.testing.assert_array_equal(layer([inputs, np.array(LENGTHS)]), wanted)
    masked = K.Masking()(np.where(MASK[..., None], inputs, 0))
    np.testing.assert_array_equal(layer(masked), wanted)
    with pytest.raises(ValueError, match='got a list of 3'):
        layer([inputs, np.array(LENGTHS), inputs])
    with pytest.raises(tf.errors.InvalidArgumentError, match='exceed'):
        layer(inputs, lengths=[9] * B)


@pytest.mark.parametrize('name, options', [*LAYERS.items(), ('GRU', {
    'units': 2, 'activation': 'relu'})], ids=str)
def test_gradients_stay_finite_and_out_of_the_padding(name, options, inputs):
    layer = getattr(seqmask.keras, name)(**options)
    poisoned = tf.constant(np.where(MASK[..., None], inputs, np.nan))
    with tf.GradientTape() as tape:
        tape.watch(poisoned)
        loss = tf.reduce_sum(layer(poisoned, lengths=LENGTHS, training=True) ** 3)
    gradients = tape.gradient(loss, [poisoned, *(v.value for v in layer.trainable_variables)])
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    assert not np.any(gradients[0].numpy()[~MASK]) and np.any(gradients[0].numpy()[MASK])


def test_a_convolution_refuses_a_mask_with_holes(inputs):
    with pytest.raises(tf.errors.InvalidArgumentError, match='mask must be right-padded'):
        seqmask.keras.Conv1D(2, 2)(inputs, mask=MASK[:, ::-1])

    @tf.function(jit_compile=True)
    def compiled(mask):
        return seqmask.keras.Conv1D(2, 2)(inputs, mask=mask)

    with pytest.raises(ValueError, match='pass lengths= to Conv1D'):
        compiled(tf.constant(MASK))


@pytest.mark.parametrize('mask', ['right-padded', 'left-padded', 'holes'])
def test_under_xla_no_mask_gives_a_wrong_number(mask, inputs):
    layer = seqmask.keras.LSTM(2, return_sequences=True)
    wanted = layer(inputs, mask=MASKS[mask])
    compiled = tf.function(lambda x, m: layer(x, mask=m), jit_compile=True)
    np.testing.assert_allclose(compiled(inputs, tf.constant(MASKS[mask])), wanted, atol=2e-6)


@pytest.mark.parametrize('layer, error', [
    (seqmask.keras.Conv1D(2, 2, data_format='channels_first'), "needs data_format='channels_last'"),
    (seqmask.keras.GlobalMaxPooling1D(data_format='channels_first'), "'channels_last'"),
    (seqmask.keras.BatchNormalization(axis=1), 'normalises the last axis'),
], ids=lambda value: getattr(value, 'name', ''))
def test_options_without_a_meaning_here_are_refused(layer, error, inputs):
    with pytest.raises(ValueError, match=error):
        layer(inputs, lengths=LENGTHS)


@pytest.mark.parametrize('name', ['LSTM', 'GRU', 'Bidirectional', 'Conv1D', 'BatchNormalization'])
def test_the_mask_is_passed_on_whatever_keras_sets(name):
    layer = getattr(seqmask.keras, name)(*{
        'Bidirectional': [seqmask.keras.GRU(2)], 'Conv1D': [2, 3], 'BatchNormalization': []
    }.get(name, [2]))
    layer.supports_masking = False          # as the recurrent layers of a preview of Keras 3.16 do
    assert layer.supports_masking
