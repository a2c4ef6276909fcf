"""scripts/evaluate.py as a person starts it, and what it loads a run with."""

import concurrent.futures
import json
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from seqmask import data, models, runs, training
from test_scripts import own_lines, rows_of, start
from tiny_runs import some_sequences, trained


@pytest.fixture
def folder(tmp_path_factory):
    return trained(tmp_path_factory)


def evaluate(folder, flags):
    return start(folder, *flags.split(), script='evaluate.py', afresh=flags == RIGHT['held_out'])


RIGHT = {'held_out': '--workdir=labels',
         'file': '--workdir=classifier --data=classifier.npz',
         'undivided': '--workdir=labels --data=undivided.npz --output=undivided.csv'}
BAD = {'--workdir=missing': r"there is no folder 'missing': --workdir must be .*",
       '--workdir=labels --output=taken.csv':
           r"'taken.csv' exists. Choose another --output, or pass --overwrite.",
       '--workdir=labels --part=train --output=x.csv':
           r'a run keeps only what it held out: for --part=train, pass its file as --data.'}


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    folder = trained(tmp_path_factory)
    whole = some_sequences('step')
    data.write_npz(folder / 'undivided.npz', data.Sequences(whole.frames, whole.lengths,
                                                            whole.steps))
    (folder / 'taken.csv').write_text('mine')
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        started = {flags: pool.submit(evaluate, folder, flags) for flags in [*RIGHT.values(), *BAD]}
        return {flags: run.result() for flags, run in started.items()}


def table_line(stdout, part):
    return [line.split() for line in stdout.splitlines() if line.startswith(part)][0]


def test_what_was_held_out_gives_the_table_of_training(finished, folder):
    done = finished[RIGHT['held_out']]
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    wanted = table_line((folder / 'labels.txt').read_text(), 'test ')
    shown = table_line(done.stdout, 'test ')
    assert shown[:-1] == wanted and len(wanted) == 1 + 3
    row, = rows_of(folder / 'labels' / 'evaluation.csv')
    test = some_sequences('step').select(np.arange(16) >= 12)
    assert (row['data'], row['part']) == ('labels/held_out.npz', 'test')
    assert (row['sequences'], row['steps']) == ('4', str(test.lengths.sum()))
    assert shown[1] == f'{float(row["accuracy"]):.2%}' and shown[4] == f'{float(row["loss"]):.4f}'
    assert done.stdout.splitlines()[-1] == 'written: labels/evaluation.csv'


def test_the_validation_part_gives_the_best_row_of_the_history(folder):
    run = runs.load_run(str(folder / 'labels'))
    _, sequences = runs.read_part(run.held_out, 'validation', run, workdir='labels')
    history = training.read_history(folder / 'labels')
    best = max(history, key=lambda row: row['valid_accuracy'])
    for name, value in run.trainer.evaluate(data.Batches(sequences, 256)).items():
        assert value == pytest.approx(best[f'valid_{name}'], rel=1e-6)


def test_the_test_part_of_a_divided_file(finished, folder):
    done = finished[RIGHT['file']]
    assert table_line(done.stdout, 'test ')[:-1] == table_line(
        (folder / 'classifier.txt').read_text(), 'test ')


def test_all_of_a_file_that_is_not_divided(finished, folder):
    row, = rows_of(folder / 'undivided.csv')
    assert (row['part'], row['sequences']) == ('all', '16')
    said = start_counting(folder)
    assert float(row['accuracy']) == pytest.approx(said, abs=1e-6)


def start_counting(folder):
    """The share of right steps, from the model's own outputs, sequence by sequence."""
    run = runs.load_run(str(folder / 'labels'))
    whole, right = some_sequences('step'), []
    for i in np.flatnonzero(whole.lengths):
        one = whole.sequence(i)
        logits = run.trainer.model(tf.constant(one['inputs'][None], tf.float32),
                                   tf.constant([one['lengths']]))
        right += list(logits[0].numpy().argmax(axis=1) == one['labels'])
    return np.mean(right)


@pytest.mark.parametrize('flags', BAD)
def test_bad_input_is_told_in_one_line(flags, finished, folder):
    line, = own_lines(finished[flags].stderr)
    assert re.fullmatch('error: ' + BAD[flags], line)
    assert finished[flags].returncode == 1 and finished[flags].stdout == ''
    assert (folder / 'taken.csv').read_text() == 'mine' and not (folder / 'x.csv').exists()


# What it loads a run with


@pytest.fixture
def workdir(folder, tmp_path):
    shutil.copytree(folder / 'labels', tmp_path / 'run')
    return tmp_path / 'run'


def test_a_loaded_run_knows_its_model_and_its_scale(workdir):
    run = runs.load_run(str(workdir))
    assert isinstance(run.trainer.model, models.SequenceLabeller)
    assert (run.output, run.input_size) == (runs.Classes(['0', '1', '2'], 'step'), 3)
    train = some_sequences('step').select(np.arange(16) < 8)
    standardizer = run.trainer.model.encoder.standardizer
    np.testing.assert_allclose(standardizer.mean, train.frames.mean(axis=0), rtol=1e-5)


