"""What stays on disk: whole or not at all, whenever the run is killed."""

import functools
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import runs, training
from seqmask.training import checkpoints
from seqmask.training import workdir as room
from test_trainer import (a_collection, a_trainer, assert_identical, cosine, everything, weights,
                          scripted, without_times)

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
    room.write_rows(path, rows)
    read = room.read_rows(path)
    for row, wanted in zip(read, rows):
        assert list(row) == list(wanted)
        for name, value in row.items():
            assert type(value) is type(wanted[name])
            np.testing.assert_equal(value, wanted[name])


def test_rows_may_have_names_of_their_own(path):
    rows = [{'epoch': 1}, {'epoch': 2, 'valid_loss': 0.5}]
    room.write_rows(path, rows)
    assert room.read_rows(path) == rows
    room.write_rows(path, [])
    assert room.read_rows(path) == []


def test_a_failed_write_leaves_the_earlier_file_alone(path, monkeypatch):
    room.write_rows(path, [FIRST])

    def fail(*args):
        raise OSError('no space left')

    class Unwritable:
        def __str__(self):
            raise OSError('no space left')

    with pytest.raises(OSError, match='no space left'):
        room.write_rows(path, [FIRST, {'epoch': 2, 'loss': Unwritable()}])
    for where in ['os.fsync', 'os.replace']:
        with monkeypatch.context() as patch:
            patch.setattr(where, fail)
            with pytest.raises(OSError, match='no space left'):
                room.write_rows(path, [FIRST, SECOND])
    assert os.listdir(os.path.dirname(path)) == ['rows.csv']
    assert room.read_rows(path) == [FIRST]


def test_a_file_that_cannot_be_made_is_named(tmp_path):
    path = str(tmp_path / 'none' / 'rows.csv')
    for write in (lambda: room.write_rows(path, [FIRST]),
                  lambda: runs.write_arrays(path, {'a': [1]})):
        with pytest.raises(FileNotFoundError) as caught:
            write()
        assert caught.value.filename == path


@pytest.mark.parametrize('content', ['epoch,loss\n1,abc\n', 'epoch\n1,2\n', 'epoch\n\0\n'])
def test_a_file_that_holds_no_numbers_is_named(content, path):
    with open(path, 'w', encoding='utf-8') as file:
        file.write(content)
    with pytest.raises(ValueError, match='rows.csv\' must be a CSV file of numbers'):
        room.read_rows(path)
    with pytest.raises(FileNotFoundError, match='missing.csv'):
        room.read_rows(path.replace('rows', 'missing'))


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
    return without_times(room.read_rows(os.path.join(workdir, 'history.csv')))


def saved_variables(folder):
    newest = tf.train.latest_checkpoint(str(folder))
    reader = tf.train.load_checkpoint(newest)
    return [reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())
            if not name.startswith(('_CHECKPOINTABLE_OBJECT_GRAPH', 'save_counter'))]


def kill_in_epoch(patch, moment, epoch, train):
    """Lets the next run die at a moment of an epoch; returns the batches to train on."""
    write_rows = room.write_rows

    def dying(function, name):
        def call(prefix, *args, **options):
            kind = os.path.basename(os.path.dirname(prefix))
            dies = os.path.basename(prefix) == f'epoch-{epoch}'
            if dies and moment == f'before {name} {kind}':
                raise Killed
            result = function(prefix, *args, **options)
            if dies and moment == f'after {name} {kind}':
                raise Killed
            return result
        return call

    def dying_write(path, rows):
        write_rows(path, rows)
        if (len(rows), moment) == (epoch, 'after history'):
            raise Killed

    def dying_remove(path, remove=os.remove):
        remove(path)
        if moment == 'in removing' and path.endswith(f'epoch-{epoch - 2}.sha256'):
            raise Killed

    write = tf.train.Checkpoint.write
    patch.setattr(tf.train.Checkpoint, 'write', lambda self, prefix: dying(
        lambda prefix: write(self, prefix), 'writing')(prefix))
    patch.setattr(checkpoints, '_write_checksums', dying(checkpoints._write_checksums, 'sealing'))
    patch.setattr(os, 'remove', dying_remove)
    patch.setattr(room, 'write_rows', dying_write)
    return Dying(train, epoch - 1) if moment == 'in training' else train


