"""What stays on disk: whole or not at all, whenever the run is killed."""

import os

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import training
from seqmask.training import workdir as room
from test_trainer import (a_collection, a_trainer, assert_identical, cosine, everything, weights,
                          without_times)

FIRST, SECOND = {'epoch': 1, 'loss': 0.1 + 0.2}, {'epoch': 2, 'loss': 1e-30}


class Killed(BaseException):
    """Passes through whatever catches errors, as a kill does."""


# Rows


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'rows.csv')


def test_numbers_come_back_as_they_went(path):
    rows = [{'whole': -3, 'loss': 0.1 + 0.2, 'nan': np.nan, 'large': 2 ** 60},
            {'whole': 0, 'loss': 1e-30, 'nan': -np.inf, 'large': 1e300}]
    training.write_rows(path, rows)
    read = training.read_rows(path)
    for row, wanted in zip(read, rows):
        assert list(row) == list(wanted)
        for name, value in row.items():
            assert type(value) is type(wanted[name])
            np.testing.assert_equal(value, wanted[name])


def test_rows_may_have_names_of_their_own(path):
    rows = [{'epoch': 1}, {'epoch': 2, 'valid_loss': 0.5}]
    training.write_rows(path, rows)
    assert training.read_rows(path) == rows
    training.write_rows(path, [])
    assert training.read_rows(path) == []


def test_a_failed_write_leaves_the_earlier_file_alone(path, monkeypatch):
    training.write_rows(path, [FIRST])

    def fail(*args):
        raise OSError('no space left')

    class Unwritable:
        def __str__(self):
            raise OSError('no space left')

    with pytest.raises(OSError, match='no space left'):
        training.write_rows(path, [FIRST, {'epoch': 2, 'loss': Unwritable()}])
    for where in ['os.fsync', 'os.replace']:
        with monkeypatch.context() as patch:
            patch.setattr(where, fail)
            with pytest.raises(OSError, match='no space left'):
                training.write_rows(path, [FIRST, SECOND])
    assert os.listdir(os.path.dirname(path)) == ['rows.csv']
    assert training.read_rows(path) == [FIRST]


@pytest.mark.parametrize('content', ['epoch,loss\n1,abc\n', 'epoch\n1,2\n', 'epoch\n\0\n'])
def test_a_file_that_holds_no_numbers_is_named(content, path):
    with open(path, 'w', encoding='utf-8') as file:
        file.write(content)
    with pytest.raises(ValueError, match='rows.csv\' must be a CSV file of numbers'):
        training.read_rows(path)
    with pytest.raises(FileNotFoundError, match='missing.csv'):
        training.read_rows(path.replace('rows', 'missing'))


# A run that is killed


def some_batches():
    """(train, valid), the same at every call."""
    rng = np.random.default_rng(0)
    return (seqmask.data.Batches(a_collection(rng), 3, shuffle=True, seed=1),
            seqmask.data.Batches(a_collection(rng, [2, 6]), 2))


@pytest.fixture
def train():
    return some_batches()[0]