def test_the_held_out_data_is_that_of_the_run(workdir):
    held_out, whole = data.read_npz(workdir / 'held_out.npz'), some_sequences('step')
    wanted = whole.select(whole.sequences['split'] > 0)
    np.testing.assert_array_equal(held_out.frames, wanted.frames.astype(np.float32))
    np.testing.assert_array_equal(held_out.lengths, wanted.lengths)
    np.testing.assert_array_equal(held_out.steps['labels'], wanted.steps['labels'])
    np.testing.assert_array_equal(held_out.sequences['split'], wanted.sequences['split'])


def without_a_model(workdir):
    (workdir / 'model.json').unlink()


def without_anything(workdir):
    shutil.rmtree(workdir)
    workdir.mkdir()


def with_text_for_a_model(workdir):
    (workdir / 'model.json').write_text('GRU')


def as_a_folder_of_runs(workdir):
    for name in ['b', 'a']:
        (workdir / name).mkdir()
        shutil.copy(workdir / 'model.json', workdir / name)
    without_a_model(workdir)


def with_a_list_for_a_model(workdir):
    (workdir / 'model.json').write_text('[1]')


def changed(encoder=(), **changes):
    def change(workdir):
        values = json.loads((workdir / 'model.json').read_text())
        values['encoders']['encoder'][1].update(encoder)
        (workdir / 'model.json').write_text(json.dumps({**values, **changes}))
    return change


def of_an_earlier_version(workdir):
    (workdir / 'model.json').write_text(json.dumps(
        {'model': 'SequenceLabeller', 'arguments': {'input_size': 3, 'num_classes': 3}}))


def without_checkpoints(workdir):
    shutil.rmtree(workdir / 'best')


@pytest.mark.parametrize('damage, error, message', [
    (without_a_model, runs.UserError, "model.json' is missing. Run the training script"),
    (without_anything, runs.UserError, 'is not the workdir of a training script: it holds no '
     'model.json. --workdir must be the --workdir of a training script'),
    (shutil.rmtree, runs.UserError, "there is no folder '.*': --workdir must be the"),
    (as_a_folder_of_runs, runs.UserError, "holds no model itself, but the folders of models "
     "'.*/a', '.*/b': pass one of them as --workdir."),
    (with_a_list_for_a_model, runs.UserError, "model.json' is not readable"),
    (of_an_earlier_version, runs.UserError, 'or was written by another version of seqmask'),
    (changed(model=None), runs.UserError, 'does not describe the model'),
    (changed(model='RatingAutoencoder'), runs.UserError,
     'holds a RatingAutoencoder, which takes lists of ratings'),
    (with_text_for_a_model, runs.UserError, "model.json' is not readable"),
    (changed(model='Oracle'), runs.UserError, 'does not describe the model'),
    (changed(encoder={'hidden_size': 5}), runs.UserError, 'holds a model of other sizes'),
    (changed(encoder={'novelty': 5}), runs.UserError, 'does not describe the model'),
    (without_checkpoints, FileNotFoundError, 'holds no trained model')])
def test_a_damaged_workdir_is_told(damage, error, message, workdir):
    damage(workdir)
    with pytest.raises(error, match=message):
        runs.load_run(str(workdir))


@pytest.mark.parametrize('name, part, message', [
    ('narrow.npz', None, "has 2 features per step; the model in 'run' was trained on 3."),
    ('whole.npz', 'test', "'whole.npz' has no `split` to select --part=test by"),
    ('train.npz', 'test', "'train.npz' has no sequences in part 'test'."),
    ('whole.hdf5', None, "'whole.hdf5' must end in .npz.*, which says how to read it; got '.hdf5'"),
    ('damaged.npz', None, 'damaged.npz: not an .npz file, or a damaged one')])
def test_data_that_does_not_fit_is_told(name, part, message, workdir, monkeypatch):
    monkeypatch.chdir(workdir.parent)
    whole = some_sequences('step')
    data.write_npz('whole.npz', data.Sequences(whole.frames, whole.lengths))
    data.write_npz('narrow.npz', data.Sequences(whole.frames[:, :2], whole.lengths))
    data.write_npz('train.npz', whole.select(np.arange(8)))
    (workdir.parent / 'damaged.npz').write_bytes((workdir.parent / 'whole.npz').read_bytes()[:-9])
    with pytest.raises(runs.UserError, match=message):
        runs.read_part(name, part, runs.load_run('run'), workdir='run')


def test_a_run_that_takes_padding_for_data_is_for_its_own_data_only(workdir):
    changed(masked=False)(workdir)
    run = runs.load_run(str(workdir))
    assert len(runs.read_part(run.held_out, 'test', run, workdir='run')[1]) == 4
    with pytest.raises(runs.UserError, match="'run' is a run with --nomasked"):
        runs.read_part('other.npz', 'test', run, workdir='run')


def test_an_output_into_no_folder_is_told(tmp_path):
    with pytest.raises(runs.UserError, match='there is no folder'):
        runs.refuse_existing(str(tmp_path / 'none' / 'x.csv'), overwrite=True)
