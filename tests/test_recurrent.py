"""Recurrent layers: when they stop, what they carry, how they stream."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from recurrent_layers import every_cell, num_gates

LENGTHS = [4, 0, 6, 1, 6, 2]
B, T, D, H = 6, 6, 3, 4


def inputs_of(rng, batch=B, maxlen=T, dtype='float32'):
    return tf.constant(rng.normal(size=[batch, maxlen, D]), dtype)


def random_state(layer, rng, batch=B):
    return tf.nest.map_structure(lambda s: tf.constant(rng.normal(size=s.shape), s.dtype),
                                 layer.initial_state(batch))


def arrays(structure):
    return [part.numpy() for part in tf.nest.flatten(structure)]


def assert_equal(found, wanted):
    for f, w in zip(arrays(found), arrays(wanted), strict=True):
        np.testing.assert_array_equal(f, w)


def assert_close(found, wanted, **tolerance):
    for f, w in zip(arrays(found), arrays(wanted), strict=True):
        np.testing.assert_allclose(f, w, **(tolerance or {'rtol': 1e-5, 'atol': 1e-6}))


# When it stops

@every_cell
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
def test_output_after_the_end_is_zero_and_the_state_is_carried(make, reverse, rng):
    layer = make(D, H, seed=0)
    outputs, state = layer(inputs_of(rng), LENGTHS, reverse=reverse)
    for b, length in enumerate(LENGTHS):
        assert not outputs[b, length:].numpy().any()
        assert outputs[b, :length].numpy().all()
        if length:
            last = outputs[b, 0 if reverse else length - 1]
            np.testing.assert_array_equal(last, tf.nest.flatten(state)[0][b])


@every_cell
def test_the_backward_direction_starts_at_each_sequences_own_last_frame(make, rng):
    layer = make(D, H, seed=0)
    inputs = inputs_of(rng)
    outputs, _ = layer(inputs, LENGTHS, reverse=True)
    for b, length in enumerate(LENGTHS):
        alone, _ = layer(inputs[b:b + 1, :length, :][:, ::-1], [length])
        np.testing.assert_allclose(outputs[b, :length], alone[0, ::-1], rtol=1e-5, atol=1e-6)
        if length:
            first, _ = layer(inputs[b:b + 1, length - 1:length], [1])
            np.testing.assert_allclose(outputs[b, length - 1], first[0, 0], rtol=1e-5, atol=1e-6)


@every_cell
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
def test_a_row_of_length_0_keeps_its_initial_state_bit_for_bit(make, reverse, rng):
    layer = make(D, H, seed=0)
    initial = random_state(layer, rng)
    _, final = layer(inputs_of(rng), LENGTHS, initial, reverse=reverse)
    _, untouched = layer(inputs_of(rng), [0] * B, initial, reverse=reverse)
    for before, after, never in zip(arrays(initial), arrays(final), arrays(untouched)):
        np.testing.assert_array_equal(after[1], before[1])
        assert (after[0] != before[0]).any()
        np.testing.assert_array_equal(never, before)


@every_cell
def test_types_never_depend_on_flags(make, rng):
    layer = make(D, H, seed=0, dropout=0.5, recurrent_dropout=0.5)
    inputs, like = inputs_of(rng), layer.initial_state(B)
    for reverse in (False, True):
        for training in (False, True):
            for initial in (None, like):
                for lengths in (LENGTHS, [0] * B, [T] * B):
                    outputs, state = layer(inputs, lengths, initial, reverse=reverse,
                                           training=training)
                    assert outputs.shape == [B, T, H]
                    assert type(state) is type(like)
                    for part in tf.nest.flatten(state):
                        assert part.shape == [B, H]
    output, state = layer.step(inputs[:, 0], state)
    assert output.shape == [B, H]
    assert type(state) is type(like)


def test_the_state_of_an_lstm_names_its_parts(rng):
    _, state = seqmask.LSTM(D, H, seed=0)(inputs_of(rng), LENGTHS)
    assert isinstance(state, seqmask.LSTMState)
    assert state.hidden.shape == state.cell.shape == [B, H]
    assert not np.allclose(state.hidden, state.cell)


# Streams

@every_cell
def test_step_by_step_equals_the_call(make, rng):
    layer = make(D, H, seed=0)
    inputs, state = inputs_of(rng), random_state(layer, rng)
    outputs, final = layer(inputs, [T] * B, state)
    for t in range(T):
        output, state = layer.step(inputs[:, t], state)
        assert_close(output, outputs[:, t])
    assert_close(state, final)


@every_cell
def test_the_initial_state_is_zero(make, rng):
    layer = make(D, H, seed=0)
    state = layer.initial_state(B)
    assert not np.any(arrays(state))
    assert_equal(layer(inputs_of(rng), LENGTHS, state),
                 layer(inputs_of(np.random.default_rng(0)), LENGTHS))


@every_cell
def test_chunk_by_chunk_equals_the_whole_with_gradients(make, rng):
    layer = make(D, H, dtype='float64', seed=0)
    inputs, initial = inputs_of(rng, dtype='float64'), random_state(layer, rng)
    points = [inputs, *tf.nest.flatten(initial), *layer.trainable_variables]

    def run(cuts):
        with tf.GradientTape() as tape:
            tape.watch(points)
            state, outputs = initial, []
            for start, stop in zip([0, *cuts], [*cuts, T]):
                lengths = np.clip(np.subtract(LENGTHS, start), 0, stop - start)
                chunk, state = layer(inputs[:, start:stop], lengths, state)
                outputs.append(chunk)
            results = [tf.concat(outputs, axis=1), *tf.nest.flatten(state)]
            loss = tf.add_n([tf.reduce_sum(tf.sin(3 * r)) for r in results])
        return results + tape.gradient(loss, points)

    whole = run([])
    for _ in range(4):
        cuts = sorted(rng.choice(np.arange(1, T), size=rng.integers(1, T), replace=False))
        assert_close(run(cuts), whole, rtol=1e-12, atol=1e-12)


@every_cell
def test_rows_reset_between_chunks_start_anew(make, rng):
    layer = make(D, H, seed=0)
    inputs = inputs_of(rng)
    _, state = layer(inputs[:, :3], [3] * B)
    anew = [True, False, True, False, False, False]
    outputs, _ = layer(inputs[:, 3:], [3] * B, seqmask.reset_rows(state, anew))
    fresh, _ = layer(inputs[:, 3:], [3] * B)
    carried, _ = layer(inputs[:, 3:], [3] * B, state)
    assert_equal(outputs, tf.where(np.reshape(anew, [B, 1, 1]), fresh, carried))
    assert not np.allclose(fresh, carried)


def test_reset_rows_keeps_the_structure_and_stops_nan():
    state = (seqmask.LSTMState(tf.fill([2, 1], np.nan), tf.ones([2, 1])), [tf.ones([2, 3, 4])])
    reset = seqmask.reset_rows(state, [True, False])
    tf.nest.assert_same_structure(reset, state)
    assert isinstance(reset[0], seqmask.LSTMState)
    np.testing.assert_array_equal(reset[0].hidden, [[0], [np.nan]])
    assert reset[1][0].numpy().sum(axis=(1, 2)).tolist() == [0, 3 * 4]


# Graphs and dtypes

@every_cell
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
def test_one_trace_for_20_widths_equals_eager(make, reverse, rng):
    layer = make(D, H, seed=0)
    traces = []

    @tf.function(input_signature=[tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int32)])
    def call(inputs, lengths):
        traces.append(1)
        return layer(inputs, lengths, reverse=reverse)

    for maxlen in range(20):
        inputs = inputs_of(rng, 1 + maxlen % 3, maxlen)
        lengths = rng.integers(0, maxlen + 1, size=len(inputs)).astype(np.int32)
        found = call(inputs, lengths)
        assert_close(found, layer(inputs, lengths, reverse=reverse))
        assert type(found[1]) is type(layer.initial_state(1))
    assert len(traces) == 1


def test_static_sizes_survive_a_graph():
    layer = seqmask.GRU(D, H)
    for shape in ([None, None, D], [B, None, D], [None, T, D], [B, T, D]):
        call = tf.function(lambda x, n: layer(x, n)[0])
        traced = call.get_concrete_function(tf.TensorSpec(shape), tf.TensorSpec([None], tf.int32))
        assert traced.output_shapes.as_list() == [*shape[:2], H]


@every_cell
@pytest.mark.parametrize('dtype, compiled', [
    ('float16', False), ('bfloat16', False), ('bfloat16', True)])
def test_half_precision_is_near_single_precision(make, dtype, compiled, rng):
    half, single = make(D, H, dtype=dtype, seed=0), make(D, H, seed=0)
    for h, s in zip(half.trainable_variables, single.trainable_variables):
        assert h.dtype == dtype
        s.assign(tf.cast(h, tf.float32))
    inputs = inputs_of(rng, dtype=dtype)

    def results_and_gradients(layer, inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            results = tf.nest.flatten(layer(inputs, LENGTHS))
            loss = tf.add_n([tf.reduce_sum(r) for r in results])
        return results + tape.gradient(loss, [inputs, *layer.trainable_variables])

    call = tf.function(results_and_gradients, jit_compile=True) if compiled else (
        results_and_gradients)
    found = call(half, inputs)
    wanted = results_and_gradients(single, tf.cast(inputs, tf.float32))
    assert {f.dtype for f in found} == {tf.as_dtype(dtype)}
    assert_close([tf.cast(f, tf.float32) for f in found], wanted, rtol=0.1, atol=0.1)


def test_auto_takes_the_graph_where_a_cell_has_no_kernel(rng):
    layer, graph = (seqmask.MGU(D, H, implementation=how, seed=0) for how in ('auto', 'graph'))
    inputs = inputs_of(rng)
    assert_equal(layer(inputs, LENGTHS), graph(inputs, LENGTHS))
    traced = tf.function(layer).get_concrete_function(inputs, tf.constant(LENGTHS))
    assert not [op for op in traced.graph.get_operations() if op.type.startswith('Seqmask')]


# Weights and seeds

@every_cell
def test_variables_exist_at_construction(make):
    layer = make(D, H)
    gates = num_gates(make)
    bias = [2, gates * H] if make is seqmask.GRU else [gates * H]
    assert {v.name: v.shape.as_list() for v in layer.trainable_variables} == {
        'kernel:0': [D, gates * H], 'recurrent_kernel:0': [H, gates * H], 'bias:0': bias}
    assert layer.variables == layer.trainable_variables


def test_the_forget_gate_starts_open():
    layer = seqmask.LSTM(D, H)
    assert layer.bias.numpy().tolist() == [0] * H + [1] * H + [0] * H + [0] * H


@every_cell
def test_seeds(make):
    one, same, other, fresh, fresher = (make(H, H, seed=seed) for seed in (0, 0, 1, None, None))
    assert_equal(one.trainable_variables, same.trainable_variables)
    for a, b in [(one, other), (one, fresh), (fresh, fresher)]:
        assert (a.kernel.numpy() != b.kernel.numpy()).any()
        assert (a.recurrent_kernel.numpy() != b.recurrent_kernel.numpy()).any()
    recurrent_kernel = one.recurrent_kernel.numpy()
    np.testing.assert_allclose(recurrent_kernel @ recurrent_kernel.T, np.eye(H), atol=1e-5)


def test_the_same_weights_whatever_the_global_seed():
    tf.random.set_seed(1)
    one = seqmask.GRU(D, H, seed=0)
    tf.random.set_seed(2)
    assert_equal(one.trainable_variables, seqmask.GRU(D, H, seed=0).trainable_variables)


@every_cell
def test_a_layer_can_be_saved_loaded_and_trained_on(make, rng, tmp_path):
    layer, inputs, lengths = make(D, H, seed=0), inputs_of(rng), tf.constant(LENGTHS)
    saved = tf.Module()
    saved.layer = layer
    saved.call = tf.function(lambda x, n: layer(x, n), input_signature=[
        tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int32)])
    tf.saved_model.save(saved, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))

    def results_and_gradients(module):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            results = tf.nest.flatten(module.call(inputs, lengths))
            loss = tf.add_n([tf.reduce_sum(tf.sin(3 * r)) for r in results])
        weights = [module.layer.kernel, module.layer.recurrent_kernel, module.layer.bias]
        return results + tape.gradient(loss, [inputs, *weights])

    assert_close(results_and_gradients(loaded), results_and_gradients(saved))
