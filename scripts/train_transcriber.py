"""Trains a transcriber: labels that are not aligned to steps, for sequences of unequal length.

Without flags it learns to read whole handwritten words, from the data that comes with seqmask: a
step is a column of 16 pixels, a letter 8 of them, and nothing marks where one ends. It prints the
share of letters that are wrong (to replace, insert or delete) and of words that are right.

Your own data: --data=FILE.npz with `frames` [N, D] (all sequences concatenated), `lengths` [B],
`labels` [B, L], whole numbers from 0, padded with anything to the longest, and `label_lengths` [B],
how many of them count; optionally `split` [B]: 0 train, 1 validation, 2 test (by default, a tenth
each is drawn for validation and test). A .tfrecord has the same fields, `labels` and
`label_lengths` per sequence; scripts/convert.py makes one of an .npz. In a .csv, a row per step,
the labels of a sequence stand in order in the column `labels` of any of its rows, and -1 in that of
the others. Instead of `frames` an .npz may have `tokens` [N], whole numbers or strings.

A sequence needs a place for each label, and one more between equal labels. A step is a place, or
with --slots=2, say, two: for sequences that have fewer steps than labels.

--data=pronunciations is embedded, too: 124,926 English words, letters to phonemes. It has defaults
of its own: two slots, since words may have more phonemes than letters; --impossible=skip, for 25
words, such as AAA, that have more than two for each letter; and another network.

It is trained by CTC (connectionist temporal classification); its blank is a class of the model's
own, after yours.

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
flags.DEFINE_integer('num_classes', 0, 'Number of different labels; 0 for the highest + 1.', 0,
                     1_000_000)
flags.DEFINE_integer('slots', 1, 'Places for a label at each step.', 1)
flags.DEFINE_enum('impossible', 'error', ['error', 'skip'],
                  'Whether a sequence with too few steps for its labels is an error, or left out '
                  'of the loss; its labels count as wrong.')
flags.DEFINE_enum('cell', 'gru', ['gru', 'lstm'], 'Recurrent cell.')
flags.DEFINE_integer('hidden_size', 96, 'Units of each layer and direction.', 1)
flags.DEFINE_integer('num_layers', 2, 'Recurrent layers.', 1)
flags.DEFINE_bool('bidirectional', True, 'Whether the layers read in both directions.')
flags.DEFINE_integer('filters', 128, 'Filters of a convolution before the layers; 0 for none.', 0)
flags.DEFINE_integer('kernel_size', 9, 'Steps in its window.', 1)
flags.DEFINE_float('dropout', 0.3, 'Dropout rate of the features between layers.', 0.0, 0.99)
flags.DEFINE_float('input_dropout', 0.2, 'Dropout rate of the features before the first layer.',
                   0.0, 0.99)
flags.DEFINE_float('step_dropout', 0.2, 'Share of the steps whose inputs are dropped.', 0.0, 0.99)
runs.define_flags(workdir='workdir/transcriber', epochs=22, batch_size=32, learning_rate=4e-3)

FLAGS = flags.FLAGS
EMBEDDED_TRAIN_WORDS = 4538
PRONUNCIATIONS = 'pronunciations'
WORDS = {'': ('letters', 'words'), PRONUNCIATIONS: ('phonemes', 'words')}   # for the table
# Defaults for --data=pronunciations.
OF_PRONUNCIATIONS = dict(slots=2, impossible='skip', filters=256, kernel_size=5, hidden_size=160,
                         dropout=0.15, input_dropout=0.0, step_dropout=0.0, epochs=14,
                         batch_size=64, learning_rate=2e-3)


def main():
    if FLAGS.data == PRONUNCIATIONS:
        for name, value in OF_PRONUNCIATIONS.items():
            FLAGS.set_default(name, value)
    strategy = runs.make_strategy()     # before anything else of TensorFlow
    with runs.user_errors():
        parts, output, features = load()
        parts = runs.limited(parts, FLAGS.limit)
    if runs.is_chief(strategy):
        features.print()

    size, embedding = runs.inputs_of(parts)
    encoder = dict(
        input_size=size, cell=FLAGS.cell, hidden_size=FLAGS.hidden_size,
        num_layers=FLAGS.num_layers, bidirectional=FLAGS.bidirectional, filters=FLAGS.filters,
        kernel_size=FLAGS.kernel_size, dropout=FLAGS.dropout, input_dropout=FLAGS.input_dropout,
        step_dropout=FLAGS.step_dropout, implementation=FLAGS.implementation,
        dtype=FLAGS.precision)
    blank = len(output.names)           # after the labels, which so keep their numbers
    blueprint = runs.Blueprint(
        'SequenceTranscriber', dict(num_classes=blank + 1, blank=blank, slots=output.slots,
                                    dropout=FLAGS.dropout, impossible=FLAGS.impossible),
        {'encoder': ('Encoder', encoder)}, FLAGS.seed, embedding)
    labels, sequences = WORDS.get(FLAGS.data, ('labels', 'sequences'))
    columns = {'label_error': f'{labels}/wrong', 'sequence_accuracy': f'{sequences}/right'}
    if output.skip:
        columns['impossible'] = f'{sequences} with/too few steps'
    runs.train_and_report(runs.Task(
        sys.modules[__name__], blueprint, parts, standardize=FLAGS.standardize,
        described=f'{len(output.names)} different labels', output=output, features=features,
        columns=columns, monitor='label_error', strategy=strategy), runs.draw_transcriptions)


def load():
    """([train, valid, test], `runs.Transcriptions`, `runs.Features`)."""
    if FLAGS.data and FLAGS['split'].present:
        raise runs.UserError('--split is for the embedded handwriting; a file has a field `split`.')
    if FLAGS.data == PRONUNCIATIONS:
        return pronunciations()
    if FLAGS.data:
        return read(FLAGS.data)
    letters = datasets.ocr_letters()
    frames, lengths = columns_of(letters)
    sequences = data.Sequences(frames, lengths, sequences=padded(letters['labels'],
                                                                 letters['lengths']))
    parts = (by_folds if FLAGS.split == 'folds' else by_words)(letters)
    return [sequences.select(part) for part in parts], output_of(letters, ''), runs.Features()


def read(path):
    whole, features = runs.read_sequences(path, runs.asked_columns())
    options = dict(skip=FLAGS.impossible == 'skip', slots=FLAGS.slots)
    *_, num_classes = runs.transcripts_of(whole, num_classes=FLAGS.num_classes, path=path,
                                          **options)
    output = runs.Transcriptions([str(k) for k in range(num_classes)], **options)
    return runs.divided(output.labelled(whole), seed=FLAGS.seed), output, features


def pronunciations():
    words = datasets.pronunciations()
    sequences = data.Sequences(words['token_names'][words['tokens']], words['lengths'], sequences={
        **padded(words['labels'], words['label_lengths']), 'split': words['split']})
    output = output_of(words, ' ')
    output.check(sequences, PRONUNCIATIONS)
    return runs.divided(sequences, seed=FLAGS.seed), output, runs.Features()


def output_of(records, separator):
    return runs.Transcriptions([str(name) for name in records['label_names']], separator,
                               skip=FLAGS.impossible == 'skip', slots=FLAGS.slots)


def columns_of(letters):
    """The columns of pixels of all words [N, 16], and how many each word has [B]."""
    images = letters['frames'].reshape([-1, 16, 8])             # a letter is 16 rows of 8 pixels
    return images.transpose([0, 2, 1]).reshape([-1, 16]), 8 * letters['lengths']


def padded(labels, lengths):
    """Labels of all sequences, concatenated, as [B, L], and how many each has."""
    rows = np.zeros([len(lengths), lengths.max()], np.int32)
    rows[np.arange(rows.shape[1]) < lengths[:, None]] = labels
    return {'labels': rows, 'label_lengths': lengths}


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
