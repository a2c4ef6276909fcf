"""scripts/train_seq2seq.py as a person starts it, on few sequences, also with bad input."""

import re

import numpy as np
import pytest
import tensorflow as tf

import reference
from seqmask import data, datasets, runs
from seqmask.runs.pairs import read_pairs
from seqmask.runs.pictures import translations as pictures
from seqmask.runs.pictures.figures import WRONG
from starting import starts
from test_scripts import own_lines, rows_of, start

SMALL = ['--hidden_size=3', '--embedding_size=4', '--epochs=1', '--batch_size=4']
WORDS = ['ab', 'ba', 'aab', 'b', 'a', 'abba', 'bab', 'bb', 'aa', 'abab', 'baab', 'ab']
SHOUTED = [' '.join(word.upper()[::-1]) for word in WORDS]

BAD = {
    '--data=three.tsv': r"'three\.tsv' must have two columns, with a tab between, in each line "
                        r'\(or one, to predict\); line 3 has 3\.',
    '--data=empty.tsv': r"'empty\.tsv' is empty: it must hold a pair in each line, .*",
    '--data=alone.tsv': r"'alone\.tsv' must hold `labels` \[B, L\], whole numbers, and "
                        r'`label_lengths` .*',
    '--data=own.npz --num_classes=1': r"labels must be in \[0, 1\); sequence 0 of 'own\.npz' has "
                                      r'1\.',
    '--data=own.tsv --input_feeding --scheduled_sampling=nan':
        r'--scheduled_sampling must be a finite number, got nan\.',
    '--data=missing.tsv': r'.*No such file or directory.*missing\.tsv.*',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('seq2seq')


@pytest.fixture(scope='module')
def started(folder):
    """Results by the name of each start."""
    pairs = [f'{word}\t{shouted}' for word, shouted in zip(WORDS, SHOUTED)]
    (folder / 'own.tsv').write_text('\n'.join(pairs) + '\n\n')
    (folder / 'alone.tsv').write_text('\n'.join(WORDS) + '\n')
    (folder / 'other.tsv').write_text('ab\tB C\n')
    (folder / 'three.tsv').write_text('\n'.join([*pairs[:2], 'a\tb\tc']))
    (folder / 'empty.tsv').write_text('\n')
    lengths = np.array([len(word) for word in WORDS])
    labels = np.full([len(WORDS), 4], -7)
    for row, word in zip(labels, WORDS):
        row[:len(word)] = ['ab'.index(letter) for letter in word[::-1]]
    data.write_npz(folder / 'own.npz', data.Sequences(np.array(list(''.join(WORDS))), lengths, {}, {
        'labels': labels, 'label_lengths': lengths}))
    good = {'tsv': ['--data=own.tsv', '--workdir=tsv', '--width=3', *SMALL],
            'npz': ['--data=own.npz', '--workdir=npz', '--attention=dot', '--input_feeding',
                    '--examples=0', *SMALL],
            'words': ['--limit=6', '--workdir=words', '--tied', '--input_feeding', '--cell=lstm',
                      '--attention=multihead', '--label_smoothing=0.1', '--scheduled_sampling=0.1',
                      *SMALL]}
    bad = {flags: [*flags.split(), '--workdir=bad', *SMALL] for flags in BAD}
    done = starts(folder, 'train_seq2seq', *good.values(), *bad.values())
    return dict(zip([*good, *bad], done, strict=True))


@pytest.mark.parametrize('flags', BAD)
def test_bad_input_is_told_in_one_line(flags, started):
    status, _, said = started[flags]
    line, = said
    assert status == 1 and re.fullmatch('error: ' + BAD[flags], line), line


def test_the_pronunciations(started, folder):
    # TensorFlow may complain that this process traces many models.
    status, out, err = started['words']
    assert status == 0, err
    assert out[0].startswith('6 words to train on, ')
    place = next(k for k, line in enumerate(out) if line.startswith('test '))
    assert out[place - 3].split() == ['phonemes', 'words'] * 2
    assert out[place - 2].split() == ['wrong', 'wrong', *['without', 'stress'] * 2]
    # The table is that of the predictions, with stress and without.
    rows = [row for row in rows_of(folder / 'words' / 'predictions.csv') if row['part'] == 'test']
    errors = []
    for plain in (False, True):
        pairs = [[re.sub(r'\d', '', row[name]).split() if plain else row[name].split()
                  for name in ('label', 'predicted')] for row in rows]
        edits = [reference.edit_distance(*pair) for pair in pairs]
        errors += [sum(edits) / sum(len(label) for label, _ in pairs), np.mean(np.array(edits) > 0)]
    assert out[place].split() == ['test', *(f'{error:.2%}' for error in errors)]
    # So are the examples, and the words are those of the test part.
    words = datasets.pronunciations()
    number = np.flatnonzero(words['split'] == 2)[0]
    first = words['lengths'][:number].sum()
    word = ''.join(words['token_names'][words['tokens'][first:first + words['lengths'][number]]])
    assert rows[0]['tokens'] == word
    examples = out[out.index('examples') + 1:]
    assert examples[0].split() == ['tokens', 'label', 'predicted', 'edits'] and len(examples) == 7
    assert examples[1].split() == [word, *rows[0]['label'].split(), *rows[0]['predicted'].split(),
                                   rows[0]['edits']]


def test_pairs_of_texts(started, folder):
    status, out, err = started['tsv']
    assert (status, err) == (0, [])
    assert '2 different labels' in out[0]
    rows = rows_of(folder / 'tsv' / 'predictions.csv')
    assert {(row['tokens'], row['label']) for row in rows} <= set(zip(WORDS, SHOUTED))
    assert started['npz'][0] == 0 and 'examples' not in started['npz'][1]
    pairs = read_pairs(str(folder / 'own.tsv'))
    assert runs.names_of(pairs) == (['A', 'B'], ' ')
    assert ''.join(pairs.sequence(5)['inputs']) == 'abba'


def test_other_scripts_take_the_run(started, folder):
    train = started['tsv'][1]
    test = next(line for line in train if line.startswith('test '))
    done = start(folder, '--workdir=tsv', script='evaluate.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.splitlines()[-2].split()[:3] == test.split()
    done = start(folder, '--workdir=tsv', '--data=alone.tsv', '--output=predicted.csv',
                 script='predict.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    model = runs.load_run(str(folder / 'tsv')).trainer.model
    rows = rows_of(folder / 'predicted.csv')
    assert len(rows) == len(WORDS)
    for word, row in zip(WORDS, rows):
        labels, lengths, scores = model.search(tf.constant([list(word)]), [len(word)], width=3)
        best = labels[0, 0, :lengths[0, 0]].numpy()
        assert row['predicted'] == ' '.join('AB'[k] for k in best)
        assert float(row['log_probability']) == pytest.approx(float(scores[0, 0]), abs=2e-4)
    done = start(folder, '--workdir=tsv', '--data=other.tsv', '--overwrite', script='evaluate.py')
    line, = own_lines(done.stderr)
    assert done.returncode == 1 and line.startswith(
        "error: sequence 0 of 'other.tsv' has the label 'C', which the model does not know; it has "
        '2: A, B.')
    done = start(folder, '--workdir=tsv', '--output=exported', script='export.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert 'label_lengths int32 [?], labels int32 [?, ?]' in done.stdout


def test_attention_is_drawn_with_its_names():
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    example = {'number': 3, 'edits': 1, 'weights': np.eye(3)[:, :2], 'steps': ['o', 'x'],
               'written': ['AA1', 'K', 'end'], 'label': 'AA1 K S'}
    right, wrong = pictures.attention([{**example, 'edits': 0}, example]).axes
    assert [text.get_text() for text in right.get_xticklabels()] == ['o', 'x']
    assert [text.get_text() for text in right.get_yticklabels()] == ['AA1', 'K', 'end']
    assert wrong._left_title.get_text() == 'sequence 3: AA1 K S, 1 edits'
    assert wrong._left_title.get_color() == WRONG != right._left_title.get_color()
    np.testing.assert_array_equal(right.images[0].get_array(), example['weights'])
