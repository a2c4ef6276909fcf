"""A person's file as sequences, whichever kind it is."""

import csv

import numpy as np
import pytest

from seqmask import data
from seqmask.runs import UserError, load_run, read_part, read_parts
from seqmask.runs.files import divided, read_sequences
from test_scripts import SMALL, own_lines, rows_of, start


def collection(count=20):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, count).astype(np.int32)
    labels = rng.integers(0, 3, lengths.sum()).astype(np.int32)
    frames = (np.eye(3)[labels] + 0.1 * rng.normal(size=[len(labels), 3])).astype(np.float32)
    return data.Sequences(frames, lengths, {'labels': labels})


def write_table(path, sequences):
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['sequence', 'time', 'a', 'b', 'c', 'labels'])
        for i in range(len(sequences)):
            one = sequences.sequence(i)
            for t, (frame, label) in enumerate(zip(one['inputs'], one['labels'])):
                writer.writerow([f'number {i}', t / 2, *(repr(float(x)) for x in frame), label])


WRITERS = {'npz': data.write_npz, 'tfrecord': data.write_tfrecord, 'csv': write_table}


@pytest.mark.parametrize('ending', WRITERS)
def test_every_kind_of_file_gives_the_same_sequences(ending, tmp_path):
    path = str(tmp_path / f'data.{ending}')
    WRITERS[ending](path, collection())
    found, features = read_sequences(path)
    assert (features.columns or {}).get('features') == (
        ['a', 'b', 'c'] if ending == 'csv' else None)
    np.testing.assert_array_equal(found.frames, collection().frames)
    np.testing.assert_array_equal(found.lengths, collection().lengths)
    np.testing.assert_array_equal(found.steps['labels'], collection().steps['labels'])
    parts, names, again = read_parts(path, labels_per='step', num_classes=0, seed=0)
    assert names == ['0', '1', '2'] and again == features
    assert sum(map(len, parts)) == len(collection())


def test_an_unknown_ending_is_told(tmp_path):
    with pytest.raises(UserError, match="end in .npz or .* or .csv or .*; got '.txt'"):
        read_sequences(str(tmp_path / 'data.txt'))


@pytest.mark.parametrize('ending', ['tfrecord', 'csv'])
def test_a_script_trains_on_it(ending, tmp_path):
    WRITERS[ending](str(tmp_path / f'data.{ending}'), collection())
    done = start(tmp_path, *SMALL, f'--data=data.{ending}', '--workdir=run')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert 'classes' in done.stdout


def test_a_damaged_file_is_told_in_one_line(tmp_path):
    path = tmp_path / 'data.tfrecord'
    data.write_tfrecord(str(path), collection())
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 8
    path.write_bytes(whole)
    done = start(tmp_path, *SMALL, '--data=data.tfrecord', '--workdir=run')
    line, = own_lines(done.stderr)
    assert line.startswith('error: ') and 'data.tfrecord' in line and 'record' in line
    assert done.returncode == 1


# What a person's table may hold

TABLE = 'sequence,time,a,note,b,labels\n' + ''.join(
    f's{k // 4},{k},{k / 8},n{k},{k % 3},{k % 2}\n' for k in range(120))


@pytest.mark.parametrize('mark', ['', '\ufeff'])
def test_roles_and_features_are_the_same_with_a_byte_order_mark(mark, tmp_path, capsys):
    path = tmp_path / 'data.csv'
    path.write_text(mark + 'time,sequence,a,labels\n0,x,5,0\n1,x,6,1\n', encoding='utf-8')
    found, features = read_sequences(str(path))
    assert found.frames.tolist() == [[5], [6]]
    assert found.steps['time'].tolist() == [0, 1] and found.steps['labels'].tolist() == [0, 1]
    features.print()
    assert capsys.readouterr().out.splitlines() == [
        str(path), '  sequence  sequence', '  time      time', '  labels    labels, per step',
        '  features  a']


