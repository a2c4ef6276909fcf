"""Evaluates a trained model on the data that its run held out, or on your own file.

Prints the same table as training, and writes it to evaluation.csv in the workdir.

  python scripts/evaluate.py --workdir=workdir/labels
  python scripts/evaluate.py --workdir=workdir/labels --data=FILE.npz

Your file must hold what the training script takes: frames, lengths and, unless the frames are
compared with themselves, labels. If it has `split`, --part selects by it; otherwise all sequences
are used.
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
flags.DEFINE_string('data', '', 'File to evaluate on; by default what the run held out.')
flags.DEFINE_enum('part', None, ['train', 'validation', 'test', 'all'],
                  'Part of the data; by default test if it has `split`, else all.')
flags.DEFINE_string('output', '', 'CSV file to write; by default evaluation.csv in the workdir.')
flags.DEFINE_bool('overwrite', False, 'Whether to overwrite the output.')
flags.DEFINE_integer('batch_size', 256, 'Sequences in a batch.', 1)

FLAGS = flags.FLAGS


def main():
    output = FLAGS.output or os.path.join(FLAGS.workdir, 'evaluation.csv')
    if not output.endswith('.csv'):
        raise runs.UserError(f'--output must end in .csv, got {output!r}.')
    run = runs.load_run(FLAGS.workdir)
    # The workdir's own evaluation.csv may be written again and again.
    runs.refuse_existing(output, overwrite=FLAGS.overwrite or not FLAGS.output)
    if FLAGS.part == 'train' and not FLAGS.data:
        raise runs.UserError('a run keeps only what it held out: for --part=train, pass its '
                             'file as --data.')
    path = FLAGS.data or run.held_out
    part, sequences = runs.read_part(path, FLAGS.part, run, workdir=FLAGS.workdir,
                                     columns=runs.asked_columns())
    run.output.check(sequences, path)
    with runs.user_errors():
        measured = run.trainer.evaluate(
            data.Batches(run.output.labelled(sequences), FLAGS.batch_size))
    of_loss = {'loss': f'loss/in {run.output.loss_unit}'} if run.output.loss_unit else {}
    print(runs.table({part: measured}, {**run.columns, **of_loss, **run.columns}))
    runs.write_rows(output, [{'data': path, 'part': part, 'sequences': len(sequences),
                              'steps': int(sequences.lengths.sum()), **measured}])
    print(f'written: {output}')


if __name__ == '__main__':
    runs.run(main)
