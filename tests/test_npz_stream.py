"""npz files read and written chunk by chunk: good, empty, truncated, flipped and mislabelled."""

import os
import zipfile

import numpy as np
import pytest

from seqmask import data, datasets
from sources import (LENGTHS, assert_examples, assert_refused, assert_same, collection, flips,
                     growth, many_steps)

FRAMES = np.arange(4.)[:, None]


def assert_both_refused(path, message):
    """The one reader has one message, whether it streams the file or holds all of it."""
    assert_refused(lambda: data.open_npz(path), message)
    with pytest.raises(ValueError) as streamed:
        data.open_npz(path).to_sequences()
    with pytest.raises(ValueError) as whole:
        data.read_npz(path)
    assert str(whole.value) == str(streamed.value)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'data.npz')


@pytest.mark.parametrize('lengths', [LENGTHS, [], [0], [0, 2], [1, 1, 1], [20000, 1, 0, 20000]])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_what_is_written_is_read(lengths, dtype, path):
    wanted = collection(lengths, dtype)
    data.write_npz(path, wanted)
    stream = data.open_npz(path)
    assert (stream.num_sequences, stream.source) == (len(lengths), path)
    assert stream.schema == data.Schema.of(wanted)
    assert_same(stream.to_sequences(), wanted)
    assert_same(data.read_npz(path), wanted)
    if sum(lengths) < 100:
        assert_examples(stream, wanted)


@pytest.mark.parametrize('lengths', [LENGTHS, [], [0], [300] * 300])
def test_a_stream_is_written_as_its_collection(lengths, path):
    wanted = collection(lengths)
    data.write_npz(path, data.Stream.from_sequences(wanted))
    assert_same(data.read_npz(path), wanted)
    assert_same(data.open_npz(path).to_sequences(), wanted)
    assert os.listdir(os.path.dirname(path)) == ['data.npz']


def test_strings_are_as_wide_as_the_longest_of_all_chunks(path):
    words = np.array(['a'] * 300 + ['longest'] + ['b'] * 300)
    parts = data.Stream.from_sequences(data.Sequences(np.zeros([0, 1], np.float32), [0] * 601,
                                                      sequences={'word': words}))

    def chunks():
        for chunk in parts.chunks():
            narrow = chunk['word'].astype('U' if 'longest' in chunk['word'] else 'U1')
            yield {**chunk, 'word': narrow}
    data.write_npz(path, data.Stream(parts.schema, chunks, source='words'))
    assert data.read_npz(path).sequences['word'].tolist() == words.tolist()


def test_a_file_may_be_written_over_itself(path):
    wanted = collection()
    data.write_npz(path, wanted)
    data.write_npz(path, data.open_npz(path))
    assert_same(data.read_npz(path), wanted)


def test_a_damaged_source_leaves_the_earlier_file(path, monkeypatch):
    data.write_npz(path, collection())

    def chunks():
        yield from data.Stream.from_sequences(collection([1])).chunks()
        raise ValueError('source: damaged.')
    bad = data.Stream(data.Schema.of(collection([1])), chunks, source='source')
    with pytest.raises(ValueError, match='^source: damaged.$'):
        data.write_npz(path, bad)

    def fail(*args, **kwargs):
        raise OSError('no space left')
    for where in ['numpy.lib.format.write_array', 'numpy.lib.format.read_array', 'os.fsync',
                  'os.replace']:
        with monkeypatch.context() as patch:
            patch.setattr(where, fail)
            with pytest.raises(OSError, match='no space left'):
                data.write_npz(path, data.Stream.from_sequences(collection([1])))
    assert os.listdir(os.path.dirname(path)) == ['data.npz']
    assert_same(data.read_npz(path), collection())


def test_the_embedded_files_are_read():
    # Frames of bits; and frames in Fortran's order.
    for name, labels_per in [('ocr_letters', 'steps'), ('japanese_vowels', 'sequences')]:
        path = os.path.join(os.path.dirname(datasets.__file__), f'{name}.npz')
        found, wanted = data.open_npz(path).to_sequences(), getattr(datasets, name)()
        for ours, theirs in [(found.frames, wanted['frames']), (found.lengths, wanted['lengths']),
                             (getattr(found, labels_per)['labels'], wanted['labels'])]:
            assert ours.dtype == theirs.dtype and ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize('order', ['C', 'F'])
