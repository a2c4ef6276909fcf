"""Tables with a row for each step: good, empty, truncated, flipped and mislabelled."""

import numpy as np
import pytest

from seqmask import data
from seqmask.data.files import csv_rows
from sources import assert_examples, assert_refused, assert_same, flips, growth, many_steps

WALKS = ('sequence,t,x,label,note,y\n'
         'ann,0,1,2,a,-1e3\n'
         'ann,0.5,2,0,b,.5\n'
         '"bob, jr",0,3,1,,+7\n'
         'zoë,-1,4,0,"say ""hi""",0\n'
         'zoë,0,5,0,,1e-3\n'
         'zoë,9,6,1,,2\n')
FRAMES = np.float32([[1, -1e3], [2, .5], [3, 7], [4, 0], [5, 1e-3], [6, 2]])
NAMES = np.array(['ann', 'bob, jr', 'zoë'])


@pytest.fixture
def write(tmp_path):
    path = tmp_path / 'walks.csv'

    def write(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)
    return write


@pytest.mark.parametrize('size', [7, 40, 1 << 19])
@pytest.mark.parametrize('ending, mark', [('\n', b''), ('\r\n', b'\xef\xbb\xbf'), ('\n\n', b'')])
def test_a_table_is_read(size, ending, mark, write, monkeypatch):
    monkeypatch.setattr(csv_rows, 'BUFFER', size)
    path = write(mark + WALKS.replace('\n', ending).encode())
    wanted = data.Sequences(FRAMES, [2, 1, 3], {
        'time': [0, .5, 0, -1, 0, 9], 'labels': [2, 0, 1, 0, 0, 1]}, {'sequence': NAMES})
    stream = data.open_csv(path, time='t', labels='label')
    assert (stream.num_sequences, stream.source) == (None, f"{path} without 'note'")
    assert_same(stream.to_sequences(), wanted)
    assert_examples(stream, wanted)


def test_columns_are_chosen_and_in_order(write):
    path = write(WALKS)
    stream = data.open_csv(path, features=['y', 'x'])
    assert set(stream.schema.fields) == {'inputs', 'sequence'}
    np.testing.assert_array_equal(stream.to_sequences().frames, FRAMES[:, ::-1])
    # Without being named, time and label are numbers like others.
    assert data.open_csv(path).schema.fields['inputs'].shape == (4,)
    other = data.open_csv(write('id,x\n7,1\n7,2\n8,3\n'), sequence='id').to_sequences()
    assert other.sequences['sequence'].tolist() == ['7', '8']
    assert other.lengths.tolist() == [2, 1]


def test_labels_are_whole_numbers_or_strings(write):
    path = write('sequence,x,label\na,1,-3\na,1, 4 \n')
    assert data.open_csv(path, labels='label').to_sequences().steps['labels'].tolist() == [-3, 4]
    path = write('sequence,x,label\na,1,up\na,1,4\nb,1,ünder\n')
    assert data.open_csv(path, labels='label').to_sequences().steps['labels'].tolist() == [
        'up', '4', 'ünder']


@pytest.mark.parametrize('mark', ['', '\ufeff'])
def test_the_names_of_the_columns_alone(mark, write):
    assert data.csv_columns(write(mark + WALKS)) == ['sequence', 't', 'x', 'label', 'note', 'y']
    assert data.csv_columns(write('')) == []
    with pytest.raises(ValueError, match='line 1 must name each column once'):
        data.csv_columns(write(mark + 'x,x\n'))


def test_a_column_of_numbers_and_one_other_cell_is_an_error(write):
    path = write('sequence,note,x,y\na,b,1,2\na,7,1.x,3\na,c,2,4\nb,5,3,5\nb,d,4,6\n')
    assert_refused(lambda: data.open_csv(path), f"^{path}: line 3: 'x' must be a number, got "
                   "'1.x'. Correct the field, or leave the column out by naming all others in "
                   'features')
    stream = data.open_csv(path, features=['y'])
    assert stream.unused == ['note', 'x']
    assert stream.to_sequences().frames[:, 0].tolist() == [2, 3, 4, 5, 6]


def test_a_column_of_text_in_which_some_cells_are_numbers_is_left_out(write):
    stream = data.open_csv(write('sequence,note,x,empty\na,b,1,\na,7,2,\n'))
    assert stream.unused == ['note', 'empty']
    assert stream.schema.fields['inputs'].shape == (1,)
    assert data.open_csv(write('sequence,x\na,1\n')).unused == []


@pytest.mark.parametrize('block', [16, 64, 1 << 19])
def test_sequences_across_blocks(block, write, monkeypatch):
    monkeypatch.setattr(csv_rows, 'BUFFER', block)
    lengths = np.random.default_rng(0).integers(1, 30, 40)
    ids = np.repeat(np.arange(40), lengths)
    path = write('sequence,x\n' + ''.join(f'{k},{n}\n' for n, k in enumerate(ids)))
    found = data.open_csv(path).to_sequences()
    assert found.lengths.tolist() == lengths.tolist()
    np.testing.assert_array_equal(found.frames[:, 0], np.arange(len(ids)))
    assert found.sequences['sequence'].tolist() == [str(k) for k in range(40)]


