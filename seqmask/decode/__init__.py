"""From logits to unaligned labels.

ctc_best_path      labels of the most likely alignment
ctc_beam_search    most likely labels, summed over their alignments
greedy             the most likely label at each step of a decoder
beam_search        the most likely outputs of a decoder, found by beam search
"""

from seqmask.decode.ctc import ctc_beam_search, ctc_best_path
from seqmask.decode.search import beam_search, greedy

__all__ = ['beam_search', 'ctc_beam_search', 'ctc_best_path', 'greedy']
