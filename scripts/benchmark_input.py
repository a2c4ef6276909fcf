"""Times the input pipeline alone: how many real steps per second reach a training loop.

Generated sequences with log-normal lengths are written to files, and each pipeline reads its file
in a separate process. Shown for each: real steps per second, the median over --epochs shuffled
epochs; the share of padding; the peak memory above that before the file was opened; and the size of
the file. `memory` pipelines hold all sequences in memory, `stream` pipelines do not.
"""

import json
import os
import signal
import statistics
import tempfile
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import numpy as np
from absl import flags

from peers import memory, processes
from seqmask import data, runs
from seqmask.runs import UserError

flags.DEFINE_integer('steps', 1_000_000, 'Approximate number of real steps in a file.', 1)
flags.DEFINE_integer('length', 50, 'Median length of a sequence.', 1)
flags.DEFINE_integer('input_size', 16, 'Features, D.', 1)
flags.DEFINE_integer('batch_size', 64, 'Sequences in a batch.', 1)
flags.DEFINE_integer('buckets', 8, 'Buckets of the pipelines that have them.', 1)
flags.DEFINE_integer('shuffle_buffer', 1000, 'Sequences in the shuffle buffer of a stream.', 0)
flags.DEFINE_integer('epochs', 3, 'Epochs timed per pipeline, after a first batch.', 1)
flags.DEFINE_list('pipelines', None, 'Pipelines to time; by default all.')
flags.DEFINE_string('read', '', 'Internal: folder of the files, for child processes.')

FLAGS = flags.FLAGS
MEGABYTE = 2**20


def in_memory(path, **options):
    return data.Batches(data.read_npz(path), shuffle=True, **options)


def streamed(stream, **options):
    return data.StreamBatches(stream, shuffle_buffer=FLAGS.shuffle_buffer, **options)


def size(buckets=None):
    return {'batch_size': FLAGS.batch_size, 'bucket_boundaries': buckets}


def budget():
    return {'max_steps': FLAGS.batch_size * FLAGS.length, 'bucket_boundaries': FLAGS.buckets}


# Name: (file type, path -> batches).
PIPELINES = {
    'memory plain': ('npz', lambda path: in_memory(path, **size())),
    'memory buckets': ('npz', lambda path: in_memory(path, **size(FLAGS.buckets))),
    'memory budget': ('npz', lambda path: in_memory(path, **budget())),
    'memory exact': ('npz', lambda path: in_memory(path, **size('exact'))),
}
for kind, read in [('npz', data.open_npz), ('tfrecord', data.open_tfrecord)]:
    PIPELINES[f'stream {kind}'] = (kind, lambda path, read=read: streamed(read(path), **size()))
    PIPELINES[f'stream {kind} buckets'] = (kind, lambda path, read=read: streamed(
        read(path), overflow='last', **size(FLAGS.buckets)))


def main():
    chosen = list(PIPELINES) if FLAGS.pipelines is None else FLAGS.pipelines
    unknown = [name for name in chosen if name not in PIPELINES]
    if unknown:
        raise UserError(f'--pipelines must be some of {", ".join(PIPELINES)}; got '
                        f'{", ".join(unknown)}.')
    if FLAGS.read:
        print(json.dumps(measure(chosen[0], FLAGS.read)))
        return
    with tempfile.TemporaryDirectory() as folder:
        sequences = generate()
        print(f'{len(sequences)} sequences of {sequences.lengths.min()} to '
              f'{sequences.lengths.max()} steps, {len(sequences.frames)} in all, '
              f'{FLAGS.input_size} features', flush=True)
        write(sequences, folder, {PIPELINES[name][0] for name in chosen})
        del sequences
        print(f'{"":24}{"steps/s":>12}{"padding":>10}{"memory MB":>12}{"file MB":>10}')
        for name in chosen:
            row = processes.run_again(
                __file__, name, f'--pipelines={name}', f'--read={folder}',
                *(f'--{key}={FLAGS[key].value}' for key in
                  ('length', 'batch_size', 'buckets', 'shuffle_buffer', 'epochs')))
            print(f'{name:24}{row["steps_per_second"]:12,.0f}{row["padding"]:10.1%}'
                  f'{row["memory"] / MEGABYTE:12.1f}{row["file"] / MEGABYTE:10.1f}', flush=True)


def generate():
    """Sequences with labels and log-normal lengths, always the same."""
    rng = np.random.default_rng(0)
    lengths = np.ceil(rng.lognormal(np.log(FLAGS.length), 0.7, FLAGS.steps)).astype(np.int32)
    lengths = lengths[:np.searchsorted(np.cumsum(lengths, dtype=np.int64), FLAGS.steps) + 1]
    frames = rng.normal(size=[lengths.sum(), FLAGS.input_size]).astype(np.float32)
    return data.Sequences(frames, lengths,
                          steps={'labels': rng.integers(0, 9, len(frames)).astype(np.int32)})


def write(sequences, folder, kinds):
    for kind in sorted(kinds):
        getattr(data, f'write_{kind}')(os.path.join(folder, f'input.{kind}'), sequences)


def measure(name, folder):
    kind, make_batches = PIPELINES[name]
    path = os.path.join(folder, f'input.{kind}')
    before = memory.read_peak()
    batches = make_batches(path)
    next(iter(batches))
    rates = []
    for epoch in range(FLAGS.epochs):
        start, real, padded = time.perf_counter(), 0, 0
        for batch in batches.at_epoch(epoch):
            real += int(batch['lengths'].numpy().sum())
            padded += batch['inputs'].shape[0] * batch['inputs'].shape[1]
        rates.append(real / (time.perf_counter() - start))
    return {'steps_per_second': statistics.median(rates), 'padding': 1 - real / padded,
            'memory': memory.read_peak() - before, 'file': os.path.getsize(path)}


if __name__ == '__main__':
    runs.run(main)
