"""Float32 masters of weights in half precision, and the scale of a float16 loss."""

import re

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import data, training
import some_models
from test_scripts import SMALL, own_lines, start

HALF = ['bfloat16', 'float16']


def optimized(dtype, **options):
    weight = tf.Variable([1.0, -2.0], dtype=dtype)
    optimizer = training.MixedPrecision(tf.keras.optimizers.SGD(0.25), **options)
    optimizer.build([weight])
    return weight, optimizer


@pytest.mark.parametrize('dtype', HALF)
def test_steps_too_small_for_the_weights_add_up_in_the_masters(dtype):
    weight, optimizer = optimized(dtype)
    tiny = 2.0 ** -14       # times 0.25: far below half of the spacing of numbers at 1
    for _ in range(2 ** 10):
        optimizer.apply([tf.constant([tiny, 0.0])], [weight])
        optimizer.round_masters([weight])
    assert optimizer.masters[0].dtype == tf.float32
    np.testing.assert_array_equal(optimizer.masters[0], [1 - 2.0 ** 10 * 0.25 * tiny, -2.0])
    np.testing.assert_array_equal(weight, tf.cast(optimizer.masters[0], dtype))
    assert float(weight[0]) < 1


def test_float32_weights_are_their_own_masters():
    weight, optimizer = optimized('float32')
    assert optimizer.masters[0] is weight
    optimizer.apply([tf.constant([1.0, 1.0])], [weight])
    optimizer.round_masters([weight])
    np.testing.assert_array_equal(weight, [0.75, -2.25])


def test_gradients_of_some_rows_stay_sparse():
    weight, optimizer = optimized('bfloat16')
    optimizer.apply([tf.IndexedSlices(tf.constant([1.0], tf.bfloat16), tf.constant([1]),
                                      tf.constant([2]))], [weight])
    np.testing.assert_array_equal(optimizer.masters[0], [1.0, -2.25])


def test_the_scale_is_halved_and_grows_again():
    _, optimizer = optimized('float16', growth_steps=3, initial_scale=8.0)
    seen = []
    for finite in [False, True, True, True, False, False, False, True, True, False, True]:
        optimizer.update_scale(tf.constant(finite))
        seen.append(float(optimizer.scale))
    assert seen == [4, 4, 4, 8, 4, 2, 1, 1, 1, 1, 1]


def test_bfloat16_needs_no_scale():
    _, optimizer = optimized('bfloat16')
    optimizer.update_scale(tf.constant(False))
    assert float(optimizer.scale) == 1


def labelled(rng, count=6):
    lengths = rng.integers(1, 9, count).astype(np.int32)
    frames = rng.normal(size=[lengths.sum(), 3]).astype(np.float32)
    return data.Sequences(frames, lengths, steps={'labels': (frames[:, 0] > 0).astype(np.int32)})


ONE_LAYER = dict(num_layers=1, bidirectional=False, seed=0)


def run(dtype, sequences, steps=30):
    model = some_models.labeller(3, 2, hidden_size=8, dtype=dtype, **ONE_LAYER)
    optimizer = tf.keras.optimizers.Adam(0.02)
    if dtype != 'float32':
        optimizer = training.MixedPrecision(optimizer)
    optimizer.build(model.trainable_variables)
    batch, = data.Batches(sequences, len(sequences))
    step = tf.function(lambda: training.train_step(model, type(model).loss, optimizer, batch))
    done = [step() for _ in range(steps)]
    return model, optimizer, done


@pytest.mark.parametrize('dtype', HALF)
def test_a_model_in_half_precision_learns_like_one_in_float32(dtype, rng):
    sequences = labelled(rng)
    _, _, wanted = run('float32', sequences)
    model, optimizer, found = run(dtype, sequences)
    applied = [bool(done.applied) for done in found]
    assert applied[-1] and sum(applied) >= len(applied) - 8
    assert found[0].tally.total.dtype == tf.float32
    first, last, like = (float(done.tally.mean()) for done in (found[0], found[-1], wanted[-1]))
    assert last < first / 2
    assert abs(last - like) < 0.1 * first
    weights = [v for v in model.trainable_variables if v.dtype.name == dtype]
    assert weights and all(m.dtype == tf.float32 for m in optimizer.masters)
    for weight, master in zip(model.trainable_variables, optimizer.masters, strict=True):
        np.testing.assert_array_equal(weight, tf.cast(master, weight.dtype))


def test_a_gradient_too_small_for_float16_is_not_lost():
    """2^-26 is 0 in float16, and 2^-11 with the scale of 2^15."""
    model = tf.Module()
    model.weight = tf.Variable(1.0, dtype=tf.float16)
    optimizer = training.MixedPrecision(tf.keras.optimizers.SGD(2.0 ** 15))
    optimizer.build(model.trainable_variables)

    def loss(model, batch, training):
        small = model.weight * tf.constant(2.0 ** -13, tf.float16)
        return seqmask.Tally(tf.cast(small, tf.float32) * 2.0 ** -13, tf.constant(1.0))

    training.train_step(model, loss, optimizer, {})
    assert float(optimizer.masters[0]) == 1 - 2.0 ** 15 * 2.0 ** -26
    plain = tf.keras.optimizers.SGD(2.0 ** 15)
    model.weight.assign(1.0)
    plain.build(model.trainable_variables)
    training.train_step(model, loss, plain, {})
    assert float(model.weight) == 1


