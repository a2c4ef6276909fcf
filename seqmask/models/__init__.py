"""Models: which layers make a labeller, a classifier, an autoencoder?"""

from seqmask.models.classifier import SequenceClassifier
from seqmask.models.labeller import SequenceLabeller

__all__ = ['SequenceClassifier', 'SequenceLabeller']
