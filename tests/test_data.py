import os
import threading
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from seqmask import datasets
from seqmask.data import Batches, Sequences, read_npz, split, write_npz

LENGTHS = [3, 0, 5, 1, 5, 2]


def collection(rng, lengths=LENGTHS, size=2):
    """Random sequences; the per-sequence 'id' tells them apart, 'place' every frame."""
    total = int(np.sum(lengths))
    return Sequences(
        rng.normal(size=[total, size]).astype(np.float32), np.array(lengths, np.int32),
        steps={'place': np.arange(1, total + 1), 'note': np.array([f'n{k}' for k in range(total)],
                                                                  dtype=str)},
        sequences={'id': np.arange(len(lengths)), 'pair': rng.normal(size=[len(lengths), 2]),
                   'word': np.array([f'wörd {i}' for i in range(len(lengths))], dtype=str)})


def assert_same(actual, wanted):
    assert actual.frames.dtype == wanted.frames.dtype
    np.testing.assert_array_equal(actual.frames, wanted.frames)
    assert actual.lengths.dtype == np.int32
    np.testing.assert_array_equal(actual.lengths, wanted.lengths)
    for kind in ['steps', 'sequences']:
        fields, wanted_fields = getattr(actual, kind), getattr(wanted, kind)
        assert list(fields) == list(wanted_fields)
        for name in fields:
            assert fields[name].dtype == wanted_fields[name].dtype
            np.testing.assert_array_equal(fields[name], wanted_fields[name])


# Sequences


def test_a_sequence_is_its_own_frames(rng):
    frames = [rng.normal(size=[n, 2]) for n in LENGTHS]
    labels = [rng.integers(5, size=n) for n in LENGTHS]
    whole = Sequences.from_list(frames, steps={'labels': labels}, sequences={'id': range(6)})
    assert len(whole) == 6
    for i in range(6):
        one = whole.sequence(i)
        np.testing.assert_array_equal(one['inputs'], frames[i])
        np.testing.assert_array_equal(one['labels'], labels[i])
        assert (one['lengths'], one['id']) == (LENGTHS[i], i)


def test_which_fields_are_per_step_is_not_guessed():
    # All lengths are 1, so that N = B.
    one = Sequences(np.zeros([3, 1]), [1, 1, 1], steps={'a': [7, 8, 9]}, sequences={'b': [4, 5, 6]})
    assert one.sequence(1)['a'].tolist() == [8]
    assert one.sequence(1)['b'] == 5


@pytest.mark.parametrize('chosen, indices', [
    ([4, 0], [4, 0]), ([], []), ([2, 2, 1], [2, 2, 1]), (np.array([], np.int32), []),
    (range(6), range(6)), ([True, False, True, False, False, True], [0, 2, 5]), ([False] * 6, [])])
def test_select(chosen, indices, rng):
    whole = collection(rng)
    part = whole.select(chosen)
    assert len(part) == len(indices)
    for k, i in enumerate(indices):
        alone, wanted = part.sequence(k), whole.sequence(i)
        assert set(alone) == {'inputs', 'lengths', 'place', 'note', 'id', 'pair', 'word'}
        for name in alone:
            np.testing.assert_array_equal(alone[name], wanted[name])
    assert len(part.frames) == part.lengths.sum()


def test_zero_frames_keep_their_lengths():
    frames = [[[0.], [1.], [0.], [2.], [0.], [0.]], [[0.], [0.]]]     # zero inside and at the end
    whole = Sequences.from_list(frames)
    assert whole.lengths.tolist() == [6, 2]
    batch, = Batches(whole, 2)
    assert batch['lengths'].numpy().tolist() == [6, 2]
    assert batch['inputs'].shape == (2, 6, 1)


def test_an_empty_list_does_not_change_the_dtype_of_labels():
    whole = Sequences.from_list([np.zeros([2, 1]), np.zeros([0, 1])],
                                steps={'labels': [[3, 4], []]})
    assert whole.steps['labels'].dtype.kind == 'i'
    nothing = Sequences.from_list([], steps={'labels': []}, sequences={'fold': []})
    assert len(nothing) == 0 and nothing.frames.shape == (0, 0)


