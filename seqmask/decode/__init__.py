"""From logits to labels without steps.

ctc_best_path      the most likely class of each step, repeats and blanks dropped
ctc_beam_search    the labels of the highest probability, summed over their alignments
"""

from seqmask.decode.ctc import ctc_beam_search, ctc_best_path

__all__ = ['ctc_beam_search', 'ctc_best_path']
