"""Keras layers on seqmask's functions: only the import changes.

Each layer takes the arguments and has the weights of the Keras layer of the same name, so saved
weights fit both. There are five ways to tell it which steps are real:

  layer(inputs)                       the mask left by a `Masking` or `Embedding` layer below
  layer(inputs, mask=mask)            bool [B, T]
  layer(inputs, lengths=lengths)      int32 [B]; cannot be lost by a layer in between
  layer([inputs, lengths])            the same
  layer(ragged)                       a `tf.RaggedTensor` has its own

Otherwise all steps are real. Outputs at padded steps are 0, and the mask is passed on to the layers
above.
"""

from seqmask.keras.convolution import Conv1D
from seqmask.keras.normalization import BatchNormalization
from seqmask.keras.objectives import MaskedLoss, MaskedMetric
from seqmask.keras.pooling import GlobalAveragePooling1D, GlobalMaxPooling1D
from seqmask.keras.pytorch import from_pytorch
from seqmask.keras.recurrent import GRU, LSTM, Bidirectional
from seqmask.keras.replace import replace_layers
from seqmask.keras.weights import from_keras, to_keras

__all__ = ['BatchNormalization', 'Bidirectional', 'Conv1D', 'GRU', 'GlobalAveragePooling1D',
           'GlobalMaxPooling1D', 'LSTM', 'MaskedLoss', 'MaskedMetric', 'from_keras', 'from_pytorch',
           'replace_layers', 'to_keras']
