"""Models: an encoder and a head, for labelling, classification, transcription, and so on.

Encoders   Encoder (recurrent), ConvEncoder, DilatedEncoder; OwnEncoder wraps any callable
Tokens     TokenEmbedding, which an encoder of tokens reads first; CharacterEmbedding of words
Models     SequenceLabeller, SequenceClassifier, SequenceTranscriber, SequenceToSequence,
           SequenceAutoencoder, FramePredictor, EventDetector; SequenceModel
Ratings    RatingAutoencoder on a RatingEncoder; rating_biases, factorize_ratings
"""

from seqmask.models.autoencoder import SequenceAutoencoder
from seqmask.models.classifier import SequenceClassifier
from seqmask.models.convolutions import ConvEncoder, DilatedEncoder
from seqmask.models.encoder import Encoder
from seqmask.models.events import EventDetector
from seqmask.models.frames import FramePredictor
from seqmask.models.labeller import SequenceLabeller
from seqmask.models.protocol import SequenceModel, StreamingModel
from seqmask.models.rating_baselines import factorize_ratings, rating_biases
from seqmask.models.rating_encoder import RatingEncoder
from seqmask.models.ratings import RatingAutoencoder
from seqmask.models.sequence_encoder import OwnEncoder, SequenceEncoder
from seqmask.models.sequence_to_sequence import SequenceToSequence
from seqmask.models.tokens import CharacterEmbedding, TokenEmbedding
from seqmask.models.transcriber import SequenceTranscriber

__all__ = ['CharacterEmbedding', 'ConvEncoder', 'DilatedEncoder', 'Encoder', 'EventDetector',
           'FramePredictor', 'OwnEncoder', 'RatingAutoencoder', 'RatingEncoder',
           'SequenceAutoencoder', 'SequenceClassifier', 'SequenceEncoder', 'SequenceLabeller',
           'SequenceModel', 'SequenceToSequence', 'SequenceTranscriber', 'StreamingModel',
           'TokenEmbedding', 'factorize_ratings', 'rating_biases']