HEAD = 'sequence,t,x,label\n'
MISLABELLED = [
    ("there is no column 'sequence'; there are 'id', 'x'", 'id,x\n1,2\n', {}),
    ("there is no column 'when'", HEAD + 'a,0,1,2\n', {'time': 'when'}),
    ("there is no column 'z'", HEAD + 'a,0,1,2\n', {'features': ['x', 'z']}),
    ('line 1 must name each column once', 'sequence,x,x\na,1,2\n', {}),
    ('the file has no rows', HEAD, {}),
    ("there is no column 'sequence'; there are ", '', {}),
    ('no column of numbers is left', 'sequence,x\na,b\n', {}),
    ('line 3 must have 4 fields, as the first line has, got 3', HEAD + 'a,0,1,2\na,1,2\n', {}),
    ('line 3 must have 4 fields, as the first line has, got 5', HEAD + 'a,0,1,2\na,1,2,3,4\n', {}),
    ("line 3: 'x' must be finite, got nan", HEAD + 'a,0,1,2\na,1,nan,2\n', {}),
    ("line 5: 'x' must be finite, got nan", HEAD + '\na,0,1,2\n\na,1,nan,2\n', {}),
    ("line 3: 'x' must be finite, got -inf", HEAD + 'a,0,1,2\na,1,-1e99,2\n', {}),
    ("line 3: 'x' must be a number, got ''", HEAD + 'a,0,1,2\na,1,,2\n', {}),
    ("line 3: 'x' must be a number, got 'two'", HEAD + 'a,0,1,2\na,1,two,2\n',
     {'features': ['x']}),
    ("line 3: 'sequence' must not be empty", HEAD + 'a,0,1,2\n,1,3,2\n', {}),
    ('line 3: time must ascend within a sequence, got 0.0 after 0.0',
     HEAD + 'a,0,1,2\na,0,1,2\n', {'time': 't'}),
    ('line 4: time must ascend within a sequence, got 1.0 after 2.0',
     HEAD + 'a,5,1,2\nb,2,1,2\nb,1,1,2\n', {'time': 't'}),
    ("line 4: sequence 'a' resumes after other rows; it began in line 2",
     HEAD + 'a,0,1,2\nb,0,1,2\na,1,1,2\n', {}),
    ('line 3 does not end in a line break', HEAD + 'a,0,1,2\na,1,1,2', {}),
    ('line 3 must be UTF-8', HEAD.encode() + b'a,0,1,2\n\xff,1,1,2\n', {}),
    ('line 3 cannot be read as CSV', HEAD + 'a,0,1,2\n"a,1,1,2\n', {}),
]


@pytest.mark.parametrize('block', [16, 1 << 19])
@pytest.mark.parametrize('message, text, columns', MISLABELLED)
def test_a_line_that_does_not_fit_is_named(message, text, columns, block, write, monkeypatch):
    monkeypatch.setattr(csv_rows, 'BUFFER', block)
    path = write(text)
    assert_refused(lambda: data.open_csv(path, **columns), f'^{path}: {message}')


@pytest.mark.parametrize('bad, message', [
    ('s9,7,many,0\n', "line 2003: 'x' must be a number, got 'many'"),
    ('s9,7,1,one\n', "line 2003: 'label' must be a whole number, got 'one'"),
    pytest.param('s9,7,1,1.5\n', "line 2003: 'label' must be a whole number, got '1.5'",
                 marks=pytest.mark.slow),
    ('s9,7,1\n', 'line 2003 must have 4 fields'),
    pytest.param('s9,7,a"b,1\n', "line 2003: 'x' must be a number|line 2003 cannot be read as CSV",
                 marks=pytest.mark.slow)])
def test_a_line_far_behind_the_sample_is_named(bad, message, write):
    rows = [f's{n // 9},{n},{n / 7},{n % 3}\n' for n in range(2001)]
    path = write(HEAD + ''.join(rows) + bad + 's400,0,0,0\n')
    assert_refused(lambda: data.open_csv(path, labels='label'), f'^{path}: {message}')


def test_columns_that_are_named_twice_and_missing_files(write, tmp_path):
    with pytest.raises(ValueError, match='must be different columns, got .*\'t\', \'t\''):
        data.open_csv(write(WALKS), time='t', labels='t')
    with pytest.raises(FileNotFoundError, match='missing.csv'):
        data.open_csv(tmp_path / 'missing.csv')


def test_a_truncated_table_is_named_unless_whole_lines_are_missing(write):
    whole = WALKS.encode()
    for size in range(len(whole)):
        path = write(whole[:size])
        if size > len(WALKS.split('\n')[0]) + 1 and whole[:size].endswith(b'\n'):
            assert len(data.open_csv(path).to_sequences().frames) == whole[:size].count(b'\n') - 1
        else:
            with pytest.raises(ValueError, match=f'^{path}: '):
                data.open_csv(path).to_sequences()


def test_a_flipped_bit_never_fails_in_another_way(write):
    refused = 0
    for damaged in flips(WALKS.encode(), 300):
        path = write(damaged)
        try:
            data.open_csv(path, time='t', labels='label').to_sequences()
        except ValueError as error:
            assert str(error).startswith(f'{path}: ') and '\n' not in str(error)
            refused += 1
    assert 50 < refused < 300       # a table has no checksums: a digit may become another


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    header = 'sequence,' + ','.join(f'x{k}' for k in range(64)) + '\n'
    rows = [','.join(f'{x:.4f}' for x in frame) for frame in many_steps(10).frames]
    for name, times in [('small.csv', 20), ('large.csv', 100)]:
        with open(tmp_path / name, 'w') as file:
            file.write(header)
            for k in range(times * 10):
                file.writelines(f's{k},{row}\n' for row in rows[k % 10 * 200:k % 10 * 200 + 200])
    steps, grown = growth('open_csv', tmp_path / 'small.csv', tmp_path / 'large.csv')
    assert steps == 200_000
    assert grown < (tmp_path / 'large.csv').stat().st_size / 3
