"""Times seqmask's recurrent layers against Keras's, PyTorch's and Flax's on the same numbers.

Each peer runs in a separate process with the same inputs, weights and number of threads, on the
CPU. First, all must compute the same outputs, loss and gradients. Then they are timed in turns:
"forward", and "train", which is forward and the gradients of a masked squared error with respect to
all weights. Ratios are taken within each repeat, so that they are robust to a drift of the
machine's speed. The GEMM floor is the time of the real steps' matrix products alone.

  benchmark.py                 one size; lengths are log-normal, --fill of the steps real
  benchmark.py --scaling       over the fill, the padded length and the hidden size
  benchmark.py --epoch=both    whole epochs of training, Trainer.fit against Keras's Model.fit
  benchmark.py --step          single steps, as in a stream: StepRunner against cells; by default
                               of one sequence, on one thread

Peers that are not installed are left out: pip install '.[bench]'. For one that is installed in
another environment, pass, say, --python=pytorch=/path/to/its/bin/python.
"""

import os
import platform
import shutil
import signal
import sys
import tempfile

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from absl import flags

import peers
from peers import plots, problems, processes, report, rounds
from seqmask import runs
from seqmask.runs import UserError

flags.DEFINE_enum('cell', 'lstm', ['lstm', 'gru'], 'Recurrent cell.')
flags.DEFINE_integer('batch_size', 64, 'Sequences in a batch, B.', 1)
flags.DEFINE_integer('maxlen', 200, 'Padded time steps, T.', 1)
flags.DEFINE_integer('input_size', 64, 'Features, D.', 1)
flags.DEFINE_integer('hidden_size', 256, 'Hidden units, H.', 1)
flags.DEFINE_float('fill', 0.37, 'Share of the steps that are real.', 0.01, 1.0)
flags.DEFINE_integer('repeats', 15, 'Timed calls of each peer, after a warm-up.', 1)
flags.DEFINE_integer('threads', 0, 'Threads and cores of each peer; 0 for all cores.', 0)
flags.DEFINE_list('peers', None, 'Peers to measure, by default all that are installed, but for '
                  f'{", ".join(peers.ON_REQUEST)}, which compiles for minutes: ' + ', '.join(
                      peer.key for peer in peers.LAYERS) + '; with --epoch: ' + ', '.join(
                          peer.key for peer in peers.EPOCHS) + '; with --step: ' + ', '.join(
                               peer.key for peer in peers.STEPS) + '.')
flags.DEFINE_multi_string('python', [], 'FRAMEWORK=PATH: the Python that has a framework '
                          f'({", ".join(peers.FRAMEWORKS)}), if not this one.')
flags.DEFINE_bool('scaling', False, 'Vary the fill, then T, then H.')
flags.DEFINE_bool('step', False, 'Time single steps.')
flags.DEFINE_enum('epoch', None, ['handwriting', 'log-normal', 'both'],
                  'Time whole epochs on the embedded handwriting or on generated sequences.')
flags.DEFINE_integer('limit', 0, 'Sequences in an epoch; 0 for all, or for 20 batches of '
                     'generated ones.', 0)
flags.DEFINE_integer('num_layers', 2, 'Recurrent layers of the network of --epoch.', 1)
flags.DEFINE_bool('bidirectional', True, 'Whether that network reads in both directions.')
flags.DEFINE_enum('implementation', 'auto', ['auto', 'kernel', 'graph'],
                  'Implementation of the recurrence in that network.')
flags.DEFINE_string('csv', '', 'CSV file to write the measurements to.')
flags.DEFINE_string('plot', '', 'Picture to draw (.png, .svg, .pdf).')

FLAGS = flags.FLAGS
CALLS = ['forward', 'train']
FILLS = [0.05, 0.1, 0.2, 0.37, 0.5, 0.75, 1.0]
STEPS = 200                         # timed in one go with --step
FACTORS = [0.25, 0.5, 1, 2]         # of --maxlen and --hidden_size


def main():
    try:
        check_flags()
        run = (epochs if FLAGS.epoch else scaling if FLAGS.scaling else single_steps if FLAGS.step
               else one_size)
        table = peers.EPOCHS if FLAGS.epoch else peers.STEPS if FLAGS.step else peers.LAYERS
        threads = FLAGS.threads or (1 if FLAGS.step else cores())
        chosen = chosen_peers(table) + [peers.FLOOR] * (table is peers.LAYERS)
        with tempfile.TemporaryDirectory() as folder, processes.started(
                chosen, interpreters(), threads) as (workers, absent):
            rows = run(workers, Absent(absent), folder, threads)
        if FLAGS.csv:
            runs.write_rows(FLAGS.csv, rows)
    except KeyboardInterrupt:
        print('interrupted.', file=sys.stderr)
        sys.exit(130)


