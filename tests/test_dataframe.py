"""Tables with one row per step: in memory, in Parquet; dates, and labels of whole sequences."""

import gzip

import numpy as np
import pytest

from seqmask import data

TABLE = {'user': ['b', 'a', 'b', 'a'], 'x': [1, 2, 3, 4], 'ok': [True, False, True, True],
         'note': ['p', 'q', 'r', 's'], 'mood': ['good', 'bad', 'good', 'bad'],
         'day': np.array(['2026-01-01', '2026-01-01', '2026-01-02', '2026-01-03'], 'datetime64[D]')}
DAY = 86_400


def read(table=TABLE, **columns):
    return data.from_dataframe(table, **{'sequence': 'user', **columns})


def check(stream):
    assert stream.features == ['x', 'ok'] and stream.unused == ['note']
    found = stream.to_sequences()
    np.testing.assert_array_equal(found.frames, [[1, 1], [3, 1], [2, 0], [4, 1]])
    assert found.lengths.tolist() == [2, 2]
    assert {name: values.tolist() for name, values in found.sequences.items()} == {
        'sequence': ['b', 'a'], 'labels': ['good', 'bad']}
    assert (np.diff(found.steps['time'])[[0, 2]] / DAY).tolist() == [1, 2]


def test_rows_of_a_sequence_need_not_be_contiguous():
    check(read(time='day', labels='mood', labels_per='sequence'))


def test_pandas_and_arrow_tables():
    pandas = pytest.importorskip('pandas', reason='pandas is not installed')
    frame = pandas.DataFrame(TABLE)
    frame['x'] = frame['x'].astype('Int64')         # pandas's own kind, which may be missing
    check(read(frame, time='day', labels='mood', labels_per='sequence'))
    arrow = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    check(read(arrow.table(TABLE), time='day', labels='mood', labels_per='sequence'))
    frame.loc[1, 'x'] = None
    with pytest.raises(ValueError, match="'x' must hold finite numbers; that of row 1 is missing"):
        read(frame)


def test_tokens_with_features_beside_them():
    stream = read(tokens='note', features=['x'], labels='ok')
    found = stream.to_sequences()
    assert found.frames.tolist() == ['p', 'r', 'q', 's']
    assert found.steps['features'].ravel().tolist() == [1, 3, 2, 4]
    assert read(tokens='x').to_sequences().frames.tolist() == [1, 3, 2, 4]


@pytest.mark.parametrize('change, columns, message', [
    ({'x': [1., np.nan, 3., 4.]}, {}, "'x' must hold finite numbers; that of row 1 is missing"),
    ({'x': [1., np.inf, 3., 4.]}, {}, 'that of row 1 is inf'),
    ({'user': ['a', None, 'b', 'b']}, {}, "'user' has no value in row 1"),
    ({}, {'labels': 'note', 'labels_per': 'sequence'},
     "'note' must be the same in all rows of a sequence.*row 2 has 'r' after 'p'"),
    ({}, {'labels': 'zz'}, "no column 'zz'; there are 'user', 'x'"),
    ({}, {'labels': 'x', 'time': 'x'}, "time, labels must be different columns, got 'user', 'x'"),
    ({}, {'features': ['note']}, "'note' must hold numbers, got <U1"),
    ({'day': [4, 2, 3, 4]}, {'time': 'day'}, "'day' must ascend .*; row 2 has 3.0 after 4.0"),
    ({'day': ['2026-01-01', 'soon', '2026-01-02', '2026-01-03']}, {'time': 'day'},
     "'day' must be a number or a date as .*; that of row 1 is 'soon'"),
    ({}, {'labels_per': 'row'}, "labels_per must be one of 'step', 'sequence'")])
def test_what_does_not_fit_is_named(change, columns, message):
    with pytest.raises(ValueError, match=message):
        read({**TABLE, **change}, **columns)


