"""scripts/train_ratings.py as a person starts it, also with bad input.

TensorFlow takes seconds to start, so that all runs but two share one process, one after the other.
"""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from seqmask import runs
from test_scripts import ROOT, TIMEOUT, command, own_lines, rows_of, start

SMALL = ['--epochs=2', '--models=1', '--hidden_sizes=4']
OWN = ['--ratings=own.tsv', '--test_ratings=test.tsv', '--workdir=run', '--recommend=3', *SMALL]
GENERATED = ['--based=item', '--recommend=0', '--workdir=made', *SMALL]
ONE_USER = ['--ratings=one_user.csv', '--based=user', '--workdir=one', *SMALL]

# Runs the script with each of several lists of flags, and tells what it printed, or its error.
SHARED = f'''
import contextlib, io, json, sys
sys.path.insert(0, {str(ROOT / 'scripts')!r})
import train_ratings
from absl import flags
from seqmask import runs
found = []
for argv in json.loads(sys.argv[1]):
    for name in flags.FLAGS:
        flags.FLAGS[name].unparse()
    flags.FLAGS(['train_ratings.py', *argv])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        try:
            train_ratings.main()
        except runs.UserError as error:
            print('error:', error)
    found.append(printed.getvalue())
print(json.dumps(found))
'''


def run(folder, *flags, **how):
    return start(folder, *flags, script='train_ratings.py', **how)


def write(path, pairs, separator=','):
    path.write_text(''.join(separator.join([*pair, '0']) + '\n' for pair in pairs))


