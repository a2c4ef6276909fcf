"""The flags that all training scripts share, and what they make."""

from __future__ import annotations

import json
import os
import types

import tensorflow as tf
from absl import flags

from seqmask.data.files.whole import write_whole
from seqmask.runs.app import UserError
from seqmask.runs.workers import STRATEGIES
from seqmask.training.lock import hold
from seqmask.training.precision import MixedPrecision

# The flags defined here are the script's own: its --help shows them.
flags.disclaim_key_flags()

FLAGS_FILE = 'flags.json'

_locks = set()      # a script keeps its workdir to itself until it ends

# A run may be gone on with under other values of these.
FREE = ('epochs', 'keep_checkpoints', 'plots', 'strategy', 'tensorboard', 'workdir')


def define_flags(*, workdir: str, epochs: int, batch_size: int = 64, learning_rate: float = 1e-3,
                 schedule: str = 'cosine', clip_norm: float = 5.0) -> None:
    """Defines the flags of training, with a script's own defaults."""
    flags.DEFINE_string('workdir', workdir,
                        'Folder for checkpoints, history.csv and predictions. If it holds an '
                        'unfinished run of the same flags, that goes on.')
    flags.DEFINE_integer('epochs', epochs, 'Times that training sees all its data.', 1)
    flags.DEFINE_integer('batch_size', batch_size, 'Sequences in a batch.', 1)
    flags.DEFINE_integer('max_steps', 0, 'Padded time steps in a batch, instead of --batch_size; 0 '
                         'for no such budget.', 0)
    flags.DEFINE_integer('buckets', 0, 'Batches hold sequences of similar lengths, from so many '
                         'buckets; 0 to mix all lengths.', 0)
    flags.DEFINE_integer('accumulate', 1, 'Batches of one step of the optimizer: the gradient is '
                         'that of one batch, but batch norm takes the statistics of each.', 1)
    flags.DEFINE_enum('precision', 'float32', ['float32', 'bfloat16', 'float16'],
                      'In which the model computes. Masters of its weights, sums and counts are '
                      'float32 in any case.')
    flags.DEFINE_float('learning_rate', learning_rate,
                       'Highest learning rate of Adam, after one epoch of warming up.', 0.0)
    flags.DEFINE_enum('schedule', schedule, ['cosine', 'constant'],
                      'Whether the learning rate falls to 0 along a cosine, or stays.')
    flags.DEFINE_float('clip_norm', clip_norm,
                       'Largest global norm of the gradient; 0 to leave it as it is.', 0.0)
    flags.DEFINE_integer('patience', 0,
                         'Epochs without a better one on the validation data after which training '
                         'ends; 0 for never.', 0)
    flags.DEFINE_integer('seed', 0, 'Of weights, dropout and the order of the data.', 0,
                         2**32 - 1)
    flags.DEFINE_enum('strategy', 'none', STRATEGIES,
                      'Devices that share the work: none but one; mirrored, all GPUs of this '
                      'machine; multiworker, the processes named in TF_CONFIG.')
    flags.DEFINE_integer('keep_checkpoints', 2, 'Newest epochs whose state is kept, in case one is '
                         'damaged.', 1)
    flags.DEFINE_bool('tensorboard', False,
                      'Write curves for TensorBoard into workdir/tensorboard, epoch by epoch.')
    flags.DEFINE_bool('plots', False,
                      'Draw pictures into workdir/pictures when training has ended.')


def make_optimizer(steps_per_epoch: int) -> tf.keras.optimizers.Optimizer | MixedPrecision:
    """Adam with the learning rate that the flags ask for.

    Args:
      steps_per_epoch: int. Steps of the optimizer in an epoch.

    Returns:
      Keras optimizer, or `MixedPrecision` of one.
    """
    values = flags.FLAGS
    rate = values.learning_rate
    if values.schedule == 'cosine':
        falling = max(1, (values.epochs - 1) * steps_per_epoch)
        rate = tf.keras.optimizers.schedules.CosineDecay(
            0.1 * rate, falling, warmup_target=rate, warmup_steps=steps_per_epoch)
    optimizer = tf.keras.optimizers.Adam(rate)
    return optimizer if values.precision == 'float32' else MixedPrecision(optimizer)


def claim_workdir(script: types.ModuleType) -> None:
    """Writes the flags of `script`, a module, into the workdir, or compares them to those there.

    Until this process ends, no other one may claim the workdir.

    Raises:
      UserError: If the workdir holds a run of other flags; the message names them.
      BlockingIOError: If another process has claimed it.
    """
    own = flags.FLAGS.get_key_flags_for_module(script)
    values = {flag.name: flag.value for flag in own}
    path = os.path.join(values['workdir'], FLAGS_FILE)
    try:
        with open(path, encoding='utf-8') as file:
            # A flag that is newer than the run was at its default then.
            before = {**{flag.name: flag.default for flag in own}, **dict(json.load(file))}
    except FileNotFoundError:
        os.makedirs(values['workdir'], exist_ok=True)
        _locks.add(hold(values['workdir']))
        write_whole(path, lambda file: json.dump(values, file, indent=2))
        return
    except (ValueError, TypeError) as error:
        raise UserError(f'{path!r} is not readable: {error}. Choose another --workdir.') from error
    other = [f'--{name}={before.get(name)} there, {value} here' for name, value in values.items()
             if name not in FREE and before.get(name) != value]
    if other:
        raise UserError(f'workdir {values["workdir"]!r} holds a run of other flags '
                        f'({"; ".join(other)}). Choose another --workdir, or use those flags.')
    _locks.add(hold(values['workdir']))
