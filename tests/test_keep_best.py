"""A best model that is changed afterwards, by a threshold: kept whole, whenever it is killed."""

import os

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
    assert not os.path.exists(tmp_path / 'best' / 'replacing')


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


@pytest.mark.parametrize('place', ['the weights', 'the checksums', 'moving 0', 'moving 1',
                                   'moving 2'])
def test_a_kill_leaves_the_old_one_or_the_new_one(place, fitted, tmp_path, monkeypatch):
    trainer, before = fitted
    moved, replace, seal = [], os.replace, checkpoints._write_checksums
    beside, folder = str(tmp_path / 'best' / 'replacing'), str(tmp_path / 'best')

    def dying_replace(source, target):
        if (os.path.dirname(source), os.path.dirname(target)) == (beside, folder):
            if place == f'moving {len(moved)}':
                raise Killed
            moved.append(target)
        replace(source, target)

    def dying_seal(prefix):
        if place == 'the weights':
            raise Killed
        seal(prefix)
        if place == 'the checksums':
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, 'replace', dying_replace)
        patch.setattr(checkpoints, '_write_checksums', dying_seal)
        trainer.keep_best()
    assert_identical(restored(tmp_path), before if place == 'the weights' else weights(trainer))
    again = a_trainer(seed=3)
    again.fit(*some_batches(), epochs=1, workdir=str(tmp_path))
    tf.nest.map_structure(lambda v: v.assign(tf.zeros_like(v)), again.model.trainable_variables)
    again.restore_best()
    again.keep_best()
    assert_identical(restored(tmp_path), weights(again))
