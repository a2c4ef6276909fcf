"""Budgets, exact lengths, multiples, shards and the report of `Batches`; see also test_data.py."""

import numpy as np
import pytest
import tensorflow as tf

from seqmask.data import Batches, Sequences


def collection(lengths):
    lengths = np.array(lengths, np.int32)
    return Sequences(np.arange(1.0, lengths.sum() + 1)[:, None], lengths,
                     sequences={'id': np.arange(len(lengths))})


def of_lengths(lengths, **options):
    """The lengths in each batch of epoch 0."""
    return [batch['lengths'].numpy().tolist() for batch in Batches(collection(lengths), **options)]


def used(lengths, count):
    """Steps that a batch spends of its budget."""
    lengths = np.maximum(lengths, 1)
    return int(lengths.sum() if count == 'real' else len(lengths) * lengths.max())


# Budgets


def test_a_padded_budget_counts_the_longest_member():
    # 3 * 2, then 3 * 3 = 9 would be above 8: a new batch. 4 * 1, then 5 alone.
    assert of_lengths([3, 2, 1, 4, 5], max_steps=8) == [[3, 2], [1, 4], [5]]


def test_a_real_budget_counts_real_steps():
    assert of_lengths([3, 2, 1, 4, 5], max_steps=8, count='real') == [[3, 2, 1], [4], [5]]
    assert of_lengths([4, 4, 4, 4], max_steps=8, count='real') == [[4, 4], [4, 4]]


@pytest.mark.parametrize('count', ['padded', 'real'])
def test_a_sequence_above_the_budget_is_a_batch_of_its_own(count):
    found = of_lengths([2, 99, 2, 100], max_steps=10, count=count, multiple=2)
    assert found == [[2], [99], [2], [100]]


@pytest.mark.parametrize('count', ['padded', 'real'])
def test_a_sequence_without_steps_counts_as_one(count):
    assert of_lengths([0] * 7, max_steps=3, count=count) == [[0] * 3, [0] * 3, [0]]


def test_a_padded_budget_sees_far_ahead():
    # More sequences in a batch than are looked at at once, at several starts.
    assert [len(batch) for batch in of_lengths([1] * 1000, max_steps=300)] == [300, 300, 300, 100]
    assert [len(batch) for batch in of_lengths([1] * 512, max_steps=256)] == [256, 256]
    assert [len(batch) for batch in of_lengths([1] * 128, max_steps=64)] == [64, 64]


