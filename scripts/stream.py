"""Streams a trained model: predicts each step as soon as it arrives.

  tail -f sensor.csv | python scripts/stream.py --workdir=workdir/events
  python scripts/stream.py --workdir=workdir/events --data=FILE.npz > predictions.csv

Each line of standard input is one step: D numbers, separated by commas or spaces; or a token. An
empty line ends a sequence, and the state is reset. With --data, the sequences of a file are run
step by step, one after the other.

It prints one CSV row per step: sequence and step (from 0), predicted, probability. An event
detector decides by its own threshold; `probability` is that of an event. A transcriber predicts the
label of the most likely class, empty for the blank: of equal ones in a row the first counts. A
predictor of frames prints the numbers of the frame ahead instead. At the end it prints the latency
of a step to standard error, without reading and printing: median and 99th percentile.

The model must be causal, such as those of train_events.py and train_frames.py, and of
train_labels.py and train_transcriber.py with --nobidirectional and, for the latter, --filters=0.
"""

import os
import signal

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import re
import sys
import time
import warnings

import numpy as np
from absl import flags

import seqmask
from seqmask import runs

runs.define_run_flags()
flags.DEFINE_string('data', None, 'File of sequences; by default standard input.')
flags.DEFINE_enum('part', 'all', ['train', 'validation', 'test', 'all'],
                  'Part of --data, if it has `split`.')
flags.DEFINE_enum('implementation', 'auto', ['auto', 'kernel', 'lite', 'graph'],
                  'Whether a step runs in C++, in TensorFlow Lite or in TensorFlow.')

FLAGS = flags.FLAGS
WARM_UP = 3         # steps left out of the latency: the caches are cold


def main():
    run = runs.load_run(FLAGS.workdir)
    model = run.trainer.model
    if not model.streams():
        raise runs.UserError(
            f'the model in {FLAGS.workdir!r}, {type(model).__name__}, cannot run step by step: '
            'streams need a causal model, such as that of train_events.py, or of train_labels.py '
            'with --nobidirectional.')
    if model.fields['inputs'][0].name == 'string':
        raise runs.UserError(f'the model in {FLAGS.workdir!r} reads words, and streams are of '
                             'numbers: features, or tokens that are whole numbers.')
    steps = steps_of_lines(run) if FLAGS.data is None else steps_of_file(run)
    with warnings.catch_warnings(record=True) as told:
        runner = seqmask.StepRunner(model, implementation=FLAGS.implementation)
    for warning in told:
        print(f'note: {warning.message}', file=sys.stderr)
    seconds = []
    try:
        print(','.join(['sequence', 'step', *run.output.step_header()]), flush=True)
        for sequence, step, x_t in steps:
            if step == 0:
                runner.reset()
            with runs.user_errors():        # an unknown token
                start = time.perf_counter()
                outputs = runner.step(x_t)
                seconds.append(time.perf_counter() - start)
            values = run.output.step_values(model, outputs.ravel())
            print(','.join([str(sequence), str(step), *values]), flush=FLAGS.data is None)
        sys.stdout.flush()
    except BrokenPipeError:         # the reader has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:       # the usual end of an endless stream
        print_latency(seconds, runner)
        sys.exit(130)
    print_latency(seconds, runner)


def steps_of_file(run):
    """Yields (sequence, step, x_t float32 [1, D], or a token, int32 [1]) of each real step."""
    _, sequences = runs.read_part(FLAGS.data, FLAGS.part, run, workdir=FLAGS.workdir,
                                  columns=runs.asked_columns(), file=sys.stderr)
    frames = iter(sequences.frames[:, None])
    return ((sequence, step, next(frames)) for sequence, length in enumerate(sequences.lengths)
            for step in range(length))


def steps_of_lines(run):
    """Yields the same from the lines of standard input as they arrive."""
    sys.stdin.reconfigure(errors='replace')
    sequence = step = 0
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            sequence, step = sequence + (step > 0), 0
            continue
        where = f'standard input, line {number}'
        yield sequence, step, (parse_token(line, where) if run.input_size is None else
                               parse_step(line, where, run.input_size))
        step += 1


def parse_token(line, where):
    if not re.fullmatch(r'\s*\d{1,9}\s*', line):
        raise runs.UserError(f'{where}: a step must be a token, a whole number, got '
                             f'{line.strip()[:20]!r}.')
    return np.array([int(line)], np.int32)


def parse_step(line, where, size):
    words = re.split(r'\s*,\s*|\s+', line.strip())
    if len(words) != size:
        raise runs.UserError(f'{where}: a step must have {size} numbers, as in the training data '
                             f'of {FLAGS.workdir!r}, got {len(words)}.')
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


def print_latency(seconds, runner):
    us = 1e6 * np.array(seconds[WARM_UP:])
    latency = 'too few to measure the latency' if not len(us) else (
        f'{np.median(us):.1f} us per step (median), {np.percentile(us, 99):.1f} us (99th '
        'percentile)')
    print(f'{len(seconds)} steps on {runner.implementation}: {latency}', file=sys.stderr)


if __name__ == '__main__':
    runs.run(main)
