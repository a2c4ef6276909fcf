"""Batch norm's averages after an epoch: those of the weights as they are."""

import numpy as np
import pytest
import tensorflow as tf

import some_models
import seqmask
from seqmask import data, training
from seqmask.tally import Tally


def sequences(count):
    """Two classes that overlap, so that the loss does not vanish."""
    rng = np.random.default_rng(1)
    lengths, labels = rng.integers(5, 30, count), rng.integers(0, 2, count)
    return data.Sequences.from_list([
        (7 + 2 * rng.normal(size=[n, 2]) + rng.normal(size=2)
         + 0.7 * label * np.sin(np.arange(n) / 2)[:, None]).astype('f')
        for n, label in zip(lengths, labels)], sequences={'labels': labels.astype(np.int32)})


def made(filters=(8,), **options):
    return some_models.classifier(2, 2, hidden_size=8, filters=filters,
                                  kernel_sizes=(3,) * len(filters), seed=0, **options)


def trainer_of(model, **options):
    return training.Trainer(model, type(model).loss, tf.keras.optimizers.Adam(2e-3),
                            measure=type(model).measure, progress=False, **options)


def in_training(model, batches):
    """The loss with the statistics of the batches themselves; the model stays as it is."""
    before = [variable.numpy() for variable in model.variables]
    total = sum((model.loss(batch, training=True) for batch in batches), Tally(0.0, 0.0))
    for variable, value in zip(model.variables, before):
        variable.assign(value)
    return float(total.mean())


@pytest.mark.parametrize('count, epochs', [(60, 8), (600, 3)])
def test_validation_on_a_copy_of_the_training_data_agrees_with_training(count, epochs):
    """Within 2%, after every epoch, at a learning rate that stays high."""
    everything = sequences(count)
    batches = data.Batches(everything, 32, shuffle=True, seed=0)
    whole = data.Batches(everything, 999)
    model = made()
    trainer = trainer_of(model)
    for epoch in range(1, epochs + 1):
        row = trainer.fit(batches, whole, epochs=epoch)[-1]
        assert row['valid_loss'] > 0.05
        assert row['valid_loss'] == pytest.approx(in_training(model, whole), rel=0.02)


def test_they_are_the_plain_averages_of_the_epoch_s_batches():
    everything = sequences(60)
    batches, model = data.Batches(everything, 16, shuffle=True, seed=0), made(filters=())
    trainer_of(model).fit(batches, epochs=1)        # the norm sees the features themselves
    real = [seqmask.crop(batch['inputs'], batch['lengths']) for batch in batches.at_epoch(0)]
    means = [np.concatenate(frames).mean(axis=0) for frames in real]
    variances = [np.concatenate(frames).var(axis=0) for frames in real]
    norm = model.encoder.normalize
    np.testing.assert_allclose(norm.moving_mean, np.mean(means, axis=0), rtol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, np.mean(variances, axis=0), rtol=1e-4)
    assert norm.averaged.numpy() == len(real) and norm.momentum == 0.9


def test_replicas_find_those_of_one_device(strategy):
    batches = data.Batches(sequences(20), 7, shuffle=True, seed=0)
    alone = made()
    trainer_of(alone).fit(batches, epochs=1)
    with strategy.scope():
        model, optimizer = made(), tf.keras.optimizers.Adam(2e-3)
    trainer = training.Trainer(model, type(model).loss, optimizer, strategy=strategy,
                               progress=False)
    trainer.fit(batches, epochs=1)
    assert model.encoder.normalize.momentum == 0.9
    for name in ('moving_mean', 'moving_variance', 'averaged'):
        for part in strategy.experimental_local_results(getattr(model.encoder.normalize, name)):
            np.testing.assert_allclose(part.numpy(), getattr(alone.encoder.normalize, name).numpy(),
                                       rtol=1e-4)


def test_a_resumed_run_ends_alike(tmp_path):
    batches = data.Batches(sequences(20), 7, shuffle=True, seed=0)
    whole, first, second = made(dropout=0.5), made(dropout=0.5), made(dropout=0.5)
    trainer_of(whole).fit(batches, epochs=3)
    trainer_of(first).fit(batches, epochs=2, workdir=tmp_path)
    trainer_of(second).fit(batches, epochs=3, workdir=tmp_path)
    for value, want in zip(second.variables, whole.variables, strict=True):
        np.testing.assert_array_equal(value, want)


def test_what_is_not_finite_does_not_count():
    everything, model = sequences(32), made()
    batches = list(data.Batches(everything, 8))
    batches[1] = {**batches[1], 'inputs': batches[1]['inputs'] * float('nan')}
    trainer_of(model).fit(batches, epochs=1)
    assert all(np.isfinite(variable).all() for variable in model.variables)
    assert model.encoder.normalize.averaged.numpy() == 3


def test_an_iterator_leaves_the_moving_averages():
    model = made()
    trainer_of(model).fit(iter(list(data.Batches(sequences(32), 8))), epochs=1)
    averaged = model.encoder.normalize.averaged
    np.testing.assert_allclose(averaged, 1 + 0.9 + 0.9 ** 2 + 0.9 ** 3, rtol=1e-6)
