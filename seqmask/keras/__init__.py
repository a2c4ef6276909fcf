"""Keras layers around seqmask's functions: change the import, and nothing else.

Each layer takes the arguments of Keras's layer of that name and has its weights, so saved weights
fit both. Which steps are real it is told in one of four ways:

  layer(inputs)                       by the mask that a `Masking` or `Embedding` below left
  layer(inputs, mask=mask)            bool [B, T]
  layer(inputs, lengths=lengths)      int32 [B]; no layer in between can lose them
  layer([inputs, lengths])            the same

Told nothing, it takes all steps for real. Outputs at padded steps are 0, and the mask goes on with
them to the layers above.
"""

from seqmask.keras.convolution import Conv1D
from seqmask.keras.normalization import BatchNormalization
from seqmask.keras.objectives import MaskedLoss, MaskedMetric
from seqmask.keras.pooling import GlobalAveragePooling1D, GlobalMaxPooling1D
from seqmask.keras.pytorch import from_pytorch
from seqmask.keras.recurrent import GRU, LSTM, Bidirectional
from seqmask.keras.weights import from_keras, to_keras

__all__ = ['BatchNormalization', 'Bidirectional', 'Conv1D', 'GRU', 'GlobalAveragePooling1D',
           'GlobalMaxPooling1D', 'LSTM', 'MaskedLoss', 'MaskedMetric', 'from_keras', 'from_pytorch',
           'to_keras']
