"""Batches of what does not fit into memory: buckets, budgets, shuffling, shards."""

import threading

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask.data import Batches, Schema, Sequences, Stream, StreamBatches

LENGTHS = [3, 0, 5, 1, 5, 2, 4, 7, 6, 2]


def collection(lengths=LENGTHS):
    """Sequences that tell where each of their frames belongs."""
    lengths = np.array(lengths, np.int32)
    total = int(lengths.sum())
    return Sequences(
        np.arange(2.0 * total, dtype=np.float32).reshape([total, 2]) + 1, lengths,
        steps={'labels': np.arange(1, total + 1), 'note': np.array([f'n{k}' for k in range(total)],
                                                                   dtype=str)},
        sequences={'id': np.arange(len(lengths)),
                   'word': np.array([f'wörd {i}' for i in range(len(lengths))], dtype=str)})


def stream_of(lengths=LENGTHS, known=False, read=None):
    """A stream of them, in chunks of 3; `read` is a list that receives the chunks' sizes."""
    whole = collection(lengths)

    def chunks():
        for first in range(0, len(whole), 3):
            for chunk in Stream.from_sequences(whole.select(
                    np.arange(first, min(first + 3, len(whole))))).chunks():
                if read is not None:
                    read.append(len(chunk['lengths']))
                yield chunk

    return Stream(Schema.of(whole), chunks, source='test',
                  num_sequences=len(whole) if known else None)


def batches_of(lengths=LENGTHS, *args, **options):
    return StreamBatches(stream_of(lengths), *args, **options)


def ids_of(batches, epoch=0):
    return [batch['id'].numpy().tolist() for batch in batches.at_epoch(epoch)]


def lengths_of(batches, epoch=0):
    return [batch['lengths'].numpy().tolist() for batch in batches.at_epoch(epoch)]


def assert_same_batch(found, wanted):
    assert set(found) == set(wanted)
    for name in wanted:
        assert found[name].dtype == wanted[name].dtype
        np.testing.assert_array_equal(found[name], wanted[name])


@pytest.mark.parametrize('options', [
    {}, {'drop_remainder': True}, {'shard': (0, 2)}, {'shard': (3, 4), 'drop_remainder': True},
    {'multiple': 2}])
def test_in_one_bucket_they_are_those_of_a_collection(options):
    found = list(batches_of(LENGTHS, 4, **options))
    if options == {'multiple': 2}:
        options = {}        # 4 is one; a rest of 2 is one
    wanted = list(Batches(collection(), 4, **options))
    assert len(found) == len(wanted)
    for pair in zip(found, wanted):
        assert_same_batch(*pair)


@pytest.mark.parametrize('options', [
    {'batch_size': 3, 'bucket_boundaries': [2, 5, 7]}, {'batch_size': 3, 'bucket_boundaries': [7]},
    {'batch_size': 3, 'bucket_boundaries': [3, 4], 'overflow': 'last'},
    {'max_steps': 12, 'bucket_boundaries': [2, 5, 7]},
    {'batch_size': 2, 'bucket_boundaries': 3, 'shuffle_buffer': 4, 'seed': 5},
    {'max_steps': 9, 'bucket_boundaries': 3, 'shuffle_buffer': 4, 'shard': (1, 2)}])
def test_every_batch_holds_what_its_sequences_hold(options):
    whole = collection()
    seen = []
    for batch in batches_of(LENGTHS, **options):
        assert_same_batch(batch, next(iter(Batches(whole.select(batch['id'].numpy()), 99)))
                          if len(batch['id']) else batch)
        seen += batch['id'].numpy().tolist()
    if 'shard' in options:
        seen += sum(ids_of(batches_of(LENGTHS, **{**options, 'shard': (0, 2)})), [])
    assert sorted(seen) == list(range(len(LENGTHS)))


def test_boundaries_are_the_longest_of_their_bucket():
    found = batches_of([2, 3, 2, 3, 5, 4, 5], 2, bucket_boundaries=[2, 4, 5])
    assert sorted(lengths_of(found)) == [[2, 2], [3, 3], [4], [5, 5]]
    # Those that fill come first; what is left comes at the end, bucket by bucket.
    assert lengths_of(found)[-1] == [4]


