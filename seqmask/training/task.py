"""What the training scripts share: from parts to a fitted model, as the flags say."""

from __future__ import annotations

import contextlib
import os
import time
import types
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf
from absl import flags

from seqmask import data
from seqmask.training import pictures
from seqmask.training.app import user_errors
from seqmask.training.board import Board, require_tensorboard
from seqmask.training.chunks import ChunkLoss
from seqmask.training.distribute import is_chief, require_same_flags, wait_for_all
from seqmask.training.flags import claim_workdir, make_optimizer
from seqmask.training.progress import watched
from seqmask.training.reading import PARTS
from seqmask.training.record import record_run
from seqmask.training.step import Optimizer
from seqmask.training.summary import files, summary, weights
from seqmask.training.trainer import Trainer
from seqmask.training.workdir import HISTORY, read_rows


class Fitted(NamedTuple):
    """What `fit_task` leaves.

    Of several workers each has its own, alike; the chief alone writes and tells.

    Attributes:
      trainer: `Trainer`, whose model is that of the best epoch.
      batches: What it was trained on.
      held_out: dict of 'validation' and 'test' to `data.Batches` in the order of the sequences.
      history: List of dicts, as `Trainer.fit` returns it.
      measured: dict of 'validation' and 'test' to what `Trainer.evaluate` returns.
    """

    trainer: Trainer
    batches: data.Batches | data.Lanes
    held_out: dict[str, data.Batches]
    history: list[dict[str, float]]
    measured: dict[str, dict[str, float]]


def make_standardizer(kind: str | None,
                      train: data.Sequences) -> Callable[..., tf.Tensor] | None:
    """What a model calls on its inputs first.

    Args:
      kind: None for nothing; 'standard' or 'minmax', as `data.Standardizer.fit` takes them; or
        'sequence' for `data.standardize_sequences`.
      train: `data.Sequences` to fit to: the training part alone.

    Returns:
      (inputs, lengths) -> inputs, or None.
    """
    if kind == 'sequence':
        return data.standardize_sequences
    return data.Standardizer.fit(train, kind) if kind else None


def fit_task(script: types.ModuleType, make_model: Callable[[], tf.Module], arguments: dict,
             parts: Sequence[data.Sequences], *, described: str = '',
             units: tuple[str, str] = ('sequences', 'steps'), labels_per: str | None = None,
             names: Sequence[str] = (), columns: dict[str, str] | None = None,
             monitor: str = 'loss', mode: str = 'min',
             optimizer: Callable[[int], Optimizer] | None = None,
             strategy: tf.distribute.Strategy | None = None,
             workdir: str | None = None) -> Fitted:
    """Trains as the flags of `define_flags` say, puts the best epoch back, and tells how it went.

    The workdir receives, beside what `Trainer.fit` writes, model.json and held_out.npz, with which
    the model can be had again; and tensorboard/ if the flags say so.

    Args:
      script: Module whose flags make the run.
      make_model: () -> model with the methods `loss` and `measure`, as `Trainer` takes them.
      arguments: dict that json can write: what the model's class is called with, but
        `standardizer`.
      parts: [train, valid, test] of `data.Sequences`.
      described: What else the first line says of the data, such as '9 classes'.
      units: What sequences and steps are called there: ('users', 'ratings').
      labels_per, names, columns: As of `Run`; by default there are no classes.
      monitor, mode: As of `Trainer`.
      optimizer: Steps per epoch -> Keras optimizer; by default `make_optimizer`.
      strategy: As `make_strategy` gives it. Of several workers the chief alone writes and tells.
      workdir: Folder of this model, for a script that trains several; by default that of the flags.

    Returns:
      `Fitted`.

    Raises:
      UserError: If the flags ask for what is not installed, or do not fit the workdir.
      BlockingIOError: If another process trains in the workdir.
    """
    values = flags.FLAGS
    workdir = workdir or values.workdir
    if values.tensorboard:
        require_tensorboard()
    if values.plots:
        pictures.require_matplotlib()
    strategy = strategy or tf.distribute.get_strategy()
    tells = is_chief(strategy)
    if tells:
        claim_workdir(script)
        os.makedirs(workdir, exist_ok=True)
    require_same_flags(strategy, script)
    train, *rest = parts
    with user_errors():
        batches = _batches(train, values)
    held_out = {name: data.Batches(part, 256) for name, part in zip(PARTS[1:], rest)}
    with user_errors(), strategy.scope():
        model = make_model()
        optimizer = (optimizer or make_optimizer)(-(-len(batches) // values.accumulate))
        loss = (ChunkLoss(model, batches.num_lanes) if isinstance(batches, data.Lanes)
                else type(model).loss)
    trainer = Trainer(
        model, loss, optimizer, measure=type(model).measure, accumulate=values.accumulate,
        clip_norm=values.clip_norm or None, monitor=monitor, mode=mode,
        patience=values.patience or None, keep=values.keep_checkpoints, strategy=strategy)
    if tells:
        record_run(workdir, model, arguments, parts, labels_per=labels_per, names=list(names),
                   columns=columns or {}, masked=getattr(values, 'masked', True),
                   features=getattr(values, 'features', None))
        steps, of_parts = train.lengths, described and f'; {described}'
        print(f'{len(train)} {units[0]} to train on, {steps.sum()} {units[1]}, of {steps.min()} to '
              f'{steps.max()}{of_parts}; {weights(model)} weights', flush=True)
    start = time.monotonic()
    with user_errors(), _board(workdir, values.tensorboard and tells):
        history = trainer.fit(batches, held_out['validation'], epochs=values.epochs,
                              workdir=workdir)
    seconds = time.monotonic() - start
    trainer.restore_best()
    if tells:
        print('\n' + summary(parts, described, units, model, history, trainer.best_epoch, seconds),
              flush=True)
    measured = {name: trainer.evaluate(part) for name, part in held_out.items()}
    return Fitted(trainer, batches, held_out, history, measured)


def finish(strategy: tf.distribute.Strategy) -> None:
    """The end of a training script, after its own tables and files: tells what the workdir holds.

    Of several workers all come here, once, and wait for each other.

    Args:
      strategy: As `make_strategy` gave it.
    """
    if is_chief(strategy):
        print(files(flags.FLAGS.workdir))
    wait_for_all(strategy)


def _batches(train, values):
    options = dict(shuffle=True, seed=values.seed)
    if getattr(values, 'chunk_size', 0):        # not every script has it
        return data.Lanes(train, values.batch_size, values.chunk_size, **options)
    return data.Batches(train, None if values.max_steps else values.batch_size,
                        max_steps=values.max_steps or None,
                        bucket_boundaries=values.buckets or None, **options)


@contextlib.contextmanager
def _board(workdir, wanted):
    """Within it, TensorBoard gets the row of each epoch, and first those of earlier starts."""
    if not wanted:
        yield
        return
    board = Board(workdir)
    try:
        with watched(lambda row: board.write([row])):
            # TensorBoard wants points in their order.
            if os.path.exists(os.path.join(workdir, HISTORY)):
                board.write(read_rows(os.path.join(workdir, HISTORY)))
            yield
    finally:
        board.close()
