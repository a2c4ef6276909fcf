"""Times a training step of the rating autoencoder and of a dense Keras model.

Both have --hidden_size units and train on the same users. The Keras model takes rows of mostly
zeros, items -> Dense -> items, with a masked mean squared error; seqmask's takes lists of the
ratings. Both run at --users, --items and --density, then with twice the ratings, then with twice
the items: seqmask's cost grows with the ratings, Keras's with users x items.

Each measurement runs in a separate process: the median of --steps steps after two warm-up steps,
the time of an epoch of such steps, and the peak memory above that before the model was built. The
processes take turns, --repeats times; medians are shown.
"""

import json
import os
import signal
import statistics
import time

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import numpy as np
import tensorflow as tf
from absl import flags

from peers import memory, processes
from seqmask import data, models, runs, training

flags.DEFINE_integer('users', 10_000, 'Users in an epoch.', 1)
flags.DEFINE_integer('items', 20_000, 'Items.', 1)
flags.DEFINE_float('density', 0.005, 'Share of the items that each user has rated.', 0.0, 1.0)
flags.DEFINE_integer('hidden_size', 128, 'Units of both models, H.', 1)
flags.DEFINE_integer('batch_size', 256, 'Users in a batch.', 1)
flags.DEFINE_integer('steps', 10, 'Steps timed in a process.', 1)
flags.DEFINE_integer('repeats', 3, 'Processes of each measurement.', 1)
flags.DEFINE_string('measure', '', 'Internal: what to measure, for child processes.')

FLAGS = flags.FLAGS
MEGABYTE = 2**20
WARM_UP = 2     # steps


def main():
    if FLAGS.measure:
        print(json.dumps(measure(*json.loads(FLAGS.measure))))
        return
    each = max(1, round(FLAGS.items * FLAGS.density))
    sizes = [(FLAGS.items, each), (FLAGS.items, 2 * each), (2 * FLAGS.items, each)]
    if 2 * each > FLAGS.items:
        raise runs.UserError(f'--density must be at most 0.5, because it is doubled, got '
                             f'{FLAGS.density:g}.')
    print(f'{FLAGS.users:,} users, H = {FLAGS.hidden_size}, {FLAGS.batch_size} users in a batch')
    print(f'{"items":>10}{"ratings":>12}{"":4}{"":12}{"ms a step":>12}{"s an epoch":>12}'
          f'{"memory MB":>12}', flush=True)
    cases = [(kind, *size) for size in sizes for kind in KINDS]
    found = {case: [] for case in cases}
    options = [f'--{name}={FLAGS[name].value}' for name in ('hidden_size', 'batch_size', 'steps')]
    for _ in range(FLAGS.repeats):
        for case in cases:
            found[case].append(processes.run_again(
                __file__, case[0], *options, f'--measure={json.dumps(case)}'))
    steps = -(-FLAGS.users // FLAGS.batch_size)
    for (kind, items, ratings), times in found.items():
        seconds, size = (statistics.median(values) for values in zip(*times))
        print(f'{items:10,}{ratings * FLAGS.users:12,}{"":4}{kind:12}{seconds * 1e3:12.1f}'
              f'{seconds * steps:12.2f}{size / MEGABYTE:12.0f}', flush=True)


def measure(kind, items, ratings):
    """(seconds per step, bytes)."""
    batches = generate(items, ratings)
    before = memory.read_peak()
    step, seconds = KINDS[kind](items, batches.element_spec), []
    for batch in batches:
        start = time.perf_counter()
        float(step(batch))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:]), memory.read_peak() - before


def generate(items, ratings):
    """Batches of users with `ratings` random ratings each, enough for all steps."""
    rng = np.random.default_rng(0)
    users = (FLAGS.steps + WARM_UP) * FLAGS.batch_size
    columns = [np.sort(rng.choice(items, ratings, replace=False)) for _ in range(users)]
    return data.Batches(data.Sequences(
        rng.integers(1, 6, [users * ratings, 1]).astype(np.float32),
        np.full(users, ratings, np.int32),
        steps={'columns': np.concatenate(columns).astype(np.int32)}), FLAGS.batch_size)


def seqmask_step(items, spec):
    # Like the Keras model: no decay, two tables, and each rating both seen and predicted.
    encoder = models.RatingEncoder(items, hidden_sizes=(FLAGS.hidden_size,), implicit=False, seed=0)
    model = models.RatingAutoencoder(encoder, decay=0.0, dropout=0.0, seed=0)
    optimizer = training.LazyAdam(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function(input_signature=[spec])
    def step(batch):
        return training.train_step(model, models.RatingAutoencoder.loss, optimizer, batch).norm

    return step


def keras_step(items, spec):
    model = tf.keras.Sequential([
        tf.keras.Input([items]), tf.keras.layers.Dense(FLAGS.hidden_size, 'sigmoid'),
        tf.keras.layers.Dense(items)])
    optimizer = tf.keras.optimizers.Adam(1e-3)
    optimizer.build(model.trainable_variables)

    @tf.function(input_signature=[spec])
    def step(batch):
        users = tf.repeat(tf.range(tf.size(batch['lengths'])), batch['lengths'])
        places = tf.stack([users, tf.reshape(batch['columns'], [-1])], axis=1)
        shape = [tf.size(batch['lengths']), items]
        rows = tf.scatter_nd(places, tf.reshape(batch['inputs'], [-1]), shape)
        mask = tf.cast(rows != 0, tf.float32)
        with tf.GradientTape() as tape:
            errors = mask * tf.square(rows - model(rows, training=True))
            loss = tf.reduce_sum(errors) / tf.reduce_sum(mask)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return step


KINDS = {'seqmask': seqmask_step, 'Keras': keras_step}

if __name__ == '__main__':
    runs.run(main)
