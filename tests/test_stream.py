"""Streams of what is in memory, of lists, of ragged tensors and of datasets."""

import numpy as np
import pytest
import tensorflow as tf

from seqmask import data
from seqmask.data import chunk as chunking
from sources import LENGTHS, assert_examples, assert_same, collection


@pytest.mark.parametrize('lengths', [LENGTHS, [], [0], [0, 0, 4], [1] * 600, [30000, 2, 40000]])
def test_a_collection_comes_back(lengths):
    wanted = collection(lengths) if len(lengths) < 600 else data.Sequences(
        np.arange(600.)[:, None], lengths)
    stream = data.Stream.from_sequences(wanted)
    assert stream.num_sequences == len(wanted) == len(stream.examples())
    assert_same(stream.to_sequences(), wanted)
    assert_same(stream.to_sequences(), wanted)
    if sum(lengths) < 100:
        assert_examples(stream, wanted)


def test_readings_do_not_disturb_each_other():
    examples = data.Stream.from_sequences(collection()).examples()
    one, other = iter(examples), iter(examples)
    next(one), next(one)
    assert next(other)['lengths'] == LENGTHS[0]
    assert next(one)['lengths'] == LENGTHS[2]


def test_chunks_are_bounded():
    schema = data.Schema({'inputs': ('float32', [64], 'step')})
    steps = chunking.most_steps(schema)
    assert steps * 64 * 4 == chunking.MOST_BYTES
    lengths = np.array([1] * 300 + [steps + 5, 0, steps - 1, 1, 1])
    assert list(chunking.cuts(lengths, steps)) == [
        (0, 256), (256, 300), (300, 301), (301, 304), (304, 305)]
    assert list(chunking.cuts([], steps)) == []


def test_it_says_what_it_is():
    assert str(data.Stream.from_sequences(data.Sequences(np.float32([[1.]]), [1]))) == (
        'memory: 1 sequences\ninputs  float32  [1]  per step')
    dataset = tf.data.Dataset.from_tensors({'inputs': tf.zeros([2, 3])}).repeat()
    assert str(data.from_dataset(dataset)).startswith('tf.data.Dataset: sequences\n')


class Damaged(ValueError):
    """What a reader of somebody's own may raise."""

    def __init__(self, message, record):
        super().__init__(message)
        self.record = record


def failing(error=None, cause=None):
    """A stream of `collection()` that then raises `error` from `cause`."""
    wanted = collection()

    def chunks():
        yield from data.Stream.from_sequences(wanted).chunks()
        raise error from cause

    return data.Stream(data.Schema.of(wanted), chunks, source='x')


@pytest.mark.parametrize('error', [
    Damaged("ä/b c.npz: record 7 is [bad] \"here\" and 'there'.", 7), Damaged('a \\ {{x}} ]', 1),
    OSError(5, 'no such disk', 'x'), RuntimeError('a bug')])
def test_what_reading_raises_is_kept_as_it_is(error):
    cause = KeyError('cause')
    stream = failing(error, cause)
    read = []
    with pytest.raises(tf.errors.OpError):
        for batch in stream.examples().map(lambda e: {'n': e['lengths']}).batch(1):
            read.extend(batch['n'].numpy())
    assert stream.error is error and error.__cause__ is cause
    assert read == LENGTHS
    for read_all in (stream.to_sequences, lambda: list(data.StreamBatches(stream, 2)),
                     data.StreamBatches(stream, 2, shuffle_buffer=3).report):
        with pytest.raises(type(error)) as caught:
            read_all()
        assert caught.value is error and error.__cause__ is cause
        assert not isinstance(error.__context__, tf.errors.OpError)


def test_an_error_is_that_of_the_latest_pass():
    problems = [ValueError('x: no.')]
    whole = data.Stream.from_sequences(collection())

    def chunks():
        yield from whole.chunks()
        if problems:
            raise problems.pop()

    stream = data.Stream(whole.schema, chunks, source='x')
    batches = data.StreamBatches(stream, 2)
    assert stream.error is batches.error is None
    with pytest.raises(tf.errors.OpError):
        list(batches.dataset)
    assert str(batches.error) == 'x: no.'
    assert len(list(batches.dataset)) == 3 and batches.error is None