def test_features_are_chosen_by_name(tmp_path, capsys):
    path = tmp_path / 'data.csv'
    path.write_text(TABLE)
    found, features = read_sequences(str(path))
    assert found.frames.shape == (120, 2) and features.columns['features'] == ['a', 'b']
    features.print()
    assert capsys.readouterr().out.splitlines()[-2:] == [
        '  features  a, b', '  left out  note (not numbers)']
    path.write_text(TABLE.replace('s0,2,0.25', 's0,2,0.2s'))
    with pytest.raises(ValueError, match="line 4: 'a' must be a number, got '0.2s'. Correct the "
                                         'field, or leave the column out .*--features'):
        read_sequences(str(path))
    parts, _, features = read_parts(str(path), labels_per='step', num_classes=0, seed=0,
                                    columns={'features': ['b']})
    assert parts[0].frames.shape[1] == 1
    features.print()
    assert capsys.readouterr().out.splitlines()[-2:] == [
        '  features  b', '  left out  a (not among --features), note (not among --features)']
    data.write_npz(tmp_path / 'data.npz', collection())
    with pytest.raises(UserError, match='--features names a column of a table, .*got .*data.npz'):
        read_sequences(str(tmp_path / 'data.npz'), {'features': ['b']})


def test_a_run_remembers_the_features_that_it_was_told(tmp_path):
    (tmp_path / 'data.csv').write_text(TABLE)
    done = start(tmp_path, *SMALL, '--data=data.csv', '--features=b', '--workdir=run')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.splitlines()[:2] == ['data.csv', '  sequence  sequence']
    run = load_run(str(tmp_path / 'run'))
    assert (run.table['features'], run.input_size) == (['b'], 1)
    path = str(tmp_path / 'data.csv')
    _, found = read_part(path, None, run, workdir='run')
    assert found.frames[:, 0].tolist() == [k % 3 for k in range(120)]
    _, found = read_part(path, None, run, workdir='run', columns={'features': ['a']})
    assert found.frames[:, 0].tolist() == [k / 8 for k in range(120)]


def test_a_run_remembers_the_features_that_it_found(tmp_path):
    path = tmp_path / 'data.csv'
    path.write_text(TABLE)
    done = start(tmp_path, *SMALL, '--data=data.csv', '--workdir=run', '--nobidirectional')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    # What a stream prints is read by programs: what the table holds goes to stderr.
    done = start(tmp_path, '--workdir=run', '--data=data.csv', script='stream.py')
    assert done.stdout.startswith('sequence,step,predicted,probability\n0,0,')
    assert own_lines(done.stderr)[:2] == ['data.csv', '  sequence  sequence']
    run = load_run(str(tmp_path / 'run'))
    assert run.table['features'] == ['a', 'b']
    _, wanted = read_part(str(path), None, run, workdir='run')
    # The same columns in another order, and one more that holds numbers.
    rows = [row.split(',') for row in TABLE.splitlines()]
    path.write_text(''.join(
        ','.join([row[k] for k in (0, 1, 4, 3, 2, 5)] + [str(n) if n else 'c']) + '\n'
        for n, row in enumerate(rows)))
    _, found = read_part(str(path), None, run, workdir='run')
    np.testing.assert_array_equal(found.frames, wanted.frames)
    # As many columns, but others.
    path.write_text(TABLE.replace(',a,', ',c,'))
    with pytest.raises(UserError, match="there is no column 'a'; there are .*'c'"):
        read_part(str(path), None, run, workdir='run')


@pytest.mark.parametrize('content, message', [
    (b'sequence,a\nx,1\n\xff,2\n', 'line 3 must be UTF-8'),
    (b'sequence,\xff\nx,1\n', 'line 1 must be UTF-8'),
    (TABLE.encode('utf-16'), 'line 1 must be UTF-8'),
    (b'sequence,' + b'a' * 131_073 + b'\nx,1\n',
     r'line 1 cannot be read as CSV: field larger than field limit \(131072\)')])
