"""Streams a trained model: the prediction of each step as soon as the step is there.

  tail -f sensor.csv | python scripts/stream.py --workdir=workdir/events
  python scripts/stream.py --workdir=workdir/events --data=FILE.npz > predictions.csv

A line of standard input is a step: D numbers, separated by commas or spaces. An empty line ends a
sequence; the next one begins anew. With --data, the sequences of a file go through step by step,
one after the other.

It prints a row a step, as CSV: sequence and step (from 0), predicted, probability; of a detector of
events, which decides by its own threshold, that of an event. At the end it tells what a step took,
without reading and printing: the median and the 99th percentile, on standard error.

The model must see no steps to come, as train_events.py trains it, and train_labels.py with
--nobidirectional.
"""

import os
import signal

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# That takes seconds; an interrupt ends them without a traceback, unless it is to be ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import re
import sys
import time

import numpy as np
from absl import flags

import seqmask
from seqmask import runs

flags.DEFINE_string('workdir', None, 'Folder of a training script.')
flags.DEFINE_string('data', None, 'File of sequences; standard input by default.')
flags.DEFINE_list('features', None, 'Of a .csv: columns of features, separated by commas; by '
                  'default those that the run was told, else all others that hold numbers.')
flags.DEFINE_enum('part', 'all', ['train', 'validation', 'test', 'all'],
                  'Part of --data, if it has `split`.')
flags.DEFINE_enum('implementation', 'auto', ['auto', 'kernel', 'lite', 'graph'],
                  'How a step runs: in C++, on TensorFlow Lite, in TensorFlow.')
flags.mark_flags_as_required(['workdir'])

FLAGS = flags.FLAGS
WARM_UP = 3         # steps that are not told of: the first ones wake the processor's caches


def main():
    run = runs.load_run(FLAGS.workdir)
    model = run.trainer.model
    if not model.streams():
        raise runs.UserError(
            f'{FLAGS.workdir!r} holds a {type(model).__name__} that does not go step by step: '
            'streams need a model that sees no steps to come, as train_events.py trains it, and '
            'train_labels.py with --nobidirectional.')
    steps = steps_of_lines(run) if FLAGS.data is None else steps_of_file(run)
    runner = seqmask.StepRunner(model, implementation=FLAGS.implementation)
    took = []
    try:
        print('sequence,step,predicted,probability', flush=True)
        for sequence, step, x_t in steps:
            if step == 0:
                runner.reset()
            start = time.perf_counter()
            logits = runner.step(x_t)
            took.append(time.perf_counter() - start)
            (predicted,), (probability,) = runs.decide(model, logits.reshape([1, -1]))
            print(f'{sequence},{step},{run.names[predicted]},{probability:.4f}',
                  flush=FLAGS.data is None)
        sys.stdout.flush()
    except BrokenPipeError:         # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:       # the end of a stream that has none
        tell(took, runner)
        sys.exit(130)
    tell(took, runner)


def steps_of_file(run):
    """(sequence, step, x_t float32 [1, D]) of every real step."""
    _, sequences = runs.read_part(FLAGS.data, FLAGS.part, run, workdir=FLAGS.workdir,
                                  features=FLAGS.features)
    frames = iter(sequences.frames.astype(np.float32)[:, None])
    return ((sequence, step, next(frames)) for sequence, length in enumerate(sequences.lengths)
            for step in range(length))


def steps_of_lines(run):
    """The same of the lines of standard input, as they come."""
    sys.stdin.reconfigure(errors='replace')
    sequence = step = 0
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            sequence, step = sequence + (step > 0), 0
            continue
        yield sequence, step, numbers_of(line, f'standard input, line {number}', run.input_size)
        step += 1


def numbers_of(line, where, size):
    words = re.split(r'\s*,\s*|\s+', line.strip())
    if len(words) != size:
        raise runs.UserError(f'{where}: a step of the model of {FLAGS.workdir!r} has {size} '
                             f'numbers, got {len(words)}.')
    x_t = np.empty([1, size], np.float32)
    for k, word in enumerate(words):
        try:
            with np.errstate(over='ignore'):
                x_t[0, k] = float(word)
        except ValueError:
            x_t[0, k] = np.nan
        if not np.isfinite(x_t[0, k]):
            raise runs.UserError(f'{where}: number {k + 1} must be finite in float32, got '
                                 f'{word[:20]!r}.')
    return x_t


def tell(took, runner):
    measured = 1e6 * np.array(took[WARM_UP:])
    latency = 'too few to tell what one takes' if not len(measured) else (
        f'{np.median(measured):.1f} us a step (median), {np.percentile(measured, 99):.1f} us '
        '(99th percentile)')
    print(f'{len(took)} steps on {runner.implementation}; {latency}', file=sys.stderr)


if __name__ == '__main__':
    runs.run(main)
