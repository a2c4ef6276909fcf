"""Trains a labeller: one label for every step of sequences of unequal length.

Without flags it learns to read handwritten words, letter by letter, from the data that comes with
seqmask, and prints how many letters and words it gets right.

Your own data: --data=FILE.npz with `frames` [N, D] (all sequences one after the other),
`lengths` [B] and `labels` [N]; optionally `split` [B]: 0 train, 1 validation, 2 test (otherwise
a tenth each is drawn for validation and test).

The workdir receives history.csv, predictions.csv, checkpoints/ and best/. A run that was killed
goes on when started again with the same flags.
"""

import os
import sys
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported

import numpy as np
import tensorflow as tf
from absl import flags

from seqmask import data, datasets, models, training
from seqmask.training import UserError

flags.DEFINE_string('data', '', 'npz file to learn from; by default the embedded handwriting.')
flags.DEFINE_enum('split', 'folds', ['folds', 'unseen_words'],
                  'Of the embedded handwriting: folds 0-7 train, 8 validation, 9 test; or the '
                  'first 4,538 words train, the rest test, which share almost no word.')
flags.DEFINE_integer('num_classes', 0, 'Labels are below it; 0 to take the highest label.', 0)
flags.DEFINE_integer('limit', 0, 'Sequences used of each part; 0 for all. For a quick look.', 0)
flags.DEFINE_enum('cell', 'gru', ['gru', 'lstm'], 'Recurrent cell.')
flags.DEFINE_integer('hidden_size', 128, 'Units of each layer and direction.', 1)
flags.DEFINE_integer('num_layers', 2, 'Recurrent layers.', 1)
flags.DEFINE_bool('bidirectional', True, 'Whether to read in both directions.')
flags.DEFINE_float('dropout', 0.5, 'Share of the features dropped between layers.', 0.0, 0.99)
flags.DEFINE_float('input_dropout', 0.2, 'Share of the input features dropped.', 0.0, 0.99)
flags.DEFINE_float('step_dropout', 0.2, 'Share of the steps dropped as a whole.', 0.0, 0.99)
flags.DEFINE_float('recurrent_dropout', 0.0, 'Share of the units dropped inside the recurrence.',
                   0.0, 0.99)
flags.DEFINE_enum('implementation', 'auto', ['auto', 'graph'], 'How the recurrence runs.')
training.define_flags(workdir='workdir/labels', epochs=30, learning_rate=4e-3)

FLAGS = flags.FLAGS
EMBEDDED_TRAIN_WORDS = 4538


def main():
    with training.user_errors():
        train, valid, test, names = load()
    training.claim_workdir(sys.modules[__name__])
    tf.keras.utils.set_random_seed(FLAGS.seed)
    batches = data.Batches(train, FLAGS.batch_size, shuffle=True, seed=FLAGS.seed)
    held_out = {'validation': data.Batches(valid, 256), 'test': data.Batches(test, 256)}
    with training.user_errors():
        model = models.SequenceLabeller(
            train.frames.shape[1], len(names), cell=FLAGS.cell, hidden_size=FLAGS.hidden_size,
            num_layers=FLAGS.num_layers, bidirectional=FLAGS.bidirectional, dropout=FLAGS.dropout,
            input_dropout=FLAGS.input_dropout, step_dropout=FLAGS.step_dropout,
            recurrent_dropout=FLAGS.recurrent_dropout, implementation=FLAGS.implementation,
            seed=FLAGS.seed)
    trainer = training.Trainer(
        model, models.SequenceLabeller.loss, training.make_optimizer(len(batches)),
        measure=models.SequenceLabeller.measure, clip_norm=FLAGS.clip_norm or None,
        monitor='accuracy', mode='max', patience=FLAGS.patience or None)
    print(f'{len(train)} sequences to train on, {int(train.lengths.sum())} steps, of '
          f'{train.lengths.min()} to {train.lengths.max()}; {len(names)} classes; '
          f'{sum(v.shape.num_elements() for v in model.trainable_variables)} weights', flush=True)
    start = time.monotonic()
    with training.user_errors():
        history = trainer.fit(batches, held_out['validation'], epochs=FLAGS.epochs,
                              workdir=FLAGS.workdir)
    seconds = time.monotonic() - start
    trainer.restore_best()
    report(trainer, held_out, history, seconds)
    write_predictions(trainer, {'validation': valid, 'test': test}, held_out, names)


