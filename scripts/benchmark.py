"""Times seqmask's recurrent layer beside Keras's with Masking, on the same weights and data.

Both run in a tf.function, forward and training (a masked squared error and the gradients to all
weights), in turn, repeat by repeat, so that the ratio holds where the machine's speed drifts.
First they must compute the same numbers. Lengths are log-normal with --fill of the steps real.
"""

import os
import statistics
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported

import numpy as np
import tensorflow as tf
from absl import flags

import seqmask
from seqmask import training
from seqmask.training import UserError

flags.DEFINE_enum('cell', 'lstm', ['lstm', 'gru'], 'Recurrent cell.')
flags.DEFINE_integer('batch_size', 64, 'Sequences in the batch, B.', 1)
flags.DEFINE_integer('maxlen', 200, 'Padded time steps, T.', 1)
flags.DEFINE_integer('input_size', 64, 'Features, D.', 1)
flags.DEFINE_integer('hidden_size', 256, 'Hidden units, H.', 1)
flags.DEFINE_float('fill', 0.37, 'Share of the steps that are real.', 0.01, 1.0)
flags.DEFINE_integer('repeats', 15, 'Times that each is timed, after two that are not.', 1)
flags.DEFINE_integer('threads', 0, 'Threads of an operation; 0 for one a core.', 0)

FLAGS = flags.FLAGS


def main():
    tf.config.threading.set_intra_op_parallelism_threads(FLAGS.threads)
    rng = np.random.default_rng(0)
    lengths = draw_lengths(rng)
    shape = [FLAGS.batch_size, FLAGS.maxlen]
    inputs = tf.constant(rng.normal(size=shape + [FLAGS.input_size]).astype(np.float32))
    targets = tf.constant(rng.normal(size=shape + [FLAGS.hidden_size]).astype(np.float32))
    ours, theirs = make_layers()
    calls = {
        'forward': [forward(ours), forward(theirs)],
        'train': [train(ours), train(theirs)],
    }
    print(f'{FLAGS.cell}, B={FLAGS.batch_size} T={FLAGS.maxlen} D={FLAGS.input_size} '
          f'H={FLAGS.hidden_size}, {lengths.numpy().mean() / FLAGS.maxlen:.0%} of the steps real')
    print(f'{"":10}{"seqmask ms":>12}{"Keras ms":>12}{"ratio":>8}{"min":>8}{"max":>8}')
    for name, (our_call, their_call) in calls.items():
        arguments = (inputs, lengths) + ((targets,) if name == 'train' else ())
        assert_same(our_call(*arguments), their_call(*arguments))
        times = [(timed(our_call, arguments), timed(their_call, arguments))
                 for _ in range(FLAGS.repeats + 2)][2:]
        ratios = [our_time / their_time for our_time, their_time in times]
        medians = [1e3 * statistics.median(column) for column in zip(*times)]
        print(f'{name:10}{medians[0]:12.1f}{medians[1]:12.1f}{statistics.median(ratios):8.2f}'
              f'{min(ratios):8.2f}{max(ratios):8.2f}', flush=True)


def draw_lengths(rng):
    """Log-normal lengths of at least 1, cut off at T, scaled such that --fill of them is real."""
    drawn = np.exp(0.6 * rng.normal(size=FLAGS.batch_size))

    def lengths(scale):
        return np.clip(np.round(scale * drawn), 1, FLAGS.maxlen)

    low, high = 0.0, 1e3 * FLAGS.maxlen
    for _ in range(100):
        scale = (low + high) / 2
        enough = lengths(scale).mean() >= FLAGS.fill * FLAGS.maxlen
        low, high = (low, scale) if enough else (scale, high)
    return tf.constant(lengths(high), tf.int32)


def make_layers():
    """Ours and Keras's layer as functions of (inputs, lengths), with their weights; the same."""
    layers = tf.keras.layers
    size = FLAGS.hidden_size
    ours = {'lstm': seqmask.LSTM, 'gru': seqmask.GRU}[FLAGS.cell](FLAGS.input_size, size, seed=0)
    theirs = {'lstm': layers.LSTM, 'gru': layers.GRU}[FLAGS.cell](size, return_sequences=True)
    theirs.build([None, None, FLAGS.input_size])
    theirs.set_weights([ours.kernel.numpy(), ours.recurrent_kernel.numpy(), ours.bias.numpy()])
    return ((lambda x, lengths: ours(x, lengths)[0],
             [ours.kernel, ours.recurrent_kernel, ours.bias]),
            (lambda x, lengths: theirs(x, mask=tf.sequence_mask(lengths, FLAGS.maxlen)),
             [weight.value for weight in theirs.trainable_variables]))


def forward(layer):
    call, _ = layer

    @tf.function
    def run(inputs, lengths):
        outputs = call(inputs, lengths)
        return [seqmask.apply_mask(outputs, tf.sequence_mask(lengths, FLAGS.maxlen))]
    return run


def train(layer):
    call, weights = layer

    @tf.function
    def run(inputs, lengths, targets):
        with tf.GradientTape() as tape:
            loss = seqmask.losses.squared_error(
                predictions=call(inputs, lengths), labels=targets,
                mask=tf.sequence_mask(lengths, FLAGS.maxlen)).mean()
        return [loss, *tape.gradient(loss, weights)]
    return run


def assert_same(ours, theirs):
    for our_value, their_value in zip(ours, theirs, strict=True):
        difference = float(tf.reduce_max(tf.abs(our_value - their_value)))
        scale = float(tf.reduce_max(tf.abs(their_value)))
        if not difference <= 1e-4 * scale:
            raise UserError(f'seqmask and Keras do not agree: {difference} apart, of {scale}.')


def timed(call, arguments):
    start = time.perf_counter()
    call(*arguments)[0].numpy()
    return time.perf_counter() - start


if __name__ == '__main__':
    training.run(main)
