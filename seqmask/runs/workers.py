"""Devices and processes that share a run, as set by --strategy and TF_CONFIG."""

from __future__ import annotations

import json
import os
import types

import tensorflow as tf
from absl import flags

from seqmask.runs.app import UserError
from seqmask.training import replicas

STRATEGIES = ('none', 'mirrored', 'multiworker')


def make_strategy() -> tf.distribute.Strategy:
    """Makes the `tf.distribute` strategy of --strategy; call it before anything of TensorFlow's.

    'none' is TensorFlow's default, one device; 'mirrored' all GPUs of this machine, else its CPU;
    'multiworker' the processes named in TF_CONFIG, this one included. Models and optimizers must be
    made under its `scope()`.

    Raises:
      UserError: If TF_CONFIG is missing or malformed.
    """
    kind = flags.FLAGS.strategy
    if kind == 'mirrored':
        return tf.distribute.MirroredStrategy(tf.config.list_logical_devices('GPU') or ['CPU:0'])
    if kind == 'multiworker':
        check_tf_config(os.environ.get('TF_CONFIG'))
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def check_tf_config(text: str | None) -> None:
    """Checks the value of the environment variable TF_CONFIG, None if it is not set.

    Raises:
      UserError: If it does not describe a cluster that this process is in; shows how it must look.
    """
    example = ('{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]}, "task": {"type": "worker", '
               '"index": 0}}, with a different index for each process')
    if not text:
        raise UserError(f'--strategy=multiworker needs the environment variable TF_CONFIG: '
                        f'{example}.')
    try:
        config = json.loads(text)
        workers = {job: list(addresses) for job, addresses in config['cluster'].items()}
        job, index = config['task']['type'], config['task']['index']
        addresses = [address for job in workers for address in workers[job]]
        fits = (set(workers) <= {'chief', 'worker'} and type(index) is int
                and 0 <= index < len(workers[job])
                and all(address.rpartition(':')[0] and address.rpartition(':')[2].isdecimal()
                        for address in addresses) and len(set(addresses)) == len(addresses))
    except (ValueError, KeyError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise UserError(f'TF_CONFIG must be like {example}; got {text!r}.')


def require_same_flags(strategy: tf.distribute.Strategy, script: types.ModuleType) -> None:
    """Raises `UserError` on all workers if their flags of `script`, a module, differ."""
    values = {flag.name: flag.value for flag in flags.FLAGS.get_key_flags_for_module(script)}
    if not replicas.all_agree(strategy, json.dumps(values, sort_keys=True, default=str)):
        raise UserError('all workers must be started with the same flags, got different ones.')