MOMENTS = ['in training', 'before writing best', 'after writing best', 'after sealing best',
           'after history', 'before writing checkpoints', 'after writing checkpoints',
           'after sealing checkpoints', 'in removing']
QUICK = ['in training', 'after writing checkpoints']
OF_BEST = ['after sealing best', 'after writing checkpoints', 'in removing']


def moments(quick):
    return pytest.mark.parametrize('moment', [
        pytest.param(moment, marks=[pytest.mark.slow] * (moment not in quick))
        for moment in MOMENTS])


@moments(QUICK)
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


@functools.cache
def weights_after(epochs):
    train, valid = some_batches()
    trainer = scripted([1.0, 1.0, 1.0])
    trainer.fit(train, list(valid)[:1], epochs=epochs)
    return weights(trainer)


@moments(OF_BEST)
def test_what_a_kill_left_of_a_best_model_does_not_count(moment, train, tmp_path, monkeypatch):
    """Killed in epoch 3, the best so far; made again under other data, it is not the best."""
    valid = list(some_batches()[1])[:1]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        scripted([2.0, 3.0, 1.0]).fit(kill_in_epoch(patch, moment, 3, train), valid, epochs=4,
                                      workdir=str(tmp_path))
    finished = checkpoints.newest_complete(str(tmp_path / 'checkpoints'))
    best = 3 if finished == 3 else 1
    wanted = weights_after(best)
    reader = a_trainer(seed=9)
    training.restore_best(reader.model, str(tmp_path))
    assert_identical(weights(reader), wanted)
    again = scripted([5.0, 6.0])
    again.fit(train, valid, epochs=4, workdir=str(tmp_path))
    assert again.best_epoch == best
    again.restore_best()
    assert_identical(weights(again), wanted)
    training.restore_best(reader.model, str(tmp_path))
    assert_identical(weights(reader), wanted)
    assert numbers(tmp_path / 'best') == [best]


def test_a_lost_best_model_is_not_replaced_by_another_one(train, tmp_path):
    valid = list(some_batches()[1])[:1]
    scripted([2.0, 1.0]).fit(train, valid, epochs=2, workdir=str(tmp_path))
    shutil.rmtree(tmp_path / 'best')
    again = scripted([5.0])
    again.fit(train, valid, epochs=3, workdir=str(tmp_path))
    assert again.best_epoch == 2
    with pytest.raises(FileNotFoundError, match='holds no trained model: no checkpoint in'):
        again.restore_best()


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


def numbers(folder):
    """The epochs that any file in a folder is of."""
    return sorted({int(name.split('-')[1].split('.')[0]) for name in os.listdir(folder)
                   if name != 'checkpoint'})


@pytest.mark.parametrize('keep', [1, 2, 3])
def test_only_the_newest_epochs_stay_whoever_saved_them(keep, train, tmp_path):
    for epochs in [3, 4]:
        trainer = a_trainer(keep=keep)
        trainer.fit(train, epochs=epochs, workdir=str(tmp_path))
        assert sorted(os.listdir(tmp_path)) == ['.lock', 'best', 'checkpoints', 'history.csv']
        assert numbers(tmp_path / 'checkpoints') == list(range(epochs - keep + 1, epochs + 1))
        assert tf.train.latest_checkpoint(str(tmp_path / 'checkpoints')).endswith(f'-{epochs}')
    assert checkpoints.saved_epochs(str(tmp_path / 'best'))[0] == trainer.best_epoch


