"""A best model that is changed afterwards, by a threshold: kept whole, whenever it is killed."""

import concurrent.futures
import os
import threading

import pytest
import tensorflow as tf

from seqmask import training
from seqmask.training import checkpoints
from test_trainer import a_trainer, assert_identical, weights
from test_workdir import Killed, some_batches


@pytest.fixture
def fitted(tmp_path):
    """A trainer whose best model was changed after its run; what it was before."""
    train, valid = some_batches()
    trainer = a_trainer()
    trainer.fit(train, valid, epochs=1, workdir=str(tmp_path))
    before = weights(trainer)
    for variable in trainer.model.trainable_variables:
        variable.assign(variable + 1)
    return trainer, before


def restored(path):
    alike = a_trainer(seed=7)
    training.restore_best(alike.model, str(path))
    return weights(alike)


def test_the_best_model_is_as_it_was_kept(fitted, tmp_path):
    trainer, before = fitted
    assert_identical(restored(tmp_path), before)
    trainer.keep_best()
    assert_identical(restored(tmp_path), weights(trainer))
    assert sorted(os.listdir(tmp_path / 'best')) == [
        'checkpoint', 'epoch-1-1.data-00000-of-00001', 'epoch-1-1.index', 'epoch-1-1.sha256']


def test_without_a_workdir_it_is_kept_in_memory():
    train, _ = some_batches()
    trainer = a_trainer()
    with pytest.raises(ValueError, match='no best epoch yet: call fit first'):
        trainer.keep_best()
    trainer.fit(train, epochs=1)
    variable = trainer.model.trainable_variables[0]
    kept = variable.numpy() + 1
    variable.assign(kept)
    trainer.keep_best()
    variable.assign(kept + 1)
    trainer.restore_best()
    assert_identical([variable.numpy()], [kept])


@pytest.mark.parametrize('place', ['the weights', 'the checksums', 'the list', 'removing 0',
                                   'removing 1', 'removing 2'])
@pytest.mark.parametrize('earlier', [0, pytest.param(1, marks=pytest.mark.slow), 2])
def test_a_kill_leaves_the_old_one_or_the_new_one(place, earlier, fitted, tmp_path, monkeypatch):
    trainer, before = fitted
    for _ in range(earlier):            # times that it was kept changed before
        trainer.keep_best()
        before = weights(trainer)
        for variable in trainer.model.trainable_variables:
            variable.assign(variable - 3)
    removed, remove, replace = [], os.remove, os.replace
    seal, folder = checkpoints._write_checksums, str(tmp_path / 'best')

    def dying_remove(path):
        if os.path.dirname(path) == folder:
            if place == f'removing {len(removed)}':
                raise Killed
            removed.append(path)
        remove(path)

    def dying_replace(source, target):
        if (place, target) == ('the list', os.path.join(folder, 'checkpoint')):
            raise Killed
        replace(source, target)

    def dying_seal(prefix):
        if place == 'the weights':
            raise Killed
        seal(prefix)
        if place == 'the checksums':
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, 'remove', dying_remove)
        patch.setattr(os, 'replace', dying_replace)
        patch.setattr(checkpoints, '_write_checksums', dying_seal)
        trainer.keep_best()
    assert_identical(restored(tmp_path), before if place == 'the weights' else weights(trainer))
    again = a_trainer(seed=3)
    again.fit(*some_batches(), epochs=1, workdir=str(tmp_path))
    tf.nest.map_structure(lambda v: v.assign(tf.zeros_like(v)), again.model.trainable_variables)
    again.restore_best()
    assert_identical(weights(again), before if place == 'the weights' else weights(trainer))
    again.keep_best()
    assert_identical(restored(tmp_path), weights(again))
    assert len({name.split('.')[0] for name in os.listdir(folder)} - {'checkpoint'}) == 1


def test_one_that_was_kept_changed_makes_way_for_a_better_one(fitted, tmp_path):
    trainer, _ = fitted
    trainer.keep_best()
    trainer.fit(*some_batches(), epochs=9, workdir=str(tmp_path))
    assert trainer.best_epoch > 1
    trainer.restore_best()
    assert_identical(restored(tmp_path), weights(trainer))
    newest = tf.train.latest_checkpoint(str(tmp_path / 'best'))
    assert newest == str(tmp_path / 'best' / f'epoch-{trainer.best_epoch}')


def test_readers_and_a_writer_do_not_disturb_each_other(tmp_path):
    """Each write succeeds, and what is read is one of those that were written, whole."""
    trainer = a_trainer()
    trainer.fit(*some_batches(), epochs=1, workdir=str(tmp_path))
    readers = [a_trainer(seed=seed).model for seed in range(2)]
    ended, writes, reads = threading.Event(), 0, [0, 0]

    def read(k):
        seen = -1
        while not ended.is_set():
            training.restore_best(readers[k], str(tmp_path))
            values = {float(value) for variable in readers[k].trainable_variables
                      for value in variable.numpy().flat}
            if seen >= 0 or len(values) == 1:       # before the first write they differ
                number, = values
                assert number >= seen
                seen = number
            reads[k] += 1

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(read, k) for k in range(2)]
        try:
            while min(reads) < 30 and not any(one.done() for one in running):
                for variable in trainer.model.trainable_variables:
                    variable.assign(tf.fill(variable.shape, float(writes)))
                trainer.keep_best()
                writes += 1
        finally:
            ended.set()
        for one in running:
            one.result()
    assert writes > 1
    assert_identical(restored(tmp_path), weights(trainer))
