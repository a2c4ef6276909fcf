"""scripts/train_transcriber.py as a person starts it, on few sequences, also with bad input."""

import importlib.util
import os
import re

import numpy as np
import pytest
import tensorflow as tf

import reference
from seqmask import data, datasets, runs
from seqmask.runs.pictures import transcriptions as pictures
from seqmask.runs.pictures.figures import WRONG
from starting import starts
from test_scripts import own_lines, rows_of, start

SMALL = ['--hidden_size=3', '--num_layers=1', '--filters=0', '--nobidirectional', '--epochs=2',
         '--batch_size=4']
HAS_MATPLOTLIB = importlib.util.find_spec('matplotlib') is not None


def test_the_embedded_handwriting(tmp_path):
    done = start(tmp_path, '--limit=6', *SMALL, *['--plots'] * HAS_MATPLOTLIB,
                 script='train_transcriber.py', afresh=True)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    first, *epochs, _, _, _, _, _, heading, _, validation, test, files = done.stdout.splitlines()
    assert re.match(r'6 sequences to train on, \d+ steps, of \d+ to \d+; 26 different labels; ',
                    first)
    assert len(epochs) == 2 and heading.split() == ['letters', 'words']
    folder = tmp_path / 'workdir' / 'transcriber'
    if HAS_MATPLOTLIB:
        assert sorted(os.listdir(folder / 'pictures')) == ['curves.png', 'lengths.png',
                                                           'transcriptions.png']

    # The first words of the folds, column by column.
    letters, held_out = datasets.ocr_letters(), data.read_npz(folder / 'held_out.npz')
    numbers = np.flatnonzero(letters['fold'] == 9)[:6]
    assert held_out.sequences['split'].tolist() == [1] * 6 + [2] * 6
    ends = np.cumsum(letters['lengths'])
    for i, number in enumerate(numbers):
        images = letters['frames'][ends[number] - letters['lengths'][number]:ends[number]]
        word = np.hstack([image.reshape([16, 8]) for image in images])
        np.testing.assert_array_equal(held_out.sequence(6 + i)['inputs'], word.T)

    # The table is that of the predictions.
    rows = [row for row in rows_of(folder / 'predictions.csv') if row['part'] == 'test']
    assert [row['label'] for row in rows] == letters['word'][numbers].tolist()
    edits = [reference.edit_distance(row['label'], row['predicted']) for row in rows]
    assert [int(row['edits']) for row in rows] == edits
    assert all(float(row['log_probability']) < 0 for row in rows)
    total = sum(len(row['label']) for row in rows)
    assert test.split() == ['test', f'{sum(edits) / total:.2%}', f'{edits.count(0) / 6:.2%}']
    assert validation.startswith('validation  ') and 'predictions.csv' in files


# A file of one's own: labels 0, 1, 2, each shown by its feature for two steps.

TRANSCRIPTS = [[0, 1], [2], [], [1, 1, 0], [2, 0], [1], [0], [2, 1], [0, 2, 2], [1], [2, 0], [0]]
BLANKS = -7         # in the padding


def shown(labels):
    return np.vstack([np.zeros([1, 3]), *(np.float32(np.eye(3)[[k, k]] + i) for i, k in
                                          enumerate(labels))])


def own_sequences(transcripts=TRANSCRIPTS):
    longest = max(map(len, transcripts))
    return data.Sequences.from_list([shown(labels) for labels in transcripts], sequences={
        'labels': np.array([labels + [BLANKS] * (longest - len(labels))
                            for labels in transcripts]),
        'label_lengths': np.array([len(labels) for labels in transcripts])})


