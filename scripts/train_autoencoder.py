"""Trains a sequence autoencoder: encodes a sequence of any length as one vector, and decodes it.

Without flags it learns to encode how nine speakers say two Japanese vowels, from the data that
comes with seqmask: 270 utterances of 7 to 29 frames to train on, every tenth of which is held out
for validation, and 370 to test. It prints the squared error of the reconstruction over real steps,
and that of predicting the mean.

Your own data: --data=FILE.npz with `frames` [N, D] (all sequences concatenated) and `lengths` [B];
optionally `split` [B]: 0 train, 1 validation, 2 test (by default, a tenth each is drawn for
validation and test), and `labels` [B], which are copied to codes.npz and colour the picture.

The workdir will hold codes.npz, history.csv, checkpoints/ and best/, and what is needed to load the
model: model.json and held_out.npz. codes.npz holds, for the sequences of all parts: `codes` [B, C];
`lengths`; `split`; `number`, the sequence's index in the file; and `labels`, if there are any. Run
again with the same flags to resume a run that was killed.
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
flags.DEFINE_enum('cell', 'gru', ['lstm', 'gru'], 'Recurrent cell.')
flags.DEFINE_integer('hidden_size', 128, 'Units of each recurrent layer and direction.', 1)
flags.DEFINE_integer('code_size', 32, 'Size of the code; 0 for the last outputs of the encoder '
                     'as they are.', 0)
flags.DEFINE_integer('num_layers', 1, 'Recurrent layers of the encoder, and of the decoder.', 1)
flags.DEFINE_bool('bidirectional', True, 'Whether the encoder reads in both directions.')
flags.DEFINE_bool('bidirectional_decoder', None, 'Whether the decoder runs in both directions; by '
                  'default, if it is not autoregressive.')
flags.DEFINE_bool('reverse_target', False, 'Whether the decoder runs from the last step to the '
                  'first.')
flags.DEFINE_bool('autoregressive', False, 'Whether the decoder reads the previous frame: the true '
                  'one in training, its own output otherwise.')
flags.DEFINE_float('dropout', 0.1, 'Dropout rate of the features between layers and before the '
                   'outputs.', 0.0, 0.99)
flags.DEFINE_float('step_dropout', 0.0, 'Share of the steps whose inputs are dropped, in the '
                   'encoder and in an autoregressive decoder.', 0.0, 0.99)
runs.define_flags(workdir='workdir/autoencoder', epochs=80, batch_size=16, learning_rate=3e-3)

FLAGS = flags.FLAGS


def main():
    strategy = runs.make_strategy()     # before anything else of TensorFlow
    with runs.user_errors():
        parts, labels, features = load()
        parts = runs.limited(parts, FLAGS.limit)
    if runs.is_chief(strategy):
        features.print()
    train = parts[0]
    size = train.frames.shape[1]

    shared = dict(cell=FLAGS.cell, hidden_size=FLAGS.hidden_size, num_layers=FLAGS.num_layers,
                  dropout=FLAGS.dropout, implementation=FLAGS.implementation, dtype=FLAGS.precision)
    both_ways = FLAGS.bidirectional_decoder
    both_ways = not FLAGS.autoregressive if both_ways is None else both_ways
    code_size = FLAGS.code_size or FLAGS.hidden_size * (2 if FLAGS.bidirectional else 1)
    blueprint = runs.Blueprint(
        'SequenceAutoencoder',
        dict(code_size=FLAGS.code_size or None, reverse_target=FLAGS.reverse_target,
             autoregressive=FLAGS.autoregressive, dropout=FLAGS.dropout),
        {'encoder': ('Encoder', dict(shared, input_size=size, bidirectional=FLAGS.bidirectional,
                                     step_dropout=FLAGS.step_dropout)),
         'decoder': ('Encoder', dict(shared, bidirectional=both_ways, input_size=(
             code_size + (size if FLAGS.autoregressive else 0))))}, FLAGS.seed)
    fitted = runs.fit(runs.Task(
        sys.modules[__name__], blueprint, parts, standardize=FLAGS.standardize, features=features,
        prepare=lambda model: model.start_at(mean_step(model, train)),
        described=f'{size} features', output=runs.Codes(),
        columns={'loss': 'squared/error', 'explained': 'share/explained'}, strategy=strategy))
    if runs.is_chief(strategy):
        report(fitted, parts, labels)
    runs.finish(strategy)


def report(fitted, parts, labels):
    """Prints the errors of the reconstructions, and writes codes.npz."""
    _, _, test = parts
    model = fitted.trainer.model
    print(f'{"codes":12}{model.code_size} numbers each, for sequences of '
          f'{np.mean(test.lengths):.1f} x {test.frames.shape[1]} on average\n')
    print(runs.table(fitted.measured, {'loss': 'squared/error', 'baseline': 'error/of the mean',
                                       'explained': 'share/explained'}))
    codes = [codes_of(model, part) for part in parts]
    fields = {'codes': np.concatenate(codes),
              'lengths': np.concatenate([part.lengths for part in parts]),
              'split': np.repeat(np.arange(3, dtype=np.int32), [len(part) for part in parts]),
              'number': np.concatenate([part.sequences['number'] for part in parts])}
    if labels is not None:
        fields['labels'] = labels[fields['number']]
    runs.write_arrays(os.path.join(FLAGS.workdir, 'codes.npz'), fields)
    if FLAGS.plots:
        runs.draw_codes(
            FLAGS.workdir, fitted, codes[2], batch_size=FLAGS.batch_size,
            labels=None if labels is None else labels[test.sequences['number']])


def load():
    """([train, valid, test], labels of all by their `number`, or None, `runs.Features`)."""
    if FLAGS.data:
        whole, features = runs.read_sequences(FLAGS.data, runs.asked_columns())
        if whole.are_tokens:
            raise runs.UserError(f'{FLAGS.data!r} holds tokens, and an autoencoder reconstructs '
                                 f'features, `frames` [N, D].')
        if not whole.frames.shape[1]:
            raise runs.UserError(f'{FLAGS.data!r} holds frames without features, of shape '
                                 f'{whole.frames.shape}.')
        split, labels = whole.sequences.get('split'), whole.sequences.get('labels')
    else:
        vowels = datasets.japanese_vowels()
        whole, features = data.Sequences(vowels['frames'], vowels['lengths']), runs.Features()
        tenth = np.arange(len(whole)) % 10 == 0
        split = np.where(tenth & (vowels['split'] == 0), 1, vowels['split'])
        labels = vowels['label_names'][vowels['labels']]
    fields = {'number': np.arange(len(whole))} | ({} if split is None else {'split': split})
    numbered = data.Sequences(whole.frames, whole.lengths, sequences=fields)
    return runs.divided(numbered, seed=FLAGS.seed), labels, features


def mean_step(model, train):
    """The mean of the real steps, standardized like the model's inputs."""
    total = sum(np.sum(np.float32(model.targets(batch['inputs'], batch['lengths'])), axis=(0, 1),
                       dtype=np.float64) for batch in data.Batches(train, 256))
    return (total / train.lengths.sum()).astype(np.float32)


def codes_of(model, part):
    """float32 [B, C]; NumPy has no bfloat16."""
    return np.concatenate([np.float32(model.encode(batch['inputs'], batch['lengths']))
                           for batch in data.Batches(part, 256)])


if __name__ == '__main__':
    runs.run(main)