@pytest.mark.parametrize('dtype', [bool, np.uint8, np.int64])
def test_whole_numbers_become_float32(dtype):
    assert Sequences(np.ones([2, 1], dtype), [2]).frames.dtype == np.float32
    assert Sequences(np.ones([2, 1], np.float64), [2]).frames.dtype == np.float64


FRAMES = np.zeros([4, 2])


@pytest.mark.parametrize('error, message, make', [
    (ValueError, r'frames must have rank 2 \[N, D\], .*tokens; got float64 of shape \(4,\)',
     lambda: Sequences(np.zeros(4), [4])),
    (TypeError, 'frames must be numbers', lambda: Sequences([['a'], ['b']], [2])),
    (TypeError, 'lengths must be int32 or int64.*float64', lambda: Sequences(FRAMES, [2., 2.])),
    (TypeError, 'lengths must be int32 or int64.*bool', lambda: Sequences(FRAMES, [True])),
    (ValueError, r'lengths must have rank 1 \[B\], got shape \(2, 1\)',
     lambda: Sequences(FRAMES, [[2], [2]])),
    (ValueError, 'that of sequence 1 is -1, which is negative', lambda: Sequences(FRAMES, [4, -1])),
    (ValueError, 'that of sequence 0 is 5, which exceeds the 4', lambda: Sequences(FRAMES, [5])),
    (ValueError, '2 lengths sum to 5, and there are 4', lambda: Sequences(FRAMES, [2, 3])),
    (ValueError, '0 lengths sum to 0, and there are 4', lambda: Sequences(FRAMES, [])),
    (ValueError, r"steps\['labels'\] must have one entry for each frame.*4 in all.*\(3,\)",
     lambda: Sequences(FRAMES, [4], steps={'labels': [0, 1, 2]})),
    (ValueError, r"sequences\['fold'\] must have one entry for each sequence.*1 in all.*\(4,\)",
     lambda: Sequences(FRAMES, [4], sequences={'fold': [0, 1, 2, 3]})),
    (TypeError, r"steps\['x'\] must be numbers, bool or strings, got object",
     lambda: Sequences(FRAMES, [4], steps={'x': [None] * 4})),
    (ValueError, "'a' is given per step and per sequence",
     lambda: Sequences(FRAMES, [4], steps={'a': range(4)}, sequences={'a': [0]})),
    (ValueError, "got 'inputs'", lambda: Sequences(FRAMES, [4], steps={'inputs': range(4)})),
    (ValueError, 'got 3', lambda: Sequences(FRAMES, [4], sequences={3: [0]})),
    (ValueError, r'frames of sequence 1 must have shape \[length, 2\], got shape \(4, 3\)',
     lambda: Sequences.from_list([FRAMES, np.zeros([4, 3])])),
    (ValueError, r'frames of sequence 0 must have shape \[length, D\], got shape \(4,\)',
     lambda: Sequences.from_list([np.zeros(4)])),
    (ValueError, r"steps\['labels'\] of sequence 1.* its 4 frames, got shape \(3,\)",
     lambda: Sequences.from_list([FRAMES, FRAMES], steps={'labels': [[0] * 4, [0] * 3]})),
    (ValueError, r"steps\['labels'\] must have one entry for each of the 2 sequences, got 1",
     lambda: Sequences.from_list([FRAMES, FRAMES], steps={'labels': [[0] * 4]})),
    (ValueError, r"steps\['y'\] of sequence 1 must have shape .* with \(2,\) after",
     lambda: Sequences.from_list([FRAMES, FRAMES], steps={'y': [FRAMES, np.zeros([4, 1])]})),
    (ValueError, 'one entry for each of the 1 sequences', lambda: one().select([True, True])),
    (ValueError, 'sequence 1 does not exist: there are 1', lambda: one().select([0, 1])),
    (ValueError, 'sequence -1 does not exist', lambda: one().select([-1])),
    (ValueError, 'indices must have rank 1', lambda: one().select(0)),
    (TypeError, 'bool mask or whole numbers, got float64', lambda: one().select([0.])),
    (ValueError, 'sequence 1 does not exist', lambda: one().sequence(1)),
])
def test_errors_name_the_sequence(error, message, make):
    with pytest.raises(error, match=message):
        make()


