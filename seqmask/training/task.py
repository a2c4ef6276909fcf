"""What the training scripts share, from parts to what a run leaves behind."""

import os
import time

import tensorflow as tf
from absl import flags

from seqmask import data
from seqmask.training import pictures
from seqmask.training.app import user_errors
from seqmask.training.board import Board, require_tensorboard
from seqmask.training.chunks import ChunkLoss
from seqmask.training.distribute import is_chief, require_same_flags, wait_for_all
from seqmask.training.flags import claim_workdir, make_optimizer
from seqmask.training.predictions import (confusion_counts, examples, predict_sequences,
                                          prediction_rows)
from seqmask.training.progress import watched
from seqmask.training.reading import PARTS
from seqmask.training.record import record_run
from seqmask.training.summary import files, summary, table, weights
from seqmask.training.trainer import Trainer
from seqmask.training.workdir import HISTORY, read_rows, write_rows

PREDICTIONS = 'predictions.csv'


def make_standardizer(kind, train):
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


def train_and_report(script, make_model, arguments, parts, names, columns, *, labels_per,
                     monitor='accuracy', mode='max', strategy=None):
    """Trains as the flags of `define_flags` say, puts the best epoch back, and tells what came out.

    The workdir receives, beside what `Trainer.fit` writes, model.json and held_out.npz, with which
    the model can be had again; predictions.csv; tensorboard/ and pictures/ if the flags say so.

    Args:
      script: Module whose flags make the run.
      make_model: () -> model with the methods `loss` and `measure`, as `Trainer` takes them.
      arguments: dict that json can write: what the model's class is called with, but
        `standardizer`.
      parts: [train, valid, test] of `data.Sequences`, with 'labels'.
      names: Of the K classes.
      columns: dict of the names that `measure` gives to the headings of the table.
      labels_per: 'step' or 'sequence': what each label is of.
      monitor, mode: As of `Trainer`.
      strategy: As `make_strategy` gives it. Of several workers the chief alone writes and tells.

    Returns:
      (`Trainer`, dict of 'validation' and 'test' to `data.Batches` in the order of the sequences).

    Raises:
      UserError: If the flags ask for what is not installed, or do not fit the workdir.
    """
    values = flags.FLAGS
    if values.tensorboard:
        require_tensorboard()
    if values.plots:
        pictures.require_matplotlib()
    strategy = strategy or tf.distribute.get_strategy()
    if is_chief(strategy):
        claim_workdir(script)
    require_same_flags(strategy, script)
    train, *rest = parts
    with user_errors():
        batches = _batches(train, values)
    held_out = {name: data.Batches(part, 256) for name, part in zip(PARTS[1:], rest)}
    with user_errors(), strategy.scope():
        model = make_model()
        optimizer = make_optimizer(-(-len(batches) // values.accumulate))
        loss = (ChunkLoss(model, batches.num_lanes) if isinstance(batches, data.Lanes)
                else type(model).loss)
    trainer = Trainer(
        model, loss, optimizer, measure=type(model).measure, accumulate=values.accumulate,
        clip_norm=values.clip_norm or None, monitor=monitor, mode=mode,
        patience=values.patience or None, keep=values.keep_checkpoints, strategy=strategy)
    if not is_chief(strategy):
        _follow(trainer, batches, held_out, values)
        return trainer, held_out
    record_run(values.workdir, model, arguments, parts, labels_per=labels_per, names=names,
               columns=columns, masked=getattr(values, 'masked', True))
    print(f'{len(train)} sequences to train on, {int(train.lengths.sum())} steps, of '
          f'{train.lengths.min()} to {train.lengths.max()}; {len(names)} classes; '
          f'{weights(model)} weights', flush=True)
    start = time.monotonic()
    with user_errors():
        history = _fit(trainer, batches, held_out['validation'], values)
    seconds = time.monotonic() - start
    trainer.restore_best()
    print('\n' + summary(parts, len(names), model, history, trainer.best_epoch, seconds))
    print(table({name: trainer.evaluate(part) for name, part in held_out.items()}, columns),
          flush=True)
    said = {name: predict_sequences(trainer, part, labels_per=labels_per)
            for name, part in held_out.items()}
    _write_predictions(os.path.join(values.workdir, PREDICTIONS), said, rest, names, labels_per)
    if values.plots:
        _draw(values, history, trainer.best_epoch, batches, parts, said['test'], names, labels_per)
    print(files(values.workdir))
    wait_for_all(strategy)
    return trainer, held_out


def _batches(train, values):
    options = dict(shuffle=True, seed=values.seed)
    if getattr(values, 'chunk_size', 0):        # not every script has it
        return data.Lanes(train, values.batch_size, values.chunk_size, **options)
    return data.Batches(train, None if values.max_steps else values.batch_size,
                        max_steps=values.max_steps or None,
                        bucket_boundaries=values.buckets or None, **options)


def _follow(trainer, train, held_out, values):
    """The part of a worker that is not the chief: the same operations on all workers at once."""
    with user_errors():
        trainer.fit(train, held_out['validation'], epochs=values.epochs, workdir=values.workdir)
    trainer.restore_best()
    for part in held_out.values():
        trainer.evaluate(part)
    wait_for_all(trainer.strategy)


def _fit(trainer, train, valid, values):
    def fit():
        return trainer.fit(train, valid, epochs=values.epochs, workdir=values.workdir)

    if not values.tensorboard:
        return fit()
    board = Board(values.workdir)
    try:
        with watched(lambda row: board.write([row])):
            # TensorBoard wants points in their order: those of earlier starts come first.
            if os.path.exists(os.path.join(values.workdir, HISTORY)):
                board.write(read_rows(os.path.join(values.workdir, HISTORY)))
            return fit()
    finally:
        board.close()


def _write_predictions(path, said, held_out, names, labels_per):
    rows = []
    for (part, predictions), sequences in zip(said.items(), held_out):
        fields = sequences.steps if labels_per == 'step' else sequences.sequences
        rows += prediction_rows(predictions, names, labels_per=labels_per, labels=fields['labels'],
                                part=part)
    write_rows(path, rows)


def _draw(values, history, best_epoch, batches, parts, predictions, names, labels_per):
    train, _, test = parts
    counts = confusion_counts(predictions, test, len(names), labels_per=labels_per)
    figures = {
        'curves': pictures.curves(history, best_epoch),
        'lengths': pictures.lengths(train.lengths, batches.padding_share(), values.batch_size),
        'confusion': pictures.confusion(counts, names),
        'predictions': pictures.predictions(
            *examples(predictions, test, names, labels_per=labels_per), names)}
    for name, figure in figures.items():
        pictures.save(figure, values.workdir, name)