def one_size(workers, absent, folder, threads):
    sizes = layer_sizes()
    measured, share = measure_layers(workers, absent, folder, sizes)
    title = layer_title(sizes, share, threads)
    print_all(title, versions(workers), *report.layer_tables(measured, CALLS), absent.describe())
    if FLAGS.plot:
        plots.bars(FLAGS.plot, title, {f'{call}, ms': {
            name: measured.spread(call, name).times(1e3) for name in measured.times[call]}
            for call in CALLS})
    return report.csv_rows(measured, CALLS, csv_sizes(sizes, share, threads))


def scaling(workers, absent, folder, threads):
    sweeps = {'fill': FILLS}
    for name in ('maxlen', 'hidden_size'):
        sweeps[name] = sorted({max(1, round(factor * FLAGS[name].value)) for factor in FACTORS})
    title = layer_title(layer_sizes(), FLAGS.fill, threads) + '; each varied alone'
    print_all(title, versions(workers))
    rows, found = [], {}
    for name, values in sweeps.items():
        points = found[name] = {}
        for value in values:
            sizes = {**layer_sizes(), name: value}
            points[value], share = measure_layers(workers, absent, folder, sizes, False)
            rows += report.csv_rows(points[value], CALLS, csv_sizes(sizes, share, threads))
        by_label = {f'{value:.0%}' if name == 'fill' else str(value): m
                    for value, m in points.items()}
        print_all(*(report.scaling_table(name, by_label, call) for call in CALLS))
    print_all(absent.describe())
    if FLAGS.plot:
        plots.lines(FLAGS.plot, title, found, CALLS)
    return rows


def single_steps(workers, absent, folder, threads):
    sizes = {name: FLAGS[name].value for name in ('cell', 'input_size', 'hidden_size')}
    sizes['batch_size'] = FLAGS.batch_size if FLAGS['batch_size'].present else 1
    measured = rounds.measure(
        workers, absent.reasons, problems.step_problem(**sizes, steps=STEPS),
        {'cell': FLAGS.cell}, folder, ['step'], FLAGS.repeats)
    absent.check()
    title = (f'{FLAGS.cell}, B={sizes["batch_size"]} D={FLAGS.input_size} H={FLAGS.hidden_size}, '
             f'{STEPS} steps one after the other; {machine(threads)}')
    print_all(title, versions(workers), *report.step_tables(measured, STEPS), absent.describe())
    if FLAGS.plot:
        plots.bars(FLAGS.plot, title, {'step, us': {
            name: measured.spread('step', name).times(1e6 / STEPS)
            for name in measured.times['step']}})
    return report.csv_rows(measured, ['step'], {**sizes, 'steps': STEPS, 'threads': threads})


def epochs(workers, absent, folder, threads):
    rows, panels = [], {}
    for source in ['handwriting', 'log-normal'] if FLAGS.epoch == 'both' else [FLAGS.epoch]:
        problem, small = (problems.sequences_problem(
            source, limit, FLAGS.batch_size, FLAGS.maxlen, FLAGS.input_size, FLAGS.fill)
            for limit in (FLAGS.limit, 1))
        network = {name: FLAGS[name].value for name in
                   ('cell', 'hidden_size', 'num_layers', 'bidirectional')}
        weights = problems.labeller_weights(
            input_size=problem['frames'].shape[1], classes=int(problem['classes']), **network)
        for each in (problem, small):
            each.update({f'weight_{i}': weight for i, weight in enumerate(weights)})
        settings = {**network, 'batch_size': FLAGS.batch_size, 'weights': len(weights),
                    'implementation': FLAGS.implementation}
        measured = rounds.measure(workers, absent.reasons, problem, settings, folder, ['epoch'],
                                  FLAGS.repeats, small, warm_up=1)
        absent.check()
        lengths, steps = problem['lengths'], int(problem['lengths'].sum())
        title = (
            f'{source}: {len(lengths):,} sequences of {lengths.min()} to {lengths.max()} steps, '
            f'{steps:,} in all; {FLAGS.num_layers} {"bidirectional " * FLAGS.bidirectional}'
            f'{FLAGS.cell}, H={FLAGS.hidden_size}, B={FLAGS.batch_size}; {machine(threads)}')
        print_all(title, versions(workers), *report.epoch_tables(measured, steps))
        panels[f'{source}, steps/s'] = {
            name: report.speed(measured, name, steps) for name in measured.facts}
        rows += report.csv_rows(measured, ['epoch'], {
            'data': source, **network, 'batch_size': FLAGS.batch_size, 'sequences': len(lengths),
            'real_steps': steps, 'threads': threads}, steps)
    print_all(absent.describe())
    if FLAGS.plot:
        plots.bars(FLAGS.plot, title.partition('; ')[2], panels)
    return rows