def one():
    return Sequences(FRAMES, [4])


# Files


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'data.npz')


@pytest.mark.parametrize('lengths', [LENGTHS, [0], [], [1, 1, 1], [0, 2]])
def test_what_is_written_is_read(lengths, rng, path):
    # N = B in the last two: which field is per step is in the file.
    written = collection(rng, lengths)
    write_npz(path, written)
    assert_same(read_npz(path), written)
    assert os.listdir(os.path.dirname(path)) == ['data.npz']


def test_any_field_name_can_be_written(path):
    written = Sequences(FRAMES, [4], sequences={'file': [1], 'a/b': [2], 'self': [3]})
    write_npz(path, written)
    assert_same(read_npz(path), written)


def test_a_file_of_no_sequences_may_name_them_by_an_empty_list(path):
    np.savez(path, frames=np.zeros([0, 3]), lengths=[], labels=np.zeros([0], np.int8))
    read = read_npz(path)
    assert read.frames.shape == (0, 3) and read.lengths.dtype == np.int32
    np.savez(path, inputs=np.zeros([0, 4, 3]), lengths=[])
    assert read_npz(path).frames.shape == (0, 3)


def test_zero_frames_keep_their_lengths_in_a_file(path):
    write_npz(path, Sequences(np.zeros([4, 1]), [1, 3]))
    assert read_npz(path).lengths.tolist() == [1, 3]
    np.savez(path, inputs=np.zeros([2, 5, 1]), lengths=[4, 2])
    assert read_npz(path).lengths.tolist() == [4, 2]


def test_a_failed_write_leaves_the_earlier_file(path, rng, monkeypatch):
    earlier = collection(rng)
    write_npz(path, earlier)

    def fail(*args, **kwargs):
        raise OSError('no space left')

    for where in ['numpy.lib.format.write_array', 'os.fsync', 'os.replace']:
        with monkeypatch.context() as patch:
            patch.setattr(where, fail)
            with pytest.raises(OSError, match='no space left'):
                write_npz(path, collection(rng, [1]))
        assert os.listdir(os.path.dirname(path)) == ['data.npz']
        assert_same(read_npz(path), earlier)
    with pytest.raises(TypeError, match='sequences must be a Sequences or a Stream, got list'):
        write_npz(path, [])


def test_a_padded_file(path, rng):
    wanted = collection(rng)
    inputs = np.full([6, 5, 2], np.nan, np.float32)     # what stands in the padding is ignored
    labels = np.full([6, 5], 99, np.uint8)
    for i, length in enumerate(LENGTHS):
        inputs[i, :length] = wanted.sequence(i)['inputs']
        labels[i, :length] = wanted.sequence(i)['place']
    np.savez(path, inputs=inputs, lengths=LENGTHS, labels=labels, fold=np.arange(6))
    actual = read_npz(path)
    np.testing.assert_array_equal(actual.frames, wanted.frames)
    np.testing.assert_array_equal(actual.steps['labels'], wanted.steps['place'])
    assert actual.steps['labels'].dtype == np.int32
    assert actual.sequences['fold'].tolist() == list(range(6))


def test_without_step_fields_the_size_says_it_and_per_step_wins(path):
    np.savez(path, frames=np.zeros([3, 1]), lengths=[2, 1], a=[1, 2, 3], b=[1, 2])
    assert list(read_npz(path).steps) == ['a'] and list(read_npz(path).sequences) == ['b']
    np.savez(path, frames=np.zeros([2, 1]), lengths=[2, 0], a=[1, 2])
    assert list(read_npz(path).steps) == ['a']
    np.savez(path, frames=np.zeros([2, 1]), lengths=[2, 0], a=[1, 2],
             step_fields=np.array([], str))
    assert list(read_npz(path).sequences) == ['a']
    np.savez(path, inputs=np.zeros([2, 3, 1]), lengths=[2, 0], a=np.zeros([2, 3]), b=np.zeros([2]))
    assert list(read_npz(path).steps) == ['a'] and list(read_npz(path).sequences) == ['b']


