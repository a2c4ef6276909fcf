"""The flags that all training scripts share, and what they make."""

import json
import os

import tensorflow as tf
from absl import flags

from seqmask.training.app import UserError
from seqmask.training.workdir import write_whole

# The flags defined here are the script's own: its --help shows them.
flags.disclaim_key_flags()

FLAGS_FILE = 'flags.json'

# A run may be gone on with under other values of these.
FREE = ('epochs', 'workdir')


def define_flags(*, workdir, epochs, batch_size=64, learning_rate=1e-3, schedule='cosine',
                 clip_norm=5.0):
    """Defines the flags of training, with a script's own defaults."""
    flags.DEFINE_string('workdir', workdir,
                        'Folder for checkpoints, history.csv and predictions. If it holds an '
                        'unfinished run of the same flags, that goes on.')
    flags.DEFINE_integer('epochs', epochs, 'Times that training sees all its data.', 1)
    flags.DEFINE_integer('batch_size', batch_size, 'Sequences in a batch.', 1)
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


def make_optimizer(steps_per_epoch):
    """Adam with the learning rate that the flags ask for.

    Args:
      steps_per_epoch: int. Batches in an epoch.

    Returns:
      Keras optimizer.
    """
    values = flags.FLAGS
    rate = values.learning_rate
    if values.schedule == 'cosine':
        falling = max(1, (values.epochs - 1) * steps_per_epoch)
        rate = tf.keras.optimizers.schedules.CosineDecay(
            0.1 * rate, falling, warmup_target=rate, warmup_steps=steps_per_epoch)
    return tf.keras.optimizers.Adam(rate)


def claim_workdir(script):
    """Writes the flags of `script`, a module, into the workdir, or compares them to those there.

    Raises:
      UserError: If the workdir holds a run of other flags; the message names them.
    """
    values = {flag.name: flag.value for flag in flags.FLAGS.get_key_flags_for_module(script)}
    path = os.path.join(values['workdir'], FLAGS_FILE)
    try:
        with open(path, encoding='utf-8') as file:
            before = dict(json.load(file))
    except FileNotFoundError:
        os.makedirs(values['workdir'], exist_ok=True)
        write_whole(path, lambda file: json.dump(values, file, indent=2))
        return
    except (ValueError, TypeError) as error:
        raise UserError(f'{path!r} is not readable: {error}. Choose another --workdir.') from error
    other = [f'--{name}={before.get(name)} there, {value} here' for name, value in values.items()
             if name not in FREE and before.get(name) != value]
    if other:
        raise UserError(f'workdir {values["workdir"]!r} holds a run of other flags '
                        f'({"; ".join(other)}). Choose another --workdir, or use those flags.')
