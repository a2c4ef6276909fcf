"""The recurrences in C++ against TensorFlow operations and against Keras; what they refuse."""

import hashlib
import os
import warnings

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask.kernels import build, native
from test_scripts import run_file

pytestmark = pytest.mark.skipif(
    not native.usable(), reason='no C++ kernels here; `python -m seqmask.kernels` says why')

MAKERS = {
    'lstm': seqmask.LSTM,
    'gru': seqmask.GRU,
    'gru_reset_before': lambda *args, **k: seqmask.GRU(*args, reset_after=False, **k),
}
every_cell = pytest.mark.parametrize('cell', MAKERS)
CASES = 200


@pytest.fixture
def each_target():
    """Takes another instruction set at each call, and the best again in the end."""
    targets = native.targets()

    def take(k):
        native.use_target(targets[k % len(targets)])
    yield take
    native.use_target(targets[0])


def layers_of(cell, input_size, hidden_size, rng, **options):
    """The same layer twice, in C++ and in TensorFlow operations, no bias at its initial value."""
    made = [MAKERS[cell](input_size, hidden_size, implementation=how, seed=1, **options)
            for how in ('kernel', 'graph')]
    bias = rng.normal(size=made[0].bias.shape)
    for layer in made:
        layer.bias.assign(tf.constant(bias, tf.float32))
    return made


def results_and_gradients(call, inputs, state, weights, cotangents):
    """Outputs and final state; the gradients of their weighted sum to all that they depend on."""
    watched = [inputs, *state, *weights]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        results = tf.nest.flatten(call(inputs, state))
        loss = tf.add_n([tf.reduce_sum(r * c) for r, c in zip(results, cotangents, strict=True)])
    gradients = tape.gradient(loss, watched)
    return [t.numpy() for t in (*results, *map(tf.convert_to_tensor, gradients))]


def assert_close(found, wanted):
    """Float32 rounding, relative to the largest number of each array."""
    for f, w in zip(found, wanted, strict=True):
        assert f.shape == w.shape
        np.testing.assert_allclose(f, w, rtol=0, atol=1e-5 * max(1e-30, np.abs(w).max(initial=0)))


def weights_of(layer):
    return [layer.kernel, layer.recurrent_kernel, layer.bias]


def random_case(case):
    """Random sizes, among them those that are no multiple of any vector, and extreme lengths."""
    rng = np.random.default_rng(case)
    batch, maxlen = rng.integers(0, 14), rng.integers(0, 12)
    lengths = rng.choice([0, maxlen, *rng.integers(0, maxlen + 1, 4)], batch).astype(np.int32)
    return rng, tf.constant(lengths), batch, maxlen, *map(int, rng.integers(1, 40, 2))


def normal(rng, *shape):
    return tf.constant(rng.normal(size=shape), tf.float32)


def states_and_cotangents(layer, rng, batch, maxlen):
    H, count = layer.hidden_size, len(tf.nest.flatten(layer.initial_state(1)))
    return ([normal(rng, batch, H) for _ in range(count)],
            [normal(rng, batch, maxlen, H), *(normal(rng, batch, H) for _ in range(count))])


