"""Flags of the training scripts that change how the work is cut up, as a person starts them."""

import concurrent.futures

import pytest

from test_scripts import SMALL, own_lines, rows_of, start

RUNS = {
    # Several steps an epoch: the first ones find the scale, and are skipped.
    'half precision, several batches a step': ['--precision=float16', '--accumulate=2',
                                               '--batch_size=2'],
    'bfloat16, by a budget of steps': ['--precision=bfloat16', '--max_steps=60', '--buckets=2'],
    'chunks': ['--chunk_size=3', '--batch_size=4'],
    'chunks in both directions': ['--chunk_size=3', '--bidirectional'],
}


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('flags')

    def run(name):
        return start(folder, *SMALL, '--limit=20', f'--workdir={name}', *RUNS[name])

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return folder, dict(zip(RUNS, pool.map(run, RUNS)))


@pytest.mark.parametrize('name', list(RUNS)[:3])
def test_it_trains_and_leaves_its_files(name, runs):
    folder, done = runs
    assert (done[name].returncode, own_lines(done[name].stderr)) == (0, [])
    history = rows_of(folder / name / 'history.csv')
    assert [row['epoch'] for row in history] == ['1', '2']
    assert float(history[1]['valid_loss']) < 4
    assert rows_of(folder / name / 'predictions.csv')


def test_chunks_of_a_model_that_sees_steps_to_come(runs):
    done = runs[1]['chunks in both directions']
    line, = own_lines(done.stderr)
    assert line.startswith('error: a model that runs step by step or chunk by chunk cannot use ')
    assert done.returncode == 1
