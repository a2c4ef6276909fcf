"""Trains a model from sequence to sequence: an encoder, and a decoder that attends to it.

Without flags it learns to pronounce English words, letters to phonemes, from the data that comes
with seqmask: 124,926 words. It prints the share of phonemes that are wrong (to replace, insert or
delete) and of words with any error, counting the stress of vowels and without it, and examples.

Your own data: --data=FILE.tsv with a pair in each line, a tab between: what is read, and what is to
be written. Each is split at spaces, if the column has any, else into characters. Or a .npz or a
.tfrecord as train_transcriber.py takes it: `tokens` [N] or `frames` [N, D], `lengths` [B], `labels`
[B, L], whole numbers from 0, and `label_lengths` [B]; optionally `split` [B]: 0 train, 1
validation, 2 test (by default, a tenth each is drawn). Inputs and labels may have any lengths.

The workdir will hold history.csv, predictions.csv, checkpoints/ and best/, and what evaluate.py and
predict.py need to load the model: model.json and held_out.npz. Run again with the same flags to
resume a run that was killed.
"""

import csv
import os
import re
import signal
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import numpy as np
from absl import flags

from seqmask import data, datasets, runs

runs.define_sequence_flags('embedded pronunciations')
flags.DEFINE_integer('num_classes', 0, 'Number of different labels; 0 for the highest + 1.', 0,
                     1_000_000)
flags.DEFINE_enum('cell', 'gru', ['gru', 'lstm'], 'Recurrent cell of encoder and decoder.')
flags.DEFINE_integer('hidden_size', 192, "Units of the decoder's layers, and of the encoder's in "
                     'each direction.', 1)
flags.DEFINE_integer('num_layers', 1, 'Recurrent layers of the encoder.', 1)
flags.DEFINE_integer('decoder_layers', 1, 'Recurrent layers of the decoder.', 1)
flags.DEFINE_enum('attention', 'general', ['dot', 'general', 'additive', 'multihead'],
                  'How the decoder compares itself with the steps of the input; for dot it is as '
                  'wide as both directions of the encoder together.')
flags.DEFINE_bool('input_feeding', False, 'Whether the decoder reads what it attended to before; '
                  'its steps then run one by one in training.')
flags.DEFINE_bool('tied', False, 'Whether the embedding of labels also gives their logits.')
flags.DEFINE_float('dropout', 0.2, 'Dropout rate between layers, and before the logits.', 0.0, 0.99)
flags.DEFINE_float('label_smoothing', 0.0, 'Share of uniform labels in training.', 0.0, 0.99)
flags.DEFINE_float('scheduled_sampling', 0.0, 'Share of the labels that the decoder reads in '
                   'training that are its own guesses.', 0.0, 0.99)
flags.DEFINE_integer('width', 1, 'Outputs that a beam search keeps; 1 takes the best at each step.',
                     1)
flags.DEFINE_integer('examples', 8, 'Test sequences to print.', 0)
runs.define_flags(workdir='workdir/seq2seq', epochs=4, batch_size=128, learning_rate=4e-3)

FLAGS = flags.FLAGS
LEAST_MORE = 10     # labels of an output beyond two for each step


def main():
    strategy = runs.make_strategy()     # before anything else of TensorFlow
    with runs.user_errors():
        parts, output, features = load()
        parts = runs.limited(parts, FLAGS.limit)
    if runs.is_chief(strategy):
        features.print()

    task = runs.Task(
        sys.modules[__name__], blueprint(parts, output), parts, standardize=FLAGS.standardize,
        described=f'{len(output.names)} different labels', output=output, features=features,
        prepare=lambda model: limit_outputs(model, output.labelled(parts[0])),
        units=('sequences', 'steps') if FLAGS.data else ('words', 'letters'),
        columns=columns(output), monitor='label_error', strategy=strategy)
    runs.train_and_report(task, runs.draw_translations)
    if runs.is_chief(strategy):
        print_examples()


