"""Trains autoencoders that predict missing ratings from the known ones.

Without flags it learns from generated ratings, 1 to 5, of 1,682 films by 943 people, tests on a
fifth of them, and also prints the noise floor: no prediction is better on average.

Your own data: --ratings=FILE with lines `user,item,rating[,timestamp]`, separated by commas, tabs,
semicolons or `::`, with or without a header. It is tested on a random part of them, or on a second
file, --test_ratings=FILE.

By default two models take a user as the list of items that they rated, two take an item as the list
of users who rated it, and their predictions are averaged. The best epoch is chosen on a tenth of
the training ratings, a different one for each pair of models. Test ratings are never inputs of a
model: it predicts them from the training ratings of the same list.

The workdir will hold predictions.csv for the test ratings, recommendations.csv with the best
unrated items for each user, and a folder for each model. Run again with the same flags to resume a
run that was killed.
"""

import os
import signal
import sys

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')      # before TensorFlow is imported
# The import takes seconds; Ctrl-C ends it without a traceback, unless SIGINT is ignored.
if __name__ == '__main__' and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import numpy as np
import tensorflow as tf
from absl import flags

from seqmask import data, datasets, models, runs, training

flags.DEFINE_string('ratings', '', 'File to train on; by default generated ratings.')
flags.DEFINE_string('test_ratings', '', 'File to test on; by default a part of --ratings.')
flags.DEFINE_float('test_fraction', 0.2, 'Size of that part.', 0.0, 1.0)
flags.DEFINE_list('rating_range', None, 'Lowest and highest rating, such as 1,5; by default those '
                  'of the training ratings.')
flags.DEFINE_enum('based', 'both', ['both', 'user', 'item'],
                  'Whether the models take lists of users, of items, or both.')
flags.DEFINE_integer('models', 2, 'Models of each kind, whose predictions are averaged.', 1)
flags.DEFINE_list('hidden_sizes', ['64'], 'Width of the code and of each further layer.')
flags.DEFINE_enum('activation', 'tanh', ['tanh', 'sigmoid', 'relu', 'linear'],
                  'Activation of those layers.')
flags.DEFINE_float('dropout', 0.3, 'Share of the ratings hidden in training, to be predicted.', 0.0,
                   0.99)
flags.DEFINE_float('decay', 0.25, 'L2 penalty on the weights that a batch uses.', 0.0)
flags.DEFINE_float('shrinkage', 5.0, 'Number of average ratings added to those of each user and '
                   'item before taking the mean.', 0.0)
flags.DEFINE_integer('recommend', 10, 'Unrated items to recommend to each user; 0 for none.', 0)
runs.define_flags(workdir='workdir/ratings', epochs=30, learning_rate=3e-3)

FLAGS = flags.FLAGS
SIDES = {'both': ['user', 'item'], 'user': ['user'], 'item': ['item']}
VALIDATION = 0.1
FACTOR_DECAYS = (8.0, 14.0, 24.0)       # candidates for the matrix factorisation
BLOCK = 256                             # users per batch when recommending


def main():
    strategy = runs.make_strategy()     # before anything else of TensorFlow
    if FLAGS.precision != 'float32' or FLAGS.plots:
        raise runs.UserError('train_ratings.py computes in float32 and draws no pictures: '
                             'leave out --precision and --plots.')
    with runs.user_errors():
        ratings, tested, expected = load()
        limits = limits_of(ratings.values[~tested])
        sizes = widths(FLAGS.hidden_sizes)
    chief = training.is_chief(strategy)     # only this worker prints and writes
    found, encoded = {}, []
    for k in range(FLAGS.models):
        for by in SIDES[FLAGS.based]:
            name = f'{by}-{k + 1}'
            if chief:
                print(f'{name}: {k + 1} of {FLAGS.models} that take lists of {by}s', flush=True)
            fitted = fit(name, by, k, ratings, tested, limits, sizes, strategy)
            if chief:
                found[name] = predictions(fitted, ratings)
                if FLAGS.recommend:
                    encoded.append(encode(fitted.trainer.model, by, ratings, tested))
                print()
    if chief:
        predicted = np.mean(list(found.values()), axis=0)
        report(ratings, tested, found, predicted, limits, expected)
        write(ratings, tested, predicted)
        if FLAGS.recommend:
            recommend(ratings, encoded)
    runs.finish(strategy)


