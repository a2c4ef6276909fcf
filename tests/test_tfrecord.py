"""TFRecord files of SequenceExample: good, empty, truncated, flipped and mislabelled."""

import errno
import os

import numpy as np
import pytest
import tensorflow as tf

from seqmask import data
from seqmask.data.files.whole import write_whole
from sources import (LENGTHS, assert_examples, assert_refused, assert_same, collection, flips,
                     full_disk, growth, many_steps)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'data.tfrecord')


def records_of(path):
    return [record.numpy() for record in tf.data.TFRecordDataset(path)]


def write(path, records):
    with tf.io.TFRecordWriter(path) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())


def feature(values):
    values = np.atleast_1d(values)
    if values.dtype.kind == 'f':
        return tf.train.Feature(float_list=tf.train.FloatList(value=values.tolist()))
    if values.dtype.kind == 'U':
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[v.encode() for v in values]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values.tolist()))


def example(lists, **context):
    """A SequenceExample as other programs write it."""
    return tf.train.SequenceExample(
        context=tf.train.Features(feature={name: feature(v) for name, v in context.items()}),
        feature_lists=tf.train.FeatureLists(feature_list={
            name: tf.train.FeatureList(feature=[feature(v) for v in steps])
            for name, steps in lists.items()}))


@pytest.mark.parametrize('lengths', [LENGTHS, [0], [0, 0, 2], [1] * 700, [20000, 1]])
@pytest.mark.parametrize('dtype', [np.float32, np.float64, np.float16])
def test_what_is_written_is_read(lengths, dtype, path):
    wanted = collection(lengths, dtype) if len(lengths) < 700 else data.Sequences(
        np.arange(700, dtype=dtype)[:, None], lengths)
    data.write_tfrecord(path, wanted)
    stream = data.open_tfrecord(path)
    assert (stream.num_sequences, stream.source) == (None, path)
    assert stream.schema == data.Schema.of(wanted)
    assert_same(stream.to_sequences(), wanted)
    if sum(lengths) < 100:
        assert_examples(stream, wanted)
    assert os.listdir(os.path.dirname(path)) == ['data.tfrecord']


@pytest.mark.parametrize('kind', 'int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool float16 '
                         'float32 float64'.split())
def test_the_ends_of_every_dtype_survive(kind, path):
    dtype = np.dtype(kind)
    info = np.finfo(dtype) if dtype.kind == 'f' else np.iinfo(dtype) if dtype.kind != 'b' else None
    ends = np.array([False, True] if info is None else [info.min, info.max], dtype)
    wanted = data.Sequences(np.zeros([2, 1], np.float32), [1, 1], {'x': ends},
                            {'y': np.stack([ends, ends[::-1]])})
    data.write_tfrecord(path, wanted)
    assert_same(data.open_tfrecord(path).to_sequences(), wanted)


def test_npz_to_tfrecord_to_npz_is_the_same(tmp_path):
    wanted = collection()
    data.write_npz(tmp_path / 'a.npz', wanted)
    data.write_tfrecord(tmp_path / 'b.tfrecord', data.open_npz(tmp_path / 'a.npz'))
    data.write_npz(tmp_path / 'c.npz', data.open_tfrecord(tmp_path / 'b.tfrecord'))
    assert_same(data.read_npz(tmp_path / 'c.npz'), wanted)


def test_several_files_follow_one_another(tmp_path):
    wanted, paths = collection(), [str(tmp_path / f'{k}.tfrecord') for k in range(3)]
    for k, part in enumerate([[0, 1], [2], [3, 4, 5]]):
        data.write_tfrecord(paths[k], wanted.select(part))
    assert_same(data.open_tfrecord(paths).to_sequences(), wanted)
    data.write_tfrecord(paths[1], data.Sequences(np.zeros([1, 2], np.float32), [1]))
    assert_refused(lambda: data.open_tfrecord(paths), f'^{paths[1]}: record 0 ')
    with pytest.raises(ValueError, match='at least one file, got none'):
        data.open_tfrecord([])


def test_a_file_of_another_program(path):
    write(path, [example({'inputs': [], 'labels': []}, word='none', pair=[1., 2.]),
                 example({'inputs': [[1., 2.], [3., 4.]], 'labels': [5, 6]}, lengths=2, word='zwö',
                         pair=[3., 4.], more=1),
                 example({'inputs': [[7., 8.]], 'labels': [9]}, word='', pair=[5., 6.])])
    wanted = data.Sequences(
        np.float32([[1, 2], [3, 4], [7, 8]]), [0, 2, 1], {'labels': [5, 6, 9]},
        {'word': np.array(['none', 'zwö', '']), 'pair': np.float32([[1, 2], [3, 4], [5, 6]])})
    # 'more' stands in the record that says what there is.
    assert_refused(lambda: data.open_tfrecord(path), f"{path}: record 0 has 0 values of 'more'")
    write(path, [record for k, record in enumerate(records_of(path)) if k != 1])
    assert_same(data.open_tfrecord(path).to_sequences(), wanted.select([0, 2]))


