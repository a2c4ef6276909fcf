"""Curves for TensorBoard: each point once, however often a run is stopped."""

import importlib.util
import os

import pytest
import tensorflow as tf

import seqmask
from seqmask import training
from seqmask.runs import board
from test_scripts import own_lines, start
from test_trainer import a_collection, a_trainer

ROWS = [{'epoch': epoch, 'loss': 1 / epoch, 'learning_rate': 0.1, 'steps_per_second': 100 * epoch,
         'valid_loss': 2 / epoch, 'valid_accuracy': 1 - 1 / epoch} for epoch in range(1, 5)]
TRAIN = {'loss', 'learning_rate', 'steps_per_second'}
VALIDATION = {'loss', 'accuracy'}


def raw_scalar(tag, value, step):
    """What `tf.summary.scalar` writes, near enough, where TensorBoard is not installed."""
    summary = tf.compat.v1.Summary(value=[tf.compat.v1.Summary.Value(tag=tag, simple_value=value)])
    tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=step)


@pytest.fixture(params=['tensorboard', 'without'])
def writes(request, monkeypatch):
    if request.param == 'without':
        monkeypatch.setattr(tf.summary, 'scalar', raw_scalar)
    elif importlib.util.find_spec('tensorboard') is None:
        pytest.skip('TensorBoard is not installed')


def written(folder):
    """Every point, as often as it was written: [(part, tag, epoch, value)]."""
    points = []
    for part in ('train', 'validation'):
        for path in sorted((folder / 'tensorboard' / part).glob('*tfevents*')):
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                points += [(part, value.tag, event.step, number(value))
                           for value in event.summary.value]
    return points


def number(value):
    if value.HasField('tensor'):
        return float(tf.make_ndarray(value.tensor))
    return value.simple_value


def keys(points):
    return [point[:3] for point in points]


def wanted(epochs):
    return sorted((part, tag, epoch) for epoch in epochs
                  for part, tags in [('train', TRAIN), ('validation', VALIDATION)] for tag in tags)


def test_the_rows_become_points(writes, tmp_path):
    curves = board.Board(str(tmp_path))
    curves.write(ROWS)
    curves.close()
    points = written(tmp_path)
    assert sorted(keys(points)) == wanted([1, 2, 3, 4])
    values = {point[:3]: point[3] for point in points}
    assert values['train', 'loss', 4] == 1 / 4 and values['validation', 'loss', 4] == 2 / 4
    assert values['validation', 'accuracy', 2] == 1 - 1 / 2


def test_a_row_is_on_disk_before_the_next(writes, tmp_path):
    curves = board.Board(str(tmp_path))
    for epoch in (1, 2):
        curves.write(ROWS[epoch - 1:epoch])
        assert sorted(keys(written(tmp_path))) == wanted(range(1, epoch + 1))
    curves.close()


def test_a_resumed_run_doubles_no_point(writes, tmp_path):
    for epochs in (2, 3, 4, 4):
        curves = board.Board(str(tmp_path))
        curves.write(ROWS[:epochs])
        curves.write(ROWS[:epochs])
        curves.close()
    assert sorted(keys(written(tmp_path))) == wanted([1, 2, 3, 4])


@pytest.mark.parametrize('cut', [1, 7, 30])
def test_what_a_kill_left_half_written_is_written_again(cut, writes, tmp_path):
    curves = board.Board(str(tmp_path))
    curves.write(ROWS[:2])
    curves.close()
    for path in (tmp_path / 'tensorboard').rglob('*tfevents*'):
        path.write_bytes(path.read_bytes()[:-cut])
    curves = board.Board(str(tmp_path))
    curves.write(ROWS[:2])
    curves.close()
    found = set().union(*({(part, *point) for point in board.points(
        str(tmp_path / 'tensorboard' / part))} for part in ('train', 'validation')))
    assert sorted(found) == wanted([1, 2])


def test_it_sees_each_epoch_as_it_ends(writes, tmp_path, rng):
    batches = seqmask.data.Batches(a_collection(rng), 2)
    curves = board.Board(str(tmp_path))
    trainer = a_trainer(progress=False, on_epoch=[lambda row: curves.write([row])])
    trainer.fit(batches, batches, epochs=2)
    a_trainer(progress=False).fit(batches, batches, epochs=3)       # nobody listens
    curves.close()
    assert {epoch for _, tag, epoch, _ in written(tmp_path) if tag == 'loss'} == {1, 2}


def test_a_callback_gets_each_row_once_it_is_kept_and_may_end_training(tmp_path, rng):
    batches = seqmask.data.Batches(a_collection(rng), 2)
    rows, kept = [], []

    def stop(row):
        kept.append(training.read_history(str(tmp_path))[-1]['epoch'])
        if row['epoch'] == 2:
            raise KeyboardInterrupt

    trainer = a_trainer(progress=False, on_epoch=[rows.append, stop])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(batches, epochs=3, workdir=str(tmp_path))
    assert [row['epoch'] for row in rows] == kept == [1, 2]
    assert [row['epoch'] for row in trainer.fit(batches, epochs=3)] == [1, 2, 3]


def test_the_points_of_earlier_starts_come_first(writes, tmp_path):
    training.workdir.write_rows(str(tmp_path / 'history.csv'), ROWS[:2])
    with board.board_callbacks(str(tmp_path), True) as callbacks:
        for call in callbacks:
            call(ROWS[2])
    assert [epoch for part, tag, epoch in keys(written(tmp_path))
            if (part, tag) == ('train', 'loss')] == [1, 2, 3]
    with board.board_callbacks(str(tmp_path), False) as callbacks:
        assert callbacks == []


@pytest.mark.parametrize('flag, module, name', [('tensorboard', 'tensorboard', 'TensorBoard'),
                                                ('plots', 'matplotlib', 'matplotlib')])
def test_what_is_not_installed_is_told_before_training(flag, module, name, tmp_path, monkeypatch):
    hidden = tmp_path / 'hidden'
    hidden.mkdir()
    (hidden / f'{module}.py').write_text('raise ImportError("hidden")')
    monkeypatch.setenv('PYTHONPATH', str(hidden), prepend=os.pathsep)
    run = start(tmp_path, f'--{flag}', '--limit=5')
    line, = own_lines(run.stderr)
    assert line == (f"error: --{flag} needs {name}, which is not installed: pip install "
                    f"'.[{flag}]', or leave the flag out.")
    assert (run.returncode, run.stdout) == (1, '') and not (tmp_path / 'workdir').exists()