def test_what_is_no_table_is_told_with_file_and_line(content, message, tmp_path):
    path = tmp_path / 'data.csv'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f'^{path}: {message}'):
        read_sequences(str(path))


# Numbers too large


@pytest.mark.parametrize('ending', WRITERS)
def test_a_value_beyond_float32_is_refused(ending, tmp_path):
    wide = data.Sequences(np.array([[1.], [2.], [-3e38]]), [2, 1])
    path = str(tmp_path / f'data.{ending}')

    def write(sequences):
        labelled = data.Sequences(sequences.frames, sequences.lengths, {'labels': [0, 1, 0]})
        if ending == 'csv':
            with open(path, 'w', encoding='utf-8') as file:
                file.writelines(['sequence,a,labels\n', *(
                    f'{name},{x},0\n' for name, x in zip('xxy', sequences.frames[:, 0]))])
        else:
            WRITERS[ending](path, labelled)

    write(wide)
    assert read_sequences(path)[0].frames.dtype == np.float32
    wide.frames[2] = -4e38
    write(wide)
    with pytest.raises(ValueError, match={
            'csv': f"^{path}: line 4: 'a' must be finite, got -inf",
            'npz': f'^{path}: frames must be in the range of float32; sequence 1 holds -4e\\+38 at '
                   'step 0'}.get(ending, f'^{path}: frames must be in the range of float32')):
        read_sequences(path)


def with_a_label(label, labels_per, count=40):
    """`count` sequences of two steps, of which the last has this label at its end."""
    labels = np.arange(2 * count if labels_per == 'step' else count) % 3
    labels[-1] = label
    fields = {'labels': labels}
    return data.Sequences(np.ones([2 * count, 1], np.float32), np.full(count, 2),
                          fields if labels_per == 'step' else {},
                          {} if labels_per == 'step' else fields)


@pytest.mark.parametrize('label', [1000, 2**31 - 1, 2**62])
@pytest.mark.parametrize('labels_per', ['step', 'sequence'])
@pytest.mark.parametrize('ending', WRITERS)
def test_one_absurd_label_is_refused_before_classes_are_named(ending, labels_per, label, tmp_path):
    path = str(tmp_path / f'data.{ending}')
    name = ''
    if ending == 'csv':
        if labels_per == 'sequence':
            return              # a table has labels per step only
        name = r" \('s39'\)"
        with open(path, 'w', encoding='utf-8') as file:
            file.writelines(['sequence,a,labels\n', *(
                f's{k // 2},1,{value}\n' for k, value in enumerate(
                    with_a_label(label, 'step').steps['labels']))])
    else:
        WRITERS[ending](path, with_a_label(label, labels_per))
    number = 80 if labels_per == 'step' else 40
    with pytest.raises(UserError, match=f'^{number} labels are expected to be below 1000; sequence '
                                        f"39{name} of '{path}' has {label}. .*--num_classes"):
        read_parts(path, labels_per=labels_per, num_classes=0, seed=0)


def test_many_classes_are_legal_where_they_are_announced_or_few_or_many_samples(tmp_path):
    path = str(tmp_path / 'data.npz')
    data.write_npz(path, with_a_label(999, 'sequence'))
    assert len(read_parts(path, labels_per='sequence', num_classes=0, seed=0)[1]) == 1000
    data.write_npz(path, with_a_label(5000, 'sequence'))
    assert len(read_parts(path, labels_per='sequence', num_classes=6000, seed=0)[1]) == 6000
    data.write_npz(path, with_a_label(1999, 'step', count=1000))
    assert len(read_parts(path, labels_per='step', num_classes=0, seed=0)[1]) == 2000


def test_a_label_that_is_no_whole_number_is_named(tmp_path):
    path = tmp_path / 'data.csv'
    path.write_text('sequence,a,labels\nx,1,0\nx,2,1\ny,3,1.x\n')
    with pytest.raises(UserError, match='must hold `labels`, a whole number for each frame; '
                                        r"sequence 1 \('y'\) has '1.x'\."):
        read_parts(str(path), labels_per='step', num_classes=0, seed=0)