def test_the_best_of_each_kept_epoch_stays(tmp_path):
    model = tf.Module()
    model.value = tf.Variable(0.0)
    files = room.Workdir(str(tmp_path), model, keep=2)
    bests = [1, 3, 4, 7]
    wanted = {1: [1], 2: [1], 3: [1, 3], 4: [3, 4], 5: [4], 6: [4], 7: [4, 7], 8: [7]}
    for epoch, kept in wanted.items():
        model.value.assign(epoch)
        files.save(epoch, epoch in bests, [FIRST])
        assert numbers(tmp_path / 'best') == kept
        files.restore_best()
        assert float(model.value) == kept[-1]


@pytest.mark.parametrize('folder', ['best', 'checkpoints'])
@pytest.mark.parametrize('epoch', [1, 3])
def test_a_full_disk_is_told_as_pythons_own_errors(folder, epoch, train, tmp_path, monkeypatch):
    def full(self, prefix):
        if os.path.basename(os.path.dirname(prefix)) == folder and prefix.endswith(f'-{epoch}'):
            raise tf.errors.ResourceExhaustedError(None, None, (
                '{{function_node __wrapped__SaveV2_dtypes_3_device_/job:localhost/device:CPU:0}} '
                f'{prefix}_temp/part-00000-of-00001; No space left on device [Op:SaveV2]'))
        return write(self, prefix)

    write = tf.train.Checkpoint.write
    with monkeypatch.context() as patch, pytest.raises(OSError) as told:
        patch.setattr(tf.train.Checkpoint, 'write', full)
        scripted([3.0, 2.0, 1.0]).fit(train, list(some_batches()[1])[:1], epochs=3,
                                      workdir=str(tmp_path))
    path = tmp_path / folder / f'epoch-{epoch}'
    assert str(told.value) == (
        f"the checkpoint '{path}' cannot be written: No space left on device. Earlier "
        f'checkpoints are intact, and training can resume from them.')
    again = scripted([3.0, 2.0, 1.0][epoch - 1:])
    assert len(again.fit(train, list(some_batches()[1])[:1], epochs=3, workdir=str(tmp_path))) == 3
    assert again.best_epoch == 3


def test_another_error_of_tensorflow_is_passed_on(train, tmp_path, monkeypatch):
    def lost(self, prefix):
        raise tf.errors.UnavailableError(None, None, 'failed to connect to all addresses')

    monkeypatch.setattr(tf.train.Checkpoint, 'write', lost)
    with pytest.raises(tf.errors.UnavailableError, match='failed to connect'):
        a_trainer().fit(train, epochs=1, workdir=str(tmp_path))


@pytest.mark.parametrize('keep, error', [(0, ValueError), ('2', TypeError)])
def test_keep_must_be_positive(keep, error, tmp_path):
    with pytest.raises(error, match='keep must be'):
        room.Workdir(str(tmp_path), tf.Module(), keep=keep)


# Damage


def flip(path, place=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if place is None else place] ^= 16
    path.write_bytes(content)


def halve(path):
    path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b'')


DAMAGES = [halve, empty, flip, os.remove]
PARTS = ['data-00000-of-00001', 'index', 'sha256']


def each_once(parts, damages, quick):
    """All damages to all parts; those that are not quick are slow, as each trains again."""
    pairs = [(part, damage) for part in parts for damage in damages
             if (part, damage) != ('sha256', os.remove)]        # test_a_workdir_without_checksums
    return pytest.mark.parametrize('part, damage', [
        pytest.param(*pair, marks=[pytest.mark.slow] * (pair not in quick)) for pair in pairs])


def warnings_of(caplog):
    """All but TensorFlow's, which warns of the traces of several trainers as of one's."""
    return [record.getMessage() for record in caplog.records
            if record.levelname == 'WARNING' and record.name != 'tensorflow']


