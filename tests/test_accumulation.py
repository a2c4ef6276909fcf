"""Several batches to a step of the trainer: as if they were one batch."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from seqmask import data, training
import some_models

LENGTHS = [1, 9, 4, 2, 7]       # micro-batches of very unequal numbers of steps


def collection():
    rng = np.random.default_rng(0)
    frames = rng.normal(size=[sum(LENGTHS), 3])
    return data.Sequences(frames, LENGTHS, steps={'labels': (frames[:, 0] > 0).astype(np.int32)})


@functools.cache
def trained(batch_size, accumulate, epochs=3):
    model = some_models.labeller(3, 2, cell='mgu', hidden_size=4, num_layers=1, bidirectional=False,
                                 dtype='float64', seed=0)
    trainer = training.Trainer(
        model, type(model).loss, tf.keras.optimizers.SGD(0.5, momentum=0.9), clip_norm=0.5,
        accumulate=accumulate, progress=False)
    history = trainer.fit(data.Batches(collection(), batch_size), epochs=epochs)
    return [v.numpy() for v in model.variables], history, trainer


@pytest.mark.parametrize('batch_size, accumulate', [(1, 5), (2, 3), (3, 2), (4, 2), (1, 99)])
def test_micro_batches_are_one_batch(batch_size, accumulate):
    wanted, wanted_history, _ = trained(len(LENGTHS), 1)
    found, history, trainer = trained(batch_size, accumulate)
    for f, w in zip(found, wanted, strict=True):
        np.testing.assert_allclose(f, w, rtol=1e-9, atol=1e-12)
    for row, want in zip(history, wanted_history, strict=True):
        assert row['loss'] == pytest.approx(want['loss'], rel=1e-9)
    assert int(trainer.optimizer.iterations) == 3


def test_the_last_step_takes_what_is_left():
    _, _, trainer = trained(1, 2, epochs=2)         # 5 batches: steps of 2, 2 and 1
    assert int(trainer.optimizer.iterations) == 2 * 3


def test_it_is_not_the_same_as_a_step_a_batch():
    whole, _, _ = trained(len(LENGTHS), 1)
    apart, _, _ = trained(1, 1)
    assert any(np.abs(a - w).max() > 1e-3 for a, w in zip(apart, whole))


def test_a_number_of_batches_that_makes_no_sense():
    with pytest.raises(ValueError, match='accumulate must be at least 1, got 0'):
        trained(1, 0)
