"""Trains the model of a task as the flags say."""

from __future__ import annotations

import os
import time

import tensorflow as tf
from absl import flags

from seqmask import data
from seqmask.runs import workers
from seqmask.runs.app import require_package, user_errors
from seqmask.runs.board import board_callbacks
from seqmask.runs.files import PARTS
from seqmask.runs.flags import claim_workdir
from seqmask.runs.record import record_run
from seqmask.runs.report import count_weights, list_files, summary
from seqmask.runs.task import Fitted, Task
from seqmask.training import ChunkLoss, Trainer
from seqmask.training.replicas import is_chief, wait_for_all


def fit(task: Task) -> Fitted:
    """Trains as the flags of `define_flags` say, restores the best epoch and prints a summary.

    Besides what `Trainer.fit` writes, it writes model.json and held_out.npz into the workdir, from
    which `load_run` rebuilds the model, and with --tensorboard the folder tensorboard/.

    Raises:
      UserError: If a flag needs a package that is not installed, or the flags contradict the
        workdir.
      BlockingIOError: If another process trains in the workdir.
    """
    values = flags.FLAGS
    workdir = os.path.join(values.workdir, task.folder) if task.folder else values.workdir
    # Before training, not hours later.
    if values.tensorboard:
        require_package('tensorboard', flag='tensorboard', name='TensorBoard')
    if values.plots:
        require_package('matplotlib.figure', flag='plots', name='matplotlib')
    chief = is_chief(task.strategy)
    if chief:
        claim_workdir(task.script)
        os.makedirs(workdir, exist_ok=True)
    workers.require_same_flags(task.strategy, task.script)
    with user_errors():
        train, *others = task.labelled()
        batches = _batches(train, values)
    held_out = {name: data.Batches(part, 256) for name, part in zip(PARTS[1:], others)}
    with user_errors(), task.strategy.scope():
        model = task.make_model()
        optimizer = task.make_optimizer(-(-len(batches) // values.accumulate))
        loss = (ChunkLoss(model, batches.num_lanes) if isinstance(batches, data.Lanes)
                else type(model).loss)
    with board_callbacks(workdir, values.tensorboard and chief) as on_epoch:
        trainer = Trainer(
            model, loss, optimizer, measure=task.measure, accumulate=values.accumulate,
            clip_norm=values.clip_norm or None, monitor=task.monitor, mode=task.mode,
            patience=values.patience or None, keep=values.keep_checkpoints, on_epoch=on_epoch,
            strategy=task.strategy)
        if chief:
            record_run(workdir, task, masked=getattr(values, 'masked', True))
            print(_first_line(task, model), flush=True)
        start = time.monotonic()
        with user_errors():
            history = trainer.fit(batches, held_out['validation'], epochs=values.epochs,
                                  workdir=workdir)
        seconds = time.monotonic() - start
    trainer.restore_best()
    if chief:
        print('\n' + summary(task, model, history, trainer.best_epoch, seconds), flush=True)
    with user_errors():
        measured = {name: trainer.evaluate(part) for name, part in held_out.items()}
    return Fitted(task, trainer, batches, held_out, history, measured)


def finish(strategy: tf.distribute.Strategy) -> None:
    """Prints what the workdir holds. To be called once, at the end of a training script.

    Every worker must call it: they wait for each other.

    Args:
      strategy: As returned by `make_strategy`.
    """
    if is_chief(strategy):
        print(list_files(flags.FLAGS.workdir))
    wait_for_all(strategy)


def _batches(train, values):
    options = dict(shuffle=True, seed=values.seed)
    if getattr(values, 'chunk_size', 0):        # not every script defines it
        return data.Lanes(train, values.batch_size, values.chunk_size, **options)
    return data.Batches(train, None if values.max_steps else values.batch_size,
                        max_steps=values.max_steps or None,
                        bucket_boundaries=values.buckets or None, **options)


def _first_line(task, model):
    train, (sequences, steps) = task.parts[0], task.units
    described = task.described and f'; {task.described}'
    return (f'{len(train)} {sequences} to train on, {train.lengths.sum()} {steps}, of '
            f'{train.lengths.min()} to {train.lengths.max()}{described}; {count_weights(model)} '
            f'weights')