def run(workdir, batches=None):
    train, valid = some_batches()
    trainer = a_trainer(cosine())
    history = trainer.fit(batches or train, valid, epochs=4, workdir=str(workdir))
    return trainer, history


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The undisturbed run: (workdir, trainer, history)."""
    workdir = tmp_path_factory.mktemp('whole')
    return (workdir, *run(workdir))


class Dying:
    """Batches of which the second of an epoch never comes."""

    def __init__(self, batches, epoch):
        self._batches, self._epoch = batches, epoch
        self.element_spec = batches.element_spec

    def at_epoch(self, epoch):
        for batch in self._batches.at_epoch(epoch):
            yield batch
            if epoch == self._epoch:
                raise Killed


def saved_rows(workdir):
    return without_times(training.read_rows(os.path.join(workdir, 'history.csv')))


def saved_variables(folder):
    newest = tf.train.latest_checkpoint(str(folder))
    reader = tf.train.load_checkpoint(newest)
    return [reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())
            if not name.startswith(('_CHECKPOINTABLE_OBJECT_GRAPH', 'save_counter'))]


def kill_in_epoch(patch, moment, epoch, train):
    """Lets the next run die at a moment of an epoch; returns the batches to train on."""
    save, write_rows = tf.train.CheckpointManager.save, room.write_rows

    def dying_save(manager, checkpoint_number):
        kind = os.path.basename(manager.directory)
        if (checkpoint_number, moment) == (epoch, f'before {kind}'):
            raise Killed
        save(manager, checkpoint_number)
        if (checkpoint_number, moment) == (epoch, f'after {kind}'):
            raise Killed

    def dying_write(path, rows):
        write_rows(path, rows)
        if (len(rows), moment) == (epoch, 'after history'):
            raise Killed

    patch.setattr(tf.train.CheckpointManager, 'save', dying_save)
    patch.setattr(room, 'write_rows', dying_write)
    return Dying(train, epoch - 1) if moment == 'in training' else train


@pytest.mark.parametrize('moment', ['in training', 'before best', 'after best', 'after history',
                                    'before checkpoints', 'after checkpoints'])
def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(moment, whole, train, tmp_path,
                                                               monkeypatch):
    workdir, undisturbed, history = whole
    epoch = undisturbed.best_epoch          # so that best/ is written in it
    assert epoch > 1
    with monkeypatch.context() as patch, pytest.raises(Killed):
        run(tmp_path, kill_in_epoch(patch, moment, epoch, train))
    trainer, resumed = run(tmp_path)
    assert without_times(resumed) == without_times(history)
    assert saved_rows(tmp_path) == saved_rows(workdir) == without_times(history)
    assert_identical(everything(trainer), everything(undisturbed))
    assert trainer.best_epoch == undisturbed.best_epoch
    for folder in ['checkpoints', 'best']:
        assert sorted(os.listdir(tmp_path / folder)) == sorted(os.listdir(workdir / folder))
        assert_identical(saved_variables(tmp_path / folder), saved_variables(workdir / folder))


def test_half_written_files_are_not_taken_for_an_epoch(train, tmp_path):
    whole = a_trainer()
    whole.fit(train, epochs=3, workdir=str(tmp_path / 'whole'))
    a_trainer().fit(train, epochs=2, workdir=str(tmp_path / 'parts'))
    for folder in ['checkpoints', 'best']:
        for name in ['epoch-3.index', 'epoch-3.data-00000-of-00001', 'checkpoint.tmp0']:
            (tmp_path / 'parts' / folder / name).write_bytes(b'half')
        (tmp_path / 'parts' / folder / 'epoch-3_temp').mkdir()
        (tmp_path / 'parts' / folder / 'epoch-3_temp' / 'part-00000-of-00001').write_bytes(b'half')
    (tmp_path / 'parts' / 'history.csv.123.tmp').write_text('epoch,lo')
    parts = a_trainer()
    parts.fit(train, epochs=3, workdir=str(tmp_path / 'parts'))
    assert_identical(everything(parts), everything(whole))


def test_only_the_newest_epochs_stay(train, tmp_path):
    trainer = a_trainer()
    trainer.fit(train, epochs=4, workdir=str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == ['best', 'checkpoints', 'history.csv']
    kept = {name.split('.')[0] for name in os.listdir(tmp_path / 'checkpoints')}
    assert kept == {'checkpoint', 'epoch-3', 'epoch-4'}
    kept = {name.split('.')[0] for name in os.listdir(tmp_path / 'best')}
    assert kept == {'checkpoint', f'epoch-{trainer.best_epoch}'}


# Another model's


class Wider(seqmask.models.SequenceLabeller):
    def __init__(self):
        super().__init__(3, 4, hidden_size=2, num_layers=1)


@pytest.mark.parametrize('make', [
    lambda: training.Trainer(Wider(), Wider.loss, tf.keras.optimizers.Adam(), progress=False),
    lambda: a_trainer(cosine())])           # its learning rate is no variable
def test_another_models_workdir_is_refused(make, train, tmp_path):
    a_trainer().fit(train, epochs=1, workdir=str(tmp_path))
    with pytest.raises(ValueError, match='holds the checkpoint of another model or optimizer. '
                                         'Train with the flags.*or choose another workdir'):
        make().fit(train, epochs=2, workdir=str(tmp_path))


def test_a_workdir_that_is_a_file(train, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file'):
        a_trainer().fit(train, epochs=1, workdir=str(tmp_path / 'file'))


def test_restore_best_into_a_model_built_alike(train, tmp_path):
    trainer = a_trainer()
    trainer.fit(train, epochs=3, workdir=str(tmp_path))
    trainer.restore_best()
    alike = a_trainer(seed=9)
    training.restore_best(alike.model, str(tmp_path))
    assert_identical(weights(alike), weights(trainer))
    with pytest.raises(ValueError, match='holds a model of other sizes'):
        training.restore_best(Wider(), str(tmp_path))
    with pytest.raises(FileNotFoundError, match='holds no trained model: no checkpoint in'):
        training.restore_best(alike.model, str(tmp_path / 'nowhere'))