def test_the_embedded_files_can_be_read():
    letters = datasets.ocr_letters()
    folder = os.path.dirname(datasets.__file__)
    read = read_npz(os.path.join(folder, 'ocr_letters.npz'))
    np.testing.assert_array_equal(read.frames, letters['frames'])
    np.testing.assert_array_equal(read.steps['labels'], letters['labels'])
    assert set(read.sequences) == {'fold', 'word'}
    read = read_npz(os.path.join(folder, 'japanese_vowels.npz'))
    assert read.sequences['labels'].dtype == np.int32
    assert set(read.sequences) == {'labels', 'split'}


NOT_FINITE = np.array([[0.], [1.], [np.nan], [3.]])
PADDED = np.array([[[0.], [np.nan]], [[1.], [np.inf]]])


@pytest.mark.parametrize('message, records', [
    ("'lengths' is missing; there are 'frames'", dict(frames=FRAMES)),
    ("'frames_packed', 'tokens' or 'inputs' is needed, got none of them among 'lengths'",
     dict(lengths=[4])),
    ("'frames_packed', 'tokens' or 'inputs' is needed, got none of them among 'frame'",
     dict(lengths=[4], frame=FRAMES)),
    ("got 'frames', 'inputs' among", dict(lengths=[4], frames=FRAMES, inputs=FRAMES[None])),
    ("'lengths' must be int32 or int64.*float64", dict(frames=FRAMES, lengths=[4.])),
    ("'lengths' must be int32 or int64.*float64", dict(inputs=FRAMES[None], lengths=[4.])),
    ("'lengths' must have rank 1", dict(frames=FRAMES, lengths=4)),
    ('2 lengths sum to 3', dict(frames=FRAMES, lengths=[2, 1])),
    ('lengths.* sequence 1 is -1', dict(frames=FRAMES, lengths=[4, -1])),
    ('lengths.* sequence 0 is 9', dict(frames=FRAMES, lengths=[9])),
    ("'lengths' must be in 0..T; that of sequence 0 is 5, and T is 4",
     dict(inputs=FRAMES[None], lengths=[5])),
    ("'lengths' must be in 0..T; that of sequence 0 is -1",
     dict(inputs=FRAMES[None], lengths=[-1])),
    ("'lengths' must have one entry for each of the 1", dict(inputs=FRAMES[None], lengths=[1, 2])),
    (r"'frames' must have shape \[N, D\], got shape \(4,\)", dict(frames=[1.] * 4, lengths=[4])),
    (r"'frames' must have shape \[N, D\], got shape \(\)", dict(frames=1., lengths=[4])),
    (r"'inputs' must have shape \[B, T, D\]", dict(inputs=FRAMES, lengths=[4])),
    (r"'frames_packed' must have shape", dict(frames_packed=np.zeros(4, np.uint8), lengths=[4])),
    ("'frames_packed' must be uint8, got float64", dict(frames_packed=FRAMES, lengths=[4])),
    ("'frames' must be numbers.*<U1", dict(frames=[['a']] * 4, lengths=[4])),
    ("'frames' must be numbers.*complex", dict(frames=FRAMES * 1j, lengths=[4])),
    ("'frames' must be finite; sequence 2 holds nan at step 1",
     dict(frames=NOT_FINITE, lengths=[1, 0, 3])),
    ("'frames' must be finite; sequence 2 holds nan at step 0",
     dict(frames=NOT_FINITE, lengths=[2, 0, 2])),
    ("'inputs' must be finite; sequence 1 holds inf at step 1",
     dict(inputs=PADDED, lengths=[1, 2])),
    (r"'labels' must have first axes \(4,\).*or \(2,\).*got shape \(3,\)",
     dict(frames=FRAMES, lengths=[2, 2], labels=[0, 1, 2])),
    (r"'labels' must have first axes \(1, 4\).*or \(1,\).*got shape \(2, 4\)",
     dict(inputs=FRAMES[None], lengths=[4], labels=np.zeros([2, 4]))),
    ("'fold' must have first axes", dict(frames=FRAMES, lengths=[4], fold=3)),
    (r"'labels' must have an entry for each step, first axes \(4,\), got shape \(1,\)",
     dict(frames=FRAMES, lengths=[4], labels=[0], step_fields=['labels'])),
    ("'labels' is missing, which 'step_fields' names",
     dict(frames=FRAMES, lengths=[4], step_fields=['labels'])),
    ("'step_fields' must be strings", dict(frames=FRAMES, lengths=[4], step_fields=[1])),
    ("'when' must be numbers",
     dict(frames=FRAMES, lengths=[4], when=np.array(['2020-01-01'], 'datetime64[D]'))),
    ("record 'word' cannot be read: Object arrays cannot be loaded",
     dict(frames=FRAMES, lengths=[4], word=np.array(['a'], object))),
])
def test_a_mislabelled_file_is_named(message, records, path):
    np.savez(path, **records)
    with pytest.raises(ValueError, match=message) as caught:
        read_npz(path)
    assert str(caught.value).startswith(f'{path}: ')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('content', [b'', b'PK', b'frames,lengths\n1,2\n', b'\0' * 1000])
