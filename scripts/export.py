"""Exports a trained model to run without seqmask.

  python scripts/export.py --workdir=workdir/labels --output=exported
  python scripts/export.py --workdir=workdir/labels --output=model.tflite --maxlen=100

An output that ends in .tflite is a TensorFlow Lite model of --batch_size sequences of --maxlen
padded steps. Any other is the folder of a SavedModel, for batches of any size. The signatures are
printed, with the names and shapes of their arguments and results.
"""

import os
import signal
import warnings

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import tensorflow as tf
from absl import flags

from seqmask import export, runs

flags.DEFINE_string('workdir', None, '--workdir of a training script.')
flags.DEFINE_string('output', None, 'Folder to write, or file that ends in .tflite.')
flags.DEFINE_integer('maxlen', 0, 'Padded time steps of a .tflite model.', 0)
flags.DEFINE_integer('batch_size', 1, 'Sequences in a batch of a .tflite model.', 1)
flags.DEFINE_bool('overwrite', False, 'Whether to overwrite a .tflite file.')
flags.mark_flags_as_required(['workdir', 'output'])

FLAGS = flags.FLAGS


def main():
    is_tflite = FLAGS.output.endswith('.tflite')
    if is_tflite != bool(FLAGS.maxlen):
        raise runs.UserError('--maxlen is needed for an --output that ends in .tflite, and '
                             f'only there; got --output={FLAGS.output} '
                             f'--maxlen={FLAGS.maxlen}.')
    runs.refuse_existing(FLAGS.output, overwrite=FLAGS.overwrite and is_tflite)
    model = runs.load_run(FLAGS.workdir).trainer.model
    with runs.user_errors():
        if is_tflite:
            content = export.to_tflite(model, maxlen=FLAGS.maxlen, batch=FLAGS.batch_size)
            with runs.whole_file(FLAGS.output) as unfinished, open(unfinished, 'wb') as file:
                file.write(content)
        else:
            export.save(model, FLAGS.output)
    print(f'written: {FLAGS.output}, a {type(model).__name__} with the signatures')
    for line in signatures(FLAGS.output, is_tflite):
        print(line)


def signatures(path, is_tflite):
    """A line for each signature, read from the exported file."""
    if is_tflite:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')         # TensorFlow calls it deprecated
            interpreter = tf.lite.Interpreter(model_path=path)
        for name in interpreter.get_signature_list():
            runner = interpreter.get_signature_runner(name)
            yield describe(name, *({key: (value['dtype'].__name__, list(value['shape']))
                                    for key, value in details.items()}
                                   for details in (runner.get_input_details(),
                                                   runner.get_output_details())))
        return
    for name, function in tf.saved_model.load(path).signatures.items():
        yield describe(name, *({key: (spec.dtype.name, spec.shape.as_list())
                                for key, spec in specs.items()}
                               for specs in (function.structured_input_signature[1],
                                             function.structured_outputs)))


def describe(name, inputs, outputs):
    def join(specs):
        return ', '.join(
            f'{key} {dtype} [{", ".join("?" if n is None else str(n) for n in shape)}]'
            for key, (dtype, shape) in sorted(specs.items()))

    return f'  {name:18}{join(inputs)} -> {join(outputs)}'


if __name__ == '__main__':
    runs.run(main)