def test_a_number_of_buckets_divides_a_sample():
    first = [1, 2, 3, 4, 5, 6, 7, 9]
    assert batches_of(first, 2, bucket_boundaries=4).bucket_boundaries == [2, 4, 6, 9]
    read = []
    found = StreamBatches(stream_of(first + [50] * 500, read=read), 2, bucket_boundaries=4,
                          sample=8, overflow='last')
    assert found.bucket_boundaries == [2, 4, 6, 9]
    assert sum(read) == 3 * 3       # whole chunks, and not the whole file
    assert batches_of([], 2, bucket_boundaries=4).bucket_boundaries == []
    assert list(batches_of([], 2, bucket_boundaries=4)) == []
    assert list(batches_of([], max_steps=2, bucket_boundaries=4)) == []


def test_a_sequence_above_the_last_boundary_is_named_or_taken():
    batches = batches_of([2, 1, 2, 9, 2], 2, bucket_boundaries=[1, 8])
    with pytest.raises(ValueError, match='^bucket_boundaries must cover every length; sequence 3 '
                       'has 9 steps, the last boundary is 8. Raise it, or put '):
        list(batches)
    found = batches_of([2, 1, 2, 9, 2], 2, bucket_boundaries=[1, 8], overflow='last')
    assert sorted(lengths_of(found)) == [[1], [2, 2], [9, 2]]
    # The number is that in the files, however they are shuffled.
    shuffled = batches_of([2, 1, 2, 9, 2], 2, bucket_boundaries=[8], shuffle_buffer=5, seed=3)
    with pytest.raises(ValueError, match='sequence 3 has 9 steps'):
        list(shuffled)


@pytest.mark.parametrize('multiple', [1, 3])
def test_a_budget_of_padded_steps_is_kept(multiple, rng):
    lengths = rng.integers(0, 20, size=300)
    batches = batches_of(lengths, max_steps=50, bucket_boundaries=5, multiple=multiple)
    found = lengths_of(batches)
    assert sorted(sum(found, [])) == sorted(lengths)
    assert max(len(batch) * max(batch) for batch in found) <= 50
    last = len(batches.bucket_boundaries)       # one batch of each bucket may have any size
    assert sum(len(batch) % multiple > 0 and len(batch) > multiple for batch in found) <= last
    whole = sum(len(batch) * max(batch) > 50 / 2 for batch in found)
    assert whole > len(found) / 2


def test_a_sequence_above_the_budget_is_a_batch_of_its_own():
    found = batches_of([2, 9, 2, 9, 30, 2, 10], max_steps=8, bucket_boundaries=[2, 9],
                       overflow='last', multiple=2)
    assert sorted(lengths_of(found)) == [[2, 2, 2], [9], [9], [10], [30]]


def test_dropping_what_does_not_fill_a_batch():
    found = batches_of([2, 3, 2, 3, 2], 2, bucket_boundaries=[2, 3], drop_remainder=True)
    assert sorted(lengths_of(found)) == [[2, 2], [3, 3]]
    assert found.element_spec['inputs'].shape.as_list() == [None, None, 2]


# Shuffling


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    lengths = [3, 1] * 40

    def order(seed, epoch):
        return ids_of(batches_of(lengths, 4, shuffle_buffer=30, seed=seed), epoch)

    wanted = order(0, 5)
    assert wanted == order(0, 5)
    assert wanted != order(0, 6) and wanted != order(1, 5) and order(5, 0) != wanted
    tf.random.set_seed(77)          # of the program, which tf.data would mix in
    batches = batches_of(lengths, 4, shuffle_buffer=30)
    drawn = tf.random.uniform([])
    for epoch in [5, 0, 5]:         # whatever was iterated before
        found = ids_of(batches, epoch)
    assert found == wanted
    tf.random.set_seed(77)
    assert drawn == tf.random.uniform([])       # and its own numbers stay as they are
    assert ids_of(batches) == [batch['id'].numpy().tolist() for batch in batches] == order(0, 0)
    assert order(0, 0) != [list(range(k, k + 4)) for k in range(0, 80, 4)]


def test_without_a_buffer_the_order_is_that_of_the_files():
    batches = batches_of([1] * 10, 4, seed=3)
    assert ids_of(batches, 7) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_no_sequence_comes_earlier_than_the_buffer_allows():
    flat = sum(ids_of(batches_of([1] * 100, 10, shuffle_buffer=5)), [])
    assert all(i < place + 5 for place, i in enumerate(flat))