@pytest.mark.parametrize('kind', ['<f4', '<f8', '|u1', '|b1'])
def test_padded_files_are_read_whatever_their_order_and_dtype(order, kind, path):
    rng = np.random.default_rng(0)
    inputs = np.asarray(rng.normal(size=[6, 5, 3]) * 9 % 200, dtype=kind, order=order)
    lengths = np.array([0, 5, 3, 1, 0, 5])
    if kind == '<f4':
        inputs[2, 3:] = np.nan      # what stands in the padding is ignored
    labels = rng.integers(0, 9, [6, 5]).astype(np.int32)
    np.savez(path, inputs=inputs, lengths=lengths, fold=np.arange(6),
             labels=np.asarray(labels, np.int8, order=order))
    real = np.arange(5) < lengths[:, None]
    dtype = inputs.dtype if inputs.dtype.kind == 'f' else np.float32
    wanted = data.Sequences(inputs[real].astype(dtype), lengths, {'labels': labels[real]},
                            {'fold': np.arange(6)})
    stream = data.open_npz(path)
    assert_same(stream.to_sequences(), wanted)
    whole = data.read_npz(path)
    assert_same(whole, wanted)
    assert whole.frames.flags.writeable and whole.frames.flags.c_contiguous
    assert_examples(stream, wanted)


def test_numbers_of_another_byte_order_are_turned(path):
    np.savez(path, frames=FRAMES.astype('>f8'), lengths=np.array([4], '>i4'),
             labels=np.array([1, 2, 3, 4], '>i8'))
    assert_same(data.open_npz(path).to_sequences(),
                data.Sequences(FRAMES, [4], {'labels': [1, 2, 3, 4]}))


def test_a_padded_file_of_no_steps(path):
    np.savez(path, inputs=np.zeros([3, 0, 2]), lengths=np.zeros(3, int))
    assert data.open_npz(path).to_sequences().lengths.tolist() == [0, 0, 0]


def test_zero_frames_keep_their_lengths(path):
    np.savez(path, inputs=np.zeros([2, 5, 1]), lengths=[4, 2])
    assert data.open_npz(path).to_sequences().lengths.tolist() == [4, 2]


MISLABELLED = [
    ("'lengths' is missing; there are 'frames'", dict(frames=FRAMES)),
    ("'lengths' is missing; there are no records", {}),
    ("got none of them among 'frame'", dict(lengths=[4], frame=FRAMES)),
    ("got 'frames', 'inputs' among", dict(lengths=[4], frames=FRAMES, inputs=FRAMES[None])),
    ("'lengths' must be int32 or int64, got float64", dict(frames=FRAMES, lengths=[4.])),
    (r"'lengths' must have rank 1 \[B\]", dict(frames=FRAMES, lengths=4)),
    ('2 lengths sum to 3, and there are 4 frames', dict(frames=FRAMES, lengths=[2, 1])),
    ('sequence 1 is -1, and N is 4', dict(frames=FRAMES, lengths=[4, -1])),
    ('sequence 0 is 9, and N is 4', dict(frames=FRAMES, lengths=[9])),
    ('sequence 0 is 5, and T is 4', dict(inputs=FRAMES[None], lengths=[5])),
    ('one entry for each of the 1', dict(inputs=FRAMES[None], lengths=[1, 2])),
    (r"'frames' must have shape \[N, D\], got shape \(4,\)", dict(frames=[1.] * 4, lengths=[4])),
    (r"'inputs' must have shape \[B, T, D\]", dict(inputs=FRAMES, lengths=[4])),
    ("'frames_packed' must be uint8, got float64", dict(frames_packed=FRAMES, lengths=[4])),
    ('must be numbers.*<U1', dict(frames=[['a']] * 4, lengths=[4])),
    ('must be numbers.*complex', dict(frames=FRAMES * 1j, lengths=[4])),
    ("'frames' must be finite; sequence 2 holds nan at step 1",
     dict(frames=[[0.], [1.], [np.nan], [3.]], lengths=[1, 0, 3])),
    ("'inputs' must be finite; sequence 1 holds inf at step 1",
     dict(inputs=[[[0.], [np.nan]], [[1.], [np.inf]]], lengths=[1, 2])),
    (r"'labels' must have first axes \(4,\).*got shape \(3,\)",
     dict(frames=FRAMES, lengths=[2, 2], labels=[0, 1, 2])),
    (r"'labels' must have an entry for each step, first axes \(4,\), got shape \(1,\)",
     dict(frames=FRAMES, lengths=[4], labels=[0], step_fields=['labels'])),
    ("'labels' is missing, which 'step_fields' names",
     dict(frames=FRAMES, lengths=[4], step_fields=['labels'])),
    ("'step_fields' must be strings", dict(frames=FRAMES, lengths=[4], step_fields=[1])),
    ("'when' must be numbers",
     dict(frames=FRAMES, lengths=[4], when=np.array(['2020-01-01'], 'datetime64[D]'))),
    ("record 'word' cannot be read: Object arrays",
     dict(frames=FRAMES, lengths=[4], word=np.array(['a'], object)))]


