"""Keras's layers in modules, and modules in Keras's layers: trained, saved and exported as one."""

import numpy as np
import pytest
import tensorflow as tf

import seqmask
from seqmask import data, export, training
from seqmask.training import model_variables, trainable_variables

K = tf.keras.layers
D, CLASSES = 3, 2


class Outside(tf.Module):
    """A module with Keras's layers: as an attribute, in a list, and in a dict."""

    input_size = D

    def __init__(self, build=True):
        super().__init__()
        self.gru = seqmask.GRU(D, 4, seed=0)
        self.dense = K.Dense(4, activation='tanh', kernel_initializer=ones(0.3))
        self.more = [K.Dense(4, kernel_initializer=ones(0.2)), K.Dropout(0.1, seed=0)]
        self.named = {'norm': K.BatchNormalization()}
        self.to_logits = seqmask.Dense(4, CLASSES, seed=0)
        if build:
            for layer in (self.dense, *self.more, *self.named.values()):
                layer.build([None, None, 4])

    def __call__(self, inputs, lengths, training=False):
        outputs, _ = self.gru(inputs, lengths)
        outputs = self.more[1](self.more[0](self.dense(outputs)), training=training)
        return self.to_logits(self.named['norm'](outputs, training=training), lengths)


class Inside(tf.keras.Model):
    """The other way round."""

    input_size = D

    def __init__(self):
        super().__init__()
        self.gru = seqmask.GRU(D, 4, seed=0)
        self.blocks = [seqmask.Dense(4, 4, seed=0), seqmask.BatchNorm(4)]
        self.named = {'scale': tf.Variable(1.5), 'dense': K.Dense(4, kernel_initializer=ones(0.2))}
        self.to_logits = K.Dense(CLASSES, kernel_initializer=ones(0.3))
        for layer in (self.named['dense'], self.to_logits):
            layer.build([None, None, 4])

    def call(self, inputs, lengths, training=False):
        outputs, _ = self.gru(inputs, lengths)
        outputs = self.blocks[1](self.blocks[0](outputs, lengths), lengths, training=training)
        return self.to_logits(self.named['dense'](outputs) * self.named['scale'])


def ones(value):
    return tf.keras.initializers.Constant(value)


both = pytest.mark.parametrize('make, trained, more', [
    (Outside, 3 + 2 + 2 + 2 + 2, 2 + 1), (Inside, 3 + 2 + 2 + 1 + 2 + 2, 3)],
    ids=['Keras in a module', 'modules in Keras'])


def loss(model, batch, training):
    logits = model(batch['inputs'], batch['lengths'], training=training)
    return seqmask.losses.sparse_softmax_cross_entropy(
        logits=logits, labels=batch['labels'],
        mask=seqmask.sequence_mask(batch['lengths'], tf.shape(logits)[1]))


def batches():
    frames = np.random.default_rng(0).normal(size=[30, D]).astype('f')
    return data.Batches(data.Sequences(frames, [5, 9, 1, 7, 8], steps={
        'labels': (frames[:, 0] > 0).astype(np.int32)}), batch_size=3)


def fitted(make, epochs, workdir=None):
    trainer = training.Trainer(make(), loss, tf.keras.optimizers.Adam(0.01), progress=False)
    trainer.fit(batches(), epochs=epochs, workdir=workdir)
    return trainer


def values(model):
    return [variable.numpy() for variable in model_variables(model)]


@both
def test_every_variable_is_found_once_and_moves(make, trained, more):
    model = make()
    assert len(trainable_variables(model)) == trained
    # Keras's Dropout has the state of its draws.
    assert len(model_variables(model)) == trained + more
    before = values(model)
    after = values(fitted(make, epochs=2).model)
    moved = [np.any(a != b) for a, b in zip(after, before, strict=True)]
    assert all(moved)


@both
def test_a_run_goes_on_and_its_best_is_restored(make, trained, more, tmp_path):
    whole = values(fitted(make, 3, tmp_path / 'whole').model)
    fitted(make, 2, tmp_path / 'twice')
    again = fitted(make, 3, tmp_path / 'twice')
    for value, want in zip(values(again.model), whole, strict=True):
        np.testing.assert_array_equal(value, want)
    again.restore_best()
    other = make()
    training.restore_best(other, tmp_path / 'twice')
    for value, want in zip(values(other), values(again.model), strict=True):
        np.testing.assert_array_equal(value, want)


@both
def test_without_a_workdir_the_best_is_kept_in_memory(make, trained, more):
    trainer = fitted(make, 2)
    best = values(trainer.model)
    for variable in model_variables(trainer.model):
        variable.assign(tf.zeros_like(variable))
    trainer.restore_best()
    for value, want in zip(values(trainer.model), best, strict=True):
        np.testing.assert_array_equal(value, want)