def test_parquet(tmp_path):
    pandas = pytest.importorskip('pandas', reason='pandas is not installed')
    pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    pandas.DataFrame(TABLE).to_parquet(tmp_path / 'a.parquet')
    stream = data.read_parquet(tmp_path / 'a.parquet', sequence='user', time='day', labels='mood',
                               labels_per='sequence')
    check(stream)
    (tmp_path / 'b.parquet').write_text('no')
    with pytest.raises(ValueError, match='b.parquet: '):
        data.read_parquet(tmp_path / 'b.parquet', sequence='user')
    with pytest.raises(FileNotFoundError, match='c.parquet'):
        data.read_parquet(tmp_path / 'c.parquet', sequence='user')


def test_without_pyarrow_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow', None)
    monkeypatch.setitem(__import__('sys').modules, 'pyarrow.parquet', None)
    with pytest.raises(ImportError, match='pip install pyarrow'):
        data.read_parquet(tmp_path / 'a.parquet', sequence='user')


def table(tmp_path, text):
    (tmp_path / 'a.csv').write_text(text)
    return tmp_path / 'a.csv'


def test_a_csv_with_dates_and_a_label_for_each_sequence(tmp_path):
    path = table(tmp_path, 'sequence,when,x,mood\na,2026-01-01T00:00:00Z,1,good\n'
                           'a,2026-01-01T02:00:00+01:00,2,good\nb,2026-01-01,3,bad\n')
    found = data.open_csv(path, time='when', labels='mood', labels_per='sequence').to_sequences()
    assert found.sequences['labels'].tolist() == ['good', 'bad']
    assert np.diff(found.steps['time'])[0] == 3600
    assert found.steps['time'][2] == found.steps['time'][0]


@pytest.mark.parametrize('text, columns, message', [
    ('sequence,x,mood\na,1,p\na,2,q\n', {'labels': 'mood', 'labels_per': 'sequence'},
     "a.csv: 'mood' must be the same in all rows.*: line 3 has 'q' after 'p'"),
    ('sequence,when,x\na,2026-01-01,1\na,,2\n', {'time': 'when'},
     "line 3: 'when' must not be empty"),
    ('sequence,when,x\na,2026-01-01,1\na,soon,2\n', {'time': 'when'},
     "line 3: 'when' must be a date in ISO 8601, as in the lines before, got 'soon'"),
    ('sequence,x\na,1\na,\n', {}, "line 3: 'x' must be a number, got ''. Fill it, for example")])
def test_what_does_not_fit_in_a_csv_is_named(tmp_path, text, columns, message):
    with pytest.raises(ValueError, match=message):
        data.open_csv(table(tmp_path, text), **columns).to_sequences()


def test_a_long_csv_with_labels_of_sequences_is_read_in_chunks(tmp_path):
    rows = [f'{i},{i % 7},{"ab"[i % 2]}' for i in range(2000) for _ in range(3)]
    path = table(tmp_path, '\n'.join(['sequence,x,mood', *rows, '']))
    stream = data.open_csv(path, labels='mood', labels_per='sequence')
    assert len(list(stream.chunks())) > 1
    assert stream.to_sequences().sequences['labels'].tolist() == ['a', 'b'] * 1000


def test_a_tfrecord_may_be_zipped(tmp_path):
    data.write_tfrecord(tmp_path / 'a.tfrecord', read())
    packed = gzip.compress((tmp_path / 'a.tfrecord').read_bytes())
    (tmp_path / 'b.tfrecord').write_bytes(packed)
    found = data.open_tfrecord(tmp_path / 'b.tfrecord').to_sequences()
    np.testing.assert_array_equal(found.frames, read().to_sequences().frames)
    (tmp_path / 'c.tfrecord').write_bytes(packed[:-20])
    with pytest.raises(ValueError, match='c.tfrecord: record .* damaged or cut short'):
        data.open_tfrecord(tmp_path / 'c.tfrecord').to_sequences()
