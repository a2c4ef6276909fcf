"""Training: how weights move, and what stays of it on disk."""

from seqmask.training.app import UserError, run, user_errors
from seqmask.training.chunks import ChunkLoss
from seqmask.training.distribute import is_chief, make_strategy
from seqmask.training.flags import claim_workdir, define_flags, make_optimizer
from seqmask.training.labelled import train_and_report
from seqmask.training.lazy_adam import LazyAdam
from seqmask.training.pictures_codes import draw_codes
from seqmask.training.pictures_events import draw_events
from seqmask.training.precision import MixedPrecision
from seqmask.training.predictions import (code_rows, confusion_counts, predict_sequences,
                                          prediction_rows, reconstruct_sequences)
from seqmask.training.reading import (divided, labels_of, limited, read_part, read_parts,
                                      read_sequences, refuse_existing)
from seqmask.training.record import Run, load_run
from seqmask.training.step import Step, sum_gradients, train_step
from seqmask.training.summary import table
from seqmask.training.task import Fitted, finish, fit_task, make_standardizer
from seqmask.training.trainer import Trainer
from seqmask.training.workdir import read_rows, restore_best, write_rows
from seqmask.variables import model_variables, trainable_variables

__all__ = ['ChunkLoss', 'Fitted', 'LazyAdam', 'MixedPrecision', 'Run', 'Step', 'Trainer',
           'UserError', 'claim_workdir', 'code_rows', 'confusion_counts', 'define_flags',
           'divided', 'draw_codes', 'draw_events', 'finish', 'fit_task', 'is_chief',
           'labels_of', 'limited', 'load_run', 'make_optimizer', 'make_standardizer',
           'make_strategy', 'model_variables', 'predict_sequences', 'prediction_rows',
           'read_part', 'read_parts', 'read_rows', 'read_sequences',
           'reconstruct_sequences', 'refuse_existing', 'restore_best', 'run',
           'sum_gradients', 'table', 'train_and_report', 'train_step',
           'trainable_variables', 'user_errors', 'write_rows']
