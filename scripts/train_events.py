"""Trains a detector of rare events: yes or no at each step of sequences of unequal length.

Without flags it learns to predict the requests in a generated log of a mostly idle system, about 1%
of the steps (`seqmask.datasets.system_log`). It then trains the same network the usual way, with an
unweighted loss and an initial bias of 0, and compares both with a model that always says no.

The threshold is chosen on the validation data, by F1 or by --min_precision, and saved with the
model. Events are matched with a tolerance: each peak of the probability is matched to at most one
event, at most --tolerance steps away. The last row of the tables, 'causes known', ranks the steps
of the generated log by their true probabilities, at the best threshold for the test data: except by
chance, no detector does better.

Your own data: --data=FILE.npz with `frames` [N, D] (all sequences concatenated), `lengths` [B] and
`labels` [N], 1 at the steps of events and 0 elsewhere; optionally `split` [B]: 0 train, 1
validation, 2 test (by default, a tenth each is drawn for validation and test).

The workdir will hold history.csv, events.csv (all detections, hits and false alarms), checkpoints/
and best/; unweighted/ holds the second model. Run again with the same flags to resume a run that
was killed.
"""

import os
import signal
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import numpy as np
from absl import flags

from seqmask import data, datasets, metrics, runs

runs.define_sequence_flags('generated log', standardize='standard')
flags.DEFINE_enum('network', 'gru', ['gru', 'lstm', 'conv'], 'Recurrent cell, or convolutions.')
flags.DEFINE_bool('causal', True, 'Whether a step sees only itself and earlier steps, as on a '
                  'stream. Excludes --standardize=sequence.')
flags.DEFINE_integer('hidden_size', 32, 'Units of each layer and direction.', 1)
flags.DEFINE_integer('num_layers', 0, 'Layers; 0 for 2 recurrent ones, or 5 convolutions.', 0)
flags.DEFINE_integer('kernel_size', 3, 'Steps in the window of each convolution.', 1)
flags.DEFINE_string('pos_weight', '1', 'Weight of event steps in the loss: a number, or balanced.')
flags.DEFINE_float('focal_gamma', 0.0, 'Focusing exponent of the focal loss; 0 for none.', 0.0)
flags.DEFINE_float('dropout', 0.0, 'Dropout rate of the features between layers.', 0.0, 0.99)
flags.DEFINE_integer('tolerance', 5, 'Largest distance of a detection from its event, in steps.', 0)
flags.DEFINE_float('min_precision', 0.0, 'Choose the threshold with the highest recall at this '
                   'precision of events; 0 for the highest F1.', 0.0, 1.0)
flags.DEFINE_integer('chunk_size', 0, 'Train on chunks of this many steps: the state is carried '
                     'from chunk to chunk, the gradient is not; 0 for whole sequences. Needs '
                     '--causal and a recurrent network.', 0)
runs.define_flags(workdir='workdir/events', epochs=20, batch_size=16, learning_rate=4e-3)

FLAGS = flags.FLAGS
UNWEIGHTED = 'unweighted'
MEASURED = {name: f'steps/{name}' for name in ('accuracy', 'precision', 'recall', 'f1')}
COLUMNS = {'accuracy': 10, 'precision': 12, 'recall': 10, 'F1': 10, 'average precision': 20}


def main():
    if FLAGS.chunk_size and FLAGS.network == 'conv':
        raise runs.UserError('only a recurrent network carries its state from chunk to '
                             'chunk: --chunk_size needs --network=gru or lstm.')
    if FLAGS.causal and FLAGS.standardize == 'sequence':
        raise runs.UserError('a causal model sees no future steps, but --standardize=sequence '
                             'takes the mean of whole sequences: choose another, or --nocausal.')
    strategy = runs.make_strategy()     # before anything else of TensorFlow
    with runs.user_errors():
        parts, features = load()
        parts = runs.limited(parts, FLAGS.limit)
    chief = runs.is_chief(strategy)         # only this worker prints and writes
    if chief:
        features.print()
    detector = fit(blueprint_of(parts), parts, features, strategy)
    if chief:
        print('\nthe same network, with an unweighted loss and an initial bias of 0:', flush=True)
    usual = fit(blueprint_of(parts, event_rate=0.5, pos_weight=1.0, focal_gamma=0.0), parts,
                features, strategy, UNWEIGHTED)

    if chief:
        logits = {part: predicted(detector, batches)
                  for part, batches in detector.held_out.items()}
        threshold = choose(detector, logits['validation'], parts)
        detector.trainer.model.threshold.assign(threshold)
    detector.trainer.keep_best()            # all workers take part
    if chief:
        report(detector, usual, logits, parts)
    runs.finish(strategy)


