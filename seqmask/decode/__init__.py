"""From logits to unaligned labels.

ctc_best_path      labels of the most likely alignment
ctc_beam_search    most likely labels, summed over their alignments
"""

from seqmask.decode.ctc import ctc_beam_search, ctc_best_path

__all__ = ['ctc_beam_search', 'ctc_best_path']