@pytest.mark.parametrize('case', range(CASES))
def test_kernel_equals_graph(case, each_target):
    rng, lengths, batch, maxlen, D, H = random_case(case)
    cell = list(MAKERS)[case % 3]
    reverse, dropout = case % 2 == 1, 0.4 * (case % 5 == 0)
    each_target(case // 3)
    found, wanted = [], []
    layers = layers_of(cell, D, H, rng, recurrent_dropout=dropout)
    state, cotangents = states_and_cotangents(layers[0], rng, batch, maxlen)
    inputs = normal(rng, batch, maxlen, D)
    for layer, results in zip(layers, (found, wanted)):
        results += results_and_gradients(
            lambda x, s: layer(x, lengths, s if len(s) > 1 else s[0], reverse=reverse,
                               training=True), inputs, state, weights_of(layer), cotangents)
    assert_close(found, wanted)


@every_cell
@pytest.mark.parametrize('reverse', [False, True])
def test_kernel_equals_keras(cell, reverse, rng):
    """Keras alone with each sequence, unpadded."""
    D, H, lengths, maxlen = 5, 19, [7, 0, 3, 7, 1], 7
    ours, _ = layers_of(cell, D, H, rng)
    make = {'lstm': tf.keras.layers.LSTM}.get(cell, tf.keras.layers.GRU)
    theirs = make(H, return_sequences=True, return_state=True, go_backwards=reverse,
                  **({'reset_after': cell == 'gru'} if cell != 'lstm' else {}))
    theirs.build([None, None, D])
    for variable, value in zip(theirs.trainable_variables, weights_of(ours), strict=True):
        variable.assign(value)
    state, cotangents = states_and_cotangents(ours, rng, len(lengths), maxlen)
    inputs = normal(rng, len(lengths), maxlen, D)

    def keras_alone(inputs, state):
        outputs, finals = [], []
        for b, length in enumerate(lengths):
            initial = [s[b:b + 1] for s in state]
            steps, *final = (theirs(inputs[b:b + 1, :length], initial_state=initial) if length
                             else (tf.zeros([1, 0, H]), *initial))
            steps = steps[:, ::-1] if reverse else steps
            outputs.append(tf.pad(steps, [[0, 0], [0, maxlen - length], [0, 0]]))
            finals.append(final)
        return [tf.concat(outputs, 0), *(tf.concat(parts, 0) for parts in zip(*finals))]

    found = results_and_gradients(
        lambda x, s: ours(x, lengths, s if len(s) > 1 else s[0], reverse=reverse), inputs, state,
        weights_of(ours), cotangents)
    assert_close(found, results_and_gradients(
        keras_alone, inputs, state, [v.value for v in theirs.trainable_variables], cotangents))


PRINT_HASHES = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[1]))
from test_kernels import large_case_digests
print(*large_case_digests())
"""


def large_case_digests():
    """Of a case large enough that threads share it: 3 cells, results and gradients."""
    digests = []
    for cell in MAKERS:
        rng = np.random.default_rng(0)
        layer, _ = layers_of(cell, 30, 100, rng)
        lengths = tf.constant(rng.integers(0, 41, 25), tf.int32)
        state, cotangents = states_and_cotangents(layer, rng, 25, 40)
        for values in results_and_gradients(
                lambda x, s: layer(x, lengths, s if len(s) > 1 else s[0]),
                normal(rng, 25, 40, 30), state, weights_of(layer), cotangents):
            digests.append(hashlib.sha256(values.tobytes()).hexdigest()[:16])
    return digests


def test_results_do_not_depend_on_the_number_of_threads(tmp_path):
    script = tmp_path / 'print_hashes.py'
    script.write_text(PRINT_HASHES)
    runs = [run_file(script, threads, cwd=tmp_path) for threads in (1, 2, 7)]
    assert [done.returncode for done in runs] == [0, 0, 0], runs[0].stderr
    printed = [done.stdout.split() for done in runs]
    assert len(set(printed[0])) == len(printed[0]) > 20
    assert printed[0] == printed[1] == printed[2]


# What an operation refuses, from whoever calls it

B, T, D, H = 3, 4, 2, 5
GATES = {'lstm': 4, 'gru': 3, 'gru_reset_before': 3}


def arguments(cell):
    """Shapes of the operation's arguments that fit."""
    width = GATES[cell] * H
    return {'inputs': [B, T, D], 'lengths': [B], 'kernel': [D, width],
            'recurrent_kernel': [H, width], 'bias': [2, width] if cell == 'gru' else [width],
            'initial_state': [[B, H]] * (2 if cell == 'lstm' else 1), 'dropout': []}


def forward(cell, values=(), **shapes):
    """Calls the operation on zeros of these shapes."""
    shapes = {**arguments(cell), **shapes}
    values = {'lengths': tf.zeros(shapes['lengths'], tf.int32), **dict(values)}
    for name, shape in shapes.items():
        if name in ('initial_state', 'dropout'):
            values[name] = [tf.zeros(part) for part in shape]
        else:
            values.setdefault(name, tf.zeros(shape))
    return native.load().seqmask_recurrence(**values, cell=cell, reverse=False)