@pytest.fixture(scope='module')
def three_epochs_kept(tmp_path_factory):
    workdir = tmp_path_factory.mktemp('three') / 'run'
    train, valid = some_batches()
    a_trainer(cosine()).fit(train, valid, epochs=3, workdir=str(workdir))
    return workdir


@pytest.fixture
def three_epochs(whole, three_epochs_kept, tmp_path):
    """A workdir of three epochs, which the undisturbed run passed through; each test its own."""
    return shutil.copytree(three_epochs_kept, tmp_path / 'run')


@each_once(PARTS, DAMAGES, [(PARTS[0], halve), (PARTS[0], os.remove), (PARTS[1], flip),
                            (PARTS[2], empty)])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(part, damage, three_epochs,
                                                                  whole, caplog):
    folder = three_epochs / 'checkpoints'
    damage(folder / f'epoch-3.{part}')
    trainer, (train, valid) = a_trainer(cosine()), some_batches()
    history = trainer.fit(train, valid, epochs=2, workdir=str(three_epochs))
    warning, = warnings_of(caplog)
    assert '\n' not in warning and f"{folder / 'epoch-3.'}" in warning
    assert warning.endswith(f"Falling back to epoch 2, {folder / 'epoch-2'}.")
    assert without_times(history) == without_times(whole[2][:2])
    assert trainer.best_epoch == min(history, key=lambda row: row['valid_loss'])['epoch']
    trainer, history = run(three_epochs)
    assert len(warnings_of(caplog)) == 2
    assert without_times(history) == saved_rows(three_epochs) == without_times(whole[2])
    assert_identical(everything(trainer), everything(whole[1]))
    assert numbers(folder) == [3, 4] == checkpoints.saved_epochs(str(folder))[::-1]
    assert [checkpoints.fault_of(str(folder), epoch) for epoch in [3, 4]] == [None, None]


def test_the_best_model_is_that_of_the_epoch_gone_back_to(three_epochs, whole):
    rows = whole[2]
    best = [min(rows[:n], key=lambda row: row['valid_loss'])['epoch'] for n in [2, 3]]
    assert best == [2, 3]           # else there is nothing to confuse
    train, valid = some_batches()
    undisturbed = a_trainer(cosine())
    undisturbed.fit(train, valid, epochs=2)
    halve(three_epochs / 'checkpoints' / 'epoch-3.index')
    trainer = a_trainer(cosine())
    trainer.fit(train, valid, epochs=2, workdir=str(three_epochs))
    undisturbed.restore_best()
    trainer.restore_best()
    assert_identical(weights(trainer), weights(undisturbed))


@pytest.mark.parametrize('damage', DAMAGES)
def test_nothing_is_lost_with_the_list_of_checkpoints(damage, three_epochs, whole, caplog):
    damage(three_epochs / 'checkpoints' / 'checkpoint')
    trainer, history = run(three_epochs)
    assert without_times(history) == without_times(whole[2])
    assert_identical(everything(trainer), everything(whole[1]))
    assert numbers(three_epochs / 'checkpoints') == [3, 4]
    told = warnings_of(caplog)
    assert len(told) == (damage is empty)       # halves and flips leave an epoch's name
    for line in told:
        assert 'damaged checkpoint list' in line and "checkpoints/checkpoint'" in line


@pytest.mark.parametrize('damage', DAMAGES[:3])
def test_with_all_damaged_nothing_is_begun_anew(damage, three_epochs):
    folder = three_epochs / 'checkpoints'
    damage(folder / 'epoch-2.index')
    damage(folder / 'epoch-3.data-00000-of-00001')
    before = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    trainer = a_trainer(cosine())
    fresh = everything(trainer)
    with pytest.raises(ValueError, match='no checkpoint in .*checkpoints\' can be used, all are '
                                         'damaged: .*epoch-3.data.*epoch-2.index.*or choose '
                                         'another workdir') as caught:
        trainer.fit(some_batches()[0], epochs=4, workdir=str(three_epochs))
    assert '\n' not in str(caught.value)
    assert_identical(everything(trainer), fresh)
    assert {name: (folder / name).read_bytes() for name in os.listdir(folder)} == before