def test_concurrent_iterations_do_not_disturb_each_other():
    batches = batches_of([2, 3, 1] * 10, 4, shuffle_buffer=8, bucket_boundaries=2)
    wanted = [ids_of(batches, epoch) for epoch in range(2)]
    pairs = list(zip(batches.at_epoch(0), batches.at_epoch(1)))
    for k in range(2):
        assert [pair[k]['id'].numpy().tolist() for pair in pairs] == wanted[k][:len(pairs)]


# Shards


@pytest.mark.parametrize('options', [
    dict(batch_size=4), dict(batch_size=4, bucket_boundaries=2, shuffle_buffer=9, seed=1)])
def test_workers_together_see_what_one_would(options):
    alone = list(batches_of(LENGTHS, **options))
    parts = [list(batches_of(LENGTHS, shard=(index, 3), **options)) for index in range(3)]
    assert {len(part) for part in parts} == {len(alone)}
    for batch, *shared in zip(alone, *parts):
        together = np.zeros(len(batch['id']), np.int64)
        for index, part in enumerate(shared):
            together[index::3] = part['id']
            assert part['inputs'].shape[1] == max([*part['lengths'].numpy(), 0])
        np.testing.assert_array_equal(together, batch['id'])


# As a Trainer sees them


def test_len_where_it_is_known():
    stream = stream_of(known=True)
    for drop in [False, True]:
        batches = StreamBatches(stream, 4, drop_remainder=drop)
        assert len(batches) == len(list(batches)) == (2 if drop else 3)
    for unknown in [batches_of(LENGTHS, 4), StreamBatches(stream, 4, bucket_boundaries=2)]:
        with pytest.raises(TypeError, match='not known ahead'):
            len(unknown)


@pytest.mark.parametrize('options', [
    {}, {'drop_remainder': True}, {'bucket_boundaries': 2}, {'shuffle_buffer': 3},
    {'shard': (0, 2)}])
def test_the_spec_has_unknown_batch_and_time(options):
    batches = batches_of(LENGTHS, 4, **options)
    spec = batches.element_spec
    assert spec == batches.dataset.element_spec == batches.at_epoch(3).element_spec
    assert spec == Batches(collection(), 4).element_spec


def test_a_trainer_takes_them(tmp_path):
    def fit(epochs, workdir):
        model = seqmask.Sequential([scale, seqmask.Dense(2, 100, seed=0)])
        trainer = seqmask.training.Trainer(model, loss, tf.keras.optimizers.Adam(0.05),
                                           progress=False)
        history = trainer.fit(train, train, epochs=epochs, workdir=str(workdir))
        return [row['loss'] for row in history], [v.numpy() for v in model.variables]

    def loss(model, batch, training):
        logits, lengths = model(batch['inputs'], batch['lengths'])
        return seqmask.losses.sparse_softmax_cross_entropy(
            logits=logits, labels=batch['labels'],
            mask=seqmask.sequence_mask(lengths, tf.shape(logits)[1]))

    train = batches_of(LENGTHS, max_steps=15, bucket_boundaries=3, shuffle_buffer=5)
    scale = seqmask.data.Standardizer.fit(train)
    losses, weights = fit(4, tmp_path / 'whole')
    assert losses[-1] < losses[0]
    fit(2, tmp_path / 'resumed')
    resumed_losses, resumed = fit(4, tmp_path / 'resumed')
    assert resumed_losses == losses
    for found, wanted in zip(resumed, weights):
        np.testing.assert_array_equal(found, wanted)


def test_a_trainer_raises_what_reading_raised(strategy):
    class Damaged(ValueError):
        pass

    def chunks():
        yield from stream_of().chunks()
        raise Damaged('x: record 7 is damaged.') from cause

    def loss(model, batch, training):
        logits, lengths = model(batch['inputs'], batch['lengths'])
        return seqmask.losses.sparse_softmax_cross_entropy(
            logits=logits, labels=batch['labels'],
            mask=seqmask.sequence_mask(lengths, tf.shape(logits)[1]))

    cause = KeyError('cause')
    broken = StreamBatches(Stream(stream_of().schema, chunks, source='x'), 4)
    with strategy.scope():
        model, optimizer = seqmask.Dense(2, 100, seed=0), tf.keras.optimizers.SGD(0.01)
    model = seqmask.Sequential([model])
    trainer = seqmask.training.Trainer(model, loss, optimizer, progress=False, strategy=strategy)
    for use in (lambda: trainer.fit(broken, epochs=1), lambda: trainer.evaluate(broken),
                lambda: list(trainer.predict(broken))):
        with pytest.raises(Damaged, match='^x: record 7 is damaged.$') as caught:
            use()
        assert caught.value.__cause__ is cause


