"""Chunks of long sequences, one after the other in the lanes of a batch."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import data, training
import some_models

LENGTHS = [7, 0, 3, 1, 12, 5]


def collection(lengths=LENGTHS):
    """Frames that tell where they stand: 100 x sequence + step."""
    frames = [np.stack([100 * i + np.arange(n)] * 2, axis=1).astype(np.float32)
              for i, n in enumerate(lengths)]
    return data.Sequences.from_list(
        frames, steps={'labels': [f[:, 0].astype(np.int32) % 3 for f in frames]},
        sequences={'name': np.array([f'sequence {i}' for i in range(len(lengths))]),
                   'pair': np.arange(2 * len(lengths)).reshape(-1, 2)})


def followed(batches):
    """What each lane shows, sequence by sequence: [first value, number of steps, chunks]."""
    shown, current = {}, {}
    for batch in batches:
        for lane, length in enumerate(batch['lengths'].numpy()):
            if not length:
                assert not batch['starts'][lane]
                continue
            values = batch['inputs'][lane, :length, 0].numpy()
            sequence = int(values[0] // 100)
            if batch['starts'][lane]:
                assert sequence not in shown, 'begun twice'
                current[lane], shown[sequence] = sequence, []
            assert current[lane] == sequence, 'another sequence went on'
            shown[sequence].append(values % 100)
            np.testing.assert_array_equal(batch['labels'][lane, :length], values % 3)
            assert batch['name'][lane] == f'sequence {sequence}'.encode()
            np.testing.assert_array_equal(batch['pair'][lane], [2 * sequence, 2 * sequence + 1])
            assert not np.any(batch['inputs'][lane, length:])
    return shown


@pytest.mark.parametrize('num_lanes', [1, 2, 4, 9])
@pytest.mark.parametrize('chunk_size', [1, 3, 5, 50])
@pytest.mark.parametrize('shuffle', [False, True])
def test_every_step_comes_once_and_in_order(num_lanes, chunk_size, shuffle):
    lanes = data.Lanes(collection(), num_lanes, chunk_size, shuffle=shuffle, seed=1)
    batches = list(lanes.at_epoch(3))
    shown = followed(batches)
    assert sorted(shown) == [i for i, n in enumerate(LENGTHS) if n]
    for sequence, chunks in shown.items():
        np.testing.assert_array_equal(np.concatenate(chunks), np.arange(LENGTHS[sequence]))
        assert all(len(chunk) == chunk_size for chunk in chunks[:-1])
    for batch in batches:
        assert batch['inputs'].shape[1] == batch['lengths'].numpy().max() <= chunk_size


def test_lanes_are_filled_as_they_run_dry():
    sequences, _, lengths = data.Lanes(collection([6, 2, 2, 2]), 2, 2).plan()
    np.testing.assert_array_equal(sequences, [[0, 1], [0, 2], [0, 3]])
    np.testing.assert_array_equal(lengths, [[2, 2]] * 3)


def test_the_order_is_of_seed_and_epoch():
    lanes, again = (data.Lanes(collection(), 2, 3, shuffle=True, seed=4) for _ in range(2))
    for mine, same in zip(lanes.plan(1), again.plan(1)):
        np.testing.assert_array_equal(mine, same)
    assert any((a.shape != b.shape or (a != b).any()) for a, b in zip(lanes.plan(1), lanes.plan(2)))
    other = data.Lanes(collection(), 2, 3, shuffle=True, seed=5)
    assert any((a.shape != b.shape or (a != b).any()) for a, b in zip(lanes.plan(1), other.plan(1)))


@pytest.mark.parametrize('lengths', [[], [0, 0]])
def test_nothing_gives_no_batch(lengths):
    lanes = data.Lanes(collection(lengths) if lengths else data.Sequences(
        np.zeros([0, 2], np.float32), np.zeros([0], np.int32)), 3, 2)
    assert len(lanes) == len(list(lanes)) == 0


def test_batches_tell_their_types():
    lanes = data.Lanes(collection(), 2, 3)
    for batch in lanes:
        assert all(lanes.element_spec[name].is_compatible_with(value)
                   for name, value in batch.items())
    assert len(lanes) == len(list(lanes))


@pytest.mark.parametrize('options, error, message', [
    ({'num_lanes': 0}, ValueError, 'num_lanes must be at least 1, got 0'),
    ({'chunk_size': 0}, ValueError, 'chunk_size must be at least 1, got 0'),
    ({'seed': -1}, ValueError, 'seed must be at least 0'),
    ({'sequences': [1]}, TypeError, 'sequences must be a Sequences, got list')])
def test_arguments_that_do_not_fit(options, error, message):
    with pytest.raises(error, match=message):
        data.Lanes(**{'sequences': collection(), 'num_lanes': 2, 'chunk_size': 3, **options})


# The loss over chunks


def labeller(**options):
    return some_models.labeller(
        2, 3, hidden_size=4, bidirectional=False, seed=0,
        **{'dtype': 'float64', 'cell': 'lstm', **options})


def scaled(lengths=LENGTHS):
    """As `collection`, in a range in which no gate saturates, float64."""
    whole = collection(lengths)
    return data.Sequences(np.sin(whole.frames.astype(np.float64)), whole.lengths, whole.steps)


def chunked(model, sequences, num_lanes, chunk_size):
    """The loss and the gradient of all chunks, added up."""
    loss, tally, gradients = training.ChunkLoss(model, num_lanes), seqmask.Tally(0., 0.), None
    for batch in data.Lanes(sequences, num_lanes, chunk_size):
        more_tally, more = training.sum_gradients(model, loss, batch)
        tally += more_tally
        gradients = more if gradients is None else [g + m for g, m in zip(gradients, more)]
    return tally, gradients


@pytest.mark.parametrize('cell', ['lstm', 'gru'])
@pytest.mark.parametrize('num_lanes', [1, 4])
def test_one_chunk_a_sequence_is_the_whole_batch(cell, num_lanes):
    model = labeller(cell=cell)
    whole, = data.Batches(scaled(), len(LENGTHS))
    wanted, wanted_gradients = training.sum_gradients(model, type(model).loss, whole)
    tally, gradients = chunked(model, scaled(), num_lanes, max(LENGTHS))
    np.testing.assert_allclose(tally, wanted, rtol=1e-12)
    for gradient, want in zip(gradients, wanted_gradients, strict=True):
        np.testing.assert_allclose(gradient, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('cell, num_lanes, chunk_size', [
    ('lstm', 1, 3), ('gru', 3, 2), ('lstm', 3, 1),
    *(pytest.param(*case, marks=pytest.mark.slow) for case in [
        ('gru', 1, 3), ('lstm', 3, 2), ('gru', 3, 1)])])
def test_the_state_goes_on_and_the_gradient_does_not(cell, num_lanes, chunk_size):
    """Against each sequence alone, chunk by chunk, with tf.stop_gradient between them."""
    model = labeller(cell=cell)
    whole, = data.Batches(scaled(), len(LENGTHS))
    wanted, all_gradients = training.sum_gradients(model, type(model).loss, whole)

    def alone(model, sequence, training):
        state, tally = model.initial_state(1), seqmask.Tally(0., 0.)
        for start in range(0, len(sequence['inputs']), chunk_size):
            part = slice(start, start + chunk_size)
            batch = {'inputs': sequence['inputs'][None, part], 'labels':
                     sequence['labels'][None, part], 'lengths': [len(sequence['inputs'][part])]}
            more, state = model.chunk_loss(batch, tf.nest.map_structure(tf.stop_gradient, state),
                                           training)
            tally += more
        return tally

    expected = None
    for i, length in enumerate(LENGTHS):
        if length:
            _, more = training.sum_gradients(model, alone, scaled().sequence(i))
            expected = more if expected is None else [g + m for g, m in zip(expected, more)]
    tally, gradients = chunked(model, scaled(), num_lanes, chunk_size)
    np.testing.assert_allclose(tally, wanted, rtol=1e-12)       # values are those of the whole
    for gradient, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, want, rtol=1e-9, atol=1e-12)
    assert any(np.abs(g - w).max() > 1e-6 for g, w in zip(gradients, all_gradients))


def test_a_step_that_is_not_finite_does_not_spoil_the_next():
    model = labeller()
    loss = training.ChunkLoss(model, 1)
    optimizer = tf.keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    broken = scaled([8])
    broken.frames[1] = np.inf
    applied = [bool(training.train_step(model, loss, optimizer, batch).applied)
               for batch in data.Lanes(broken, 1, 2)]
    assert applied == [False, True, True, True]


def test_whole_sequences_give_the_models_own_loss():
    model = labeller()
    whole, = data.Batches(scaled(), len(LENGTHS))
    found = training.ChunkLoss(model, 3)(model, whole, training=False)
    np.testing.assert_array_equal(found, model.loss(whole, training=False))


@pytest.mark.parametrize('options', [
    {'bidirectional': True}, {'filters': 2},
    {'standardizer': seqmask.data.standardize_sequences}], ids=lambda options: next(iter(options)))
def test_a_model_that_sees_steps_to_come_is_refused(options):
    model = some_models.labeller(2, 3, **{'bidirectional': False, **options})
    with pytest.raises(ValueError, match='bidirectional and normalize must be False, filters 0'):
        training.ChunkLoss(model, 2)


def test_lanes_shared_among_replicas_are_refused(strategy):
    with strategy.scope():
        model = labeller(dtype='float32')
        loss = training.ChunkLoss(model, 4)
    batch = next(iter(data.Lanes(collection(), 4, 3)))
    with pytest.raises(ValueError, match='on one device: strategy must be none'):
        strategy.run(lambda: loss(model, batch, training=True))


def test_chunks_longer_than_any_sequence_hold_it_whole():
    batch, = data.Lanes(collection(), len(LENGTHS), 2 ** 70)
    assert sorted(batch['lengths'].numpy()) == sorted(LENGTHS)


def test_more_lanes_than_memory_has_room_for_are_refused():
    with pytest.raises(ValueError, match='num_lanes must be at most 100,000,000, got '):
        data.Lanes(collection(), 2 ** 80, 3)