def blueprint(parts, output):
    """The model of the flags."""
    size, embedding = runs.inputs_of(parts)
    shared = dict(cell=FLAGS.cell, hidden_size=FLAGS.hidden_size, dropout=FLAGS.dropout,
                  implementation=FLAGS.implementation, dtype=FLAGS.precision)
    encoder = dict(shared, input_size=size, num_layers=FLAGS.num_layers, bidirectional=True)
    reads = FLAGS.embedding_size
    if FLAGS.input_feeding:
        reads += FLAGS.embedding_size if FLAGS.tied else FLAGS.hidden_size
    decoder = dict(shared, input_size=reads, num_layers=FLAGS.decoder_layers)
    if FLAGS.attention == 'dot':
        decoder['hidden_size'] *= 2
        if FLAGS.input_feeding and not FLAGS.tied:
            decoder['input_size'] += FLAGS.hidden_size
    model = dict(num_classes=len(output.names), attention=FLAGS.attention,
                 input_feeding=FLAGS.input_feeding, tied=FLAGS.tied, dropout=FLAGS.dropout,
                 label_smoothing=FLAGS.label_smoothing,
                 scheduled_sampling=FLAGS.scheduled_sampling)
    return runs.Blueprint('SequenceToSequence', model,
                          {'encoder': ('Encoder', encoder), 'decoder': ('Encoder', decoder)},
                          FLAGS.seed, embedding)


def columns(output):
    labels, sequences = ('labels', 'sequences') if FLAGS.data else ('phonemes', 'words')
    heads = {'label_error': f'{labels}/wrong', 'sequence_error': f'{sequences}/wrong'}
    if output.merged:
        heads |= {'merged_error': f'{labels}/without stress',
                  'merged_sequence_error': f'{sequences}/without stress'}
    return heads


def limit_outputs(model, train):
    """No output that is as long as one to learn from is cut off."""
    more = train.sequences['label_lengths'] - 2 * train.lengths
    model.limit_outputs(2, max(LEAST_MORE, int(more.max(initial=0))))


def load():
    """([train, valid, test], `runs.Translations`, `runs.Features`)."""
    if FLAGS.data:
        return read(FLAGS.data)
    words = datasets.pronunciations()
    names = [str(name) for name in words['label_names']]
    labels = np.zeros([len(words['lengths']), words['label_lengths'].max()], np.int32)
    labels[np.arange(labels.shape[1]) < words['label_lengths'][:, None]] = words['labels']
    sequences = data.Sequences(words['token_names'][words['tokens']], words['lengths'], sequences={
        'labels': labels, 'label_lengths': words['label_lengths'], 'split': words['split']})
    plain = [re.sub(r'\d', '', name) for name in names]
    output = runs.Translations(names, width=FLAGS.width, merged=[plain.index(n) for n in plain])
    return runs.divided(sequences, seed=FLAGS.seed), output, runs.Features()


def read(path):
    whole, features = runs.read_sequences(path, runs.asked_columns())
    names, separator = runs.names_of(whole) or (None, ' ')
    if names is None:
        *_, number = runs.transcripts_of(whole, num_classes=FLAGS.num_classes, skip=True, path=path)
        names = [str(k) for k in range(number)]
    output = runs.Translations(names, separator, width=FLAGS.width)
    return runs.divided(output.labelled(whole), seed=FLAGS.seed), output, features


def print_examples():
    """The first test sequences, from predictions.csv: what was read, written, and to be written."""
    with open(os.path.join(FLAGS.workdir, 'predictions.csv'), encoding='utf-8') as file:
        rows = [row for row in csv.DictReader(file) if row['part'] == 'test'][:FLAGS.examples]
    if not rows:
        return
    heads = [name for name in ('tokens', 'label', 'predicted') if name in rows[0]]
    widths = [max(len(row[name]) for row in [*rows, {name: name}]) + 2 for name in heads]
    print('examples')
    for row in [dict(zip(heads, heads), edits='edits'), *rows]:
        print('  ' + ''.join(f'{row[name]:{width}}' for name, width in zip(heads, widths))
              + row['edits'])


if __name__ == '__main__':
    runs.run(main)