MALFORMED = {
    'inputs of rank 2': ({'inputs': [B, D]}, 'inputs must have rank 3'),
    'other features': ({'inputs': [B, T, D + 1]}, 'kernel must have shape'),
    'lengths of rank 2': ({'lengths': [B, 1]}, 'lengths must have shape'),
    'lengths of another batch': ({'lengths': [B + 1]}, 'lengths must have shape'),
    'no lengths': ({'lengths': [0]}, 'lengths must have shape'),
    'scalar lengths': ({'lengths': []}, 'lengths must have shape'),
    'narrow kernel': ({'kernel': [D, H]}, 'kernel must have shape'),
    'kernel of rank 1': ({'kernel': [D]}, 'kernel must have shape'),
    'recurrent kernel of rank 3': ({'recurrent_kernel': [H, H, 4]}, 'recurrent_kernel must have r'),
    'recurrent kernel not of H rows': ({'recurrent_kernel': [H - 1, 4 * H]}, 'must have shape'),
    'empty recurrent kernel': ({'recurrent_kernel': [0, 0]}, 'hidden_size must be 1 or more'),
    'short bias': ({'bias': [H]}, 'bias must have shape'),
    'scalar bias': ({'bias': []}, 'bias must have shape'),
    'dropout of another batch': ({'dropout': [[B + 1, H]]}, 'dropout must have shape'),
    'two dropout masks': ({'dropout': [[B, H]] * 2}, 'at most one dropout mask'),
    'no state': ({'initial_state': []}, 'num_states'),
    'three states': ({'initial_state': [[B, H]] * 3}, 'a cell .* has . states, got 3'),
}


@every_cell
@pytest.mark.parametrize('shapes, message', MALFORMED.values(), ids=MALFORMED)
def test_malformed_arguments_are_errors(cell, shapes, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        forward(cell, **shapes)


@every_cell
def test_malformed_states_are_errors(cell):
    count = 2 if cell == 'lstm' else 1
    for wrong in ([B, H + 1], [B + 1, H], [H], []):
        for k in range(count):
            states = [[B, H]] * count
            states[k] = wrong
            with pytest.raises(tf.errors.InvalidArgumentError, match='a state must have shape'):
                forward(cell, initial_state=states)


@every_cell
@pytest.mark.parametrize('length', [-1, T + 1, 2 ** 31 - 1, -2 ** 31])
def test_lengths_out_of_range_are_errors(cell, length):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f'0 to maxlen = {T}, got {length} for'
                                                             ' sequence 1'):
        forward(cell, {'lengths': tf.constant([0, length, T])})


@every_cell
@pytest.mark.parametrize('sizes', [(0, T, D), (B, 0, D), (B, T, 0), (0, 0, 0)], ids=str)
def test_empty_arguments_work(cell, sizes):
    batch, maxlen, input_size = sizes
    states = [[batch, H]] * (2 if cell == 'lstm' else 1)
    results = forward(cell, inputs=sizes, lengths=[batch], initial_state=states,
                      kernel=[input_size, GATES[cell] * H])
    assert results.outputs.shape == [batch, maxlen, H]


@every_cell
def test_shapes_are_known_in_a_graph(cell):
    results = tf.function(lambda: forward(cell)).get_concrete_function().structured_outputs
    assert results.outputs.shape == [B, T, H]
    assert [s.shape for s in results.final_state] == [[B, H]] * (2 if cell == 'lstm' else 1)
    with pytest.raises(ValueError, match='must be rank 3'):
        tf.function(lambda: forward(cell, inputs=[B, D])).get_concrete_function()


