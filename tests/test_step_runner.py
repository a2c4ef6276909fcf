"""StepRunner against the model's own step: values, state, errors, threads, and without C++."""

import concurrent.futures
import functools
import threading

import numpy as np
import pytest
import tensorflow as tf

import seqmask
import some_models
from recurrent_layers import MAKERS
from seqmask.kernels import native

D = 5
SCALE = seqmask.data.Standardizer(np.arange(D) / 3, np.arange(D) + 0.5)
with_kernel = pytest.mark.skipif(
    not native.usable(), reason='no C++ kernels here; `python -m seqmask.kernels` says why')


def noisy(model):
    """No bias at its initial value, so that one in the wrong place shows."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape, scale=0.3).astype(np.float32))
    return model


MODELS = {
    **{cell: functools.partial(make, D, 33, seed=0) for cell, make in MAKERS.items()},
    'one unit': lambda: seqmask.LSTM(D, 1, seed=0),
    'wide': lambda: seqmask.LSTM(D, 140, seed=0),
    'stacked': lambda: seqmask.Stacked([seqmask.GRU(D, 8, seed=0), seqmask.LSTM(8, 17, seed=1)]),
    'convolution': lambda: seqmask.Conv1D(D, 9, 4, dilation=3, padding='causal', seed=0),
    'a window of one step': lambda: seqmask.Conv1D(D, 9, 1, padding='causal', seed=0),
    'no bias': lambda: seqmask.Conv1D(D, 9, 2, padding='causal', use_bias=False, seed=0),
    'encoder': lambda: seqmask.models.Encoder(D, hidden_size=6, standardizer=SCALE, seed=0),
    'labeller': lambda: some_models.labeller(D, 3, cell='lstm', bidirectional=False, hidden_size=6,
                                             dropout=0.5, standardizer=SCALE, seed=0),
    'transcriber': lambda: seqmask.models.SequenceTranscriber(
        seqmask.models.Encoder(D, hidden_size=6, standardizer=SCALE, seed=0), 3, seed=0),
    'detector': lambda: some_models.detector(D, event_rate=0.1, standardizer=SCALE, seed=0),
    'mgu detector': lambda: some_models.detector(D, network='mgu', event_rate=0.1, seed=0),
    'dilated detector': lambda: some_models.detector(D, network='conv', event_rate=0.1,
                                                     standardizer=SCALE, seed=0),
}
every_model = pytest.mark.parametrize('name', MODELS)


def made(name):
    return noisy(MODELS[name]())


def stream(steps, batch, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, batch, D)).astype(np.float32)


def run(runner, steps):
    return np.stack([runner.step(x_t) for x_t in steps])


def assert_is_the_models_step(model, runner, steps):
    state = model.initial_state(runner.batch)
    for x_t in steps:
        wanted, state = model.step(tf.constant(x_t), state)
        found = runner.step(x_t)
        assert found.shape == wanted.shape and found.dtype == wanted.dtype.as_numpy_dtype
        assert_close(found, wanted.numpy())
    held = runner.state
    tf.nest.assert_same_structure(held, state)
    for found, wanted in zip(tf.nest.flatten(held), tf.nest.flatten(state)):
        assert_close(found, wanted.numpy())


def assert_close(found, wanted):
    """Float32 rounding, relative to the largest number."""
    largest = np.max(np.abs(wanted), initial=1.0)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * largest)


# Values


@with_kernel
@every_model
def test_it_is_the_models_step_on_every_instruction_set(name):
    model, targets = made(name), native.targets()
    try:
        for target in targets:
            native.use_target(target)
            for batch in (1, 2, 30):
                runner = seqmask.StepRunner(model, batch)
                assert runner.implementation == 'kernel'
                assert_is_the_models_step(model, runner, stream(12, batch))
    finally:
        native.use_target(targets[0])


@pytest.mark.parametrize('implementation', ['lite', 'graph'])
@pytest.mark.parametrize('name', ['lstm', 'mgu', 'stacked', 'labeller', 'dilated detector'])
def test_it_is_the_models_step_without_the_core(name, implementation):
    model = made(name)
    runner = seqmask.StepRunner(model, 2, implementation=implementation)
    assert runner.implementation == implementation
    assert_is_the_models_step(model, runner, stream(4, 2))


def test_step_by_step_equals_the_whole_call():
    model, steps = made('labeller'), stream(9, 4)
    wanted = model(steps.transpose(1, 0, 2), np.full(4, 9, np.int32))
    found = run(seqmask.StepRunner(model, 4), steps)
    np.testing.assert_allclose(found.transpose(1, 0, 2), wanted, rtol=1e-5, atol=1e-5)


@with_kernel
@every_model
def test_batch_mates_change_no_bit(name):
    model, steps = made(name), stream(6, 7)
    together = run(seqmask.StepRunner(model, 7), steps)
    poisoned = steps.copy()
    poisoned[2, :3] = [[np.nan], [np.inf], [1e38]]
    np.testing.assert_array_equal(run(seqmask.StepRunner(model, 7), poisoned)[:, 3:],
                                  together[:, 3:])
    for b in range(7):
        alone = run(seqmask.StepRunner(model), steps[:, b:b + 1])
        np.testing.assert_array_equal(alone[:, 0], together[:, b])


@with_kernel
def test_threads_each_with_a_runner_get_the_same_bits():
    model, steps = made('wide'), stream(300, 2)
    wanted, begin = run(seqmask.StepRunner(model, 2), steps), threading.Barrier(7)

    def one(_):
        runner = seqmask.StepRunner(model, 2)
        begin.wait()
        return run(runner, steps)

    with concurrent.futures.ThreadPoolExecutor(7) as pool:
        for found in pool.map(one, range(7)):
            np.testing.assert_array_equal(found, wanted)


def test_outputs_are_the_callers_and_inputs_may_be_any_view():
    runner, steps = seqmask.StepRunner(made('detector')), stream(3, 1)
    first = runner.step(steps[0])
    kept = first.copy()
    turned = np.asfortranarray(np.repeat(steps[1], 2, axis=1))[:, ::2]
    second = runner.step(turned)
    np.testing.assert_array_equal(first, kept)
    runner.reset()
    run(runner, steps[:1])
    np.testing.assert_array_equal(runner.step(steps[1].tolist()), second)


# The state


@pytest.mark.parametrize('implementation', ['auto', 'graph'])
@pytest.mark.parametrize('name', ['stacked', 'dilated detector'])
def test_a_state_is_a_copy_and_goes_on_where_it_was_read(name, implementation):
    model, steps = made(name), stream(8, 3)
    runner = seqmask.StepRunner(model, 3, implementation=implementation)
    run(runner, steps[:4])
    state = runner.state
    kept = tf.nest.map_structure(np.array, state)
    wanted = run(runner, steps[4:])
    tf.nest.map_structure(np.testing.assert_array_equal, state, kept)
    other = seqmask.StepRunner(model, 3, implementation=implementation)
    other.state = tf.nest.map_structure(tf.constant, state)
    np.testing.assert_array_equal(run(other, steps[4:]), wanted)
    runner.state = state
    np.testing.assert_array_equal(run(runner, steps[4:]), wanted)


@every_model
def test_a_row_that_is_reset_begins_anew(name):
    model, steps = made(name), stream(6, 3)
    steps[1, 1] = np.nan
    runner, fresh = (seqmask.StepRunner(model, 3) for _ in range(2))
    run(runner, steps[:3])
    wanted = runner.state
    runner.reset([False, True, False])
    for found, held, zero in zip(*map(tf.nest.flatten, (runner.state, wanted, fresh.state))):
        np.testing.assert_array_equal(found[1], zero[1])
        np.testing.assert_array_equal(found[::2], held[::2])
    after = run(runner, steps[3:])
    np.testing.assert_array_equal(after[:, 1], run(fresh, steps[3:])[:, 1])
    runner.reset()
    fresh.reset()
    np.testing.assert_array_equal(run(runner, steps), run(fresh, steps))


@pytest.mark.parametrize('implementation', ['auto', 'graph'])
def test_new_weights_count_from_the_update_on(implementation):
    model, steps = made('labeller'), stream(4, 2)
    runner = seqmask.StepRunner(model, 2, implementation=implementation)
    before = run(runner, steps[:2])
    state = runner.state
    for variable in model.variables:
        variable.assign(variable * 0.5)
    runner.reset()
    np.testing.assert_array_equal(run(runner, steps[:2]), before)
    runner.update()
    tf.nest.map_structure(np.testing.assert_array_equal, runner.state, state)
    wanted, _ = model.step(tf.constant(steps[2]), tf.nest.map_structure(tf.constant, state))
    np.testing.assert_allclose(runner.step(steps[2]), wanted, rtol=1e-5, atol=1e-6)


# What it refuses


@pytest.mark.parametrize('x_t, error, words', [
    (np.zeros([2, D]), TypeError, 'x_t must have the dtype of the layer, float32, got float64'),
    (np.zeros([2, D], int), TypeError, r'x_t must be floating-point \[B, D\], got int64'),
    (np.zeros([D], np.float32), ValueError, r'x_t must have rank 2 \[B, D\], got shape \(5,\)'),
    (np.zeros([2, 4], np.float32), ValueError, 'x_t must have input_size = 5 on axis -1, got'),
    (np.zeros([3, D], np.float32), ValueError,
     r'x_t must have one row for each of batch = 2 sequences, got shape \(3, 5\)'),
])
def test_a_step_that_does_not_fit(x_t, error, words):
    with pytest.raises(error, match=words):
        seqmask.StepRunner(made('lstm'), 2).step(x_t)


@pytest.mark.parametrize('change, error, words', [
    (lambda r: setattr(r, 'state', r.state.hidden), ValueError, 'the state of LSTM has 2 arrays'),
    (lambda r: setattr(r, 'state', [np.zeros([1, 33], np.float32)] * 2), ValueError,
     r'a state must have shape \(2, 33\), got \(1, 33\)'),
    (lambda r: setattr(r, 'state', [np.zeros([2, 33])] * 2), TypeError,
     'a state must be float32, got float64'),
    (lambda r: r.reset([0, 1]), TypeError, r'rows must be bool \[B\], True = reset, got int64'),
    (lambda r: r.reset([True]), ValueError,
     r'rows must have shape \(2,\), one for each sequence, got \(1,\)'),
])
def test_a_state_or_rows_that_do_not_fit_change_nothing(change, error, words):
    runner = seqmask.StepRunner(made('lstm'), 2)
    run(runner, stream(2, 2))
    state = runner.state
    with pytest.raises(error, match=words):
        change(runner)
    tf.nest.map_structure(np.testing.assert_array_equal, runner.state, state)


def double(make):
    return make(dtype='float64')


@pytest.mark.parametrize('make, error, words', [
    (lambda: seqmask.StepRunner(some_models.classifier(D, 3)), TypeError,
     'got SequenceClassifier: it does not run step by step'),
    (lambda: seqmask.StepRunner(some_models.labeller(D, 3)), ValueError, 'cannot use later steps'),
    (lambda: seqmask.StepRunner(seqmask.Conv1D(D, 3, 3)), ValueError,
     "step needs padding='causal' and strides=1"),
    (lambda: seqmask.StepRunner(seqmask.Stacked([seqmask.Bidirectional(
        seqmask.GRU(D, 2), seqmask.GRU(D, 2))])), TypeError, 'Bidirectional does not'),
    (lambda: seqmask.StepRunner(made('gru'), 0), ValueError, 'batch must be at least 1, got 0'),
    (lambda: seqmask.StepRunner(made('gru'), implementation='fast'), ValueError,
     "implementation must be one of 'auto', 'kernel', 'lite', 'graph', got 'fast'"),
    (lambda: seqmask.StepRunner(seqmask.GRU(D, 2, dtype='float64'), implementation='kernel'),
     ValueError, 'the C\\+\\+ core does not know the step of GRU'),
])
def test_what_cannot_run(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_inside_a_graph_it_is_refused():
    runner = seqmask.StepRunner(made('gru'))
    with pytest.raises(TypeError, match='outside of a tf.function'):
        tf.function(lambda x: runner.step(x))(tf.zeros([1, D]))


# What the core does not know


class Doubled(seqmask.models.SequenceLabeller):
    """Its head is not that of the class which tells the stages."""

    def head(self, outputs, lengths, *, training=False):
        return 2 * super().head(outputs, lengths, training=training)


@pytest.mark.parametrize('make, dtype, runs_on', [
    (lambda: Doubled(seqmask.models.Encoder(D, hidden_size=4, seed=0), 3, seed=0), 'float32',
     'lite'),
    (lambda: seqmask.models.SequenceLabeller(seqmask.models.Encoder(
        D, hidden_size=4, standardizer=lambda x, lengths: x / 2, seed=0), 3), 'float32', 'lite'),
    (lambda: seqmask.Conv1D(D, 10, 2, padding='causal', groups=5, seed=0), 'float32', 'lite'),
    (lambda: seqmask.LSTM(D, 4, dtype='float64', seed=0), 'float64', None),
    (lambda: some_models.labeller(D, 3, bidirectional=False, dtype='bfloat16', seed=0), 'float32',
     None),
], ids=['a head of its own', 'a standardizer of its own', 'groups', 'float64', 'bfloat16'])
def test_what_the_core_does_not_know_runs_elsewhere_and_says_so(make, dtype, runs_on):
    model = make()
    if native.wanted() and native.usable():
        with pytest.warns(UserWarning, match=r'StepRunner runs on implementation=\'(lite|graph)\', '
                          r'which is slower: the C\+\+ core does not know the step of '):
            runner = seqmask.StepRunner(model, 2)
    else:
        runner = seqmask.StepRunner(model, 2)
    assert runner.implementation == (runs_on or runner.implementation)
    state = model.initial_state(2)
    for x_t in stream(3, 2).astype(dtype):
        wanted, state = model.step(tf.constant(x_t), state)
        found = runner.step(x_t)
        assert found.dtype == wanted.dtype.as_numpy_dtype
        np.testing.assert_allclose(found.astype(np.float64), tf.cast(wanted, tf.float64),
                                   rtol=1e-5 if wanted.dtype != tf.bfloat16 else 0.05, atol=1e-3
                                   if wanted.dtype == tf.bfloat16 else 1e-6)


def test_without_a_compiler_it_says_so(monkeypatch):
    def unusable():
        raise native.Unusable("implementation='kernel' cannot run here; choose 'graph'. No g++.")

    monkeypatch.setattr(seqmask.kernels.network, '_library', unusable)
    model = made('gru')
    with pytest.warns(UserWarning, match=r"runs on implementation='lite'.* No g\+\+\."):
        runner = seqmask.StepRunner(model)
    assert_is_the_models_step(model, runner, stream(3, 1))
    with pytest.raises(native.Unusable):
        seqmask.StepRunner(model, implementation='kernel')


def test_who_switches_the_kernels_off_is_told_nothing(monkeypatch):
    monkeypatch.setenv('SEQMASK_KERNELS', 'off')
    assert seqmask.StepRunner(made('gru')).implementation == 'lite'