@pytest.mark.parametrize('message, records', MISLABELLED)
def test_a_mislabelled_file_is_named(message, records, path):
    np.savez(path, **records)
    assert_both_refused(path, f'^{path}: .*{message}')


def test_of_many_sequences_the_right_one_is_named(path):
    frames = np.zeros([3000, 1])
    frames[2000] = np.inf
    np.savez(path, frames=frames, lengths=np.full(1000, 3))
    assert_both_refused(path, 'sequence 666 holds inf at step 2')


@pytest.mark.parametrize('content', [b'', b'PK', b'frames,lengths\n1,2\n', b'\0' * 1000])
def test_a_file_of_another_kind_is_named(content, path):
    with open(path, 'wb') as file:
        file.write(content)
    assert_both_refused(path, f'^{path}: not an .npz file, or a damaged one')


def test_records_that_are_no_arrays_are_named(path):
    for content, message in [(b'hello', 'magic string'), (b'', 'EOF|magic'),
                             (b'\x93NUMPY\x09\x00' + b'x' * 99, 'version')]:
        with zipfile.ZipFile(path, 'w') as archive:
            archive.writestr('frames.npy', content)
        assert_both_refused(path, f"^{path}: record 'frames' cannot be read: .*({message})")


def test_a_record_of_another_size_than_it_says_is_named(path):
    np.savez(path, frames=FRAMES, lengths=[4])
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('frames.npy', records['frames.npy'][:-8])
        archive.writestr('lengths.npy', records['lengths.npy'])
    assert_both_refused(path, "'frames' cannot be read: it holds 24 bytes, not "
                        r'float64 of shape \(4, 1\)')


def test_a_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match='data.npz'):
        data.open_npz(path)


def test_a_file_that_changes_under_the_reader_is_refused(path):
    data.write_npz(path, collection())
    stream = data.open_npz(path)
    data.write_npz(path, collection(seed=1))
    assert_refused(lambda: stream, f'^{path}: the file has changed since it was opened')


def test_a_truncated_file_is_named(path):
    data.write_npz(path, collection())
    with open(path, 'rb') as file:
        whole = file.read()
    for size in [*range(0, len(whole), 199), *range(len(whole) - 30, len(whole))]:
        with open(path, 'wb') as file:
            file.write(whole[:size])
        with pytest.raises(ValueError, match=f'^{path}: '):
            data.open_npz(path)


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_a_flipped_bit_is_an_error_or_changes_nothing(path):
    wanted, refused = collection(), 0
    data.write_npz(path, wanted)
    with open(path, 'rb') as file:
        whole = file.read()
    for damaged in flips(whole, 500):
        with open(path, 'wb') as file:
            file.write(damaged)
        try:
            found = data.open_npz(path).to_sequences()
        except ValueError as error:
            assert str(error).startswith(f'{path}: ') and '\n' not in str(error)
            with pytest.raises(ValueError) as whole:
                data.read_npz(path)
            assert str(whole.value) == str(error)
            refused += 1
        else:       # dates, attributes and the like: nothing of the data
            assert_same(found, wanted)
            assert_same(data.read_npz(path), wanted)
    assert 100 < refused < 500


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    for name, sequences in [('small.npz', 200), ('large.npz', 1000)]:
        data.write_npz(tmp_path / name, many_steps(sequences))
    steps, grown = growth('open_npz', tmp_path / 'small.npz', tmp_path / 'large.npz')
    assert steps == 200_000
    assert grown < 200_000 * 64 * 4 / 3
    # The measure sees it where all of it is held.
    _, grown = growth('open_npz', tmp_path / 'small.npz', tmp_path / 'large.npz', 'to_sequences')
    assert grown > 200_000 * 64 * 4 / 2