GOOD = example({'inputs': [[1., 2.], [3., 4.]], 'labels': [1, 2]}, lengths=2, word='a')
MISLABELLED = [
    ("record 2 has 'lengths' 3 and 2 frames",
     example({'inputs': [[1., 2.], [3., 4.]], 'labels': [1, 2]}, lengths=3, word='a')),
    ("record 2 has 'lengths' 2, 2 and 2 frames",
     example({'inputs': [[1., 2.], [3., 4.]], 'labels': [1, 2]}, lengths=[2, 2], word='a')),
    ("record 2 has 1 steps of 'labels' and 2 of 'inputs'",
     example({'inputs': [[1., 2.], [3., 4.]], 'labels': [1]}, lengths=2, word='a')),
    ("record 2 has 0 steps of 'labels' and 2 of 'inputs'",
     example({'inputs': [[1., 2.], [3., 4.]]}, lengths=2, word='a')),
    ("record 2 has 3 values of 'inputs' per step, not 2",
     example({'inputs': [[1., 2.], [3., 4., 5.]], 'labels': [1, 2]}, lengths=2, word='a')),
    ("record 2 has 0 values of 'word' per sequence, not 1",
     example({'inputs': [[1., 2.]], 'labels': [1]}, lengths=1)),
    ("record 2 cannot be read: it is no tf.train.SequenceExample of these fields: 'inputs' "
     "float_list, 'labels' int64_list, 'word' bytes_list",
     example({'inputs': [[1., 2.]], 'labels': [1.]}, lengths=1, word='a')),
    ('record 2 cannot be read', example({'inputs': [[1, 2]], 'labels': [1]}, lengths=1, word='a')),
    ('record 2 cannot be read', example({'inputs': [[1., 2.]], 'labels': [1]}, lengths=1, word=3)),
    ('record 2 cannot be read', b'\xff\xff\xff'),
    ("'inputs' must be finite; record 2 holds nan at step 1",
     example({'inputs': [[1., 2.], [np.nan, 4.]], 'labels': [1, 2]}, lengths=2, word='a'))]


@pytest.mark.parametrize('message, record', MISLABELLED)
def test_a_mislabelled_record_is_named(message, record, path):
    write(path, [GOOD, GOOD, record, GOOD])
    assert_refused(lambda: data.open_tfrecord(path), f'^{path}: {message}')


@pytest.mark.parametrize('message, records', [
    ('the file holds no records', []),
    ('no record has a frame', [example({'inputs': []}, lengths=0)]),
    ("record 0 cannot be read: it has no feature list 'inputs'; there are 'x'",
     [example({'x': [1.]})]),
    ("record 0 cannot be read: 'inputs' must be floating-point, or tokens.*int64",
     [example({'inputs': [[1, 2]]})]),
    ("record 1 cannot be read: 'y' has no values",
     [example({'inputs': []}), example({'inputs': [[1.]], 'y': []})]),
    ("record 0 cannot be read: fields must be named by strings other than.*got 'frames'",
     [example({'inputs': [[1.]], 'frames': [1.]})]),
    ('record 0 cannot be read: it is no tf.train.SequenceExample', [b'\xff\xff\xff']),
    ('record 0 cannot be read: this is not the JSON of a schema',
     [example({'inputs': [[1.]]}, **{'seqmask.schema': '{}'})])])
def test_a_file_that_does_not_say_what_it_holds_is_refused(message, records, path):
    write(path, records)
    assert_refused(lambda: data.open_tfrecord(path), f'^{path}: {message}')


def test_a_number_that_the_schema_does_not_hold_is_refused(path):
    data.write_tfrecord(path, data.Sequences(np.float32([[1.], [2.]]), [1, 1],
                                             {'labels': np.int8([1, 2])}))
    first, last = records_of(path)
    changed = tf.train.SequenceExample.FromString(last)
    changed.feature_lists.feature_list['labels'].feature[0].int64_list.value[0] = 257
    write(path, [first, changed])
    assert_refused(lambda: data.open_tfrecord(path), "values of 'labels' that do not fit int8")


def test_a_truncated_file_is_named_wherever_it_was_cut(path):
    wanted = collection()
    data.write_tfrecord(path, wanted)
    with open(path, 'rb') as file:
        whole = file.read()
    records = records_of(path)
    ends = np.cumsum([16 + len(record) for record in records])      # length, data, two checksums
    assert ends[-1] == len(whole)
    for size in sorted({*range(0, len(whole), 97), *ends[:-1], *(ends[:-1] + 5), *(ends - 1)}):
        with open(path, 'wb') as file:
            file.write(whole[:size])
        number = int(np.searchsorted(ends, size, side='right'))
        # Between two records, only the missing mark of the last one tells.
        message = (f'record {number} cannot be read|the file is cut short: it ends after record '
                   f'{number - 1}' if number else 'record 0 cannot be read|the file holds no ')
        with pytest.raises(ValueError, match=f'^{path}: ({message})'):
            data.open_tfrecord(path).to_sequences()