def test_what_overflows_float16_is_skipped_until_the_scale_fits():
    model = tf.Module()
    model.weight = tf.Variable(1.0, dtype=tf.float16)
    optimizer = training.MixedPrecision(tf.keras.optimizers.SGD(2.0 ** -10))
    optimizer.build(model.trainable_variables)

    def loss(model, batch, training):
        return seqmask.Tally(tf.cast(model.weight * 16, tf.float32), tf.constant(1.0))

    applied = [bool(training.train_step(model, loss, optimizer, {}).applied) for _ in range(6)]
    # 16 * 2^15, ... 16 * 2^12 overflow; the largest float16 is a little below 2^16.
    assert applied == [False] * 4 + [True] * 2
    assert float(optimizer.scale) == 2.0 ** 11
    assert float(optimizer.masters[0]) == 1 - 2 * 16 * 2.0 ** -10


@pytest.mark.parametrize('dtype', HALF)
def test_the_trainer_goes_on_bit_for_bit_and_predicts_in_float32(dtype, rng, tmp_path):
    sequences = labelled(rng, 12)
    batches = data.Batches(sequences, 5, shuffle=True)

    def trainer():
        model = some_models.labeller(3, 2, hidden_size=4, dtype=dtype, dropout=0.2, **ONE_LAYER)
        optimizer = training.MixedPrecision(tf.keras.optimizers.Adam(0.01), growth_steps=4)
        return training.Trainer(model, type(model).loss, optimizer, progress=False)

    whole, half = trainer(), trainer()
    whole.fit(batches, epochs=4, workdir=str(tmp_path / 'whole'))
    half.fit(batches, epochs=2, workdir=str(tmp_path / 'parts'))
    again = trainer()
    again.fit(batches, epochs=4, workdir=str(tmp_path / 'parts'))
    for found, wanted in zip([*again.model.variables, *again.optimizer.masters],
                             [*whole.model.variables, *whole.optimizer.masters], strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert float(again.optimizer.scale) == float(whole.optimizer.scale)
    assert all(logits.dtype == np.float32 for logits in whole.predict(batches))


def test_many_skipped_steps_on_the_way_to_a_scale_are_no_divergence(rng):
    model = some_models.labeller(3, 2, hidden_size=4, dtype='float16', **ONE_LAYER)
    optimizer = training.MixedPrecision(tf.keras.optimizers.SGD(0.01), initial_scale=2.0 ** 40)
    trainer = training.Trainer(model, type(model).loss, optimizer, max_skipped=2, progress=False)
    history = trainer.fit(data.Batches(labelled(rng, 40), 1), epochs=1)
    assert 2 < history[0]['skipped'] < 40


def test_masters_under_a_strategy(rng, strategy):
    sequences = labelled(rng, 9)

    def trained(strategy):
        with strategy.scope():
            model = some_models.labeller(3, 2, hidden_size=4, dtype='bfloat16', **ONE_LAYER)
            optimizer = training.MixedPrecision(tf.keras.optimizers.SGD(0.1))
        trainer = training.Trainer(model, type(model).loss, optimizer, accumulate=2,
                                   strategy=strategy, progress=False)
        trainer.fit(data.Batches(sequences, 4), epochs=3)
        return model, optimizer

    _, wanted = trained(tf.distribute.get_strategy())
    model, found = trained(strategy)
    for master, like in zip(found.masters, wanted.masters, strict=True):
        first, second = (part.numpy() for part in strategy.experimental_local_results(master))
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first, like, atol=0.01)       # sums of bfloat16 in other parts
    for weight, master in zip(model.trainable_variables, found.masters, strict=True):
        for part in strategy.experimental_local_results(weight):
            np.testing.assert_array_equal(part, tf.cast(master, part.dtype))


@pytest.mark.parametrize('graph', [True, False])
def test_inputs_beyond_float16_are_refused_where_they_are_rounded(graph):
    model = seqmask.models.SequenceLabeller(
        seqmask.models.Encoder(2, hidden_size=3, dtype='float16', seed=0), 2, seed=0)
    call = tf.function(model) if graph else model
    inputs, lengths = np.ones([2, 3, 2], 'f'), np.array([3, 1], np.int32)
    wanted = call(inputs, lengths)
    inputs[1, 1:] = 1e38, np.nan                        # padding
    np.testing.assert_array_equal(call(inputs, lengths), wanted)
    inputs[0, 1, 1] = -65504                            # the largest that float16 has
    assert np.isfinite(call(inputs, lengths)).all()
    inputs[0, 1, 1] = -70000
    beyond = r'inputs must be within \+-65504, the range of float16. Scale them'
    with pytest.raises(tf.errors.InvalidArgumentError, match=f'{beyond}.* the largest is.*70000'):
        call(inputs, lengths)
    with pytest.raises(tf.errors.InvalidArgumentError, match=beyond):
        model.step(inputs[:, 1], model.initial_state(2))
    scaled = seqmask.data.Standardizer(np.zeros(2), np.full(2, 100.0))
    model = seqmask.models.Encoder(2, hidden_size=3, dtype='float16', standardizer=scaled)
    assert np.isfinite(model(inputs, lengths)).all()
    inputs[0, 1, 1] = np.inf
    model(inputs, lengths)                              # infinite before the rounding


def test_a_script_tells_what_is_beyond_float16(tmp_path):
    frames = np.ones([12, 2], np.float32)
    frames[3] = 1e5
    seqmask.data.write_npz(tmp_path / 'far.npz', seqmask.data.Sequences(
        frames, [4, 4, 4], {'labels': np.arange(12, dtype=np.int32) % 2},
        {'split': np.arange(3, dtype=np.int32)}))
    run = start(tmp_path, '--data=far.npz', '--workdir=run', '--precision=float16', *SMALL)
    line, = own_lines(run.stderr)
    assert run.returncode == 1
    assert re.fullmatch(r'error: inputs must be within \+-65504, the range of float16. Scale '
                        r'them .*; the largest is (100000|1e\+05)', line)
