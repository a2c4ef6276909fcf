"""Training: how weights move, and what stays of it on disk."""

from seqmask.training.app import UserError, run, user_errors
from seqmask.training.chunks import ChunkLoss
from seqmask.training.flags import claim_workdir, define_flags, make_optimizer
from seqmask.training.precision import MixedPrecision
from seqmask.training.predictions import predict_sequences, prediction_rows
from seqmask.training.reading import labels_of, limited, read_part, read_parts
from seqmask.training.record import Run, held_out_file, load_run
from seqmask.training.step import Step, sum_gradients, train_step
from seqmask.training.summary import table
from seqmask.training.task import make_standardizer, train_and_report
from seqmask.training.trainer import Trainer
from seqmask.training.workdir import read_rows, restore_best, write_rows

__all__ = ['ChunkLoss', 'MixedPrecision', 'Run', 'Step', 'Trainer', 'UserError', 'claim_workdir',
           'define_flags', 'held_out_file', 'labels_of', 'limited', 'load_run', 'make_optimizer',
           'make_standardizer', 'predict_sequences', 'prediction_rows', 'read_part', 'read_parts',
           'read_rows', 'restore_best', 'run', 'sum_gradients', 'table', 'train_and_report',
           'train_step', 'user_errors', 'write_rows']