def test_a_file_of_another_kind_is_named(content, path):
    with open(path, 'wb') as file:
        file.write(content)
    with pytest.raises(ValueError, match='not an .npz file, or a damaged one') as caught:
        read_npz(path)
    assert str(caught.value).startswith(f'{path}: ')


def test_other_archives_and_arrays_are_refused(path, tmp_path):
    with open(path, 'wb') as file:
        np.save(file, FRAMES)
    with pytest.raises(ValueError, match='data.npz: not an .npz file'):
        read_npz(path)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('readme.txt', 'hello')
    with pytest.raises(ValueError, match="data.npz: record 'readme.txt' cannot be read"):
        read_npz(path)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('frames', 'hello')
        archive.writestr('lengths.npy', '')
    with pytest.raises(ValueError, match="data.npz: record 'frames' cannot be read"):
        read_npz(path)
    with pytest.raises(FileNotFoundError, match='missing.npz'):
        read_npz(tmp_path / 'missing.npz')


def test_a_truncated_file_is_named(path, rng):
    write_npz(path, collection(rng))
    with open(path, 'rb') as file:
        whole = file.read()
    for size in [*range(0, len(whole), 97), *range(len(whole) - 60, len(whole))]:
        with open(path, 'wb') as file:
            file.write(whole[:size])
        with pytest.raises(ValueError, match='data.npz: '):
            read_npz(path)


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_a_flipped_byte_is_an_error_or_changes_nothing(path, rng):
    written = collection(rng)
    write_npz(path, written)
    with open(path, 'rb') as file:
        whole = file.read()
    refused = 0
    for place in range(0, len(whole), 3):
        for flip in [0x01, 0xff]:
            damaged = bytearray(whole)
            damaged[place] ^= flip
            with open(path, 'wb') as file:
                file.write(damaged)
            try:
                read = read_npz(path)
            except ValueError as error:
                assert str(error).startswith(f'{path}: ')
                refused += 1
            else:      # dates, attributes and the like: nothing of the data
                assert_same(read, written)
    assert refused > len(whole) / 3


# Batches