@every_cell
def test_malformed_arguments_of_the_gradient_are_errors(cell):
    lengths = tf.constant([T, 0, 2])
    results = forward(cell, {'lengths': lengths})
    shapes = arguments(cell)
    good = {name: tf.zeros(shapes[name]) for name in ('inputs', 'kernel', 'recurrent_kernel',
                                                      'bias')}
    good.update(lengths=lengths, initial_state=results.final_state, dropout=[],
                outputs=results.outputs, gates=results.gates, extra=results.extra,
                d_outputs=results.outputs, d_final_state=results.final_state)

    def backward(**changes):
        return native.load().seqmask_recurrence_grad(**{**good, **changes}, cell=cell,
                                                     reverse=False)

    assert backward().d_inputs.shape == [B, T, D]
    for name in ('outputs', 'gates', 'd_outputs'):
        for wrong in ([0, 0], [], [1, 1, 1]):
            with pytest.raises(tf.errors.InvalidArgumentError, match=f'{name} must have shape'):
                backward(**{name: tf.zeros(wrong)})
    with pytest.raises(tf.errors.InvalidArgumentError, match='extra must have shape'):
        backward(extra=tf.zeros([7, 7]))
    with pytest.raises(tf.errors.InvalidArgumentError, match='d_final_state must have shape'):
        backward(d_final_state=[tf.zeros([B, 1])] * len(results.final_state))
    # More real steps than were saved.
    with pytest.raises(tf.errors.InvalidArgumentError, match='gates must have shape'):
        backward(lengths=tf.constant([T, T, T]))


# Where graph takes over, and where it has to be asked for

def test_a_second_derivative_is_refused(rng):
    layer, _ = layers_of('lstm', D, H, rng)
    inputs = normal(rng, B, T, D)

    def second(call):
        with tf.GradientTape() as outer:
            outer.watch(inputs)
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                loss = tf.reduce_sum(call(inputs, [T, 0, 1])[0] ** 2)
            slope = tf.reduce_sum(inner.gradient(loss, inputs) ** 2)
        return outer.gradient(slope, inputs)

    for run in (lambda: second(layer), lambda: second(tf.function(layer)),
                tf.function(lambda: second(layer))):
        with pytest.raises(tf.errors.InvalidArgumentError, match="implementation=.*'graph"):
            run()


def test_first_derivatives_under_two_tapes_are_not_second_ones(rng):
    """TensorFlow traces the second derivative ahead wherever it might be asked for."""
    layer, like = layers_of('gru', D, H, rng)
    inputs = normal(rng, B, T, D)

    def gradients(call):
        with tf.GradientTape(persistent=True) as outer:
            with tf.GradientTape() as inner:
                inner.watch(inputs)
                loss = tf.reduce_sum(call(inputs, [T, 0, 1])[0] ** 2)
        weights = weights_of(layer if call is not like else like)
        return [inner.gradient(loss, inputs), *outer.gradient(loss, weights),
                *outer.gradient(loss, weights)]

    wanted = [g.numpy() for g in gradients(like)]
    for call in (layer, tf.function(layer)):
        assert_close([g.numpy() for g in gradients(call)], wanted)


def operations(function):
    """Names of all operations of a concrete function and of those that it calls."""
    graph = function.graph.as_graph_def()
    return ({node.op for node in graph.node}
            | {node.op for f in graph.library.function for node in f.node_def})


@every_cell
def test_compiled_by_xla_it_is_graph(cell, rng):
    layer, like = layers_of(cell, D, H, rng)
    inputs, lengths = normal(rng, B, T, D), tf.constant([T, 0, 1])
    compiled = tf.function(layer, jit_compile=True)
    assert 'Seqmask>Recurrence' not in operations(compiled.get_concrete_function(inputs, lengths))
    assert_close([compiled(inputs, lengths)[0].numpy()], [like(inputs, lengths)[0].numpy()])


def test_traced_outside_xla_and_called_inside_is_an_error_that_says_what_to_set(rng):
    layer, _ = layers_of('lstm', D, H, rng)
    inner = tf.function(layer)
    inputs, lengths = normal(rng, B, T, D), tf.constant([T, 0, 1])
    inner(inputs, lengths)
    with pytest.raises(tf.errors.InvalidArgumentError, match='set_implementation_graph'):
        tf.function(inner, jit_compile=True)(inputs, lengths)