def write_csv(path, transcripts=TRANSCRIPTS):
    with open(path, 'w', encoding='utf-8') as file:
        print('sequence,a,b,c,labels', file=file)
        for i, labels in enumerate(transcripts):
            for step, frame in enumerate(shown(labels)):
                # In any of its rows: here every other, from the second.
                label = labels[step // 2] if step % 2 and step // 2 < len(labels) else -1
                print(f'of {i}', *frame, label, sep=',', file=file)


def changed(**fields):
    whole = own_sequences()
    return data.Sequences(whole.frames, whole.lengths,
                          sequences={**whole.sequences, **fields})


def without_labels():
    whole = own_sequences()
    return data.Sequences(whole.frames, whole.lengths)


def with_label(sequence, label):
    labels = own_sequences().sequences['labels'].copy()
    labels[sequence, 0] = label
    return changed(labels=labels)


BAD = {
    '--data=own.npz --split=folds':
        r'--split is for the embedded handwriting; a file has a field `split`\.',
    '--data=unlabelled.npz':
        r"'unlabelled\.npz' must hold `labels` \[B, L\], whole numbers, and `label_lengths` \[B\], "
        r'how many of them each sequence has\.',
    '--data=long.npz':
        r'`label_lengths` must be in \[0, 3\], as `labels` has shape \(12, 3\); that of sequence 4 '
        r"of 'long\.npz' is 4\.",
    '--data=negative.npz':
        r"labels must be whole numbers from 0; sequence 5 of 'negative\.npz' has -1\.",
    '--data=own.npz --num_classes=2':
        r"labels must be in \[0, 2\); sequence 1 of 'own\.npz' has 2\.",
    '--data=huge.npz':
        r"19 labels are expected to be below 1000; sequence 6 of 'huge\.npz' has 4000\. Fix it, .*",
    '--data=short.npz':
        r'there must be a place for each label, and one more between equal labels; sequence 12 of '
        r"'short\.npz' has 2 steps of 1 places for 2 labels\. Train with more --slots, or with "
        r'--impossible=skip, .*',
    '--data=words.csv':
        r"`labels` must be whole numbers, -1 for none; sequence 2 \('of 2'\) has 'x', in "
        r"'words\.csv'\.",
    '--data=below.csv':
        r"labels must be whole numbers from 0, or -1 for none; sequence 2 \('of 2'\) of "
        r"'below\.csv' has -2\.",
    '--data=missing.npz': r'.*No such file or directory.*missing\.npz.*',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('transcriber')


@pytest.fixture(scope='module')
def started(folder):
    """Results by the flags of each start."""
    whole = own_sequences()
    data.write_npz(folder / 'own.npz', whole)
    data.write_tfrecord(folder / 'own.tfrecord', whole)
    write_csv(folder / 'own.csv')
    data.write_npz(folder / 'unlabelled.npz', without_labels())
    data.write_npz(folder / 'long.npz', changed(label_lengths=np.array([2, 1, 0, 3, 4, *[1] * 7])))
    data.write_npz(folder / 'negative.npz', with_label(5, -1))
    data.write_npz(folder / 'huge.npz', with_label(6, 4000))
    short = own_sequences([*TRANSCRIPTS, [1, 1]])
    data.write_npz(folder / 'short.npz', data.Sequences(
        short.frames[:-3], np.append(short.lengths[:-1], 2), sequences=short.sequences))
    write_csv(folder / 'words.csv')
    text = (folder / 'words.csv').read_text()
    (folder / 'words.csv').write_text(text.replace('of 2,0.0,0.0,0.0,-1', 'of 2,0.0,0.0,0.0,x'))
    (folder / 'below.csv').write_text(text.replace('of 2,0.0,0.0,0.0,-1', 'of 2,0.0,0.0,0.0,-2'))
    data.write_npz(folder / 'tokens.npz', data.Sequences(
        np.array(list('abcacbbca' * 4)), [3] * 12, sequences={
            'labels': np.tile([0, 1, 2, 0, 1], [12, 1]), 'label_lengths': np.full(12, 5)}))
    own = {f'--data=own.{ending}': [f'--data=own.{ending}', f'--workdir={ending}', *SMALL]
           for ending in ('npz', 'tfrecord', 'csv')}
    own['tokens'] = ['--data=tokens.npz', '--workdir=tokens', '--slots=2', *SMALL]
    # TensorFlow may complain that this process traces many models.
    own['skip'] = ['--data=short.npz', '--workdir=skip', '--impossible=skip', *SMALL]
    bad = {flags: [*flags.split(), '--workdir=bad', *SMALL] for flags in BAD}
    done = starts(folder, 'train_transcriber', *own.values(), *bad.values())
    return dict(zip([*own, *bad], done, strict=True))


def test_a_file_in_each_format(started, folder):
    tables = []
    for ending in ('npz', 'tfrecord', 'csv'):
        status, out, err = started[f'--data=own.{ending}']
        assert (status, err) == (0, [])
        assert any('3 different labels' in line for line in out)
        tables.append(out[-3:-1])
        rows = rows_of(folder / ending / 'predictions.csv')
        assert {row['label'] for row in rows} <= {' '.join(map(str, labels))
                                                  for labels in TRANSCRIPTS}
    assert tables[0] == tables[1] == tables[2]


@pytest.mark.parametrize('flags', BAD)
def test_bad_input_is_told_in_one_line(flags, started):
    status, _, said = started[flags]
    line, = said
    assert status == 1 and re.fullmatch('error: ' + BAD[flags], line), line


def test_what_has_too_few_steps_may_be_skipped_and_is_counted(started):
    status, out, _ = started['skip']
    assert status == 0
    heading = out[-5].split()
    assert heading == ['labels', 'sequences', 'sequences', 'with']


def test_tokens_with_more_labels_than_steps(started, folder):
    status, _, err = started['tokens']
    assert (status, err) == (0, [])
    run = runs.load_run(str(folder / 'tokens'))
    assert run.output.slots == 2 and run.trainer.model.slots == 2
    held_out = data.read_npz(folder / 'tokens' / 'held_out.npz')
    predicted = run.output.predict(run.trainer, data.Batches(
        data.Sequences(held_out.frames, held_out.lengths), 2))
    assert predicted.frames.shape == (len(held_out.frames), 2 * 4)


def test_other_scripts_take_the_run(started, folder):
    train = started['--data=own.npz'][1]
    done = start(folder, '--workdir=npz', script='evaluate.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.splitlines()[-2].split()[:3] == train[-2].split()
    for ending in ('csv', 'npz'):
        done = start(folder, '--workdir=npz', '--data=unlabelled.npz',
                     f'--output=predicted.{ending}', script='predict.py')
        assert (done.returncode, own_lines(done.stderr)) == (0, [])
    run, model = runs.load_run(str(folder / 'npz')), None
    model = run.trainer.model
    rows, found = rows_of(folder / 'predicted.csv'), data.read_npz(folder / 'predicted.npz')
    whole = without_labels()
    assert len(rows) == len(whole) and set(rows[0]) == {'sequence', 'predicted', 'log_probability'}
    for i, row in enumerate(rows):
        inputs = tf.constant(whole.sequence(i)['inputs'][None], tf.float32)
        logits = model(inputs, [inputs.shape[1]]).numpy()[0]
        path, nats = reference.ctc_best_path(logits, 3)
        assert row['predicted'] == ' '.join(map(str, path))
        assert float(row['log_probability']) == pytest.approx(nats, abs=2e-4)
        length = found.sequences['predicted_lengths'][i]
        assert tuple(found.sequences['predicted'][i][:length]) == path
        assert not found.sequences['predicted'][i][length:].any()
        np.testing.assert_allclose(found.sequence(i)['inputs'], logits, atol=1e-5)
    done = start(folder, '--workdir=npz', '--data=unlabelled.npz', script='stream.py')
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()
    assert header == 'sequence,step,predicted,probability' and len(lines) == len(whole.frames)
    best = found.frames.argmax(axis=1)
    assert [line.split(',')[2] for line in lines] == ['' if k == 3 else str(k) for k in best]
    done = start(folder, '--workdir=npz', '--output=exported', script='export.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert 'label_lengths int32 [?], labels int32 [?, ?]' in done.stdout
    # Evaluation of a file that lacks what is compared.
    done = start(folder, '--workdir=npz', '--data=unlabelled.npz', '--overwrite',
                 script='evaluate.py')
    line, = own_lines(done.stderr)
    assert done.returncode == 1 and re.fullmatch('error: ' + BAD['--data=unlabelled.npz'], line)


def test_the_pronunciations(tmp_path):
    done = start(tmp_path, '--data=pronunciations', '--limit=6', '--hidden_size=3',
                 '--num_layers=1', '--epochs=1', script='train_transcriber.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    words = datasets.pronunciations()
    number = np.flatnonzero(words['split'] == 2)[0]
    end = words['label_lengths'][:number + 1].sum()
    wanted = words['label_names'][words['labels'][end - words['label_lengths'][number]:end]]
    rows = rows_of(tmp_path / 'workdir' / 'transcriber' / 'predictions.csv')
    assert [row['label'] for row in rows if row['part'] == 'test'][0] == ' '.join(wanted)
    assert 'phonemes' in done.stdout
    assert runs.load_run(str(tmp_path / 'workdir' / 'transcriber')).output.slots == 2


# Pictures


@pytest.mark.parametrize('slots', [1, 2])
def test_labels_are_drawn_where_the_best_path_emits_them(slots):
    pytest.importorskip('matplotlib', reason='matplotlib is not installed')
    output = runs.Transcriptions(['a', 'b'], '', slots=slots)
    path = np.array([2, 0, 0, 2, 0, 1])         # of the logits: blank a a blank a b
    logits = np.eye(3)[path].reshape([6 // slots, -1])
    sequences = data.Sequences(np.zeros([6 // slots, 5]), [6 // slots], sequences={
        'labels': np.array([[0, 1, 0]]), 'label_lengths': np.array([2])})
    predicted = data.Sequences(logits, [6 // slots], sequences={
        'predicted': np.array([[0, 0, 1]], np.int32), 'predicted_lengths': np.array([3], np.int32)})
    (example,), worst = pictures.select(predicted, sequences, output, number=1)
    assert not worst and example['edits'] == 1 and example['label'] == 'ab'
    assert example['read'] == [((k + 0.5) / slots - 0.5, name)
                               for k, name in [(1, 'a'), (4, 'a'), (5, 'b')]]
    axis, = pictures.transcriptions([example], []).axes
    assert [(text.get_text(), text.get_position()[0]) for text in axis.texts] == [
        (name, time) for time, name in example['read']]
    assert axis._left_title.get_color() == WRONG and len(axis.images) == 1