def test_breaking_out_early_leaves_nothing_behind():
    batches = batches_of([3] * 50, 2, shuffle_buffer=10, bucket_boundaries=[3])
    next(iter(batches))
    threads = threading.active_count()
    for epoch in range(5):
        for batch in batches.at_epoch(epoch):
            break
    assert threading.active_count() <= threads


def test_report():
    stream = batches_of([4, 1, 1, 2], 2)
    assert stream.report() == Batches(collection([4, 1, 1, 2]), 2).report()
    assert stream.report().endswith(' 1 to 4 steps; 33.3% of the steps are padding')     # 4 / 12
    assert batches_of([4, 1, 1, 2], 2, bucket_boundaries=[1, 4]).report() == (
        '2 batches of 2 sequences, 1 to 4 steps; 20.0% of the steps are padding')   # 2 / (8 + 2)


@pytest.mark.parametrize('error, message, options', [
    (ValueError, 'exactly one of batch_size and max_steps', {}),
    (ValueError, "count must be 'padded' for a stream, got 'real'",
     dict(max_steps=9, count='real', bucket_boundaries=2)),
    (ValueError, "got 'exact': batches of equal lengths need all lengths ahead",
     dict(batch_size=2, bucket_boundaries='exact')),
    (ValueError, 'max_steps of a stream needs bucket_boundaries', dict(max_steps=9)),
    (ValueError, 'shuffle_buffer must be at least 0', dict(batch_size=2, shuffle_buffer=-1)),
    (TypeError, 'shuffle_buffer must be an int', dict(batch_size=2, shuffle_buffer=True)),
    (ValueError, 'seed must be at least 0', dict(batch_size=2, seed=-1)),
    (ValueError, "overflow must be one of 'error', 'last', got 'drop'",
     dict(batch_size=2, overflow='drop')),
    (ValueError, 'sample must be at least 1', dict(batch_size=2, bucket_boundaries=2, sample=0)),
    (ValueError, r'must be ascending lengths, got \[5, 5\]',
     dict(batch_size=2, bucket_boundaries=[5, 5])),
    (ValueError, 'index < count', dict(batch_size=2, shard=(1, 1))),
])
def test_stream_batches_refuse(error, message, options):
    with pytest.raises(error, match=message):
        batches_of(LENGTHS, **options)


def test_stream_batches_refuse_what_is_no_stream():
    with pytest.raises(TypeError, match=r'stream must be a Stream, got Sequences'):
        StreamBatches(collection(), 2)
    with pytest.raises(ValueError, match='epoch must be at least 0'):
        batches_of(LENGTHS, 2).at_epoch(-1)


def test_limits_beyond_any_data_are_as_good_as_none():
    everything = [sorted(LENGTHS)]
    for options in ({'max_steps': 2 ** 64, 'bucket_boundaries': [10]},
                    {'batch_size': 10 ** 6, 'bucket_boundaries': [2 ** 70]},
                    {'batch_size': 20, 'shuffle_buffer': 1000, 'bucket_boundaries': [7, 2 ** 31]}):
        assert [sorted(lengths) for lengths in lengths_of(batches_of(**options))] == everything
    assert len(lengths_of(batches_of(batch_size=2, bucket_boundaries=10 ** 12))) == 8


@pytest.mark.parametrize('options', [
    {'batch_size': 2 ** 62}, {'batch_size': 2 ** 40, 'drop_remainder': True},
    {'batch_size': 2, 'shuffle_buffer': 2 ** 40}, {'batch_size': 2, 'shuffle_buffer': 2 ** 64},
    {'batch_size': 2, 'shard': (0, 2 ** 70)}])
def test_more_sequences_than_memory_has_room_for_are_refused(options):
    # TensorFlow sets the memory aside, and ends the process where there is not enough.
    with pytest.raises(ValueError, match='must be at most 100,000,000, got '):
        batches_of(**options)