def load():
    """(train, valid, test, names of the classes)."""
    if not FLAGS.data:
        letters = datasets.ocr_letters()
        sequences = data.Sequences(letters['frames'], letters['lengths'],
                                   steps={'labels': letters['labels']})
        names = [str(name) for name in letters['label_names']]
        parts = (by_folds if FLAGS.split == 'folds' else by_words)(letters)
        parts = [sequences.select(part) for part in parts]
    else:
        if FLAGS['split'].present:
            raise UserError('--split is for the embedded handwriting; a file says it in `split`.')
        sequences = data.read_npz(FLAGS.data)
        sequences = data.Sequences(sequences.frames.astype(np.float32), sequences.lengths,
                                   sequences.steps, sequences.sequences)
        names = [str(k) for k in range(check_labels(sequences))]
        parts = split_of(sequences)
    if FLAGS.limit:
        parts = [part.select(np.arange(min(FLAGS.limit, len(part)))) for part in parts]
    for part, name in zip(parts, ['train', 'validate', 'test']):
        if not len(part) or not part.lengths.sum():
            raise UserError(f'there is nothing to {name} on: {len(part)} of the {len(sequences)} '
                            f'sequences, {part.lengths.sum()} steps.')
    return (*parts, names)


def by_folds(letters):
    return letters['fold'] < 8, letters['fold'] == 8, letters['fold'] == 9


def by_words(letters):
    """The first words train, every tenth different one of them validates, the rest test."""
    first = np.arange(len(letters['word'])) < EMBEDDED_TRAIN_WORDS
    different = np.unique(letters['word'][first])
    held_out = np.isin(letters['word'], different[FLAGS.seed % 10::10])
    return first & ~held_out, first & held_out, ~first


def split_of(sequences):
    if 'split' not in sequences.sequences:
        return data.split(sequences, [0.8, 0.1, 0.1], seed=FLAGS.seed)
    split = sequences.sequences['split']
    return [sequences.select(split == part) for part in range(3)]


def check_labels(sequences):
    """The number of classes; labels must be below it."""
    labels = sequences.steps.get('labels')
    if labels is None or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f'{FLAGS.data!r} must hold `labels`, a whole number for each frame.')
    num_classes = FLAGS.num_classes or int(labels.max(initial=0)) + 1
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        sequence = np.searchsorted(np.cumsum(sequences.lengths), wrong[0], side='right')
        raise UserError(f'labels must be in [0, {num_classes}); sequence {sequence} of '
                        f'{FLAGS.data!r} has {labels[wrong[0]]}.')
    return num_classes


def report(trainer, held_out, history, seconds):
    trained = sum(row['seconds'] for row in history)
    print(f'\n{len(history)} epochs, {trained:.1f} s of training ({seconds:.1f} s in this start); '
          f'best epoch {trainer.best_epoch}')
    print(f'{"":12}{"steps right":>14}{"mean error of":>16}{"sequences all":>16}')
    print(f'{"":12}{"":>14}{"a sequence":>16}{"right":>16}')
    for name, batches in held_out.items():
        values = trainer.evaluate(batches)
        print(f'{name:12}{values["accuracy"]:14.2%}{values["sequence_error"]:16.2%}'
              f'{values["sequence_accuracy"]:16.2%}', flush=True)


def write_predictions(trainer, parts, held_out, names):
    rows = []
    for part, sequences in parts.items():
        for i, logits in enumerate(trainer.predict(held_out[part])):
            labels = sequences.sequence(i)['labels']
            probabilities = tf.nn.softmax(logits).numpy()
            for step, best in enumerate(logits.argmax(axis=1)):
                rows.append({'part': part, 'sequence': i, 'step': step,
                             'label': names[labels[step]], 'predicted': names[best],
                             'probability': f'{probabilities[step, best]:.4f}'})
    path = os.path.join(FLAGS.workdir, 'predictions.csv')
    training.write_rows(path, rows)
    print(f'written: {path}, and in {FLAGS.workdir}: history.csv, best/, checkpoints/')


if __name__ == '__main__':
    training.run(main)
