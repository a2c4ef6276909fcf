"""Trains a tagger: a tag for each token of a sentence, the tags of a sentence jointly by a CRF.

Without flags it reads handwritten words, letter by letter, from the data that comes with seqmask,
with the network of train_labels.py below a CRF, beside the same network without one.

Your own sentences: --data=FILE in columns, as CoNLL's shared tasks use them: a line per token, a
blank line between sentences, the token first and its tag last (see --token_column, --tag_column):

  EU      NNP  B-ORG
  rejects VBZ  O

  Peter   NNP  B-PER

If the tags are BIO tags as here, the F1 of spans is printed, as conlleval counts, and the CRF
allows no I-X that continues nothing. Words are looked up and, besides, spelled: a convolution or a
GRU runs over the letters of each, so that unknown words are told apart.

A .npz or .tfrecord file may hold `tokens` [N] (strings or whole numbers) or `frames` [N, D],
`lengths` [B] and `labels` [N] (strings or whole numbers), a .csv file the columns sequence, tokens
(or features) and labels. A tenth each is drawn for validation and test, unless there are files for
them (--validation_data, --test_data) or a field `split` [B]: 0 train, 1 validation, 2 test.

The workdir will hold history.csv, predictions.csv, checkpoints/ and best/, and what evaluate.py and
predict.py need to load the model; in without_crf/ the same for the other one. Run again with the
same flags to resume a run that was killed.
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

import seqmask
from seqmask import data, datasets, runs

runs.define_sequence_flags('embedded handwriting')
flags.DEFINE_string('validation_data', '', 'File of the sentences to validate on.')
flags.DEFINE_string('test_data', '', 'File of the sentences to test on.')
flags.DEFINE_integer('token_column', 0, 'Column of the tokens, from 0; from -1 backwards.')
flags.DEFINE_integer('tag_column', -1, 'Column of the tags.')
flags.DEFINE_string('separator', '', 'What separates columns; by default spaces and tabs.')
flags.DEFINE_string('comment', '', 'How a line begins that is a comment, such as # in CoNLL-U.')
flags.DEFINE_bool('crf', True, 'Whether to score the tags of a sentence jointly, by a CRF.')
flags.DEFINE_bool('compare', True, 'Whether to train the same network without the CRF, too.')
flags.DEFINE_enum('constraints', 'auto', ['auto', 'none'], 'auto: the CRF allows what BIO tags '
                  'allow, if the tags are such and the training data keeps to it.')
flags.DEFINE_integer('min_count', 1, 'Rarer tokens of the training data count as unknown.', 1)
flags.DEFINE_enum('characters', 'conv', ['conv', 'gru', 'none'],
                  'What reads the letters of each token, if tokens are strings.')
flags.DEFINE_integer('character_size', 32, 'Width of what it makes of a token; even for gru.', 1)
flags.DEFINE_float('token_dropout', 0.1, 'Share of the tokens that training replaces by the '
                   'unknown one, if tokens are strings.', 0.0, 0.99)
flags.DEFINE_enum('cell', 'gru', ['gru', 'lstm'], 'Recurrent cell.')
flags.DEFINE_integer('hidden_size', 128, 'Units of each layer and direction.', 1)
flags.DEFINE_integer('num_layers', 2, 'Recurrent layers.', 1)
flags.DEFINE_bool('bidirectional', True, 'Whether the layers read in both directions.')
flags.DEFINE_float('dropout', 0.5, 'Dropout rate of the features between layers.', 0.0, 0.99)
flags.DEFINE_float('input_dropout', 0.2, 'Dropout rate of the input features.', 0.0, 0.99)
flags.DEFINE_float('step_dropout', None, 'Share of the steps whose inputs are dropped; by default '
                   '0.2 for features, 0 for tokens.', 0.0, 0.99)
runs.define_flags(workdir='workdir/tagger', epochs=30, batch_size=16, learning_rate=4e-3)

FLAGS = flags.FLAGS


def main():
    strategy = runs.make_strategy()     # before anything else of TensorFlow
    with runs.user_errors():
        parts, output, features = load()
        parts = runs.limited(parts, FLAGS.limit)
        embedding = embedding_of(parts)
    chief = runs.is_chief(strategy)
    if chief:
        features.print()
    fitted = {name: fit(parts, output, features, embedding, crf, folder, strategy)
              for name, crf, folder in variants(chief)}
    if chief:
        report(fitted, output)
    runs.finish(strategy)


def variants(chief):
    """(name, whether it has a CRF, subfolder of the workdir) of each model, in turn."""
    if FLAGS.crf:
        yield 'CRF', True, ''
    if not FLAGS.crf or FLAGS.compare:
        if FLAGS.crf and chief:
            print('\nthe same network without a CRF:', flush=True)
        yield 'no CRF', False, 'without_crf' if FLAGS.crf else ''


def fit(parts, output, features, embedding, crf, folder, strategy):
    are_tokens = embedding is not None
    step_dropout = FLAGS.step_dropout
    if step_dropout is None:
        step_dropout = 0.0 if are_tokens else 0.2
    encoder = dict(
        cell=FLAGS.cell, hidden_size=FLAGS.hidden_size, num_layers=FLAGS.num_layers,
        bidirectional=FLAGS.bidirectional, dropout=FLAGS.dropout,
        input_dropout=FLAGS.input_dropout, step_dropout=step_dropout,
        implementation=FLAGS.implementation, dtype=FLAGS.precision)
    if not are_tokens:
        encoder['input_size'] = parts[0].frames.shape[1]
    options = dict(num_classes=len(output.names), dropout=FLAGS.dropout, crf=crf)
    if crf and (constraints := constraints_of(output, parts[0])):
        options['constraints'] = constraints
    blueprint = runs.Blueprint('SequenceLabeller', options, {'encoder': ('Encoder', encoder)},
                               FLAGS.seed, embedding)
    by = 'span_f1' if output.has_spans else 'accuracy'
    tokens, sentences = ('tags', 'sentences') if FLAGS.data else ('letters', 'words')
    columns = {'accuracy': f'{tokens}/right', 'sequence_accuracy': f'{sentences} all/right'}
    if output.has_spans:
        columns['span_f1'] = 'F1/of spans'
    return runs.fit(runs.Task(
        sys.modules[__name__], blueprint, parts, standardize=FLAGS.standardize,
        described=f'{len(output.names)} tags', units=(sentences, 'tokens' if are_tokens else
                                                      'steps'),
        output=output, columns=columns, features=features, monitor=by, mode='max',
        strategy=strategy, folder=folder))


def report(fitted, output):
    """Prints a table of both models, and writes the predictions of the first one."""
    first, *_ = fitted.values()
    rows = {f'{part}, {name}': result.measured[part]
            for part in first.measured for name, result in fitted.items()}
    print('\n' + runs.table(rows, first.task.columns), flush=True)
    predicted, written = {}, []
    for (part, batches), labelled in zip(first.held_out.items(), first.task.labelled()[1:]):
        predicted[part] = output.predict(first.trainer, batches)
        written += runs.named(output.rows(predicted[part], labelled, part=part), labelled)
    runs.write_rows(os.path.join(FLAGS.workdir, 'predictions.csv'), written)
    test = first.task.labelled()[2]
    if output.has_spans:
        print('\n' + table_of_spans(output.span_scores(predicted['test'], test)), flush=True)
    if FLAGS.plots:
        runs.draw_classes(FLAGS.workdir, first, predicted['test'], batch_size=FLAGS.batch_size)


def table_of_spans(scores):
    lines = [f'{"test, spans":12}{"labelled":>16}{"precision":>16}{"recall":>16}{"F1":>16}']
    for kind, score in scores.items():
        lines.append(f'{kind:12}{score.labelled:16}{score.precision:16.2%}{score.recall:16.2%}'
                     f'{score.f1:16.2%}')
    return '\n'.join(lines)


def load():
    """([train, valid, test], `runs.Tags`, `runs.Features`)."""
    if not FLAGS.data:
        if FLAGS.validation_data or FLAGS.test_data:
            raise runs.UserError('--validation_data and --test_data need --data, a file to train '
                                 'on.')
        letters = datasets.ocr_letters()
        sequences = data.Sequences(letters['frames'], letters['lengths'],
                                   steps={'labels': letters['labels']})
        folds = letters['fold'] < 8, letters['fold'] == 8, letters['fold'] == 9
        return ([sequences.select(part) for part in folds],
                runs.Tags([str(name) for name in letters['label_names']]), runs.Features())
    conll = dict(tokens=FLAGS.token_column, labels=FLAGS.tag_column,
                 separator=FLAGS.separator or None, comment=FLAGS.comment or None)
    train, features = read(FLAGS.data, conll)
    others = [path and read(path, conll)[0] for path in (FLAGS.validation_data, FLAGS.test_data)]
    for path, part in zip((FLAGS.validation_data, FLAGS.test_data), others):
        if part and (part.frames.shape[1:], part.frames.dtype.kind) != (
                train.frames.shape[1:], train.frames.dtype.kind):
            raise runs.UserError(f'{path!r} must hold the same kind of steps as {FLAGS.data!r}: '
                                 f'features of one width, words, or numbers of tokens.')
    parts = parts_of(train, *others)
    return parts, runs.Tags.of(parts), features


def read(path, conll):
    """(sequences with a tag for each step, `runs.Features`) of a file."""
    sequences, features = runs.read_sequences(path, runs.asked_columns(), conll)
    labels = sequences.steps.get('labels')
    if labels is None:
        raise runs.UserError(f'{path!r} must hold `labels`, a tag for each step; it holds '
                             f'{", ".join(sequences.steps) or "none"} per step.')
    if labels.dtype.kind != 'U':
        runs.labels_of(sequences, labels_per='step', num_classes=0, path=path)
    return sequences, features


def parts_of(train, valid, test):
    """[train, valid, test]; what has no file is drawn from the training sentences."""
    if valid and test:
        return [train, valid, test]
    if not (valid or test):
        return runs.divided(train, seed=FLAGS.seed)
    rest, tenth = data.split(train, [0.9, 0.1], seed=FLAGS.seed)
    return [rest, valid or tenth, test or tenth]


def embedding_of(parts):
    """`runs.Blueprint.embedding`; None for features."""
    train, (_, embedding) = parts[0], runs.inputs_of(parts)
    if embedding is None or train.frames.dtype.kind != 'U':
        return embedding
    words = data.Vocabulary.fit(train, min_count=FLAGS.min_count)
    embedding.update(tokens=words.tokens[1:].tolist(), token_dropout=FLAGS.token_dropout)
    if FLAGS.characters != 'none':
        letters = data.Vocabulary.fit_characters(train)
        embedding['characters'] = dict(
            tokens=letters.tokens[1:].tolist(), size=16, kind=FLAGS.characters,
            output_size=FLAGS.character_size, dtype=FLAGS.precision)
    return embedding


def constraints_of(output, train):
    """The constraints of BIO tags as lists, if the training data keeps to them; else None."""
    if FLAGS.constraints == 'none' or not output.has_spans:
        return None
    allowed = seqmask.bio_constraints(output.names)
    labels = output.labelled(train).steps['labels']
    first = np.cumsum(train.lengths) - train.lengths
    inner = np.ones(len(labels), bool)
    inner[first[train.lengths > 0]] = False
    follows = np.flatnonzero(inner)
    if not (allowed.start[labels[~inner]].all()
            and allowed.transitions[labels[follows - 1], labels[follows]].all()):
        return None
    return [np.asarray(part).tolist() for part in allowed]


if __name__ == '__main__':
    runs.run(main)