class Exported(tf.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    @tf.function(input_signature=[tf.TensorSpec([None, None, D]), tf.TensorSpec([None], tf.int32)])
    def __call__(self, inputs, lengths):
        return self.layer(inputs, lengths)[0]


@pytest.mark.parametrize('called_before', [False, True])
def test_exported_it_is_graph(called_before, tmp_path, rng):
    layer, like = layers_of('lstm', D, H, rng)
    inputs, lengths = normal(rng, B, T, D), tf.constant([T, 0, 1])
    model = Exported(layer)
    if called_before:
        model(inputs, lengths)
        assert 'Seqmask>Recurrence' in operations(model.__call__.get_concrete_function())
    tf.saved_model.save(model, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    assert 'Seqmask>Recurrence' not in operations(loaded.__call__.concrete_functions[0])
    assert_close([loaded(inputs, lengths).numpy()], [like(inputs, lengths)[0].numpy()])


# Which implementation runs

def runs_on(layer):
    call = tf.function(layer, input_signature=[tf.TensorSpec([None, None, D], layer.dtype),
                                               tf.TensorSpec([None], tf.int32)])
    kernel = 'Seqmask>Recurrence' in operations(call.get_concrete_function())
    return 'kernel' if kernel else 'graph'


@pytest.fixture
def unloaded():
    """As in a process that has not loaded the library yet."""
    caches = (native._loaded, native._works)
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


@every_cell
def test_auto_is_the_kernel_where_it_can_run(cell):
    assert runs_on(MAKERS[cell](D, H)) == 'kernel'
    assert runs_on(MAKERS[cell](D, H, implementation='graph')) == 'graph'
    assert runs_on(MAKERS[cell](D, H, dtype='float64')) == 'graph'


def test_auto_leaves_a_gpu_to_tensorflow(monkeypatch):
    monkeypatch.setattr(tf.config, 'list_logical_devices', lambda kind: [f'{kind}:0'])
    assert runs_on(seqmask.GRU(D, H)) == 'graph'
    assert runs_on(seqmask.GRU(D, H, implementation='kernel')) == 'kernel'


def test_off_is_quiet(monkeypatch, unloaded):
    monkeypatch.setenv('SEQMASK_KERNELS', 'off')
    assert runs_on(seqmask.LSTM(D, H)) == 'graph'
    with pytest.raises(native.Unusable, match='SEQMASK_KERNELS=off'):
        seqmask.LSTM(D, H, implementation='kernel')


def test_a_switch_that_is_neither_on_nor_off_is_an_error(monkeypatch):
    monkeypatch.setenv('SEQMASK_KERNELS', 'perhaps')
    with pytest.raises(ValueError, match="SEQMASK_KERNELS must be 'on' or 'off', got 'perhaps'"):
        runs_on(seqmask.LSTM(D, H))


def test_a_failed_build_warns_once_and_graph_runs(monkeypatch, unloaded):
    tried = []

    def fail():
        tried.append(1)
        raise build.BuildError('no C++ compiler was found')
    monkeypatch.setattr(build, 'library', fail)
    with pytest.warns(UserWarning, match='(?s)graph.*no C.. compiler was found.*KERNELS=off'):
        assert runs_on(seqmask.GRU(D, H)) == 'graph'
    with warnings.catch_warnings(action='error'):
        assert runs_on(seqmask.LSTM(D, H)) == 'graph'
    with pytest.raises(native.Unusable, match='no C.. compiler was found'):
        seqmask.GRU(D, H, implementation='kernel')
    assert len(tried) == 1


def test_a_library_that_does_not_load_is_built_again(monkeypatch, unloaded, tmp_path):
    good, broken = build.library(), tmp_path / 'broken.so'
    broken.write_bytes(b'not a library')
    monkeypatch.setattr(build, 'library', lambda: str(broken))
    monkeypatch.setattr(build, 'build', lambda force: good if force else str(broken))
    assert runs_on(seqmask.GRU(D, H)) == 'kernel'


@every_cell
def test_the_kernel_has_float32_only(cell):
    with pytest.raises(ValueError, match="float32 only, got float64: choose 'graph' or 'auto'"):
        MAKERS[cell](D, H, implementation='kernel', dtype='float64')


def test_an_unknown_target_is_an_error():
    with pytest.raises(ValueError, match='this processor runs .*portable, not mmx'):
        native.use_target('mmx')
