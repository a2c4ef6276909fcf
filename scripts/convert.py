"""Converts sequences from one file format to another, with only a chunk of them in memory.

  python scripts/convert.py --input=FILE.csv --output=FILE.tfrecord

reads .npz, .tfrecord or .csv and writes .npz or .tfrecord. It prints the schema of the file, which
columns are features, how many sequences and steps there are, and how long they are; without
--output, only that. A .csv has one row per step; flags name its columns. An error in the input
names the file and the record, and nothing is written.
"""

import collections
import os
import signal

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import numpy as np
from absl import flags

from seqmask import data, runs

READERS = {'npz': data.open_npz, 'tfrecord': data.open_tfrecord, 'csv': data.open_csv}
WRITERS = {'npz': data.write_npz, 'tfrecord': data.write_tfrecord}

flags.DEFINE_list('input', None, 'File to read; several .tfrecord files, separated by commas, are '
                  'read one after the other.')
flags.DEFINE_string('output', None, 'File to write.')
flags.DEFINE_enum('input_format', None, sorted(READERS), 'By default that of the extension.')
flags.DEFINE_enum('output_format', None, sorted(WRITERS), 'By default that of the extension.')
flags.DEFINE_bool('overwrite', False, 'Whether to replace an existing output.')
flags.DEFINE_string('sequence', 'sequence', 'Of a .csv: column that names the sequence.')
flags.DEFINE_string('time', None, 'Of a .csv: column of times, which must ascend.')
flags.DEFINE_string('labels', None, 'Of a .csv: column of labels.')
flags.DEFINE_list('features', None, 'Of a .csv: columns of features, separated by commas; by '
                  'default all other columns of numbers.')
flags.DEFINE_enum('labels_per', 'step', ['step', 'sequence'], 'Of a .csv: whether each row has its '
                  'label, or all rows of a sequence the same one.')
flags.DEFINE_string('tokens', None, 'Of a .csv: column of tokens; it needs no features.')

FLAGS = flags.FLAGS
CSV_FLAGS = ('sequence', 'time', 'labels', 'features', 'labels_per', 'tokens')


def main():
    if not FLAGS.input:
        raise runs.UserError('--input is needed, the file to read; --output, the file to write, if '
                             'it is to be converted.')
    write = look
    if FLAGS.output:
        write = WRITERS[format_of('output', FLAGS.output, FLAGS.output_format, WRITERS)]
        runs.refuse_existing(FLAGS.output, overwrite=FLAGS.overwrite)
    with runs.user_errors():
        stream = opened(FLAGS.input)
        print(stream.schema)
        if stream.features:
            print(f'features: {", ".join(map(repr, stream.features))}')
        if stream.unused:
            print(f'left out: {", ".join(map(repr, stream.unused))}')
        lengths = []
        write(FLAGS.output, counted(stream, lengths))
    print(described(np.concatenate(lengths or [np.zeros([0], np.int32)])))
    if FLAGS.output:
        print(f'written: {FLAGS.output}')


def look(_, stream):
    """Reads the stream, and keeps nothing."""
    collections.deque(stream.chunks(), 0)


def counted(stream, lengths):
    """The stream; reading it appends the lengths of each chunk to a list."""
    def chunks():
        for chunk in stream.chunks():
            lengths.append(chunk['lengths'])
            yield chunk

    return data.Stream(stream.schema, chunks, source=stream.source,
                       num_sequences=stream.num_sequences)


def described(lengths):
    """One line on sequences of these lengths."""
    line = f'{len(lengths)} sequences, {lengths.sum(dtype=np.int64)} steps'
    if len(lengths):
        line += f'; length {lengths.min()} to {lengths.max()}, median {np.median(lengths):g}'
    return line


def opened(paths):
    """The stream of the input."""
    kinds = {format_of('input', path, FLAGS.input_format, READERS) for path in paths}
    if len(paths) > 1 and kinds != {'tfrecord'}:
        raise runs.UserError(f'--input must be one file, unless all are .tfrecord, got '
                             f'{",".join(paths)}.')
    kind, = kinds
    for name in CSV_FLAGS:
        if FLAGS[name].present and kind != 'csv':
            raise runs.UserError(f'--{name} is for a .csv, got {paths[0]!r}.')
    if kind == 'csv':
        return data.open_csv(paths[0], **{name: FLAGS[name].value for name in CSV_FLAGS})
    return READERS[kind](paths if len(paths) > 1 else paths[0])


def format_of(flag, path, stated, known):
    """The format of a file, one of `known`: the one stated, else that of its extension."""
    found = stated or os.path.splitext(path)[1].lower().lstrip('.')
    if found not in known:
        extensions = ' or '.join(f'.{name}' for name in known)
        raise runs.UserError(f'--{flag} must end in {extensions}, or --{flag}_format must name its '
                             f'format, got {path!r}.')
    return found


if __name__ == '__main__':
    runs.run(main)
