"""Trains a classifier: one label per sequence, for sequences of unequal length.

Without flags it learns to tell nine speakers apart by how they say two Japanese vowels, from the
data that comes with seqmask: 270 utterances to train on, every tenth of which is held out for
validation, and 370 to test.

Your own data: --data=FILE.npz with `frames` [N, D] (all sequences concatenated), `lengths` [B] and
`labels` [B]; optionally `split` [B]: 0 train, 1 validation, 2 test (by default, a tenth each is
drawn for validation and test). Instead of `frames` it may have `tokens` [N], whole numbers or
strings.

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

runs.define_sequence_flags('embedded vowels')
flags.DEFINE_integer('num_classes', 0, 'Number of classes; 0 for the highest label + 1.', 0,
                     1_000_000)
flags.DEFINE_bool('masked', True, 'If false, the same network treats padding as data: every '
                  'sequence is as long as the longest. For comparison only.')
flags.DEFINE_enum('cell', 'lstm', ['lstm', 'gru'], 'Recurrent cell.')
flags.DEFINE_integer('hidden_size', 64, 'Units of each recurrent layer and direction.', 1)
flags.DEFINE_integer('num_layers', 1, 'Recurrent layers; 0 for none.', 0)
flags.DEFINE_bool('bidirectional', True, 'Whether recurrent layers read in both directions.')
flags.DEFINE_enum('pool', 'mean', ['last', 'mean', 'max', 'attention'],
                  'How the recurrent outputs are pooled.')
flags.DEFINE_list('filters', ['128', '256', '128'],
                  'Filters of the convolutions over 8, 5 and 3 steps; empty for none.')
flags.DEFINE_float('dropout', 0.5, 'Dropout rate of the features before the logits.', 0.0, 0.99)
flags.DEFINE_float('step_dropout', 0.0, 'Share of the steps whose inputs are dropped.', 0.0, 0.99)
runs.define_flags(workdir='workdir/classifier', epochs=60, batch_size=32, learning_rate=2e-3)

FLAGS = flags.FLAGS
KERNEL_SIZES = (8, 5, 3)


def main():
    strategy = runs.make_strategy()     # before anything else of TensorFlow
    with runs.user_errors():
        parts, names, features = load()
        parts = runs.limited(parts, FLAGS.limit)
        if not FLAGS.masked:
            if parts[0].are_tokens:
                raise runs.UserError('--nomasked treats padding as frames of zeros, and tokens '
                                     'have none. Leave it out.')
            longest = max(int(part.lengths.max()) for part in parts)
            parts = [unmask(part, longest) for part in parts]
        filters = widths(FLAGS.filters)
    if runs.is_chief(strategy):
        features.print()
    if not filters and not FLAGS.num_layers:
        raise runs.UserError('a classifier needs num_layers > 0 or filters, got neither.')
    size, embedding = runs.inputs_of(parts)
    shared = dict(input_size=size, step_dropout=FLAGS.step_dropout,
                  dtype=FLAGS.precision)
    branches = []
    if FLAGS.num_layers:
        branches.append(('Encoder', dict(
            shared, cell=FLAGS.cell, hidden_size=FLAGS.hidden_size, num_layers=FLAGS.num_layers,
            bidirectional=FLAGS.bidirectional, normalize=True, dropout=FLAGS.dropout,
            implementation=FLAGS.implementation)))
    if filters:
        branches.append(('ConvEncoder', dict(shared, filters=filters, kernel_sizes=KERNEL_SIZES)))
    blueprint = runs.Blueprint(
        'SequenceClassifier',
        dict(num_classes=len(names), pool=FLAGS.pool if FLAGS.num_layers else 'mean',
             dropout=FLAGS.dropout),
        dict(zip(['encoder', 'branch'], branches)), FLAGS.seed, embedding)
    runs.train_and_report(runs.Task(
        sys.modules[__name__], blueprint, parts, standardize=FLAGS.standardize,
        described=f'{len(names)} classes', output=runs.Classes(names, 'sequence'),
        columns={'accuracy': 'sequences/right'}, features=features, strategy=strategy),
        runs.draw_classes)


def widths(texts):
    filters = [text for text in texts if text]
    if not all(text.isdecimal() for text in filters) or len(filters) not in (0, len(KERNEL_SIZES)):
        raise runs.UserError(f'--filters must be three widths, such as 128,256,128, or none, '
                             f'got {",".join(texts)}.')
    return [int(text) for text in filters]


def load():
    """([train, valid, test], names of the classes, `runs.Features`)."""
    if FLAGS.data:
        return runs.read_parts(FLAGS.data, labels_per='sequence',
                               num_classes=FLAGS.num_classes, seed=FLAGS.seed,
                               columns=runs.asked_columns())
    vowels = datasets.japanese_vowels()
    sequences = data.Sequences(vowels['frames'], vowels['lengths'],
                               sequences={'labels': vowels['labels']})
    tenth = np.arange(len(sequences)) % 10 == 0
    train = vowels['split'] == 0
    parts = [train & ~tenth, train & tenth, ~train]
    return ([sequences.select(part) for part in parts], [str(n) for n in vowels['label_names']],
            runs.Features())


def unmask(sequences, longest):
    """The same sequences, zero-padded to `longest` steps, all of which count as real."""
    frames = np.zeros([len(sequences), longest, sequences.frames.shape[1]], np.float32)
    for i in range(len(sequences)):
        inputs = sequences.sequence(i)['inputs']
        frames[i, :len(inputs)] = inputs
    return data.Sequences(frames.reshape([-1, frames.shape[2]]),
                          np.full(len(sequences), longest, np.int32),
                          sequences=sequences.sequences)


if __name__ == '__main__':
    runs.run(main)
