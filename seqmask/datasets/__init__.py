"""Small data sets, embedded in the package or generated.

Every data set is a dict of NumPy arrays in one layout, N frames of B sequences:

  'frames': float32 [N, D]. All frames, concatenated.
  'lengths': int32 [B]. Frames of each sequence, in that order; they sum to N.
  'labels': int32, [N] per frame or [B] per sequence.
  'label_names': str [K]. The names of the labels 0 to K - 1.

and further fields per sequence, [B], such as its part in the published division. The tokens and
labels of `pronunciations` have lengths of their own.
"""

from seqmask.datasets.embedded import japanese_vowels, ocr_letters, pronunciations
from seqmask.datasets.ratings import low_rank_ratings
from seqmask.datasets.system_log import system_log

__all__ = ['japanese_vowels', 'low_rank_ratings', 'ocr_letters', 'pronunciations', 'system_log']
