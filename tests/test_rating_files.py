"""Files of ratings, and what becomes of them."""

import numpy as np
import pytest

from seqmask import data

LINES = [('ann', 'heat', '4', '100'), ('bob', 'heat', '3.5', '101'), ('ann', 'alien', '1', '99')]
BY_NAME = [('ann', 'heat', 4), ('bob', 'heat', 3.5), ('ann', 'alien', 1)]


def write(path, lines, separator=',', header=None, end='\n'):
    rows = ([header] if header else []) + list(lines)
    path.write_bytes(end.join([separator.join(row) for row in rows] + ['']).encode())
    return path


def by_name(ratings):
    return [(ratings.user_names[u], ratings.item_names[i], v)
            for u, i, v in zip(ratings.users, ratings.items, ratings.values)]


@pytest.mark.parametrize('separator', [',', '\t', '::', ';'])
@pytest.mark.parametrize('fields', [3, 4])
@pytest.mark.parametrize('header', [None, ('user', 'film', 'stars', 'when')])
@pytest.mark.parametrize('end', ['\n', '\r\n', '\n\n'])
def test_every_form_of_a_table_is_read(separator, fields, header, end, tmp_path):
    path = write(tmp_path / 'own', [line[:fields] for line in LINES], separator,
                 header and header[:fields], end)
    ratings = data.read_ratings(path)
    assert by_name(ratings) == BY_NAME
    assert ratings.users.dtype == ratings.items.dtype == np.int32
    assert ratings.values.dtype == np.float32


def test_rows_of_nothing_but_separators_are_passed_over(tmp_path):
    assert by_name(data.read_ratings(write(tmp_path / 'own', [
        ('', ' ', ''), LINES[0][:3], ('', '', ''), LINES[1][:3]]))) == BY_NAME[:2]


def test_names_may_be_numbers_or_hold_commas_and_need_no_last_line_break(tmp_path):
    path = tmp_path / 'own'
    path.write_text('\ufeff7,"Heat, the film",4\n07,Ünal,3', encoding='utf-8')
    ratings = data.read_ratings(path)
    assert by_name(ratings) == [('7', 'Heat, the film', 4), ('07', 'Ünal', 3)]


def test_a_second_file_goes_on_with_the_numbers(tmp_path):
    first = data.read_ratings(write(tmp_path / 'one', LINES))
    path = write(tmp_path / 'two', [('bob', 'alien', '2'), ('eve', 'ran', '5')])
    second = data.read_ratings(path, after=first)
    assert second.users.tolist() == [1, 2] and second.items.tolist() == [1, 2]
    assert second.user_names == ['ann', 'bob', 'eve']
    assert second.item_names == ['heat', 'alien', 'ran']
    assert first.user_names == ['ann', 'bob']


BAD = {
    'ann,heat,4\nbob,heat,good\n': "line 2: the rating must be a number, got 'good'",
    'ann,heat,4\nbob,heat,1_0\n': "line 2: the rating must be a number, got '1_0'",
    'ann,heat,4\n\nann,alien,nan\n': 'line 3: the rating must be finite, got nan',
    'user,item,rating\nann,heat,4\nbob,heat,4\nann,heat,5\n':
        "line 4: user 'ann' rates item 'heat' again, after line 2. Keep one rating of a pair",
    'ann,heat\n': 'line 1 must be user, item, rating and optionally a time stamp, .* got 2 fields',
    'ann,heat,4,0,x\n': 'line 1 must be .* got 5 fields',
    'ann,heat,4\nbob,heat\n': 'line 2 must have 3 fields, as the first line has, got 2',
    'ann,heat,4\n,heat,4\n': 'line 2 must name a user and an item',
    '': 'the file must hold ratings, a line user,item,rating each; it holds none',
    '\n\n': 'it holds none',
    'user,item,rating\n': 'it holds none',
    'ann,heat,4\n\xff': 'line 2 must be UTF-8',
    'ann::heat::4\n\nann::\xe9lan::4\n': 'line 3 must be UTF-8',
    'ann,heat,4\nbob,"' + 'x' * 131_073 + '",4\n':
        'line 2 cannot be read as CSV: field larger than field limit',
    'ann,heat,4\nann,alien,1e39\n':
        r'line 2: the rating must be in the range of float32, got 1e\+39',
    'ann,heat,4\nbob,heat,inf\n': 'line 2: the rating must be finite, got inf',
    'ann,heat,4\nbob,"heat"x,4\n': 'line 2 cannot be read as CSV: .* expected after',
    'ann,heat,4\nbob,"heat,4\neve,heat,4\n': 'line 3 cannot be read as CSV: unexpected end of data',
    'ann,"he\nat",4\nbob,heat,good\n': "line 3: the rating must be a number, got 'good'",
}