def test_a_cut_between_records_is_seen_in_examples_too(path):
    data.write_tfrecord(path, collection())
    write(path, records_of(path)[:3])
    assert_refused(lambda: data.open_tfrecord(path),
                   f'^{path}: the file is cut short: it ends after record 2')


def test_records_that_were_moved_are_refused(path):
    data.write_tfrecord(path, collection())
    first, second, *rest, last = records_of(path)
    for records, message in [([first, second, last], 'record 2 is marked as the last of 6'),
                             ([first, last, *rest], 'record 1 is marked as the last of 6'),
                             ([first, second, *rest, last] * 2,
                              'record [56] is marked|is the first of another file')]:
        write(path, records)
        assert_refused(lambda: data.open_tfrecord(path), f'^{path}: .*({message})')


def test_a_flipped_bit_is_an_error(path):
    data.write_tfrecord(path, collection())
    with open(path, 'rb') as file:
        whole = file.read()
    for damaged in flips(whole, 150):
        with open(path, 'wb') as file:
            file.write(damaged)
        with pytest.raises(ValueError, match=f'^{path}: record . cannot be read: the file is '
                                             'damaged or cut short there.$'):
            data.open_tfrecord(path).to_sequences()


def test_damage_is_named_by_its_record_far_into_the_file(path):
    data.write_tfrecord(path, data.Sequences(np.arange(1000.)[:, None], [1] * 1000))
    with open(path, 'rb') as file:
        whole = bytearray(file.read())
    first = 16 + len(records_of(path)[0])
    each = 16 + len(records_of(path)[1])
    whole[first + 600 * each + 20] ^= 1
    with open(path, 'wb') as file:
        file.write(whole)
    assert_refused(lambda: data.open_tfrecord(path), f'^{path}: record 601 cannot be read')


def test_no_sequences_cannot_be_written(path):
    data.write_tfrecord(path, collection())
    with pytest.raises(ValueError, match=f'^{path}: .*got no sequences'):
        data.write_tfrecord(path, collection([]))
    assert_same(data.open_tfrecord(path).to_sequences(), collection())
    assert os.listdir(os.path.dirname(path)) == ['data.tfrecord']


def test_a_failed_write_leaves_the_earlier_file(path, monkeypatch):
    data.write_tfrecord(path, collection())

    def fail(*args, **kwargs):
        raise OSError('no space left')
    for where in ['os.fsync', 'os.replace', 'tensorflow.io.TFRecordWriter.write']:
        with monkeypatch.context() as patch:
            patch.setattr(where, fail)
            with pytest.raises(OSError, match='no space left'):
                data.write_tfrecord(path, collection([1]))
        assert os.listdir(os.path.dirname(path)) == ['data.tfrecord']
    assert_same(data.open_tfrecord(path).to_sequences(), collection())
    with pytest.raises(TypeError, match='must be a Sequences or a Stream, got list'):
        data.write_tfrecord(path, [])
    with pytest.raises(ValueError, match="'seqmask.schema' is reserved"):
        data.write_tfrecord(path, data.Sequences([[1.]], [1], {'seqmask.schema': [1]}))


def test_a_missing_file_is_named(path):
    with pytest.raises(FileNotFoundError, match='data.tfrecord'):
        data.open_tfrecord(path)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    for name, sequences in [('small', 200), ('large', 1000)]:
        data.write_tfrecord(tmp_path / name, many_steps(sequences))
    steps, grown = growth('open_tfrecord', tmp_path / 'small', tmp_path / 'large')
    assert steps == 200_000
    # Parsing takes the same few buffers whatever the file's size; nearly half of this one's.
    assert grown < 200_000 * 64 * 4 * 2 / 3


def test_a_file_that_cannot_be_made_is_an_oserror(tmp_path):
    (tmp_path / 'file').write_text('')
    for path, error in [(tmp_path / 'none' / 'a.tfrecord', FileNotFoundError),
                        (tmp_path / 'file' / 'a.tfrecord', NotADirectoryError)]:
        for write in (data.write_tfrecord, data.write_npz):
            for sequences in (collection(), data.Stream.from_sequences(collection())):
                with pytest.raises(error) as caught:
                    write(path, sequences)
                assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == ['file']


@pytest.mark.parametrize('write', [
    data.write_tfrecord, data.write_npz,
    lambda path, whole: data.write_npz(path, data.Stream.from_sequences(whole)),
    lambda path, whole: write_whole(path, lambda file: file.write(str(whole.frames.tolist())))])
def test_a_full_disk_is_an_oserror_that_names_the_file(write, tmp_path):
    path = str(tmp_path / 'a')
    with full_disk(), pytest.raises(OSError, match='File too large') as caught:
        write(path, collection([300]))
    assert path in str(caught.value) and '.tmp' not in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_an_oserror_of_what_is_read_is_not_told_of_what_is_written(tmp_path):
    problem = OSError(errno.EIO, 'Input/output error')

    def chunks():
        raise problem
        yield

    stream = data.Stream(data.Schema.of(collection()), chunks, source='x')
    with pytest.raises(OSError) as caught:
        data.write_npz(tmp_path / 'a', stream)
    assert caught.value is problem
