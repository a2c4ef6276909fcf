"""The flags that all training scripts share, and the optimizer they ask for."""

from __future__ import annotations

import json
import os
import types
import typing

import tensorflow as tf
from absl import flags

from seqmask.data.files.whole import write_whole
from seqmask.runs.app import UserError
from seqmask.runs.workers import STRATEGIES
from seqmask.training.lock import hold
from seqmask.training.precision import MixedPrecision

# Makes the flags defined here key flags of the calling script, so that its --help lists them.
flags.disclaim_key_flags()

FLAGS_FILE = 'flags.json'
COLUMNS = ('sequence', 'time', 'labels', 'features', 'labels_per')

_locks = set()      # held until the process ends

# Flags whose values may change when a run is resumed.
MAY_CHANGE = ('epochs', 'keep_checkpoints', 'plots', 'strategy', 'tensorboard', 'workdir')


def define_flags(*, workdir: str, epochs: int, batch_size: int = 64, learning_rate: float = 1e-3,
                 schedule: str = 'cosine', clip_norm: float = 5.0) -> None:
    """Defines the training flags, with a script's own defaults."""
    flags.DEFINE_string('workdir', workdir,
                        'Folder for checkpoints, history.csv and predictions. An unfinished run '
                        'with the same flags is resumed.')
    flags.DEFINE_integer('epochs', epochs, 'Passes over the training data.', 1)
    flags.DEFINE_integer('batch_size', batch_size, 'Sequences in a batch.', 1)
    flags.DEFINE_integer('max_steps', 0, 'Padded time steps in a batch, instead of --batch_size; 0 '
                         'for no such limit.', 0)
    flags.DEFINE_integer('buckets', 0, 'Number of buckets of similar lengths from which batches '
                         'are drawn; 0 to mix all lengths.', 0)
    flags.DEFINE_integer('accumulate', 1, 'Micro-batches per optimizer step. The gradient is that '
                         'of one batch; batch norm uses the statistics of each micro-batch.', 1)
    flags.DEFINE_enum('precision', 'float32', ['float32', 'bfloat16', 'float16'],
                      'Floating-point type in which the model computes. Master weights, sums and '
                      'counts are always float32.')
    flags.DEFINE_float('learning_rate', learning_rate,
                       "Adam's peak learning rate, reached after one epoch of warm-up.", 0.0)
    flags.DEFINE_enum('schedule', schedule, ['cosine', 'constant'],
                      'Whether the learning rate decays to 0 along a cosine or stays constant.')
    flags.DEFINE_float('clip_norm', clip_norm,
                       'Clip the global norm of the gradient to this; 0 for no clipping.', 0.0)
    flags.DEFINE_integer('patience', 0,
                         'Early stopping: epochs without improvement on the validation data; 0 to '
                         'disable.', 0)
    flags.DEFINE_integer('seed', 0, 'Seed of weights, dropout and the order of the data.', 0,
                         2**32 - 1)
    flags.DEFINE_enum('strategy', 'none', STRATEGIES,
                      'Devices that share the work: none, a single one; mirrored, all GPUs of this '
                      'machine; multiworker, the processes named in TF_CONFIG.')
    flags.DEFINE_integer('keep_checkpoints', 2, 'Checkpoints to keep, newest first, in case one is '
                         'damaged.', 1)
    flags.DEFINE_bool('tensorboard', False,
                      'Write curves for TensorBoard into workdir/tensorboard after each epoch.')
    flags.DEFINE_bool('plots', False, 'Draw pictures into workdir/pictures after training.')