# Data


def load():
    """(`data.Ratings`; bool [N], True = to test on; expected ratings [N] if known, or None)."""
    allowed, expected = None, None
    if FLAGS.rating_range is not None:
        allowed = range_of(FLAGS.rating_range)
    if FLAGS.ratings:
        ratings = data.read_ratings(FLAGS.ratings, rating_range=allowed)
    elif FLAGS.test_ratings:
        raise runs.UserError('--test_ratings needs --ratings, the file to train on.')
    else:
        generated = datasets.low_rank_ratings(FLAGS.seed)
        columns, lengths = generated['columns'], generated['lengths']
        users, items = np.arange(len(lengths)), np.arange(columns.max() + 1)
        ratings = data.Ratings(np.repeat(users, lengths).astype(np.int32), columns,
                               generated['frames'][:, 0], users.astype(str).tolist(),
                               items.astype(str).tolist())
        expected = generated['expected']
    if not FLAGS.test_ratings:
        tested = data.split_ratings(len(ratings.values), FLAGS.test_fraction, FLAGS.seed)
        return ratings, tested, expected
    test = data.read_ratings(FLAGS.test_ratings, rating_range=allowed, after=ratings)
    tested = np.repeat([False, True], [len(ratings.values), len(test.values)])
    joined = (np.concatenate(pair) for pair in zip(ratings[:3], test[:3]))
    return data.Ratings(*joined, test.user_names, test.item_names), tested, None


def range_of(texts):
    try:
        low, high = map(float, texts)
    except ValueError:
        low = high = 0
    if not low < high or not np.isfinite([low, high]).all():
        raise runs.UserError(f'--rating_range must be the lowest and the highest rating, such '
                             f'as 1,5, got {",".join(texts)}.')
    return low, high


def limits_of(values):
    """The range of ratings: --rating_range, or that of the values."""
    if FLAGS.rating_range is not None:
        return range_of(FLAGS.rating_range)
    low, high = float(values.min()), float(values.max())
    if low == high:
        raise runs.UserError(f'all training ratings are {low:g}: there is nothing to learn. '
                             f'Ratings must differ.')
    return low, high


def widths(texts):
    if not texts or not all(text.isdecimal() and int(text) for text in texts):
        raise runs.UserError(f'--hidden_sizes must be widths, such as 64 or 64,32, got '
                             f'{",".join(texts)}.')
    return [int(text) for text in texts]


# Models


def fit(name, by, k, ratings, tested, limits, sizes, strategy):
    """Trains a model; returns the result of `runs.fit`."""
    with runs.user_errors():
        valid = data.split_ratings(~tested, VALIDATION, [FLAGS.seed, k])
        train = ~tested & ~valid
        parts = [data.rating_rows(ratings, train, by=by),
                 data.rating_rows(ratings, train, valid, by=by),
                 data.rating_rows(ratings, ~tested, tested, by=by)]
    others = 'item' if by == 'user' else 'user'
    number = len(ratings.item_names if by == 'user' else ratings.user_names)
    blueprint = runs.Blueprint(
        'RatingAutoencoder', dict(dropout=FLAGS.dropout, decay=FLAGS.decay,
                                  shrinkage=FLAGS.shrinkage, rating_range=limits),
        {'encoder': ('RatingEncoder', dict(num_columns=number, hidden_sizes=sizes,
                                           activation=FLAGS.activation))}, FLAGS.seed + k)

    def make_optimizer(steps_per_epoch):
        adam = runs.make_optimizer(steps_per_epoch)
        return training.LazyAdam.from_config(adam.get_config())

    return runs.fit(runs.Task(
        sys.modules[__name__], blueprint, parts, described=f'{number} {others}s',
        prepare=lambda model: model.fit_means(parts[0]), units=(f'{by}s', 'ratings'),
        make_optimizer=make_optimizer, strategy=strategy, folder=name))


def predictions(fitted, ratings):
    """A model's predictions of the test ratings: float [N], 0 for all others."""
    predicted = np.zeros(len(ratings.values))
    for batch in fitted.held_out['test']:
        outputs = fitted.trainer.model(
            batch['inputs'], batch['lengths'], batch['columns'], batch['given']).numpy()
        scored = ~batch['given'].numpy() & (
            np.arange(outputs.shape[1]) < batch['lengths'].numpy()[:, None])
        predicted[batch['number'].numpy()[scored]] = outputs[scored]
    return predicted


