"""Training: how weights move, and what stays of it on disk."""

from seqmask.training.app import UserError, run, user_errors
from seqmask.training.chunks import ChunkLoss
from seqmask.training.flags import claim_workdir, define_flags, make_optimizer
from seqmask.training.precision import MixedPrecision
from seqmask.training.step import Step, sum_gradients, train_step
from seqmask.training.task import limited, read_parts, train_and_report
from seqmask.training.trainer import Trainer
from seqmask.training.workdir import read_rows, restore_best, write_rows

__all__ = ['ChunkLoss', 'MixedPrecision', 'Step', 'Trainer', 'UserError', 'claim_workdir', 'define_flags', 'limited',
           'make_optimizer', 'read_parts', 'read_rows', 'restore_best', 'run', 'sum_gradients',
           'train_and_report', 'train_step', 'user_errors', 'write_rows']
