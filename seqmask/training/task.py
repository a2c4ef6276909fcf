"""What the training scripts share, from a person's file to the table of results."""

import time

import numpy as np
from absl import flags

from seqmask import data
from seqmask.training.app import UserError, user_errors
from seqmask.training.flags import claim_workdir, make_optimizer
from seqmask.training.trainer import Trainer

PARTS = ('train', 'validation', 'test')


def read_parts(path, *, labels_per, num_classes, seed):
    """Reads labelled sequences and divides them.

    Args:
      path: npz file as `data.read_npz` takes it, with `labels`; and optionally `split` [B]: 0
        train, 1 validation, 2 test; otherwise a tenth each is drawn for validation and test.
      labels_per: 'step' or 'sequence': what each label is of.
      num_classes: int, or 0 to take the highest label.
      seed: int, of the draw.

    Returns:
      ([train, valid, test] of `data.Sequences`, names of the classes).

    Raises:
      UserError: If the labels do not fit.
      ValueError: If the file does not.
    """
    whole = data.read_npz(path)
    whole = data.Sequences(whole.frames.astype(np.float32), whole.lengths, whole.steps,
                           whole.sequences)
    fields, of_each = {'step': (whole.steps, 'frame'),
                       'sequence': (whole.sequences, 'sequence')}[labels_per]
    labels = fields.get('labels')
    if labels is None or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f'{path!r} must hold `labels`, a whole number for each {of_each}.')
    num_classes = num_classes or int(labels.max(initial=0)) + 1
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        sequence = wrong[0]
        if labels_per == 'step':
            sequence = np.searchsorted(np.cumsum(whole.lengths), wrong[0], side='right')
        raise UserError(f'labels must be in [0, {num_classes}); sequence {sequence} of {path!r} '
                        f'has {labels[wrong[0]]}.')
    if 'split' in whole.sequences:
        parts = [whole.select(whole.sequences['split'] == part) for part in range(3)]
    else:
        parts = list(data.split(whole, [0.8, 0.1, 0.1], seed=seed))
    return parts, [str(k) for k in range(num_classes)]


def limited(parts, limit):
    """The first `limit` sequences of each part, all if it is 0; none may be empty."""
    total = sum(len(part) for part in parts)
    if limit:
        parts = [part.select(np.arange(min(limit, len(part)))) for part in parts]
    for part, verb in zip(parts, ['train', 'validate', 'test']):
        if not len(part) or not part.lengths.sum():
            raise UserError(f'there is nothing to {verb} on: {len(part)} of the {total} '
                            f'sequences, {part.lengths.sum()} steps.')
    return parts


def train_and_report(script, make_model, parts, num_classes, columns, *, monitor='accuracy',
                     mode='max'):
    """Trains as the flags of `define_flags` say, puts the best epoch back, and prints a table.

    Args:
      script: Module whose flags make the run.
      make_model: () -> model with the methods `loss` and `measure`, as `Trainer` takes them.
      parts: [train, valid, test] of `data.Sequences`.
      num_classes: int; shown.
      columns: dict of the names that `measure` gives to the headings of the table.
      monitor, mode: As of `Trainer`.

    Returns:
      (`Trainer`, dict of 'validation' and 'test' to `data.Batches` in the order of the sequences).
    """
    values = flags.FLAGS
    claim_workdir(script)
    train, *rest = parts
    batches = data.Batches(train, values.batch_size, shuffle=True, seed=values.seed)
    held_out = {name: data.Batches(part, 256) for name, part in zip(PARTS[1:], rest)}
    with user_errors():
        model = make_model()
    trainer = Trainer(
        model, type(model).loss, make_optimizer(len(batches)), measure=type(model).measure,
        clip_norm=values.clip_norm or None, monitor=monitor, mode=mode,
        patience=values.patience or None)
    print(f'{len(train)} sequences to train on, {int(train.lengths.sum())} steps, of '
          f'{train.lengths.min()} to {train.lengths.max()}; {num_classes} classes; '
          f'{sum(v.shape.num_elements() for v in model.trainable_variables)} weights', flush=True)
    start = time.monotonic()
    with user_errors():
        history = trainer.fit(batches, held_out['validation'], epochs=values.epochs,
                              workdir=values.workdir)
    seconds = time.monotonic() - start
    trainer.restore_best()
    trained = sum(row['seconds'] for row in history)
    print(f'\n{len(history)} epochs, {trained:.1f} s of training ({seconds:.1f} s in this start); '
          f'best epoch {trainer.best_epoch}')
    for line in range(2):
        print(f'{"":12}' + ''.join(f'{heading.split("/")[line]:>16}'
                                   for heading in columns.values()))
    for name, part in held_out.items():
        measured = trainer.evaluate(part)
        print(f'{name:12}' + ''.join(f'{measured[column]:16.2%}' for column in columns), flush=True)
    return trainer, held_out
