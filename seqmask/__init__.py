"""Sequences of different lengths in one batch, in plain TensorFlow.

Every operation that takes `lengths` or `mask` equals running each sequence alone, without padding,
and padding the results with zeros; so do its gradients.

In all shapes: B sequences, T padded time steps, D features, H hidden units, K classes.

Which steps are real?
  lengths_from_features, lengths_from_mask, count_used_frames, sequence_mask, move_padding_right
What stands at a padded step?
  apply_mask, mask_gradient, last_relevant, reverse, repeat, concat_time, crop, to_ragged,
  from_ragged; pack, unpack, Packed: only real steps
Layers
  recurrent     GRU, LSTM, LSTMState, MGU, Bidirectional, Stacked, unroll, reset_rows
  step by step  Dense, Activation, Dropout, LayerNorm (all four also for vectors [B, D]), BatchNorm;
                Embedding of tokens
  over time     Conv1D, average_pool1d, max_pool1d, mean_pool, max_pool, SqueezeExcite
  attention     masked_softmax, AttentionPool, SelfAttention; Attention to an
                AttentionMemory, of a decoder
  labels        CRF, Constraints, bio_constraints
  together      Sequential, Residual
Losses and metrics
  Tally         a sum and its number of terms, divided last
  losses        cross-entropies, squared and absolute errors, CTC; Keras's averages
  metrics       averages, accuracy, confusion; precision and recall of rare events; spans, edits
  decode        CTC's best path and beam search; both of any step function
Data, models, training
  data          files, batches, scaling, ratings
  datasets      embedded and generated data
  models        on an Encoder, ConvEncoder, DilatedEncoder or OwnEncoder: SequenceLabeller,
                SequenceClassifier, SequenceTranscriber, SequenceToSequence, FramePredictor,
                SequenceAutoencoder, EventDetector;
                tokens as inputs: TokenEmbedding, CharacterEmbedding;
                on a RatingEncoder: RatingAutoencoder. Bases: SequenceEncoder, SequenceModel,
                StreamingModel
  training      train_step, Trainer, LazyAdam
  runs          what training scripts share: flags, files, the report
In and out
  keras         Keras layers around these functions; weights from and to Keras, from PyTorch
  export        SavedModel and TensorFlow Lite, without seqmask
  StepRunner    a model step by step, NumPy in and out, at a few microseconds a step
  kernels       the C++ recurrence: `python -m seqmask.kernels`

`help(seqmask.GRU)` and so on give the equation, the shapes, the errors and an example. The version
is `__version__`.
"""

from seqmask import (data, datasets, decode, export, keras, losses, metrics, models, runs, tracing,
                     training)
from seqmask.layers import (CRF, GRU, LSTM, MGU, Activation, Attention, AttentionMemory,
                            AttentionPool, BatchNorm, Bidirectional, Constraints, Conv1D, Dense,
                            Dropout, Embedding, LayerNorm, LSTMState, Residual, SelfAttention,
                            Sequential, SqueezeExcite, Stacked, average_pool1d, bio_constraints,
                            max_pool, max_pool1d, mean_pool, reset_rows, unroll)
from seqmask.lengths import (count_used_frames, lengths_from_features, lengths_from_mask,
                             move_padding_right, sequence_mask)
from seqmask.masking import (apply_mask, concat_time, crop, from_ragged, last_relevant,
                             mask_gradient, masked_softmax, repeat, reverse, to_ragged)
from seqmask.packing import Packed, pack, unpack
from seqmask.streaming import StepRunner
from seqmask.tally import Tally
from seqmask.version import __version__

tracing.skip_seqmask()

__all__ = [
    'Activation', 'Attention', 'AttentionMemory', 'AttentionPool', 'BatchNorm', 'Bidirectional',
    'CRF', 'Constraints', 'Conv1D', 'Dense', 'Dropout', 'Embedding', 'GRU', 'LSTM', 'LSTMState',
    'LayerNorm', 'MGU', 'Packed', 'Residual', 'SelfAttention', 'Sequential', 'SqueezeExcite',
    'Stacked', 'StepRunner', 'Tally', '__version__', 'apply_mask', 'average_pool1d',
    'bio_constraints', 'concat_time', 'count_used_frames', 'crop', 'data', 'datasets', 'decode',
    'export', 'from_ragged', 'keras', 'last_relevant', 'lengths_from_features', 'lengths_from_mask',
    'losses', 'mask_gradient', 'masked_softmax', 'max_pool', 'max_pool1d', 'mean_pool', 'metrics',
    'models', 'move_padding_right', 'pack', 'repeat', 'reset_rows', 'reverse', 'runs',
    'sequence_mask', 'to_ragged', 'training', 'unpack', 'unroll',
]