def check_epoch(whole, batches, epoch):
    """Every batch against the sequences it says it holds; the ids in the order they came."""
    ids = []
    for batch in batches.at_epoch(epoch):
        batch = {name: tensor.numpy() for name, tensor in batch.items()}
        assert set(batch) == {'inputs', 'lengths', 'place', 'note', 'id', 'pair', 'word'}
        assert 1 <= len(batch['id']) <= batches.batch_size
        maxlen = batch['lengths'].max()
        assert batch['inputs'].shape[1] == maxlen and batch['lengths'].dtype == np.int32
        for row, i in enumerate(batch['id']):
            alone = whole.sequence(i)
            length = alone['lengths']
            assert batch['lengths'][row] == length
            np.testing.assert_array_equal(batch['inputs'][row, :length], alone['inputs'])
            np.testing.assert_array_equal(batch['place'][row, :length], alone['place'])
            assert [note.decode() for note in batch['note'][row, :length]] == list(alone['note'])
            assert not batch['inputs'][row, length:].any()
            assert not batch['place'][row, length:].any()
            assert set(batch['note'][row, length:]) <= {b''}
            np.testing.assert_array_equal(batch['pair'][row], alone['pair'])
            assert batch['word'][row].decode() == alone['word']
        ids.append(batch['id'].tolist())
    assert len(ids) == len(batches)
    assert ids == [batch.tolist() for batch in batches.plan(epoch)]
    return ids


@pytest.mark.parametrize('seed', range(30))
def test_every_sequence_exactly_once_per_epoch(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, size=rng.integers(0, 30))
    whole = collection(rng, lengths)
    boundaries = [None, [3, 5, 8], [2, 20], [4], 3, 1][seed % 6]
    options = {'shuffle': bool(rng.integers(2)), 'seed': seed, 'bucket_boundaries': boundaries,
               'overflow': 'last', 'drop_remainder': bool(rng.integers(2))}
    batches = Batches(whole, int(rng.integers(1, 12)), **options)
    for epoch in [0, 7]:
        ids = check_epoch(whole, batches, epoch)
        flat = [i for batch in ids for i in batch]
        assert len(set(flat)) == len(flat)
        if options['drop_remainder']:
            assert all(len(batch) == batches.batch_size for batch in ids)
        else:
            assert sorted(flat) == list(range(len(whole)))
        if not options['shuffle'] and boundaries is None:
            assert flat == sorted(flat)
        # A batch never mixes buckets: of two lengths in it, no boundary lies between.
        for batch in ids:
            low, high = min(lengths[batch]), max(lengths[batch])
            assert not any(low <= boundary < high
                           for boundary in (batches.bucket_boundaries or [])[:-1])


def test_the_order_is_a_function_of_seed_and_epoch(rng):
    whole = collection(rng, [3, 1] * 20)

    def order(seed, epoch, **options):
        return check_epoch(whole, Batches(whole, 4, shuffle=True, seed=seed, **options), epoch)

    assert order(0, 5) == order(0, 5)
    assert order(0, 5) != order(0, 6)
    assert order(0, 5) != order(1, 5)
    # A resumed run, which never saw epochs 0 to 4, and one that did.
    batches = Batches(whole, 4, shuffle=True, seed=0)
    for epoch in range(5):
        list(batches.at_epoch(epoch))
    assert check_epoch(whole, batches, 5) == order(0, 5)
    # The object itself counts nothing.
    first = [batch['id'].numpy().tolist() for batch in batches]
    assert first == [batch['id'].numpy().tolist() for batch in batches] == order(0, 0)
    still = Batches(whole, 4, seed=3)
    assert check_epoch(whole, still, 0) == check_epoch(whole, still, 8)


def test_batches_of_different_buckets_are_mixed(rng):
    whole = collection(rng, [1] * 40 + [6] * 40)
    ids = check_epoch(whole, Batches(whole, 4, shuffle=True, bucket_boundaries=[1, 6]), 0)
    buckets = [int(batch[0] >= 40) for batch in ids]
    assert buckets != sorted(buckets) and buckets != sorted(buckets, reverse=True)


def test_concurrent_iterations_do_not_disturb_each_other(rng):
    whole = collection(rng, [2, 3, 1] * 10)
    batches = Batches(whole, 4, shuffle=True)
    wanted = [check_epoch(whole, batches, epoch) for epoch in range(2)]
    pairs = list(zip(batches.at_epoch(0), batches.at_epoch(1)))
    for k in range(2):
        assert [pair[k]['id'].numpy().tolist() for pair in pairs] == wanted[k]


