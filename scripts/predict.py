"""Predicts with a trained model: classes, transcriptions, later frames, or codes.

  python scripts/predict.py --workdir=workdir/labels --data=FILE.npz --output=predictions.csv

The data needs frames and lengths; labels are ignored. The file extension of the output selects the
format. Predictions are in the order of the data, cropped to the real steps:

  .csv   sequence (from 0), step (from 0; only for labels per step), predicted, probability
  .npz   the logits as `frames`, [N, K] for N steps in total, or [B, K] for labels per sequence,
         each of length 1; `lengths`; `predicted`, the class's number; `probability`.
         `seqmask.data.read_npz` reads it.

An event detector decides by its own threshold; `probability` is that of an event, and the logits
are [N, 1]. A transcriber's .csv holds a row per sequence: the text of the labels on the best
path, and its log probability in nats; its .npz the logits, `predicted` [B, L], 0 in the padding,
`predicted_lengths` and `log_probability`. A model from sequence to sequence gives the same, but no
logits, of the best output that its search finds. A predictor of frames gives numbers per step,
those of the frame ahead: columns `predicted_...`, or `frames` [N, D]. For an autoencoder, .csv
holds the error and the code of each sequence, one row per sequence; .npz holds `codes`, `error`
and, as `frames`, the reconstructions.
"""

import os
import signal

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from absl import flags

from seqmask import data, runs

runs.define_run_flags()
flags.DEFINE_string('data', None, 'File of sequences.')
flags.DEFINE_string('output', None, 'File to write: .csv or .npz.')
flags.DEFINE_enum('part', 'all', ['train', 'validation', 'test', 'all'],
                  'Part of the data, if it has `split`.')
flags.DEFINE_bool('overwrite', False, 'Whether to overwrite the output.')
flags.DEFINE_integer('batch_size', 256, 'Sequences in a batch.', 1)
flags.mark_flags_as_required(['data', 'output'])

FLAGS = flags.FLAGS


def main():
    ending = os.path.splitext(FLAGS.output)[1]
    if ending not in ('.csv', '.npz'):
        raise runs.UserError(f'--output must end in .csv or .npz, got {FLAGS.output!r}.')
    runs.refuse_existing(FLAGS.output, overwrite=FLAGS.overwrite)
    run = runs.load_run(FLAGS.workdir)
    _, sequences = runs.read_part(FLAGS.data, FLAGS.part, run, workdir=FLAGS.workdir,
                                  columns=runs.asked_columns())
    inputs = data.Sequences(sequences.frames, sequences.lengths)
    batches = data.Batches(inputs, FLAGS.batch_size)
    with runs.user_errors():
        predictions = run.output.predict(run.trainer, batches)
    if ending == '.npz':
        data.write_npz(FLAGS.output, predictions)
    else:
        runs.write_rows(FLAGS.output, list(runs.named(run.output.rows(predictions), sequences)))
    print(f'{len(sequences)} sequences, {sequences.lengths.sum()} steps; '
          f'written: {FLAGS.output}')


if __name__ == '__main__':
    runs.run(main)
