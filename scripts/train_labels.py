"""Trains a labeller: one label per step, for sequences of unequal length.

Without flags it learns to read handwritten words, letter by letter, from the data that comes with
seqmask, and prints the shares of letters and words that it gets right.

Your own data: --data=FILE.npz with `frames` [N, D] (all sequences concatenated), `lengths` [B] and
`labels` [N]; optionally `split` [B]: 0 train, 1 validation, 2 test (by default, a tenth each is
drawn for validation and test). Instead of `frames` it may have `tokens` [N], whole numbers or
strings; train_tagger.py also reads the letters of words, and labels that are text.

The workdir will hold history.csv, predictions.csv, checkpoints/ and best/, and what evaluate.py and
predict.py need to load the model: model.json and held_out.npz. Run again with the same flags to
resume a run that was killed.
"""

import os
import signal
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import numpy as np
from absl import flags

from seqmask import data, datasets, runs

runs.define_sequence_flags('embedded handwriting')
flags.DEFINE_enum('split', 'folds', ['folds', 'unseen_words'],
                  'Of the embedded handwriting. folds: 0-7 train, 8 validation, 9 test. '
                  'unseen_words: the first 4,538 words train, the others, almost all of them '
                  'different words, test.')
flags.DEFINE_integer('num_classes', 0, 'Number of classes; 0 for the highest label + 1.', 0,
                     1_000_000)
flags.DEFINE_enum('cell', 'gru', ['gru', 'lstm'], 'Recurrent cell.')
flags.DEFINE_integer('hidden_size', 128, 'Units of each layer and direction.', 1)
flags.DEFINE_integer('num_layers', 2, 'Recurrent layers.', 1)
flags.DEFINE_bool('bidirectional', True, 'Whether the layers read in both directions.')
flags.DEFINE_integer('filters', 0,
                     'Filters of a convolution over 3 steps before the layers; 0 for none.', 0)
flags.DEFINE_float('dropout', 0.5, 'Dropout rate of the features between layers.', 0.0, 0.99)
flags.DEFINE_float('input_dropout', 0.2, 'Dropout rate of the input features.', 0.0, 0.99)
flags.DEFINE_float('step_dropout', 0.2, 'Share of the steps whose inputs are dropped.', 0.0, 0.99)
flags.DEFINE_float('recurrent_dropout', 0.0, 'Dropout rate of the recurrent state.', 0.0, 0.99)
flags.DEFINE_integer('chunk_size', 0, 'Train on chunks of this many steps: the state is carried '
                     'from chunk to chunk, the gradient is not; 0 for whole sequences. Needs '
                     '--nobidirectional.', 0)
runs.define_flags(workdir='workdir/labels', epochs=30, learning_rate=4e-3)

FLAGS = flags.FLAGS
EMBEDDED_TRAIN_WORDS = 4538
COLUMNS = {'accuracy': 'steps right/', 'sequence_error': 'mean error of/a sequence',
           'sequence_accuracy': 'sequences all/right'}


def main():
    strategy = runs.make_strategy()     # before anything else of TensorFlow
    with runs.user_errors():
        parts, names, features = load()
        parts = runs.limited(parts, FLAGS.limit)
    if runs.is_chief(strategy):
        features.print()

    size, embedding = runs.inputs_of(parts)
    encoder = dict(
        input_size=size, cell=FLAGS.cell, hidden_size=FLAGS.hidden_size,
        num_layers=FLAGS.num_layers, bidirectional=FLAGS.bidirectional, filters=FLAGS.filters,
        dropout=FLAGS.dropout, input_dropout=FLAGS.input_dropout, step_dropout=FLAGS.step_dropout,
        recurrent_dropout=FLAGS.recurrent_dropout, implementation=FLAGS.implementation,
        dtype=FLAGS.precision)
    blueprint = runs.Blueprint(
        'SequenceLabeller', dict(num_classes=len(names), dropout=FLAGS.dropout),
        {'encoder': ('Encoder', encoder)}, FLAGS.seed, embedding)
    runs.train_and_report(runs.Task(
        sys.modules[__name__], blueprint, parts, standardize=FLAGS.standardize,
        described=f'{len(names)} classes', output=runs.Classes(names, 'step'), columns=COLUMNS,
        features=features, monitor='accuracy', mode='max', strategy=strategy), runs.draw_classes)


def load():
    """([train, valid, test], names of the classes, `runs.Features`)."""
    if FLAGS.data:
        if FLAGS['split'].present:
            raise runs.UserError(
                '--split is for the embedded handwriting; a file has a field `split`.')
        return runs.read_parts(FLAGS.data, labels_per='step', num_classes=FLAGS.num_classes,
                               seed=FLAGS.seed, columns=runs.asked_columns())
    letters = datasets.ocr_letters()
    sequences = data.Sequences(letters['frames'], letters['lengths'],
                               steps={'labels': letters['labels']})
    parts = (by_folds if FLAGS.split == 'folds' else by_words)(letters)
    return ([sequences.select(part) for part in parts],
            [str(n) for n in letters['label_names']], runs.Features())


def by_folds(letters):
    return letters['fold'] < 8, letters['fold'] == 8, letters['fold'] == 9


def by_words(letters):
    """The first words train, except a tenth of the distinct ones, which validate; others test."""
    first = np.arange(len(letters['word'])) < EMBEDDED_TRAIN_WORDS
    different = np.unique(letters['word'][first])
    held_out = np.isin(letters['word'], different[FLAGS.seed % 10::10])
    return first & ~held_out, first & held_out, ~first


if __name__ == '__main__':
    runs.run(main)