def test_an_error_of_tensorflow_stays_what_it_is():
    whole = data.Stream.from_sequences(collection())
    wrong = data.Stream(data.Schema.of(data.Sequences(np.zeros([1, 3]), [1])),
                        lambda: ({**chunk, 'inputs': np.zeros([1, 4])} for chunk in whole.chunks()),
                        source='x')
    with pytest.raises(tf.errors.OpError, match='shape'):
        list(data.StreamBatches(wrong, 2))


def test_from_lists():
    stream = data.from_lists([[[1, 2]], [[3, 4], [5, 6]]], {'labels': [[0], [1, 2]]},
                             {'word': ['a', 'b']})
    assert_examples(stream, data.Sequences(
        np.float32([[1, 2], [3, 4], [5, 6]]), [1, 2], {'labels': [0, 1, 2]},
        {'word': ['a', 'b']}))
    with pytest.raises(ValueError, match='frames of sequence 1 must have shape'):
        data.from_lists([[[1, 2]], [[3]]])


def test_from_ragged():
    nested = [[[1., 2.]], [], [[3., 4.], [5., 6.]]]
    wanted = data.Sequences(np.float32([[1, 2], [3, 4], [5, 6]]), [1, 0, 2],
                            {'word': np.array(['a', 'b', 'ç'])}, {'id': [7, 8, 9]})
    words = tf.ragged.constant([['a'], [], ['b', 'ç']])
    for ragged in (tf.ragged.constant(nested), tf.ragged.constant(nested, inner_shape=(2,))):
        stream = data.from_ragged(ragged, {'word': words}, {'id': tf.constant([7, 8, 9], tf.int64)})
        assert_same(stream.to_sequences(), wanted)
    with pytest.raises(ValueError, match='same size at every step, got'):
        data.from_ragged(tf.ragged.constant([[[1.]], [[1., 2.]]]))
    with pytest.raises(ValueError, match=r'ragged must have shape \[B, \(T\), D\]'):
        data.from_ragged(tf.ragged.constant([[1.], []]))
    with pytest.raises(TypeError, match='ragged must be a tf.RaggedTensor, got list'):
        data.from_ragged(nested)
    with pytest.raises(ValueError, match="'word'.* must have the row lengths of ragged"):
        data.from_ragged(ragged, {'word': words[::-1]})


def padded(**changes):
    parts = {'inputs': tf.constant([[[1.], [2.], [3.]], [[4.], [9.], [9.]], [[9.]] * 3]),
             'lengths': tf.constant([3, 1, 0], tf.int64),
             'labels': tf.constant([[1, 2, 3], [4, 9, 9], [9] * 3]),
             'word': tf.constant(['a', 'b', 'c']), **changes}
    return tf.data.Dataset.from_tensor_slices(
        {name: part for name, part in parts.items() if part is not None})


def test_a_dataset_is_cropped_to_its_lengths():
    wanted = data.Sequences(np.float32([[1], [2], [3], [4]]), [3, 1, 0],
                            {'labels': np.int32([1, 2, 3, 4])}, {'word': ['a', 'b', 'c']})
    stream = data.from_dataset(padded())
    assert stream.num_sequences == 3
    assert_same(stream.to_sequences(), wanted)
    assert_examples(stream, wanted)
    whole = data.from_dataset(padded(lengths=None)).to_sequences()
    assert whole.lengths.tolist() == [3, 3, 3] and whole.frames[4] == 9


def test_a_dataset_of_unknown_lengths_and_whole_numbers():
    dataset = tf.data.Dataset.range(4).map(
        lambda n: {'inputs': tf.ones([n, 2], tf.int32), 'three': tf.zeros([3])})
    stream = data.from_dataset(dataset.filter(lambda e: True))
    assert stream.num_sequences is None
    assert stream.schema == data.Schema({'inputs': ('float32', [2], 'step'),
                                         'three': ('float32', [3], 'sequence')})
    assert stream.to_sequences().lengths.tolist() == [0, 1, 2, 3]