@pytest.mark.parametrize('seed', range(40))
def test_budgets_are_kept_and_well_used(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 12, size=rng.integers(0, 400))
    count = ['padded', 'real'][seed % 2]
    multiple = [1, 4][seed // 2 % 2]
    max_steps = int(rng.integers(1, 80))
    batches = Batches(collection(lengths), max_steps=max_steps, count=count, multiple=multiple,
                      shuffle=bool(seed // 4 % 2), seed=seed,
                      bucket_boundaries=[None, 3, 'exact', [4, 11]][seed // 8 % 4])
    for epoch in range(2):
        plan = batches.plan(epoch)
        assert sorted(i for batch in plan for i in batch) == list(range(len(lengths)))
        for batch in plan:
            assert used(lengths[batch], count) <= max_steps or len(batch) == 1
    if batches.shuffle or multiple > 1:
        return
    # Greedy: the next batch's first sequence did not fit, or is of another bucket.
    buckets = np.searchsorted(batches.bucket_boundaries or [12], lengths)
    for batch, following in zip(plan, plan[1:]):
        joined = [*batch, following[0]]
        assert used(lengths[joined], count) > max_steps or len(set(buckets[joined])) == 2


def test_the_order_within_a_bucket_is_that_of_the_epoch():
    plan = Batches(collection([2, 5, 2, 5, 2, 5]), max_steps=10,
                   bucket_boundaries=[2, 5]).plan()
    assert [batch.tolist() for batch in plan] == [[0, 2, 4], [1, 3], [5]]
    plan = Batches(collection([2, 5] * 500), 10, bucket_boundaries='exact').plan()
    assert np.concatenate(plan).tolist() == [*range(0, 1000, 2), *range(1, 1000, 2)]


# Multiples


def test_batch_sizes_are_rounded_down_to_a_multiple():
    batches = Batches(collection([1] * 23), 10, multiple=4)
    assert batches.batch_size == 8
    # 8, 8, and of the rest of 7 first what makes a multiple.
    assert [len(batch) for batch in batches.plan()] == [8, 8, 4, 3]


@pytest.mark.parametrize('count', ['padded', 'real'])
def test_the_budget_wins_over_the_multiple(count):
    found = of_lengths([1] * 7 + [3] * 5, max_steps=7, count=count, multiple=4,
                       bucket_boundaries='exact')
    # Of 1: 7 fit, 4 are taken, 3 are left. Of 3: 2 fit, fewer than 4.
    assert [len(batch) for batch in found] == [4, 3, 2, 2, 1]


def test_dropping_what_does_not_make_up_a_batch():
    def sizes(*args, **options):
        return [len(batch) for batch in Batches(
            collection([1] * 15), *args, drop_remainder=True, **options).plan()]

    assert sizes(8, multiple=4) == [8]
    assert sizes(5) == [5, 5, 5]
    assert sizes(max_steps=8, multiple=4) == [8, 4]
    assert sizes(max_steps=8) == [8, 7]
    # A batch that the budget keeps below a multiple is whole.
    assert [len(batch) for batch in Batches(
        collection([3] * 5), max_steps=7, multiple=4, drop_remainder=True).plan()] == [2, 2]


# Exact lengths


def test_exact_lengths_have_no_padding(rng):
    lengths = rng.integers(0, 9, size=200)
    batches = Batches(collection(lengths), 7, bucket_boundaries='exact', shuffle=True)
    assert batches.bucket_boundaries == list(range(9))
    seen = []
    for batch in batches:
        assert len(set(batch['lengths'].numpy())) == 1
        assert batch['inputs'].shape[1] == batch['lengths'][0]
        seen += batch['id'].numpy().tolist()
    assert sorted(seen) == list(range(200))
    assert batches.padding_share() == 0


def test_exact_lengths_of_nothing():
    assert of_lengths([], batch_size=3, bucket_boundaries='exact') == []


# Shards


@pytest.mark.parametrize('options', [
    dict(batch_size=5), dict(batch_size=5, bucket_boundaries=3, shuffle=True),
    dict(max_steps=30, shuffle=True, seed=3), dict(batch_size=5, drop_remainder=True)])
def test_workers_together_see_what_one_would(options, rng):
    whole = collection(rng.integers(0, 9, size=48))
    alone = Batches(whole, **options)
    workers = [Batches(whole, shard=(index, 3), **options) for index in range(3)]
    for epoch in [0, 4]:
        parts = [list(worker.at_epoch(epoch)) for worker in workers]
        batches = list(alone.at_epoch(epoch))
        assert {len(part) for part in parts} == {len(batches)}
        for batch, *shared in zip(batches, *parts):
            together = np.zeros(len(batch['id']), np.int64)
            for index, part in enumerate(shared):
                together[index::3] = part['id']
                assert part['inputs'].shape[1] == max([*part['lengths'].numpy(), 0])
            np.testing.assert_array_equal(together, batch['id'])
    assert {len(worker) for worker in workers} == {len(alone)}


def test_an_empty_part_is_legal():
    batch, = Batches(collection([3]), 2, shard=(1, 2))
    assert batch['inputs'].shape == (0, 0, 1) and batch['lengths'].shape == (0,)
    worker = Batches(collection([3]), 2, shard=(1, 2))
    assert worker.padding_share() == 0
    assert worker.report() == '1 batch of 0 sequences, 0 steps; 0.0% of the steps are padding'


# Length and report


def test_len_is_that_of_epoch_0(rng):
    batches = Batches(collection(rng.integers(1, 30, size=300)), max_steps=64, shuffle=True)
    assert len(batches) == len(batches.plan(0)) == len(list(batches))
    numbers = {len(batches.plan(epoch)) for epoch in range(9)}
    assert len(numbers) > 1 and max(numbers) < 1.1 * min(numbers)      # as the docstring says


@pytest.mark.parametrize('line, lengths, options', [
    ('2 batches of 2 sequences, 1 to 4 steps; 33.3% of the steps are padding',
     [4, 1, 1, 2], dict(batch_size=2)),                 # (3 + 1) / (8 + 4)
    ('2 batches of 3 sequences (the last ones fewer), 1 to 2 steps; 28.6% of the steps are padding',
     [1, 2, 1, 1], dict(batch_size=3)),                 # 2 / (6 + 1)
    ('2 batches of 1 to 2 sequences, 2 to 3 steps; 0.0% of the steps are padding',
     [2, 2, 3], dict(max_steps=4)),
    ('1 batch of 1 sequence, 1 step; 0.0% of the steps are padding', [1], dict(batch_size=4)),
    ('no batches', [], dict(batch_size=4)),
])
def test_report(line, lengths, options):
    assert Batches(collection(lengths), **options).report() == line


def test_report_is_of_the_epoch_asked_for():
    batches = Batches(collection([1, 9] * 20), 4, shuffle=True)
    assert len({batches.report(epoch) for epoch in range(5)}) > 1
    assert f'{batches.padding_share(3):.1%}' in batches.report(3)


def test_a_budget_has_the_spec_of_other_batches():
    batches = Batches(collection([1, 2]), max_steps=4, bucket_boundaries='exact')
    assert batches.element_spec == Batches(collection([1, 2]), 2).element_spec
    assert batches.element_spec['inputs'] == tf.TensorSpec([None, None, 1], tf.float64)


@pytest.mark.parametrize('error, message, options', [
    (ValueError, 'exactly one of batch_size and max_steps must be given, got batch_size=None and '
     'max_steps=None', {}),
    (ValueError, 'exactly one of batch_size and max_steps', dict(batch_size=2, max_steps=3)),
    (ValueError, 'max_steps must be at least 1', dict(max_steps=0)),
    (TypeError, 'max_steps must be an int', dict(max_steps=2.5)),
    (ValueError, "count must be one of 'padded', 'real', got 'all'",
     dict(max_steps=3, count='all')),
    (ValueError, 'multiple must be at least 1', dict(batch_size=3, multiple=0)),
    (ValueError, 'batch_size must be at least multiple, which is 8, got 7',
     dict(batch_size=7, multiple=8)),
    (ValueError, "bucket_boundaries must be one of 'exact', got 'even'",
     dict(batch_size=3, bucket_boundaries='even')),
    (ValueError, r'shard must be \(index, count\) with index < count, got \(2, 2\)',
     dict(batch_size=3, shard=(2, 2))),
    (ValueError, r'shard must be \(index, count\), got \(1,\)', dict(batch_size=3, shard=(1,))),
    (TypeError, 'bucket_boundaries must be None, an int or ascending lengths, got 2.0',
     dict(batch_size=3, bucket_boundaries=2.0)),
    (ValueError, r'shard must be \(index, count\), got 3', dict(batch_size=3, shard=3)),
    (ValueError, 'index of shard must be at least 0', dict(batch_size=3, shard=(-1, 2))),
    (TypeError, 'count of shard must be an int', dict(batch_size=3, shard=(0, 2.0))),
])
def test_batches_refuse(error, message, options):
    with pytest.raises(error, match=message):
        Batches(collection([1, 2]), **options)


@pytest.mark.parametrize('options', [
    {'max_steps': 2 ** 64, 'count': 'real'}, {'max_steps': 2 ** 80}, {'batch_size': 2 ** 64},
    {'batch_size': 9, 'bucket_boundaries': [2 ** 70]}])
def test_limits_beyond_any_data_are_as_good_as_none(options):
    batch, = Batches(collection([3, 1, 2]), **options)
    assert batch['lengths'].numpy().tolist() == [3, 1, 2]


def test_more_buckets_than_sequences_are_one_for_each():
    batches = Batches(collection([3, 1, 2]), 2, bucket_boundaries=10 ** 12)
    assert batches.bucket_boundaries == [1, 2, 3]
