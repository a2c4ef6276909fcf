"""Steps that are not finite: an epoch, and a run, in which there was no other."""

import numpy as np
import pytest
import tensorflow as tf

from seqmask import Tally, data, training
from test_scripts import SMALL, own_lines, rows_of, start
from test_trainer import a_trainer, bad_and_good, everything


@pytest.mark.parametrize('valid', [True, False])
def test_an_epoch_whose_steps_were_all_skipped_is_never_the_best(valid, rng, tmp_path):
    good, bad = bad_and_good('ggg', rng), bad_and_good('bbb', rng)
    trainer = a_trainer(max_skipped=9, monitor='loss')
    for epochs, batches in enumerate([good, bad, good], 1):
        history = trainer.fit(batches, good if valid else None, epochs=epochs,
                              workdir=str(tmp_path))
    assert np.isnan(history[1]['loss']) and history[1]['skipped'] == 3
    assert np.isfinite([history[0]['loss'], history[2]['loss']]).all()
    assert np.isnan(training.read_history(str(tmp_path))[1]['loss'])
    assert trainer.best_epoch == (1 if history[0]['loss'] < history[2]['loss'] else 3) or valid


def test_after_a_first_epoch_of_skipped_steps_the_next_one_is_better(rng):
    trainer = a_trainer(max_skipped=9)
    with pytest.raises(FloatingPointError):
        trainer.fit(bad_and_good('bb', rng), epochs=1)
    assert trainer.best_epoch == 1          # there is no other
    trainer.fit(bad_and_good('gg', rng), epochs=2)
    assert trainer.best_epoch == 2


@pytest.mark.parametrize('on_disk', [True, False])
def test_a_run_without_a_step_that_was_applied_ends_with_an_error(on_disk, rng, tmp_path):
    workdir = str(tmp_path) if on_disk else None
    trainer = a_trainer(max_skipped=9)
    trainer.model.dropout.rate = 0.0        # its stream goes on, whatever becomes of the step
    before = everything(trainer)
    for again in [trainer, a_trainer(max_skipped=9) if on_disk else trainer]:
        with pytest.raises(FloatingPointError, match='nothing was learned: each step of all 2 '
                                                     'epochs .* not finite.*Look for NaN'):
            again.fit(bad_and_good('bb', rng), epochs=2, workdir=workdir)
    for value, wanted in zip(everything(trainer), before):
        np.testing.assert_array_equal(value, wanted)
    assert len(trainer.fit(bad_and_good('g', rng), epochs=3)) == 3      # with sound data it goes on


@pytest.mark.parametrize('lengths', [[0, 0], [0]])
def test_validation_data_without_a_real_step_is_refused(lengths, rng, tmp_path):
    # A loss of 0 would make the first epoch the best for good.
    empty = data.Batches(data.Sequences(
        np.zeros([0, 3], 'f'), lengths, {'labels': np.zeros([0], np.int32)}), 1)
    trainer = a_trainer()
    with pytest.raises(ValueError, match='at least one real step to evaluate, got none'):
        trainer.fit(bad_and_good('gg', rng), empty, epochs=2, workdir=str(tmp_path))
    with pytest.raises(ValueError, match='at least one real step to evaluate, got none'):
        trainer.evaluate(empty)
    assert trainer.best_epoch == 0
    assert len(trainer.fit(bad_and_good('gg', rng), bad_and_good('g', rng), epochs=1)) == 1


def test_what_has_no_terms_is_nan_beside_what_has(rng):
    trainer = a_trainer()
    trainer._measure = lambda model, batch: {
        'loss': Tally(tf.constant(3.0), tf.constant(2.0)),
        'of_none': Tally(tf.constant(0.0), tf.constant(0.0))}
    measured = trainer.evaluate(bad_and_good('g', rng))
    assert measured['loss'] == 1.5 and np.isnan(measured['of_none'])


def test_training_data_without_a_real_step_is_said(rng):
    empty = data.Batches(data.Sequences(
        np.zeros([0, 3], 'f'), [0, 0], {'labels': np.zeros([0], np.int32)}), 1)
    with pytest.raises(FloatingPointError, match='nothing was learned: .* has no real step'):
        a_trainer().fit(empty, epochs=2)


def test_a_script_says_so_in_one_line(tmp_path):
    frames = np.full([6, 2], 3e38, np.float32)      # finite, but no product of it is
    frames[:, 1] *= -1
    labels = np.arange(6, dtype=np.int32) % 2
    data.write_npz(tmp_path / 'huge.npz', data.Sequences(
        frames, [2, 2, 2], {'labels': labels}, {'split': np.arange(3, dtype=np.int32)}))
    run = start(tmp_path, '--data=huge.npz', '--workdir=run', '--filters=3', *SMALL)
    line, = own_lines(run.stderr)
    assert run.returncode == 1
    assert line.startswith('error: nothing was learned: each step of all 2 ')
    assert [row['loss'] for row in rows_of(tmp_path / 'run' / 'history.csv')] == ['nan', 'nan']
