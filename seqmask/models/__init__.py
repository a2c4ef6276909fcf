"""Models: which layers make a labeller, a classifier, an autoencoder?"""

from seqmask.models.labeller import SequenceLabeller

__all__ = ['SequenceLabeller']
