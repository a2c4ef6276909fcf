"""Each training script under two workers, two processes: once through, to the end of both."""

import csv

import numpy as np
import pytest

from seqmask import data
from test_multiworker import TIMEOUT, said, started, workers

pytestmark = pytest.mark.slow

# Two models one after the other, where a script trains several.
RUNS = {
    'labels': ['--data=labels.csv', '--num_layers=1', '--nobidirectional'],
    'classifier': ['--data=classes.npz', '--filters=4,4,4'],
    'autoencoder': ['--data=classes.npz', '--code_size=2'],
    'events': ['--data=events.npz', '--network=conv', '--num_layers=1', '--tolerance=1'],
    'ratings': ['--ratings=ratings.csv', '--based=user', '--models=2', '--hidden_sizes=4'],
}
TABLES = {'labels': 'predictions.csv', 'classifier': 'predictions.csv', 'events': 'events.csv',
          'ratings': 'predictions.csv'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp('scripts'), np.random.default_rng(0)
    lengths = np.r_[0, rng.integers(1, 9, 15)]
    split = {'split': np.repeat([0, 1, 2], [8, 4, 4]).astype(np.int32)}
    frames = rng.normal(size=[lengths.sum(), 3]).astype('float32')
    of_steps = np.arange(len(frames), dtype=np.int32) % 2
    data.write_npz(folder / 'events.npz',
                   data.Sequences(frames, lengths, {'labels': of_steps}, split))
    with open(folder / 'labels.csv', 'w', encoding='utf-8') as file:
        file.writelines(['sequence,time,a,b,c,labels\n', *(
            f'{sequence},{k},{",".join(map(str, frames[k]))},{of_steps[k]}\n'
            for k, sequence in enumerate(np.repeat(np.arange(16), lengths)))])
    data.write_npz(folder / 'classes.npz', data.Sequences(
        frames, lengths, {}, {**split, 'labels': np.arange(16, dtype=np.int32) % 2}))
    (folder / 'ratings.csv').write_text('user,item,rating\n' + ''.join(
        f'u{k % 10},i{k // 10},{k * k % 5 + 1}\n' for k in range(120)))
    return folder


@pytest.mark.parametrize('name', RUNS)
def test_two_workers_come_to_the_end(name, folder):
    flags = [*RUNS[name], f'--workdir={name}', '--epochs=2', '--batch_size=4']
    flags += [] if name == 'ratings' else ['--hidden_size=4']
    with started(folder, *workers(name, *flags), script=f'train_{name}.py') as processes:
        assert [process.wait(TIMEOUT) for process in processes] == [0, 0], [
            said(folder, f'{name}{k}') for k in range(2)]
    (told, errors), other = said(folder, f'{name}0'), said(folder, f'{name}1')
    assert (errors, other) == ([], ('', []))
    assert ('labels.csv' in told.splitlines()) == (name == 'labels')
    models = 2 if name in ('events', 'ratings') else 1
    assert told.count('\nbest epoch') == models and told.count('epoch 2/2') == models
    assert told.splitlines()[-1].startswith(f'files       in {name}: ')
    if name in TABLES:
        with open(folder / name / TABLES[name], newline='', encoding='utf-8') as file:
            assert list(csv.DictReader(file))