# Measuring


def layer_sizes():
    return {name: FLAGS[name].value for name in
            ('cell', 'batch_size', 'maxlen', 'input_size', 'hidden_size', 'fill')}


def measure_layers(workers, absent, folder, sizes, with_memory=True):
    """(`Measured`, the share of real steps)."""
    problem = problems.layer_problem(**sizes)
    small = problems.layer_problem(**{**sizes, 'batch_size': 1, 'maxlen': 2, 'fill': 1.0})
    measured = rounds.measure(workers, absent.reasons, problem, {'cell': sizes['cell']}, folder,
                              CALLS, FLAGS.repeats, small if with_memory else None)
    absent.check()
    return measured, problem['lengths'].mean() / sizes['maxlen']


class Absent:
    """Peers that cannot be measured, and why. An error if they were chosen with --peers."""

    def __init__(self, reasons):
        self.reasons = reasons
        self.check()

    def check(self):
        if FLAGS.peers and self.reasons:
            raise UserError(self.describe())

    def describe(self):
        return '\n'.join(f'{name} is {reason}' for name, reason in self.reasons.items())


# Flags


def check_flags():
    chosen = [f'--{name}' for name in ('scaling', 'step', 'epoch') if FLAGS[name].value]
    if len(chosen) > 1:
        raise UserError(f'{" and ".join(chosen)} cannot be combined: choose one.')
    for name in ('csv', 'plot'):
        folder = os.path.dirname(FLAGS[name].value)
        if folder and not os.path.isdir(folder):
            raise UserError(f'--{name}={FLAGS[name].value}: there is no folder {folder!r}.')
    if FLAGS.threads > cores():
        raise UserError(f'--threads={FLAGS.threads}: there are {cores()} cores.')
    if FLAGS.plot:
        plots.require()


def chosen_peers(table):
    by_key = {peer.key: peer for peer in table}
    if FLAGS.peers is None:
        return [peer for peer in table if peer.key not in peers.ON_REQUEST]
    wrong = [key for key in FLAGS.peers if key not in by_key]
    if wrong or not FLAGS.peers:
        raise UserError(f'--peers must be some of {", ".join(by_key)}; '
                        f'got {", ".join(wrong) or "none"}.')
    return [by_key[key] for key in dict.fromkeys(FLAGS.peers)]


def interpreters():
    """dict of framework -> Python to run it in."""
    found = dict.fromkeys(peers.FRAMEWORKS, sys.executable)
    for text in FLAGS.python:
        framework, _, path = text.partition('=')
        if framework not in found or not path:
            raise UserError(f'--python={text}: must be FRAMEWORK=PATH, with one of '
                            f'{", ".join(peers.FRAMEWORKS)}.')
        if shutil.which(path) is None:
            raise UserError(f'--python={text}: {path!r} cannot be run.')
        found[framework] = path
    return found


# Printing


def layer_title(sizes, share, threads):
    return (f'{sizes["cell"]}, B={sizes["batch_size"]} T={sizes["maxlen"]} '
            f'D={sizes["input_size"]} H={sizes["hidden_size"]}, {share:.0%} of the steps real; '
            f'{machine(threads)}')


def csv_sizes(sizes, share, threads):
    return {**sizes, 'fill': round(float(share), 4), 'threads': threads}


def versions(workers):
    found = {name: version for worker in workers for name, version in worker.versions.items()}
    return ', '.join(f'{name} {version}' for name, version in found.items())


def machine(threads):
    name = platform.processor() or platform.machine()
    if os.path.exists('/proc/cpuinfo'):
        with open('/proc/cpuinfo', encoding='utf-8') as file:
            names = [line.partition(':')[2].strip() for line in file
                     if line.startswith('model name')]
        name = names[0] if names else name
    return f'{name}, {threads} thread{"s" * (threads > 1)}'


def cores():
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def print_all(*parts):
    for part in filter(None, parts):
        print(part, end='\n\n', flush=True)


if __name__ == '__main__':
    runs.run(main)
