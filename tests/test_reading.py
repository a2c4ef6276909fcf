"""A person's file as sequences, whichever kind it is."""

import csv

import numpy as np
import pytest

from seqmask import data
from seqmask.training import UserError, read_parts
from seqmask.training.reading import read_sequences
from test_scripts import SMALL, own_lines, start


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
    found = read_sequences(path)
    np.testing.assert_array_equal(found.frames, collection().frames)
    np.testing.assert_array_equal(found.lengths, collection().lengths)
    np.testing.assert_array_equal(found.steps['labels'], collection().steps['labels'])
    parts, names = read_parts(path, labels_per='step', num_classes=0, seed=0)
    assert names == ['0', '1', '2']
    assert sum(map(len, parts)) == len(collection())


def test_an_unknown_ending_is_told(tmp_path):
    with pytest.raises(UserError, match="must end in .npz or .tfrecord or .csv, .* got '.txt'"):
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