def report(detector, usual, logits, parts):
    """Prints a comparison of both models, and writes all detections."""
    model, test = detector.trainer.model, parts[2]
    threshold = float(model.threshold.numpy())
    compared = {'always zero': ([np.zeros(n) for n in test.lengths], np.inf),
                f'{UNWEIGHTED}, at 50%': (predicted(usual, usual.held_out['test']), 0.0),
                f'detector, at {probability(model, threshold):.0%}': (logits['test'], threshold)}
    if not FLAGS.data:
        compared['causes known'] = causes_known(test), None
    print('\n' + '\n'.join(table(compared, test)), flush=True)

    found = {part: [detections(model, i, scores, sequences.sequence(i)['labels'])
                    for i, scores in enumerate(logits[part])]
             for part, sequences in zip(logits, parts[1:])}
    rows = [row for part in found for sequence in found[part] for row in rows_of(part, sequence)]
    runs.write_rows(os.path.join(FLAGS.workdir, 'events.csv'), rows)
    if FLAGS.plots:
        curves = {name.split(',')[0]: curve(scores, test)
                  for name, (scores, _) in compared.items() if name != 'always zero'}
        chosen = curve(logits['test'], test).at(threshold)
        runs.draw_events(FLAGS.workdir, detector, curves, chosen, found['test'],
                         batch_size=FLAGS.batch_size)


def load():
    """([train, valid, test], `runs.Features`)."""
    if FLAGS.data:
        parts, _, features = runs.read_parts(
            FLAGS.data, labels_per='step', num_classes=2, numbers=True, seed=FLAGS.seed,
            columns=runs.asked_columns())
        return parts, features
    log = datasets.system_log(FLAGS.seed)
    sequences = data.Sequences(log['frames'], log['lengths'], steps={
        'labels': log['labels'], 'probability': log['probability']})
    return [sequences.select(log['split'] == part) for part in range(3)], runs.Features()


def rate_of(train):
    """Share of the steps that are events."""
    steps, events = len(train.frames), np.count_nonzero(train.steps['labels'])
    if events in (0, steps):
        raise runs.UserError(
            f'{"each" if events else "none"} of the {steps} steps to train on is an event (label '
            f'1): there is nothing to learn. Train on sequences with both labels.')
    return events / steps


def number_or_balanced(text):
    try:
        return text if text == 'balanced' else float(text)
    except ValueError as error:
        raise runs.UserError(f'--pos_weight must be a number or balanced, got '
                             f'{text}.') from error


def blueprint_of(parts, **other):
    """The detector, some of its options replaced by `other`."""
    options = dict(event_rate=rate_of(parts[0]), pos_weight=number_or_balanced(FLAGS.pos_weight),
                   focal_gamma=FLAGS.focal_gamma, dropout=FLAGS.dropout)
    size, embedding = runs.inputs_of(parts)
    shared = dict(input_size=size, hidden_size=FLAGS.hidden_size,
                  dtype=FLAGS.precision)
    if FLAGS.network == 'conv':
        encoder = 'DilatedEncoder', dict(
            shared, num_layers=FLAGS.num_layers or 5, kernel_size=FLAGS.kernel_size,
            causal=FLAGS.causal)
    else:
        encoder = 'Encoder', dict(
            shared, cell=FLAGS.network, num_layers=FLAGS.num_layers or 2,
            bidirectional=not FLAGS.causal, dropout=FLAGS.dropout,
            implementation=FLAGS.implementation)
    return runs.Blueprint('EventDetector', {**options, **other}, {'encoder': encoder}, FLAGS.seed,
                          embedding)


def fit(blueprint, parts, features, strategy, folder=''):
    asked = FLAGS['standardize'].present or not parts[0].are_tokens     # tokens have no scale
    return runs.fit(runs.Task(
        sys.modules[__name__], blueprint, parts, features=features,
        standardize=FLAGS.standardize if asked else None,
        described=f'{rate_of(parts[0]):.2%} of the steps are events', columns=MEASURED,
        output=runs.Events(['nothing', 'event']), strategy=strategy, folder=folder))