def encode(model, by, ratings, tested):
    """Returns a function: users, int [B] -> predictions for all items, float [B, items]."""
    lists = data.Batches(data.rating_rows(ratings, ~tested, by=by), BLOCK)
    codes, bases = zip(*(model.encode(batch['inputs'], batch['lengths'], batch['columns'])
                         for batch in lists))
    code, base = tf.concat(codes, axis=0), tf.concat(bases, axis=0)
    if by == 'user':
        return lambda users: model.decode(tf.gather(code, users), tf.gather(base, users)).numpy()
    return lambda users: model.decode(code, base, columns=users).numpy().T


# Results


def report(ratings, tested, found, predicted, limits, expected):
    """Prints the errors of all predictions of the test ratings."""
    rows, columns, targets = (part[tested] for part in ratings[:3])
    known = [part[~tested] for part in ratings[:3]]
    shape = len(ratings.user_names), len(ratings.item_names)
    mean, user, item = models.rating_biases(*known, shape, shrinkage=FLAGS.shrinkage)
    table = {
        'global mean': np.full(len(targets), mean),
        'user means': group_means(known[0], known[2], shape[0], mean)[rows],
        'item means': group_means(known[1], known[2], shape[1], mean)[columns],
        'user and item biases': mean + user[rows] + item[columns],
        'matrix factorisation': factorized(ratings, tested, shape)(rows, columns),
        **{f'autoencoder {name}': values[tested] for name, values in found.items()}}
    if len(found) > 1:
        table['autoencoders, averaged'] = predicted[tested]
    if expected is not None:
        table['noise floor'] = expected[tested]
    print(f'{len(targets):,} test ratings{"RMSE":>20}{"MAE":>10}')
    for name, values in table.items():
        errors = np.clip(values, *limits) - targets
        print(f'{name:28}{np.sqrt(np.mean(errors ** 2)):10.4f}{np.mean(np.abs(errors)):10.4f}')


def group_means(groups, values, number, default):
    counts = np.bincount(groups, minlength=number)
    return np.divide(np.bincount(groups, values, number), counts, where=counts > 0,
                     out=np.full(number, default))


def factorized(ratings, tested, shape):
    """Matrix factorisation, its decay chosen on the validation ratings of the first models."""
    valid = data.split_ratings(~tested, VALIDATION, [FLAGS.seed, 0])

    def fit(part, decay):
        return models.factorize_ratings(*(values[part] for values in ratings[:3]), shape,
                                        decay=decay, seed=FLAGS.seed)

    def error(decay):
        predict = fit(~tested & ~valid, decay)
        return np.mean((predict(ratings.users[valid], ratings.items[valid])
                        - ratings.values[valid]) ** 2)

    return fit(~tested, min(FACTOR_DECAYS, key=error))


def write(ratings, tested, predicted):
    runs.write_rows(os.path.join(FLAGS.workdir, 'predictions.csv'), [
        {'user': ratings.user_names[ratings.users[k]], 'item': ratings.item_names[ratings.items[k]],
         'rating': f'{ratings.values[k]:g}', 'predicted': f'{predicted[k]:.4f}'}
        for k in np.flatnonzero(tested)])


def recommend(ratings, encoded):
    """Writes the items with the highest predictions among those that each user has not rated."""
    rows = []
    for start in range(0, len(ratings.user_names), BLOCK):
        users = np.arange(start, min(start + BLOCK, len(ratings.user_names)))
        scores = np.mean([predict(users) for predict in encoded], axis=0)
        rated = np.isin(ratings.users, users)
        scores[ratings.users[rated] - start, ratings.items[rated]] = -np.inf
        best = np.argsort(-scores, axis=1, kind='stable')[:, :FLAGS.recommend]
        rows += [{'user': ratings.user_names[start + user], 'rank': rank,
                  'item': ratings.item_names[item], 'predicted': f'{scores[user, item]:.4f}'}
                 for user, items in enumerate(best) for rank, item in enumerate(items, 1)
                 if np.isfinite(scores[user, item])]
    runs.write_rows(os.path.join(FLAGS.workdir, 'recommendations.csv'), rows)


if __name__ == '__main__':
    runs.run(main)