def test_which_fields_of_a_dataset_are_per_step_can_be_said():
    three = padded(vector=tf.zeros([3, 3]))
    assert data.from_dataset(three).schema.fields['vector'].per == 'step'
    said = data.from_dataset(three, steps=['labels']).schema
    assert said.fields['vector'] == data.Field(tf.float32, (3,), 'sequence')
    with pytest.raises(ValueError, match="steps names 'word', which has no axis of steps"):
        data.from_dataset(three, steps=['word'])


@pytest.mark.parametrize('message, dataset', [
    ('lengths must be in 0..T; that of element 1 is 4, and T is 3',
     padded(lengths=tf.constant([3, 4, 0]))),
    ('element 0 is -1, and T is 3', padded(lengths=tf.constant([-1, 4, 0]))),
    ('element 2 is 4294967297', padded(lengths=tf.constant([1, 1, 2**32 + 1], tf.int64))),
    ("'more' must have an entry for each frame; element 1 has 1, and 2 frames",
     tf.data.Dataset.range(2).map(lambda n: {'inputs': tf.ones([2, 1]),
                                             'more': tf.ones([2 - n])})),
])
def test_elements_that_do_not_fit_are_named(message, dataset):
    stream = data.from_dataset(dataset)
    with pytest.raises(ValueError, match=message) as caught:
        stream.to_sequences()
    assert str(caught.value).startswith('tf.data.Dataset: ') and '\n' not in str(caught.value)
    with pytest.raises(ValueError) as raised:
        list(data.StreamBatches(stream, 2))
    assert str(raised.value) == str(caught.value)


def test_an_error_of_a_dataset_is_the_cause():
    dataset = padded().map(lambda e: {**e, 'labels': tf.debugging.check_numerics(
        tf.cast(e['labels'], tf.float32) / 0, 'bad labels')})
    with pytest.raises(ValueError, match='^tf.data.Dataset: .*bad labels') as caught:
        list(data.StreamBatches(data.from_dataset(dataset), 2))
    assert '\n' not in str(caught.value)
    assert isinstance(caught.value.__cause__, tf.errors.InvalidArgumentError)


@pytest.mark.parametrize('error, message, dataset', [
    (TypeError, "dicts with 'inputs', got Dataset|list", []),
    (TypeError, "dicts with 'inputs'", tf.data.Dataset.range(3)),
    (ValueError, r"'inputs' must have shape \[T, D\].*unbatch\(\)", padded().batch(2)),
    (ValueError, "'lengths' must be an int scalar", padded(lengths=tf.constant([1., 2., 3.]))),
    (ValueError, "'x' must have one shape for every sequence", tf.data.Dataset.range(1).map(
        lambda n: {'inputs': tf.zeros([2, 1]), 'x': tf.zeros([1, n])})),
])
def test_other_datasets_are_refused(error, message, dataset):
    with pytest.raises(error, match=message):
        data.from_dataset(dataset)


def test_what_is_no_source_is_refused(tmp_path):
    with pytest.raises(TypeError, match='sequences must be a Sequences, got list'):
        data.Stream.from_sequences([])
    with pytest.raises(TypeError, match='schema must be a Schema, got dict'):
        data.Stream({}, list, source='x')
    with pytest.raises(TypeError, match='must be a Sequences or a Stream, got list'):
        data.write_npz(tmp_path / 'x.npz', [])


def test_bytes_that_are_no_text_are_refused():
    dataset = tf.data.Dataset.from_tensors({'inputs': tf.zeros([1, 1]), 'word': b'\xff'})
    with pytest.raises(ValueError, match="'word' must be UTF-8 to be kept in memory.*xff"):
        data.from_dataset(dataset).to_sequences()


def test_batches_of_a_stream_are_those_of_the_collection():
    wanted = data.Sequences(collection().frames, LENGTHS)
    batches = data.StreamBatches(data.Stream.from_sequences(wanted), 4)
    assert len(batches) == 2
    for ours, theirs in zip(batches, data.Batches(wanted, 4)):
        np.testing.assert_array_equal(ours['inputs'], theirs['inputs'])
        np.testing.assert_array_equal(ours['lengths'], theirs['lengths'])