def predicted(fitted, batches):
    """Logits, an array per sequence."""
    return list(fitted.trainer.predict(batches))


def probability(model, logits):
    """As `models.EventDetector.probabilities`."""
    return 1 / (1 + np.exp(np.log(model.pos_weight) - np.float64(logits)))


def curve(scores, sequences, *, events=True):
    """`metrics.events.PrecisionRecall` of scores, an array per sequence."""
    metric = metrics.AveragePrecision(FLAGS.tolerance if events else None)
    for i, logits in enumerate(scores):
        metric.update(logits=logits[None], labels=sequences.sequence(i)['labels'][None],
                      mask=None)
    return metric.curve()


def choose(fitted, logits, parts):
    """Chooses the threshold, a logit, and prints how."""
    part, found = 'validation', curve(logits, parts[1])
    if not found.events:
        print('\nthere is no event in the validation data: the threshold is chosen on the training '
              'data, where the model looks better than it is.')
        part, found = 'training', curve(predicted(fitted, data.Batches(parts[0], 256)), parts[0])
    by, threshold = 'the highest F1', found.best_f1()
    if FLAGS.min_precision:
        by = f'the highest recall at a precision of {FLAGS.min_precision:.0%}'
        try:
            threshold = found.for_precision(FLAGS.min_precision)
        except ValueError:
            best = found.precision.max()
            print(f'\nno threshold has a precision of {FLAGS.min_precision:.0%} on the {part} '
                  f'data: the highest, {best:.2%}, is used.')
            by, threshold = 'the highest precision', found.for_precision(best)
    scores = found.at(threshold)
    print(f'\nthreshold   {probability(fitted.trainer.model, threshold):.1%}, with {by} on '
          f'the {part} data, in events: precision {scores.precision:.2%}, recall '
          f'{scores.recall:.2%}, F1 {scores.f1:.2%}', flush=True)
    return threshold


def causes_known(test):
    """Logits of the true probabilities, with noise to break ties."""
    noise = np.random.default_rng(0).uniform(0, 1e-6, len(test.frames))
    p = np.float64(test.steps['probability'])
    ends = np.cumsum(test.lengths)[:-1]
    return np.split(np.log(p / (1 - p)) + noise, ends)


def table(compared, test):
    """Lines of the tables of scores, in steps and in events."""
    labels = test.steps['labels']
    for events in (False, True):
        title = f'events, to {FLAGS.tolerance} steps' if events else 'test, step by step'
        yield f'{title:22}' + ''.join(f'{heading:>{width}}' for heading, width in COLUMNS.items())
        for name, (scores, threshold) in compared.items():
            found = curve(scores, test, events=events)
            if threshold is None:           # the best on this very data
                threshold = found.best_f1() if found.events else np.inf
            at = found.at(threshold)
            right = np.mean((np.concatenate(scores) >= threshold) == labels)
            shown = [np.nan if events else right, *at, found.average_precision]
            yield f'{name:22}' + ''.join(
                f'{"-" if np.isnan(value) else format(value, ".2%"):>{width}}'
                for value, width in zip(shown, COLUMNS.values()))


def detections(model, number, logits, labels):
    """The detections in one sequence, as `runs.draw_events` takes them."""
    peaks = metrics.matching.find_peaks(logits[None], None, FLAGS.tolerance).numpy()[0]
    threshold = model.threshold.numpy()
    steps = np.flatnonzero(peaks & (logits >= threshold))
    events = metrics.matching.find_events(labels)
    return {'number': number, 'probability': probability(model, logits),
            'threshold': probability(model, threshold), 'events': events, 'steps': steps,
            'matched': metrics.matching.match_events(steps, logits[steps], events, FLAGS.tolerance)}


def rows_of(part, sequence):
    """Rows of events.csv; `event_step` is the event's first step, empty for a false alarm."""
    for step, event in zip(sequence['steps'], sequence['matched']):
        yield {'part': part, 'sequence': sequence['number'], 'step': step,
               'probability': f'{sequence["probability"][step]:.4f}',
               'outcome': 'false alarm' if event < 0 else 'hit',
               'event_step': '' if event < 0 else sequence['events'][event, 0]}


if __name__ == '__main__':
    runs.run(main)