@both
def test_it_is_exported(make, trained, more, tmp_path):
    model, inputs = fitted(make, 1).model, np.ones([2, 4, D], 'f')
    wanted = model(tf.constant(inputs), tf.constant([4, 2]))
    export.save(model, tmp_path / 'model')
    run = tf.saved_model.load(str(tmp_path / 'model')).signatures['serving_default']
    outputs = run(inputs=tf.constant(inputs), lengths=tf.constant([4, 2]))['outputs']
    np.testing.assert_allclose(outputs, wanted, atol=1e-6)
    assert export.to_tflite(model, maxlen=4)


@both
def test_a_skipped_step_leaves_all_of_it(make, trained, more):
    model, optimizer = make(), tf.keras.optimizers.Adam(0.1)
    optimizer.build(trainable_variables(model))
    batch = next(iter(batches()))
    assert training.train_step(model, loss, optimizer, batch).applied
    before = [v for v in values(model) if v.dtype == np.float32]
    batch['inputs'] = batch['inputs'] * float('inf')
    assert not training.train_step(model, loss, optimizer, batch).applied
    for value, want in zip([v for v in values(model) if v.dtype == np.float32], before):
        np.testing.assert_array_equal(value, want)


def test_what_is_frozen_stays():
    model = Outside()
    model.dense.trainable = False
    assert len(trainable_variables(model)) == 3 + 2 + 2 + 2
    outer = Inside()
    outer.trainable = False
    assert trainable_variables(outer) == [] and len(model_variables(outer)) == 15
    optimizer = tf.keras.optimizers.Adam(0.1)
    optimizer.build(trainable_variables(model))
    before = model.dense.kernel.numpy()
    training.train_step(model, loss, optimizer, next(iter(batches())))
    np.testing.assert_array_equal(model.dense.kernel, before)


def test_a_layer_without_variables_is_named():
    with pytest.raises(ValueError, match="Keras layer 'dense.*' has no variables yet.*Call the"):
        training.Trainer(Outside(build=False), loss, tf.keras.optimizers.Adam())


def test_variables_beside_the_model_are_refused_unless_no_gradient_reaches_them():
    model, beside = seqmask.Dense(D, CLASSES, seed=0), seqmask.Dense(D, D, seed=1)
    optimizer = tf.keras.optimizers.Adam(0.1)
    optimizer.build(trainable_variables(model))

    def loss_of(wrap):
        def loss(model, batch, training):
            inputs = wrap(beside(batch['inputs'], batch['lengths']))
            return seqmask.losses.sparse_softmax_cross_entropy(
                logits=model(inputs, batch['lengths']), labels=batch['labels'],
                mask=seqmask.sequence_mask(batch['lengths'], tf.shape(inputs)[1]))
        return loss

    batch = next(iter(batches()))
    with pytest.raises(ValueError, match='that the model does not hold.*: kernel.*, bias'):
        training.train_step(model, loss_of(tf.identity), optimizer, batch)
    assert training.train_step(model, loss_of(tf.stop_gradient), optimizer, batch).applied


def test_a_loss_that_is_no_tally_is_told():
    def scalar(model, batch, training):
        return tf.reduce_mean(model(batch['inputs'], batch['lengths']))

    for trainer in (training.Trainer(Outside(), scalar, tf.keras.optimizers.Adam(), progress=False),
                    training.Trainer(Outside(), loss, tf.keras.optimizers.Adam(), progress=False,
                                     measure=lambda model, batch: {'loss': tf.constant(1.0)})):
        with pytest.raises(TypeError, match=r'must return a seqmask.Tally, got a tensor \(\)'):
            trainer.fit(batches(), batches(), epochs=1)


def test_predictions_of_a_model_that_returns_lengths():
    model = seqmask.Sequential([seqmask.Conv1D(D, 2, 3, strides=2, seed=0), seqmask.GRU(2, 4)])
    trainer = training.Trainer(model, loss, tf.keras.optimizers.Adam(), progress=False)
    found = list(trainer.predict(batches()))
    assert [outputs.shape for outputs in found] == [(3, 4), (5, 4), (1, 4), (4, 4), (4, 4)]
    recurrent = seqmask.GRU(D, 4, seed=0)           # and of one that returns its state
    trainer = training.Trainer(recurrent, loss, tf.keras.optimizers.Adam(), progress=False)
    assert [len(outputs) for outputs in trainer.predict(batches())] == [5, 9, 1, 7, 8]