def some_ratings(number=300):
    """Of 15 users and 40 items: (user, item, rating)."""
    rng = np.random.default_rng(0)
    places = rng.permutation(15 * 40)[:number]
    return [(f'u{place // 40}', f'i{place % 40}', str(1 + (place // 40 + place) % 5))
            for place in places]


def table_of(lines):
    """{name: (RMSE, MAE)} of what the script prints."""
    found = (re.fullmatch(r'(\S.*?)\s+(\d\.\d{4})\s+(\d\.\d{4})', line) for line in lines)
    return {line[1]: (float(line[2]), float(line[3])) for line in found if line}


NEW = [('new', 'i1', '2'), ('u1', 'never', '4'), ('new', 'never', '3')]

BAD = {
    '--ratings=own.tsv --rating_range=1,4':
        r'own.tsv: line \d+: the rating must be in \[1, 4\], got 5.',
    '--ratings=own.tsv --rating_range=4,1':
        '--rating_range must be the lowest and the highest rating, such as 1,5, got 4,1.',
    '--ratings=own.tsv --rating_range=1,inf':
        '--rating_range must be the lowest and the highest rating, such as 1,5, got 1,inf.',
    '--ratings=text.csv': "text.csv: line 2: the rating must be a number, got 'good'.",
    '--ratings=empty.csv': 'empty.csv: the file must hold ratings, .*; it holds none.',
    '--ratings=one.csv': 'there are too few ratings, 1, to draw a fraction of 0.2.',
    '--ratings=same.csv': 'all training ratings are 3: there is nothing to learn. .*',
    '--ratings=own.tsv --test_ratings=own.tsv':
        'own.tsv: line 1: .* is in the training file too: .*',
    '--test_ratings=own.tsv': '--test_ratings needs --ratings, the file to train on.',
    '--hidden_sizes=4,x': '--hidden_sizes must be widths, such as 64 or 64,32, got 4,x.',
    '--hidden_sizes=²': '--hidden_sizes must be widths, such as 64 or 64,32, got ².',
    '--plots': 'train_ratings.py computes in float32 and draws no pictures: .*',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('ratings')
    pairs = some_ratings()
    write(folder / 'own.tsv', pairs[:200], '\t')
    write(folder / 'test.tsv', pairs[200:] + NEW, '\t')
    write(folder / 'one_user.csv', [('ann', f'i{k}', str(1 + k % 5)) for k in range(30)])
    write(folder / 'text.csv', [('a', 'x', '1'), ('b', 'x', 'good')])
    write(folder / 'twice.csv', [('a', 'x', '1'), ('a', 'x', '2')])
    write(folder / 'empty.csv', [])
    write(folder / 'one.csv', [('a', 'x', '1')])
    write(folder / 'same.csv', [('a', f'i{k}', '3') for k in range(9)])
    return folder


@pytest.fixture(scope='module')
def own_run(folder):
    done = run(folder, *OWN, afresh=True)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    return done.stdout.splitlines(), rows_of(folder / 'run' / 'predictions.csv')


@pytest.fixture(scope='module')
def shared(folder, own_run):
    """{flags: lines that the script printed}, of all runs in one process."""
    several = [OWN, GENERATED, ONE_USER, *(flags.split() for flags in BAD)]
    options = command()
    done = subprocess.run([sys.executable, '-c', SHARED, json.dumps(several)], cwd=folder,
                          env=options['env'], text=True, capture_output=True, timeout=TIMEOUT)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    printed = json.loads(done.stdout.splitlines()[-1])
    return {' '.join(flags): text.splitlines() for flags, text in zip(several, printed)}


def test_a_file_of_ratings_and_one_to_test_on(own_run, folder):
    lines, rows = own_run
    pairs = some_ratings()
    assert lines[-1].startswith('files       in run: flags.json, item-1/, predictions.csv, recomme')
    found = table_of(lines)
    assert list(found) == [
        'global mean', 'user means', 'item means', 'user and item biases', 'matrix factorisation',
        'autoencoder user-1', 'autoencoder item-1', 'autoencoders, averaged']

    # What is printed is what is written; the baselines are what they say.
    rows = rows_of(folder / 'run' / 'predictions.csv')
    assert [(row['user'], row['item'], row['rating']) for row in rows] == pairs[200:] + NEW
    predicted = np.array([float(row['predicted']) for row in rows])
    wanted = np.array([float(row['rating']) for row in rows])
    assert predicted.min() >= 1 and predicted.max() <= 5
    np.testing.assert_allclose(found['autoencoders, averaged'], [
        np.sqrt(np.mean((predicted - wanted) ** 2)), np.mean(np.abs(predicted - wanted))],
        atol=2e-4)
    known = np.array([float(rating) for _, _, rating in pairs[:200]])
    np.testing.assert_allclose(found['global mean'], [
        np.sqrt(np.mean((known.mean() - wanted) ** 2)), np.mean(np.abs(known.mean() - wanted))],
        atol=1e-4)
    # Who is new, and rates what is new, gets the mean of what the models were trained on.
    assert abs(predicted[-1] - known.mean()) < 0.2

    users = {user for user, _, _ in pairs} | {'new'}
    best = rows_of(folder / 'run' / 'recommendations.csv')
    rated = {(user, item) for user, item, _ in pairs + NEW}
    assert len(best) == 3 * len(users)
    assert not {(row['user'], row['item']) for row in best} & rated
    for first, second in zip(best, best[1:]):
        assert first['user'] != second['user'] or (
            float(first['predicted']) >= float(second['predicted'])
            and int(second['rank']) == int(first['rank']) + 1)

    # The model can be had again; nobody in its sizes knows how many were in the test file's rows.
    with open(folder / 'run' / 'item-1' / 'model.json', encoding='utf-8') as file:
        values = json.load(file)
    blueprint = runs.Blueprint(*(values[name] for name in ('model', 'options', 'encoders', 'seed')))
    assert blueprint.build().num_columns == len(users)


def test_started_again_it_has_nothing_to_train_and_says_the_same(own_run, shared, folder):
    lines = shared[' '.join(OWN)]
    assert table_of(lines) == table_of(own_run[0])
    assert rows_of(folder / 'run' / 'predictions.csv') == own_run[1]
    assert 'resuming after epoch 2 of run/item-1' in lines


def test_a_folder_of_rating_models_is_told_from_a_run(own_run, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(runs.UserError, match=(
            "^'run' holds no model itself, but the folders of models 'run/item-1', 'run/user-1': "
            'each holds a RatingAutoencoder, which takes lists of ratings, not sequences of '
            'features: its predictions are in predictions.csv and recommendations.csv')):
        runs.load_run('run')
    with pytest.raises(runs.UserError, match="'run/item-1' holds a RatingAutoencoder, which "):
        runs.load_run('run/item-1')


def test_the_generated_ratings_and_their_noise_floor(shared, folder):
    found = table_of(shared[' '.join(GENERATED)])
    assert list(found)[-2:] == ['autoencoder item-1', 'noise floor']
    rmse = {name: errors[0] for name, errors in found.items()}
    assert rmse['noise floor'] < rmse['matrix factorisation'] < rmse['user and item biases']
    assert rmse['user and item biases'] < rmse['user means'] < rmse['global mean']
    assert rmse['noise floor'] < rmse['autoencoder item-1'] < rmse['user means']
    assert not (folder / 'made' / 'recommendations.csv').exists()


def test_a_file_with_one_user_is_learned_from(shared):
    found = table_of(shared[' '.join(ONE_USER)])
    assert found and np.isfinite(list(found.values())).all()


@pytest.mark.parametrize('flags', BAD)
def test_bad_input_is_an_error_of_the_user(flags, shared):
    line, = shared[flags]
    assert re.fullmatch('error: ' + BAD[flags], line)


def test_bad_input_is_told_in_one_line(folder):
    done = run(folder, '--ratings=twice.csv')
    line, = own_lines(done.stderr)
    assert line == ("error: twice.csv: line 2: user 'a' rates item 'x' again, after line 1. Keep "
                    'one rating of a pair.')
    assert done.returncode == 1


@pytest.mark.slow
def test_the_benchmark_measures(folder):
    sizes = ['--hidden_size=2', '--batch_size=4', '--steps=1']
    for case in ['["Keras", 20, 3]', '["seqmask", 20, 3]']:
        done = start(folder, *sizes, f'--measure={case}', script='benchmark_ratings.py',
                     afresh='Keras' in case)
        assert (done.returncode, own_lines(done.stderr)) == (0, [])
        seconds, memory = json.loads(done.stdout)
        assert 0 < seconds < 60 and memory >= 0
