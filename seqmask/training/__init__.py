"""Training: how weights move, on how many devices, and what is saved to disk.

One step                    train_step, sum_gradients, Step
Model variables             trainable_variables, model_variables
Epochs, best epoch, resume  Trainer, restore_best, read_history
Long sequences              ChunkLoss
Half precision              MixedPrecision
Large tables                LazyAdam
Several workers             is_chief
"""

from seqmask.training.chunks import ChunkLoss
from seqmask.training.lazy_adam import LazyAdam
from seqmask.training.precision import MixedPrecision
from seqmask.training.replicas import is_chief
from seqmask.training.step import Step, sum_gradients, train_step
from seqmask.training.trainer import Trainer
from seqmask.training.workdir import read_history, restore_best
from seqmask.variables import model_variables, trainable_variables

__all__ = ['ChunkLoss', 'LazyAdam', 'MixedPrecision', 'Step', 'Trainer', 'is_chief',
           'model_variables', 'read_history', 'restore_best', 'sum_gradients', 'train_step',
           'trainable_variables']
