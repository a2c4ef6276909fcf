import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import datasets


@pytest.fixture(scope='module')
def letters():
    return datasets.ocr_letters()


@pytest.fixture(scope='module')
def vowels():
    return datasets.japanese_vowels()


def padded(data):
    ragged = tf.RaggedTensor.from_row_lengths(data['frames'], data['lengths'])
    return ragged.to_tensor()


def test_ocr_letters(letters):
    assert {name: (array.dtype.kind, array.shape) for name, array in letters.items()} == {
        'frames': ('f', (52152, 128)), 'lengths': ('i', (6877,)), 'labels': ('i', (52152,)),
        'label_names': ('U', (26,)), 'fold': ('i', (6877,)), 'word': ('U', (6877,))}
    assert letters['frames'].dtype == np.float32
    assert all(letters[name].dtype == np.int32 for name in ['lengths', 'labels', 'fold'])
    assert letters['lengths'].sum() == 52152
    assert (letters['lengths'].min(), letters['lengths'].max()) == (3, 14)
    assert set(np.unique(letters['frames'])) == {0, 1}
    assert set(letters['labels']) == set(range(26))
    assert set(letters['fold']) == set(range(10))
    assert len(set(letters['word'])) == 55


def test_the_labels_of_ocr_letters_spell_its_words(letters):
    spelled = ''.join(letters['label_names'][letters['labels']])
    assert spelled == ''.join(letters['word'])
    assert [len(word) for word in letters['word']] == letters['lengths'].tolist()


def test_japanese_vowels(vowels):
    assert {name: (array.dtype.kind, array.shape) for name, array in vowels.items()} == {
        'frames': ('f', (9961, 12)), 'lengths': ('i', (640,)), 'labels': ('i', (640,)),
        'label_names': ('U', (9,)), 'split': ('i', (640,))}
    assert vowels['frames'].dtype == np.float32
    assert all(vowels[name].dtype == np.int32 for name in ['lengths', 'labels', 'split'])
    assert vowels['lengths'].sum() == 9961
    assert (vowels['lengths'].min(), vowels['lengths'].max()) == (7, 29)
    assert set(vowels['labels']) == set(range(9))
    assert (np.sum(vowels['split'] == 0), np.sum(vowels['split'] == 2)) == (270, 640 - 270)


@pytest.mark.parametrize('name', sorted(set(datasets.__all__) - {'pronunciations'}))
def test_lengths_can_be_found_in_the_features(name):
    data = getattr(datasets, name)()
    assert data['frames'].any(axis=1).all()      # no all-zero frame, so both counts are right
    features = padded(data)
    np.testing.assert_array_equal(seqmask.lengths_from_features(features), data['lengths'])
    np.testing.assert_array_equal(seqmask.count_used_frames(features), data['lengths'])


@pytest.mark.parametrize('name', datasets.__all__)
def test_each_call_gives_arrays_of_its_own(name):
    load = getattr(datasets, name)
    changed = load()
    values = 'tokens' if name == 'pronunciations' else 'frames'
    kept = changed[values][0].copy()
    changed[values][:] = -1
    np.testing.assert_array_equal(load()[values][0], kept)


def test_pronunciations():
    words = datasets.pronunciations()
    assert {name: (array.dtype.kind, array.shape) for name, array in words.items()} == {
        'tokens': ('i', (932816,)), 'lengths': ('i', (124926,)), 'labels': ('i', (791347,)),
        'label_lengths': ('i', (124926,)), 'split': ('i', (124926,)), 'token_names': ('U', (27,)),
        'label_names': ('U', (69,))}
    assert words['lengths'].sum() == 932816 and words['label_lengths'].sum() == 791347
    assert set(words['tokens']) == set(range(27)) and set(words['labels']) == set(range(69))
    assert np.bincount(words['split']).tolist() == [106_188, 6_246, 12_492]
    assert (words['label_lengths'] > words['lengths']).sum() == 2_218
    assert words['label_lengths'].min() > 0