def define_sequence_flags(embedded: str, *, standardize: str | None = None) -> None:
    """Defines the data and model flags of scripts that train on sequences.

    Args:
      embedded: The data used without --data, such as 'embedded vowels'.
      standardize: Default of --standardize.
    """
    flags.DEFINE_string('data', '', f'File to train on (.npz, .tfrecord, .csv); by default the '
                        f'{embedded}.')
    _define_column_flags('all other numeric columns')
    flags.DEFINE_integer('embedding_size', 64, 'Width of the vector of a token, if the file holds '
                         'tokens instead of features.', 1)
    flags.DEFINE_integer('limit', 0, 'Sequences to use of each part; 0 for all. For a quick trial.',
                         0)
    flags.DEFINE_enum('standardize', standardize, ['none', 'standard', 'minmax', 'sequence'],
                      'Scale features by the mean and deviation of the training data, by their '
                      'range there, by the mean and deviation of each sequence, or not at all.')
    flags.DEFINE_enum('implementation', 'auto', ['auto', 'kernel', 'graph'],
                      'Implementation of the recurrence.')


def define_run_flags() -> None:
    """Defines the flags of scripts that read a trained run and a file to use it on."""
    flags.DEFINE_string('workdir', None, '--workdir of a training script.')
    _define_column_flags('those of the run')
    flags.mark_flag_as_required('workdir')


def _define_column_flags(default):
    flags.DEFINE_string('sequence', None, 'Of a table (.csv, .parquet): column that names the '
                        'sequence of a row; by default sequence.')
    flags.DEFINE_string('time', None, 'Of a table: column of times, numbers or ISO 8601, which '
                        'must ascend.')
    flags.DEFINE_string('labels', None, 'Of a table: column of labels, whole numbers or text; by '
                        'default labels.')
    flags.DEFINE_list('features', None, f'Of a table: columns of features, separated by commas; by '
                      f'default {default}.')
    flags.DEFINE_enum('labels_per', None, ['step', 'sequence'], 'Of a table: whether each row has '
                      'its label, or all rows of a sequence the same one; by default as the model '
                      'needs it.')


def asked_columns() -> dict[str, typing.Any]:
    """The columns of a table that the flags name: arguments of `data.open_csv`."""
    values = {name: flags.FLAGS[name].value for name in COLUMNS}
    return {name: value for name, value in values.items() if value is not None}


def make_optimizer(steps_per_epoch: int) -> tf.keras.optimizers.Optimizer | MixedPrecision:
    """Adam with the learning rate schedule of the flags; wrapped for half precision.

    Args:
      steps_per_epoch: int. Optimizer steps per epoch.
    """
    values = flags.FLAGS
    rate = values.learning_rate
    if values.schedule == 'cosine':
        decay_steps = max(1, (values.epochs - 1) * steps_per_epoch)
        rate = tf.keras.optimizers.schedules.CosineDecay(
            0.1 * rate, decay_steps, warmup_target=rate, warmup_steps=steps_per_epoch)
    optimizer = tf.keras.optimizers.Adam(rate)
    return optimizer if values.precision == 'float32' else MixedPrecision(optimizer)


def claim_workdir(script: types.ModuleType) -> None:
    """Locks the workdir until this process ends and records the flags of `script`, a module, in it.

    Raises:
      UserError: If the workdir holds a run with other flags; the message names them.
      BlockingIOError: If another process has claimed it.
    """
    own = flags.FLAGS.get_key_flags_for_module(script)
    values = {flag.name: flag.value for flag in own}
    path = os.path.join(values['workdir'], FLAGS_FILE)
    try:
        with open(path, encoding='utf-8') as file:
            # Flags that did not exist when the run began had their defaults.
            recorded = {**{flag.name: flag.default for flag in own}, **dict(json.load(file))}
    except FileNotFoundError:
        os.makedirs(values['workdir'], exist_ok=True)
        _locks.add(hold(values['workdir']))
        write_whole(path, lambda file: json.dump(values, file, indent=2))
        return
    except (ValueError, TypeError) as error:
        raise UserError(f'{path!r} is not readable: {error}. Choose another --workdir.') from error
    changed = [f'--{name}={recorded.get(name)} there, {value} here'
               for name, value in values.items()
               if name not in MAY_CHANGE and recorded.get(name) != value]
    if changed:
        raise UserError(f'workdir {values["workdir"]!r} holds a run with other flags '
                        f'({"; ".join(changed)}). Choose another --workdir, or use those flags.')
    _locks.add(hold(values['workdir']))
