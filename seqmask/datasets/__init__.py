"""Sequences to try things on: small data sets that come with the package, real or generated.

Every data set is a dict of NumPy arrays in one layout, N frames of B sequences:

  'frames': float32 [N, D]. All frames, one sequence after the other.
  'lengths': int32 [B]. Frames of each sequence, in that order; they sum to N.
  'labels': int32, [N] where each frame has its own and [B] where each sequence has one.
  'label_names': str [K]. What the labels 0 to K - 1 mean.

and what else is known of each sequence, [B], such as the part of the published division into
training and test data that it belongs to.
"""

from seqmask.datasets.embedded import japanese_vowels, ocr_letters
from seqmask.datasets.ratings import low_rank_ratings
from seqmask.datasets.system_log import system_log

__all__ = ['japanese_vowels', 'low_rank_ratings', 'ocr_letters', 'system_log']