def test_every_flipped_bit_is_seen(three_epochs, rng):
    folder = three_epochs / 'checkpoints'
    assert checkpoints.fault_of(str(folder), 3) is None
    for part in PARTS:
        path = folder / f'epoch-3.{part}'
        content = path.read_bytes()
        for bit in [0, 8 * len(content) - 1, *rng.integers(8 * len(content), size=200)]:
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            assert f'epoch-3.{part}' in checkpoints.fault_of(str(folder), 3) or part == 'sha256'
        path.write_bytes(content)
    assert checkpoints.fault_of(str(folder), 3) is None


def test_another_models_checkpoint_is_not_taken_for_a_damaged_one(three_epochs, caplog):
    with pytest.raises(ValueError, match='holds the checkpoint of another model or optimizer'):
        a_trainer().fit(some_batches()[0], epochs=4, workdir=str(three_epochs))
    assert not warnings_of(caplog)
    assert numbers(three_epochs / 'checkpoints') == [2, 3]


@pytest.mark.parametrize('damage', DAMAGES)
@pytest.mark.parametrize('part', PARTS[:2])
def test_a_damaged_best_model_is_named(part, damage, three_epochs, whole):
    best = max(numbers(three_epochs / 'best'))
    damage(three_epochs / 'best' / f'epoch-{best}.{part}')
    alike = a_trainer(seed=9)
    before = weights(alike)
    with pytest.raises(ValueError, match=f"best model of .* is damaged: .*epoch-{best}.{part}'"):
        training.restore_best(alike.model, str(three_epochs))
    assert_identical(weights(alike), before)


def of_first_versions(workdir):
    """As tf.train.CheckpointManager writes a folder: without checksums, the list with times."""
    for folder in [workdir / 'checkpoints', workdir / 'best']:
        for path in folder.glob('*.sha256'):
            path.unlink()
        names = [f'epoch-{epoch}' for epoch in numbers(folder)]
        (folder / 'checkpoint').write_text(''.join([
            f'model_checkpoint_path: "{names[-1]}"\n',
            *(f'all_model_checkpoint_paths: "{name}"\n' for name in names),
            *('all_model_checkpoint_timestamps: 1.5\n' for name in names),
            'last_preserved_timestamp: 1.25\n']))


@each_once(PARTS[:2], [None, halve, flip, os.remove],
           [(PARTS[0], None), (PARTS[0], flip), (PARTS[1], halve)])
def test_a_workdir_without_checksums(part, damage, three_epochs, whole, caplog):
    of_first_versions(three_epochs)
    if damage:
        damage(three_epochs / 'checkpoints' / f'epoch-3.{part}')
    trainer, history = run(three_epochs)
    assert len(warnings_of(caplog)) == bool(damage)
    assert without_times(history) == without_times(whole[2])
    assert_identical(everything(trainer), everything(whole[1]))


def test_half_of_the_very_first_checkpoint_is_no_checkpoint(train, tmp_path, caplog):
    wanted = a_trainer()
    wanted.fit(train, epochs=1)
    for folder in ['checkpoints', 'best']:
        (tmp_path / folder).mkdir()
        for name in ['epoch-1.index', 'epoch-1.data-00000-of-00001']:
            (tmp_path / folder / name).write_bytes(b'half')
    trainer = a_trainer()
    trainer.fit(train, epochs=1, workdir=str(tmp_path))
    assert_identical(everything(trainer), everything(wanted))
    assert not warnings_of(caplog)


# Another model's


class Wider(seqmask.models.SequenceLabeller):
    def __init__(self):
        super().__init__(seqmask.models.Encoder(3, hidden_size=2), 4)


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
