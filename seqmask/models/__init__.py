"""Models: which layers make a labeller, a classifier, an autoencoder?"""

from seqmask.models.autoencoder import SequenceAutoencoder
from seqmask.models.classifier import SequenceClassifier
from seqmask.models.events import EventDetector
from seqmask.models.labeller import SequenceLabeller
from seqmask.models.rating_baselines import factorize_ratings, rating_biases
from seqmask.models.ratings import RatingAutoencoder

__all__ = ['EventDetector', 'RatingAutoencoder', 'SequenceAutoencoder', 'SequenceClassifier',
           'SequenceLabeller', 'factorize_ratings', 'rating_biases']
