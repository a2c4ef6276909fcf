"""scripts/convert.py as a person starts it, also with bad input."""

import concurrent.futures
import os
import re

import numpy as np
import pytest

from seqmask import data
from sources import assert_same, collection
from test_scripts import own_lines, start

CSV = 'walk,t,x,y,label\na,0,1,2,0\na,1,3,4,1\nb,0,5,6,1\nc,0,7,8,0\n'


def convert(folder, *flags, **how):
    return start(folder, *flags, script='convert.py', **how)


def test_from_kind_to_kind_and_back(tmp_path):
    wanted = collection()
    data.write_npz(tmp_path / 'a.npz', wanted)
    there = convert(tmp_path, '--input=a.npz', '--output=b.tfrecord', afresh=True)
    back = convert(tmp_path, '--input=b.tfrecord', '--output=c.npz')
    for done, output in [(there, 'b.tfrecord'), (back, 'c.npz')]:
        assert (done.returncode, own_lines(done.stderr)) == (0, [])
        *schema, numbers, written = done.stdout.splitlines()
        assert schema == str(data.Schema.of(wanted)).splitlines()
        # lengths = [3, 0, 1, 5, 2, 0]
        assert numbers == '6 sequences, 11 steps; length 0 to 5, median 1.5'
        assert written == f'written: {output}'
    assert_same(data.read_npz(tmp_path / 'c.npz'), wanted)
    assert sorted(os.listdir(tmp_path)) == ['a.npz', 'b.tfrecord', 'c.npz']


def test_a_table(tmp_path):
    (tmp_path / 'walks.txt').write_text(CSV)
    done = convert(tmp_path, '--input=walks.txt', '--input_format=csv', '--output=w.npz',
                   '--sequence=walk', '--time=t', '--labels=label', '--features=y,x')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.splitlines()[-2] == '3 sequences, 4 steps; length 1 to 2, median 1'
    assert_same(data.read_npz(tmp_path / 'w.npz'), data.Sequences(
        np.float32([[2, 1], [4, 3], [6, 5], [8, 7]]), [2, 1, 1],
        {'time': [0., 1., 0., 0.], 'labels': [0, 1, 1, 0]},
        {'sequence': np.array(['a', 'b', 'c'])}))


BAD = {
    '--output=x.npz': '--input is needed, the file to read; .*',
    '--input=a.npz --output=b.csv': r"--output must end in .npz or .tfrecord, .* got 'b.csv'.",
    '--input=a.npz --output=kept.npz': r"'kept.npz' exists. .* --overwrite.",
    '--input=gone.npz --output=b.npz': r".*No such file or directory: 'gone.npz'",
    '--input=cut.npz --output=kept.npz --overwrite': r'cut.npz: not an .npz file.*\.',
    '--input=cut.tfrecord --output=b.npz': r'cut.tfrecord: record 5 cannot be read: .*\.',
    '--input=w.csv --output=b.npz': r"w.csv: there is no column 'sequence'; .*\.",
    '--input=a.npz --output=b.npz --labels=x': r"--labels is for a .csv, got 'a.npz'.",
    '--input=a.npz,a.npz --output=b.npz': r'--input must be one file, unless all are .tfrecord.*',
    '--input=a.npz --output=none/b.npz': r"there is no folder 'none' to write 'none/b.npz' into.",
    '--input=a.npz --output=none/b.tfrecord':
        r"there is no folder 'none' to write 'none/b.tfrecord' into.",
    '--input=a.npz --output=a.npz/b.tfrecord':
        r"there is no folder 'a.npz' to write 'a.npz/b.tfrecord' into.",
    '--input=mixed.csv --output=b.npz':
        r"mixed.csv: line 3: 'x' must be a number, got '1.x'. .*--features.*",
}


@pytest.fixture(scope='module')
def bad_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bad')
    for name in ['a.npz', 'kept.npz']:
        data.write_npz(folder / name, collection())
    data.write_tfrecord(folder / 'whole.tfrecord', collection())
    for name, whole in [('cut.npz', 'a.npz'), ('cut.tfrecord', 'whole.tfrecord')]:
        (folder / name).write_bytes((folder / whole).read_bytes()[:-1])
    (folder / 'w.csv').write_text(CSV)
    (folder / 'mixed.csv').write_text('sequence,x\na,1\na,1.x\na,2\n')
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return folder, dict(zip(BAD, pool.map(lambda f: convert(folder, *f.split()), BAD)))


@pytest.mark.parametrize('flags', BAD)
def test_bad_input_is_told_in_one_line(flags, bad_runs):
    _, runs = bad_runs
    line, = own_lines(runs[flags].stderr)
    assert re.fullmatch('error: ' + BAD[flags], line), line
    assert runs[flags].returncode == 1


def test_bad_input_leaves_everything_as_it_was(bad_runs):
    folder, _ = bad_runs
    assert sorted(os.listdir(folder)) == ['a.npz', 'cut.npz', 'cut.tfrecord', 'kept.npz',
                                          'mixed.csv', 'w.csv', 'whole.tfrecord']
    assert_same(data.read_npz(folder / 'kept.npz'), collection())


def test_what_a_table_holds_besides_is_told(tmp_path):
    (tmp_path / 'w.csv').write_text('sequence,note,x\na,good,1\na,bad,3\n')
    done = convert(tmp_path, '--input=w.csv', '--output=w.npz')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert "left out: 'note'" in done.stdout.splitlines()


@pytest.mark.skipif(not os.path.isdir('/sys/kernel'), reason='only Linux has a folder into which '
                                                             'not even root may write')
@pytest.mark.parametrize('ending', ['npz', 'tfrecord'])
def test_a_folder_that_may_not_be_written_into_is_told(ending, tmp_path):
    data.write_npz(tmp_path / 'a.npz', collection())
    done = convert(tmp_path, '--input=a.npz', f'--output=/sys/kernel/b.{ending}')
    line, = own_lines(done.stderr)
    assert re.fullmatch(r"error: (\[Errno 13\] Permission denied: )?'/sys/kernel/b."
                        rf"{ending}'.*", line)
    assert done.returncode == 1


def test_several_files_become_one_and_replace_what_was_there(tmp_path):
    wanted = collection()
    for k, part in enumerate([[0, 1, 2], [3, 4, 5]]):
        data.write_tfrecord(tmp_path / f'{k}.tfrecord', wanted.select(part))
    data.write_npz(tmp_path / 'all.npz', collection([1]))
    done = convert(tmp_path, '--input=0.tfrecord,1.tfrecord', '--output=all.npz', '--overwrite')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert_same(data.read_npz(tmp_path / 'all.npz'), wanted)


def test_the_input_alone_shows_what_a_file_holds(tmp_path):
    (tmp_path / 'walks.csv').write_text('who,x,alarm,activity\na,1,0,run\na,2,1,run\nb,3,0,sit\n')
    done = start(tmp_path, '--input=walks.csv', '--sequence=who', '--labels=activity',
                 '--labels_per=sequence', script='convert.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.splitlines() == [
        'inputs    float32  [2]  per step', 'labels    string   []   per sequence',
        'sequence  string   []   per sequence', "features: 'x', 'alarm'",
        '2 sequences, 3 steps; length 1 to 2, median 1.5']
    assert [path.name for path in tmp_path.iterdir()] == ['walks.csv']
