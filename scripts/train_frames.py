"""Predicts later frames: at every step of a sequence, the frame some steps ahead.

Without flags it learns to predict the next frame of nine speakers' Japanese vowels, from the data
that comes with seqmask: 270 utterances to train on, every tenth of which is held out for
validation, and 370 to test. It prints the errors beside those of two simple predictions: the frame
before, which is the last one known, and a linear model of the last --window frames, by least
squares.

Errors are per feature, each divided by the scale of --standardize, so that all count alike; its
square for --standardize=standard is the share of a feature's variance that is not predicted.
Features of 0 and 1, such as the notes of a piano roll: --targets=binary; its loss is in nats per
frame, and the table shows how many notes are found.

Your own data: --data=FILE.npz with `frames` [N, D] (all sequences concatenated) and `lengths` [B];
optionally `split` [B]: 0 train, 1 validation, 2 test (by default, a tenth each is drawn for
validation and test). Frames that are all zero, such as silence, count.

The workdir will hold history.csv, predictions.csv, checkpoints/ and best/, and what evaluate.py,
predict.py and stream.py need to load the model: model.json and held_out.npz. Run again with the
same flags to resume a run that was killed.
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

runs.define_sequence_flags('embedded vowels', standardize='standard')
flags.DEFINE_integer('horizon', 1, 'Steps ahead.', 1)
flags.DEFINE_enum('targets', 'squared', ['squared', 'absolute', 'huber', 'binary'],
                  'Error that is minimized; binary for features of 0 and 1.')
flags.DEFINE_integer('window', 3, 'Frames that the linear model sees.', 1)
flags.DEFINE_enum('cell', 'gru', ['gru', 'lstm'], 'Recurrent cell.')
flags.DEFINE_integer('hidden_size', 64, 'Units of each layer.', 1)
flags.DEFINE_integer('num_layers', 1, 'Recurrent layers.', 1)
flags.DEFINE_float('dropout', 0.3, 'Dropout rate of the features between layers and before the '
                   'outputs.', 0.0, 0.99)
flags.DEFINE_float('input_dropout', 0.0, 'Dropout rate of the input features.', 0.0, 0.99)
flags.DEFINE_float('step_dropout', 0.0, 'Share of the steps whose inputs are dropped.', 0.0, 0.99)
flags.DEFINE_integer('chunk_size', 0, 'Train on chunks of this many steps: the state is carried '
                     'from chunk to chunk, the gradient is not; 0 for whole sequences.', 0)
runs.define_flags(workdir='workdir/frames', epochs=30, batch_size=16, learning_rate=3e-3)

FLAGS = flags.FLAGS
NUMBERS = {'squared_error': 'squared/error', 'absolute_error': 'absolute/error'}
BINARY = {'loss': 'nats per/frame', 'precision': 'ones/precision', 'recall': 'ones/recall',
          'f1': 'ones/F1'}


def main():
    strategy = runs.make_strategy()     # before anything else of TensorFlow
    with runs.user_errors():
        parts, output, features = load()
    if runs.is_chief(strategy):
        features.print()
    encoder = dict(
        input_size=parts[0].frames.shape[1], cell=FLAGS.cell, hidden_size=FLAGS.hidden_size,
        num_layers=FLAGS.num_layers, dropout=FLAGS.dropout, input_dropout=FLAGS.input_dropout,
        step_dropout=FLAGS.step_dropout, implementation=FLAGS.implementation,
        dtype=FLAGS.precision)
    blueprint = runs.Blueprint(
        'FramePredictor', dict(targets=FLAGS.targets, dropout=FLAGS.dropout),
        {'encoder': ('Encoder', encoder)}, FLAGS.seed)
    runs.train_and_report(runs.Task(
        sys.modules[__name__], blueprint, parts, standardize=FLAGS.standardize, output=output,
        described=f'{parts[0].frames.shape[1]} features, horizon {FLAGS.horizon}',
        features=features, columns=BINARY if output.binary else NUMBERS, strategy=strategy),
        runs.draw_frames, compared)


def load():
    """([train, valid, test], `runs.Frames`, `runs.Features`)."""
    if FLAGS.standardize == 'sequence':
        raise runs.UserError('--standardize=sequence takes the mean of whole sequences, of frames '
                             'to be predicted: choose another.')
    if FLAGS.data:
        whole, features = runs.read_sequences(FLAGS.data, runs.asked_columns())
        require_features(whole)
        parts = runs.divided(whole, seed=FLAGS.seed)
    else:
        vowels, features = datasets.japanese_vowels(), runs.Features()
        whole = data.Sequences(vowels['frames'], vowels['lengths'])
        tenth, train = np.arange(len(whole)) % 10 == 0, vowels['split'] == 0
        parts = [whole.select(part) for part in (train & ~tenth, train & tenth, ~train)]
    names = ((features.columns or {}).get('features')
             or [str(k) for k in range(whole.frames.shape[1])])
    output = runs.Frames(names, FLAGS.horizon, binary=FLAGS.targets == 'binary')
    parts = runs.limited(parts, FLAGS.limit)
    for part, name in zip(parts, ('training', 'validation', 'test')):
        output.check(part, f'{FLAGS.data or "the embedded vowels"}, {name} part')
    return parts, output, features


def require_features(sequences):
    if sequences.frames.ndim != 2 or not sequences.frames.shape[1]:
        raise runs.UserError(f'{FLAGS.data!r} must hold frames with features, [N, D], got shape '
                             f'{sequences.frames.shape}.')


def compared(fitted):
    """Lines of the table: the model beside two simple predictions."""
    train, *others = fitted.task.labelled()
    weights = least_squares(train)
    scale = np.asarray(fitted.trainer.model.scale)
    score = binary_scores if fitted.task.output.binary else errors
    lines = {}
    for (part, measured), sequences in zip(fitted.measured.items(), others):
        labels = sequences.steps['labels']
        lines[f'{part}, frame before'] = score(sequences.frames, labels, scale)
        lines[f'{part}, linear model'] = score(windows(sequences) @ weights, labels, scale)
        lines[f'{part}, {FLAGS.cell.upper()}'] = measured
    return lines


def windows(sequences):
    """The last frames at each step, [N, window * (D + 1)]: those before the start are 0, and a
    column says which are there."""
    steps = np.concatenate([np.arange(n) for n in sequences.lengths])
    frames = np.column_stack([sequences.frames, np.ones(len(steps))]).astype(np.float64)
    parts = [np.where((steps >= back)[:, None], np.roll(frames, back, axis=0), 0.0)
             for back in range(FLAGS.window)]
    return np.concatenate(parts, axis=1)


def least_squares(sequences):
    """Weights of the linear model, [window * (D + 1), D]."""
    return np.linalg.lstsq(windows(sequences), np.float64(sequences.steps['labels']),
                           rcond=None)[0]


def errors(predicted, labels, scale):
    error = (predicted - labels) / scale
    return {'squared_error': np.mean(np.square(error)), 'absolute_error': np.mean(np.abs(error))}


def binary_scores(predicted, labels, _):
    """Without a loss: these predictions are no probabilities."""
    found, ones = predicted >= 0.5, labels >= 0.5
    hits = np.count_nonzero(found & ones)
    precision, recall = (hits / total if total else np.nan
                         for total in (np.count_nonzero(found), np.count_nonzero(ones)))
    return {'precision': precision, 'recall': recall,
            'f1': 2 * hits / max(1, np.count_nonzero(found) + np.count_nonzero(ones))}


if __name__ == '__main__':
    runs.run(main)