@pytest.mark.parametrize('content', BAD)
def test_errors_name_file_and_line(content, tmp_path):
    (tmp_path / 'own.csv').write_bytes(content.encode('latin-1'))
    with pytest.raises(ValueError, match='own.csv.*' + BAD[content]):
        data.read_ratings(tmp_path / 'own.csv')


def test_ratings_beyond_float32_are_refused_as_lists_too():
    table = data.Ratings(np.array([0, 1]), np.array([0, 0]), np.array([1, 1e39]), ['ann', 'bob'],
                         ['heat'])
    assert data.rating_rows(table, np.array([True, False])).frames.tolist() == [[1]]
    with pytest.raises(ValueError, match='ratings must be in the range of float32; sequence 1 holds'
                                         r' 1e\+39 at step 0'):
        data.rating_rows(table, np.array([True, True]))


def test_ratings_out_of_range_and_pairs_of_both_files_are_refused(tmp_path):
    path = write(tmp_path / 'own.csv', LINES)
    assert len(data.read_ratings(path, rating_range=(1, 4)).values) == 3
    with pytest.raises(ValueError, match=r'own.csv: line 3: the rating must be in \[2, 4\], got 1'):
        data.read_ratings(path, rating_range=(2, 4))
    other = write(tmp_path / 'test.csv', [('eve', 'heat', '1'), ('bob', 'heat', '1')])
    with pytest.raises(ValueError, match="test.csv: line 2: the rating of item 'heat' by user 'bob'"
                                         ' is in the training file too'):
        data.read_ratings(other, after=data.read_ratings(path))
    with pytest.raises(FileNotFoundError):
        data.read_ratings(tmp_path / 'none.csv')


# What becomes of them


def a_table():
    return data.Ratings(np.array([2, 0, 0, 2, 0], np.int32), np.array([0, 1, 0, 1, 2], np.int32),
                        np.array([1, 2, 3, 4, 5], np.float32), ['a', 'b', 'c'], ['x', 'y', 'z'])


def test_lists_hold_given_ratings_and_then_those_to_be_predicted():
    given = np.array([True, False, True, True, False])
    rows = data.rating_rows(a_table(), given, ~given)
    assert rows.lengths.tolist() == [3, 0, 2]           # b rated nothing
    assert rows.frames[:, 0].tolist() == [3, 2, 5, 1, 4]
    assert rows.steps['columns'].tolist() == [0, 1, 2, 0, 1]
    assert rows.steps['given'].tolist() == [True, False, False, True, True]
    assert rows.steps['number'].tolist() == [2, 1, 4, 0, 3]
    items = data.rating_rows(a_table(), given, by='item')
    assert items.lengths.tolist() == [2, 1, 0] and 'given' not in items.steps
    assert items.steps['columns'].tolist() == [2, 0, 2]


def test_parts_are_drawn_from_what_is_left_and_by_seed():
    tested = data.split_ratings(1000, 0.2, seed=3)
    valid = data.split_ratings(~tested, 0.1, seed=[3, 1])
    assert tested.sum() == 200 and valid.sum() == 80 and not (tested & valid).any()
    np.testing.assert_array_equal(tested, data.split_ratings(1000, 0.2, seed=3))
    assert (tested != data.split_ratings(1000, 0.2, seed=4)).any()
    for number, fraction in [(0, 0.2), (1, 0.2), (2, 0.1), (5, 1.0)]:
        with pytest.raises(ValueError, match=f'too few ratings, {number}, to draw'):
            data.split_ratings(number, fraction)
