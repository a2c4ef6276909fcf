"""Converts sequences from one kind of file to another, a chunk in memory at a time.

--input=FILE.csv --output=FILE.tfrecord and the like: .npz, .tfrecord and .csv are read, .npz and
.tfrecord are written. It prints what the file holds, how many sequences and steps, and how long
they are. A table of rows (.csv) has a row for each step; the flags say which column is what.

What is damaged or does not fit is told with its file and record, and nothing is written then.
"""

import os
import signal

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# That takes seconds; an interrupt ends them without a traceback, unless it is to be ignored.
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
flags.DEFINE_enum('input_format', None, sorted(READERS), 'By default what the ending says.')
flags.DEFINE_enum('output_format', None, sorted(WRITERS), 'By default what the ending says.')
flags.DEFINE_bool('overwrite', False, 'Whether to replace an output that is there already.')
flags.DEFINE_string('sequence', 'sequence', 'Of a .csv: column that names the sequence.')
flags.DEFINE_string('time', None, 'Of a .csv: column of times, which must ascend.')
flags.DEFINE_string('labels', None, 'Of a .csv: column of labels.')
flags.DEFINE_list('features', None, 'Of a .csv: columns of features, separated by commas; by '
                  'default all others that hold numbers.')

FLAGS = flags.FLAGS
OF_A_TABLE = ('sequence', 'time', 'labels', 'features')


class Counted:
    """A stream's sequences, whose lengths are counted in passing."""

    def __init__(self, stream):
        self.lengths = []
        self._stream = stream
        self.stream = data.Stream(stream.schema, self._chunks, source=stream.source,
                                  num_sequences=stream.num_sequences)

    def _chunks(self):
        for chunk in self._stream.chunks():
            self.lengths.append(chunk['lengths'])
            yield chunk

    def report(self):
        lengths = np.concatenate(self.lengths or [np.zeros([0], np.int32)])
        line = f'{len(lengths)} sequences, {lengths.sum(dtype=np.int64)} steps'
        if len(lengths):
            line += (f'; length {lengths.min()} at least, {np.median(lengths):g} in the median, '
                     f'{lengths.max()} at most')
        return line


def main():
    if not FLAGS.input or not FLAGS.output:
        raise runs.UserError('--input and --output are needed: say what to read and what to '
                             'write.')
    write = WRITERS[format_of('output', FLAGS.output, FLAGS.output_format, WRITERS)]
    runs.refuse_existing(FLAGS.output, overwrite=FLAGS.overwrite)
    with runs.user_errors():
        stream = opened(FLAGS.input)
        print(stream.schema)
        if stream.unused:
            print(f'left out: {", ".join(map(repr, stream.unused))}')
        counted = Counted(stream)
        write(FLAGS.output, counted.stream)
    print(counted.report())
    print(f'written: {FLAGS.output}')


def opened(paths):
    """The stream of the input."""
    kinds = {format_of('input', path, FLAGS.input_format, READERS) for path in paths}
    if len(paths) > 1 and kinds != {'tfrecord'}:
        raise runs.UserError(f'--input must be one file, unless all are .tfrecord, got '
                             f'{",".join(paths)}.')
    kind, = kinds
    for name in OF_A_TABLE:
        if FLAGS[name].present and kind != 'csv':
            raise runs.UserError(f'--{name} is for a .csv, got {paths[0]!r}.')
    if kind == 'csv':
        return data.open_csv(paths[0], **{name: FLAGS[name].value for name in OF_A_TABLE})
    return READERS[kind](paths if len(paths) > 1 else paths[0])


def format_of(flag, path, stated, known):
    """Which of the known formats a file has."""
    ending = stated or os.path.splitext(path)[1].lower().lstrip('.')
    if ending not in known:
        endings = ' or '.join(f'.{name}' for name in known)
        raise runs.UserError(f'--{flag} must end in {endings}, or --{flag}_format say what it '
                             f'is, got {path!r}.')
    return ending


if __name__ == '__main__':
    runs.run(main)