# A stranger's table: names of columns, labels that are text

def stranger(tmp_path, name='walks.csv', labels=True):
    """40 people, five minutes each: who runs moves more. Another label column, and a note."""
    rng = np.random.default_rng(0)
    rows = ['who,when,x,y,alarm,note' + ',activity' * labels]
    for person in range(40):
        activity = ['run', 'sit'][person % 2]
        for minute in range(3 + person % 3):
            x, y = rng.normal(size=2) * (3 if activity == 'run' else 0.1)
            rows.append(f'p{person},2026-01-01T08:0{minute}:00,{x:.3f},{y:.3f},{minute % 2},hm'
                        + f',{activity}' * labels)
    (tmp_path / name).write_text('\n'.join([*rows, '']))


COLUMNS = ['--sequence=who', '--time=when', '--labels=activity', '--features=x,y']


def test_a_classifier_of_a_table_with_names_of_its_own(tmp_path):
    stranger(tmp_path)
    done = start(tmp_path, '--data=walks.csv', *COLUMNS, '--workdir=run', '--epochs=2',
                 '--hidden_size=4', '--filters=', script='train_classifier.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    lines = done.stdout.splitlines()
    assert lines[:6] == [
        'walks.csv', '  sequence  who', '  time      when',
        '  labels    activity, per sequence', '  features  x, y',
        '  left out  alarm (not among --features), note (not among --features)']
    assert '; 2 classes; ' in lines[6]
    rows = rows_of(tmp_path / 'run' / 'predictions.csv')
    assert list(rows[0]) == ['part', 'sequence', 'name', 'label', 'predicted', 'probability']
    assert all(row['label'] == ['run', 'sit'][int(row['name'][1:]) % 2] for row in rows)
    # The run knows its columns; what is to be predicted needs no labels.
    stranger(tmp_path, 'new.csv', labels=False)
    done = start(tmp_path, '--workdir=run', '--data=new.csv', '--output=p.csv',
                 script='predict.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    rows = rows_of(tmp_path / 'p.csv')
    assert [row['name'] for row in rows] == [f'p{person}' for person in range(40)]
    assert {row['predicted'] for row in rows} <= {'run', 'sit'}
    (tmp_path / 'walks.csv').write_text(
        (tmp_path / 'walks.csv').read_text().replace(',sit', ',lie'))
    done = start(tmp_path, '--workdir=run', '--data=walks.csv', script='evaluate.py')
    line, = own_lines(done.stderr)
    assert "sequence 1 has the label 'lie'; the model knows run, sit." in line


@pytest.mark.parametrize('script, flags, message', [
    ('train_labels.py', ['--labels_per=sequence'], '--labels_per must be step here'),
    ('train_labels.py', ['--labels=mood'], "there is no column 'mood'; there are 'who', 'when'"),
    ('train_classifier.py', ['--labels=alarm'], "'alarm' must be the same in all rows"),
    ('train_classifier.py', ['--num_classes=5'], '--num_classes is for labels that are numbers')])
def test_what_a_table_does_not_hold_is_told(tmp_path, script, flags, message):
    stranger(tmp_path)
    done = start(tmp_path, '--data=walks.csv', *COLUMNS, *flags, script=script)
    line, = own_lines(done.stderr)
    assert done.returncode == 1 and message in line


def test_a_split_without_a_validation_part_gets_one(capsys):
    whole = data.Sequences(np.zeros([40, 1]), np.ones(40, np.int32), sequences={
        'split': np.repeat([0, 2], [30, 10])})
    train, valid, test = divided(whole, seed=0)
    assert (len(train), len(valid), len(test)) == (27, 3, 10)
    assert capsys.readouterr().out == (
        '`split` has no validation part (1): every tenth sequence to train on, 3 of 30, is used '
        'for it.\n')
