"""scripts/train_tagger.py as a person starts it, on few sentences, also with bad input."""

import json

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import data, runs
from test_scripts import own_lines, rows_of, start

SMALL = ['--hidden_size=6', '--num_layers=1', '--embedding_size=4', '--epochs=2']


def sentences(number, seed=0):
    """Sentences in which names are capitalised, and a second name continues the first."""
    rng = np.random.default_rng(seed)
    words, tags, lengths = [], [], []
    for _ in range(number):
        name = [f'N{letter}' for letter in rng.choice(list('abcde'), rng.integers(1, 3))]
        words += ['we', 'met', *name]
        tags += ['O', 'O', 'B-PER', *['I-PER'] * (len(name) - 1)]
        lengths.append(2 + len(name))
    return data.Sequences(words, np.int32(lengths), {'labels': tags})


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A run on files of columns, with and without the CRF."""
    folder = tmp_path_factory.mktemp('tagger')
    for name, number in [('train.txt', 40), ('valid.conll', 6), ('test.b', 8)]:
        data.write_conll(folder / name, sentences(number, seed=number))
    done = start(folder, *SMALL, '--data=train.txt', '--validation_data=valid.conll',
                 '--test_data=test.b', '--workdir=run', '--epochs=12', '--batch_size=8',
                 script='train_tagger.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    (folder / 'printed.txt').write_text(done.stdout)
    return folder


def test_it_prints_both_models_and_the_spans(folder):
    lines = (folder / 'printed.txt').read_text().splitlines()
    assert lines[0].startswith('40 sentences to train on, ') and '; 3 tags; ' in lines[0]
    place = lines.index('the same network without a CRF:')
    assert lines[place + 1].startswith('40 sentences to train on')
    table = {line[:20].strip(): line[20:].split() for line in lines[place:] if '%' in line}
    assert {'validation, CRF', 'validation, no CRF', 'test, CRF', 'test, no CRF'} <= set(table)
    tags, whole, f1 = (float(cell.rstrip('%')) for cell in table['test, CRF'])
    assert tags > 90 and whole > 70 and f1 > 80           # names can be told by their capital
    spans = [line.split() for line in lines if line.startswith(('PER', 'all'))]
    assert [row[0] for row in spans] == ['PER', 'all'] and spans[0][1:] == spans[1][1:]
    assert spans[0][1] == '8' and spans[0][4] == f'{f1:.2f}%'


def test_the_crf_allows_what_bio_tags_allow(folder):
    model = json.loads((folder / 'run' / 'model.json').read_text())
    assert model['output']['names'] == ['B-PER', 'I-PER', 'O']
    assert model['options']['constraints'] == [
        [[True, True, True], [True, True, True], [True, False, True]], [True, False, True],
        [True, True, True]]
    other = json.loads((folder / 'run' / 'without_crf' / 'model.json').read_text())
    assert not other['options']['crf'] and 'constraints' not in other['options']
    assert 'hidden_size' not in model['options'] and len(model['embedding']['tokens']) == 7


def test_predictions_have_the_words(folder):
    rows = [row for row in rows_of(folder / 'run' / 'predictions.csv') if row['part'] == 'test']
    test = sentences(8, seed=8)
    assert [row['token'] for row in rows] == test.frames.tolist()
    assert [row['label'] for row in rows] == test.steps['labels'].tolist()
    assert {row['predicted'] for row in rows} <= {'B-PER', 'I-PER', 'O'}


def test_it_is_evaluated_used_and_exported(folder):
    for workdir in ('run', 'run/without_crf'):
        done = start(folder, f'--workdir={workdir}', script='evaluate.py')
        printed = (folder / 'printed.txt').read_text().splitlines()
        row = 'test, CRF' if workdir == 'run' else 'test, no CRF'
        wanted, = [line.split()[-3:] for line in printed if line.startswith(row + ' ')]
        assert done.stdout.splitlines()[2].split()[1:4] == wanted
    done = start(folder, '--workdir=run', '--data=test.b', '--output=p.csv', script='predict.py')
    assert done.returncode == 0, done.stderr
    written = [row for row in rows_of(folder / 'run' / 'predictions.csv') if row['part'] == 'test']
    assert [(row['token'], row['predicted']) for row in rows_of(folder / 'p.csv')] == [
        (row['token'], row['predicted']) for row in written]
    run = runs.load_run(str(folder / 'run'))
    seqmask.export.save(run.trainer.model, folder / 'saved')
    serve = tf.saved_model.load(str(folder / 'saved')).signatures['serving_default']
    labels = serve(inputs=tf.constant([['we', 'met', 'Nz']]), lengths=tf.constant([3]))['labels']
    assert labels.shape == (1, 3)


@pytest.mark.parametrize('flags, message', [
    (['--data=wrong.conll'], "step 0 of sequence 0 has the label 'B-ORG'; the model knows B-PER"),
    (['--data=numbers.npz'], "has a token's number per step; the model in 'run' was trained on "
                             'a word'),
    (['--data=features.npz'], 'has 1 features per step')])
def test_what_the_model_cannot_be_evaluated_on(folder, flags, message):
    data.write_conll(folder / 'wrong.conll', data.Sequences(['x'], [1], {'labels': ['B-ORG']}))
    data.write_npz(folder / 'numbers.npz', data.Sequences([1], [1], {'labels': [0]}))
    data.write_npz(folder / 'features.npz', data.Sequences([[1.]], [1], {'labels': [0]}))
    done = start(folder, '--workdir=run', *flags, script='evaluate.py')
    line, = own_lines(done.stderr)
    assert done.returncode == 1 and line.startswith('error: ') and message in line


@pytest.mark.parametrize('flags', [['--characters=gru', '--data=a.csv', '--nocompare'],
                                   ['--data=numbers.npz', '--nocrf', '--nobidirectional'],
                                   ['--limit=9', '--precision=bfloat16', '--constraints=none']],
                         ids=['table', 'numbers', 'embedded'])
def test_it_trains_on_other_steps(tmp_path, flags):
    train = sentences(20)
    rows = [f'{i},{word},{tag}' for i in range(20) for word, tag in zip(
        train.sequence(i)['inputs'], train.sequence(i)['labels'])]
    (tmp_path / 'a.csv').write_text('\n'.join(['sequence,tokens,labels', *rows, '']))
    numbers = np.unique(train.frames, return_inverse=True)[1]
    data.write_npz(tmp_path / 'numbers.npz', data.Sequences(numbers, train.lengths, {
        'labels': np.unique(train.steps['labels'], return_inverse=True)[1].astype(np.int32)}))
    done = start(tmp_path, *SMALL, '--epochs=1', *flags, '--workdir=run', script='train_tagger.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert ('without_crf/' in done.stdout) == (flags[0] == '--limit=9')
    assert rows_of(tmp_path / 'run' / 'predictions.csv')


@pytest.mark.parametrize('flags, message', [
    (['--data=nolabels.npz'], 'must hold `labels`, a tag for each step; it holds none per step.'),
    (['--data=a.conll', '--tag_column=7'], 'line 1 must have columns 0 (inputs), 7 (labels)'),
    (['--data=a.conll', '--features=x'], '--features names a column of a table'),
    (['--test_data=a.conll'], '--validation_data and --test_data need --data'),
    (['--data=a.conll', '--test_data=numbers.npz'], 'must hold the same kind of steps'),
    (['--data=a.conll', '--characters=gru', '--character_size=7'], 'must be even'),
    (['--data=a.conll', '--standardize=standard'], 'tokens have no scale'),
    (['--data=missing.conll'], 'missing.conll')])
def test_bad_input_is_one_line(tmp_path, flags, message):
    data.write_conll(tmp_path / 'a.conll', sentences(20))
    data.write_npz(tmp_path / 'numbers.npz', data.Sequences([1], [1], {'labels': [0]}))
    data.write_npz(tmp_path / 'nolabels.npz', data.Sequences([1], [1]))
    done = start(tmp_path, *SMALL, *flags, script='train_tagger.py')
    line, = own_lines(done.stderr)
    assert done.returncode == 1 and line.startswith('error: ') and message in line


def write_letters(path):
    """Sequences of words, each with a label."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 7, 30)
    letters = np.array(list('abcd'))[rng.integers(0, 4, lengths.sum())]
    data.write_npz(path, data.Sequences(letters, lengths, sequences={
        'labels': rng.integers(0, 2, 30).astype(np.int32)}))


@pytest.mark.slow
def test_a_classifier_reads_tokens(tmp_path):
    """As those scripts do that test_token_scripts.py starts."""
    write_letters(tmp_path / 'tokens.npz')
    done = start(tmp_path, '--data=tokens.npz', '--hidden_size=4', '--epochs=1', '--workdir=run',
                 script='train_classifier.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    done = start(tmp_path, '--workdir=run', '--data=tokens.npz', '--output=p.csv',
                 script='predict.py')
    assert done.returncode == 0 and len(rows_of(tmp_path / 'p.csv')) == 30


@pytest.mark.parametrize('script, flags, message', [
    ('train_autoencoder.py', [], 'holds tokens, and an autoencoder reconstructs features'),
    ('train_frames.py', [], 'must hold frames with features'),
    ('train_classifier.py', ['--nomasked'], '--nomasked treats padding as frames of zeros')])
def test_where_tokens_make_no_sense_it_says_so(tmp_path, script, flags, message):
    write_letters(tmp_path / 'tokens.npz')
    done = start(tmp_path, '--data=tokens.npz', *flags, script=script)
    line, = own_lines(done.stderr)
    assert done.returncode == 1 and message in line