def test_boundaries_are_inclusive_and_overflow_is_never_lost(rng):
    whole = collection(rng, [2, 5, 9, 5, 6])
    assert check_epoch(whole, Batches(whole, 5, bucket_boundaries=[5, 9]), 0) == [[0, 1, 3], [2, 4]]
    with pytest.raises(ValueError, match='sequence 2 has 9 steps, the last boundary is 8'):
        Batches(whole, 5, bucket_boundaries=[5, 8])
    last = Batches(whole, 5, bucket_boundaries=[5, 8], overflow='last')
    assert check_epoch(whole, last, 0) == [[0, 1, 3], [2, 4]]


def test_a_number_of_buckets_divides_at_quantiles(rng):
    whole = collection(rng, [1, 2, 3, 4, 5, 6, 7, 9])
    assert Batches(whole, 2, bucket_boundaries=4).bucket_boundaries == [2, 4, 6, 9]
    assert Batches(whole, 2, bucket_boundaries=100).bucket_boundaries == [1, 2, 3, 4, 5, 6, 7, 9]
    assert Batches(whole.select([]), 2, bucket_boundaries=4).bucket_boundaries == []


def test_padding_share(rng):
    whole = collection(rng, [1, 4, 2, 0, 0])
    # Batches of lengths [1, 4], [2, 0], [0].
    assert Batches(whole, 2).padding_share() == (3 + 2) / (2 * 4 + 2 * 2 + 0)
    assert Batches(whole.select([3, 4]), 2).padding_share() == 0
    letters = datasets.ocr_letters()
    words = Sequences(letters['frames'], letters['lengths'])
    plain = Batches(words, 32, shuffle=True).padding_share(3)
    bucketed = Batches(words, 32, shuffle=True, bucket_boundaries=6).padding_share(3)
    assert bucketed < plain / 4


def test_fewer_sequences_than_a_batch_and_none_at_all(rng):
    few = collection(rng, [2, 0])
    assert check_epoch(few, Batches(few, 10, shuffle=True), 0) in ([[0, 1]], [[1, 0]])
    assert len(Batches(few, 10, drop_remainder=True)) == 0
    assert list(Batches(few, 10, drop_remainder=True)) == []
    empty = few.select([])
    assert len(Batches(empty, 3)) == 0 and list(Batches(empty, 3)) == []
    nothing, = Batches(few.select([1, 1]), 3)
    assert nothing['inputs'].shape == (2, 0, 2)       # T = 0


def test_the_dataset_has_unknown_batch_and_time(rng):
    batches = Batches(collection(rng), 4, drop_remainder=True)
    spec = batches.element_spec
    assert spec == batches.dataset.element_spec
    assert spec['inputs'] == tf.TensorSpec([None, None, 2], tf.float32)
    assert spec['lengths'] == tf.TensorSpec([None], tf.int32)
    assert spec['place'] == tf.TensorSpec([None, None], tf.int64)
    assert spec['pair'] == tf.TensorSpec([None, 2], tf.float64)
    assert spec['word'] == tf.TensorSpec([None], tf.string)


def test_a_consumer_is_traced_once(rng):
    batches = Batches(collection(rng, list(range(20))), 3, shuffle=True)
    traces = []

    @tf.function(input_signature=[batches.element_spec])
    def consume(batch):
        traces.append(1)
        return tf.reduce_sum(batch['place'])

    for epoch in range(3):
        total = sum(int(consume(batch)) for batch in batches.at_epoch(epoch))
        assert total == sum(range(1, 190 + 1))      # 0 + 1 + ... + 19 = 190 frames
    assert len(traces) == 1


def test_breaking_out_early_leaves_nothing_behind(rng):
    batches = Batches(collection(rng, [3] * 50), 2, shuffle=True)
    next(iter(batches))
    threads = threading.active_count()
    for epoch in range(20):
        for batch in batches.at_epoch(epoch):
            break
    assert threading.active_count() == threads


def test_the_arrays_may_change_afterwards(rng):
    whole = collection(rng)
    batches = Batches(whole, 6)
    kept = whole.frames.copy()
    whole.frames[:] = 77
    batch, = batches
    np.testing.assert_array_equal(batch['inputs'][0, :3], kept[:3])


@pytest.mark.parametrize('error, message, options', [
    (TypeError, 'batch_size must be an int', dict(batch_size=2.5)),
    (ValueError, 'batch_size must be at least 1', dict(batch_size=0)),
    (ValueError, 'seed must be at least 0', dict(seed=-1)),
    (ValueError, "overflow must be one of 'error', 'last', got 'drop'", dict(overflow='drop')),
    (ValueError, r'bucket_boundaries must be ascending lengths, got \[5, 5\]',
     dict(bucket_boundaries=[5, 5])),
    (ValueError, r'bucket_boundaries must be ascending lengths, got \[\]',
     dict(bucket_boundaries=[])),
    (TypeError, 'each of bucket_boundaries must be an int', dict(bucket_boundaries=[2.5])),
    (ValueError, 'bucket_boundaries must be at least 1', dict(bucket_boundaries=0)),
])
def test_batches_refuse(error, message, options, rng):
    with pytest.raises(error, match=message):
        Batches(collection(rng), **{'batch_size': 2, **options})


def test_batches_refuse_other_collections_and_epochs(rng):
    with pytest.raises(TypeError, match='sequences must be a Sequences, got ndarray'):
        Batches(FRAMES, 2)
    with pytest.raises(ValueError, match='epoch must be at least 0'):
        Batches(collection(rng), 2).at_epoch(-1)


def test_frames_are_cast_and_nothing_else_and_none_becomes_inf():
    wide = Sequences(np.array([[1., 2.], [-3., np.inf], [3.5e38, 0]]), [2, 1],
                     {'labels': [1, 2, 3]})
    kept = wide.select([0]).cast('float32')
    assert kept.frames.dtype == np.float32 and kept.frames.tolist() == [[1, 2], [-3, np.inf]]
    assert kept.steps['labels'].dtype == wide.steps['labels'].dtype
    with pytest.raises(ValueError, match='frames must be in the range of float32; sequence 1 holds'
                                         r' 3.5e\+38 at step 0\.'):
        wide.cast(np.float32)
    assert wide.cast('float64').frames.tolist() == wide.frames.tolist()
    with pytest.raises(ValueError, match='of float16; sequence 0 holds 70000.0 at step 1'):
        Sequences(np.float32([[65504], [7e4]]), [2]).cast('float16')


# Split


@pytest.mark.parametrize('count, fractions, sizes', [
    (10, [0.8, 0.1, 0.1], [8, 1, 1]), (7, [0.5, 0.5], [4, 3]), (10, [1], [10]),
    (10, [0.3, 0, 0.7], [3, 0, 7]), (0, [0.5, 0.5], [0, 0]), (1, [0.5, 0.25, 0.25], [0, 1, 0])])
def test_split_gives_every_sequence_once(count, fractions, sizes, rng):
    whole = collection(rng, list(range(count)))
    parts = split(whole, fractions, seed=1)
    assert [len(part) for part in parts] == sizes
    ids = [part.sequences['id'].tolist() for part in parts]
    assert sorted(sum(ids, [])) == list(range(count))
    assert all(part == sorted(part) for part in ids)
    for part, part_ids in zip(parts, ids):
        assert_same(part, whole.select(part_ids))


def test_split_is_a_function_of_its_seed(rng):
    whole = collection(rng, [1] * 50)
    first, again, other = (split(whole, [0.5, 0.5], seed)[0].sequences['id'].tolist()
                           for seed in [0, 0, 1])
    assert first == again != other


@pytest.mark.parametrize('fractions', [[0.5, 0.4], [1.5, -0.5], [np.nan, 1], [], 1.0, [[1.]]])
def test_split_refuses(fractions, rng):
    with pytest.raises(ValueError, match='fractions must be numbers >= 0 that sum to 1'):
        split(collection(rng), fractions, seed=0)
    with pytest.raises(TypeError, match='sequences must be a Sequences'):
        split([], [1], seed=0)
