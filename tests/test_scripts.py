"""The scripts as a person starts them: real processes, on small data, also with bad input."""

import concurrent.futures
import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from forking import Forks
from seqmask import data, datasets, runs

ROOT = pathlib.Path(__file__).resolve().parent.parent
SMALL = ['--hidden_size=4', '--num_layers=1', '--nobidirectional', '--epochs=2']
FILES = ['.lock', 'best', 'checkpoints', 'flags.json', 'held_out.npz', 'history.csv', 'model.json',
         'predictions.csv']
TIMEOUT = 240       # seconds; for a machine that does much else

# TensorFlow's own lines, which no setting silences in some of its versions.
NOISE = re.compile(r'WARNING: All log messages|[IWE]\d{4} |\d{4}-\d\d-\d\d .*: [IWE] |$')


def command(*flags, script='train_labels.py'):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    return {'args': [sys.executable, str(ROOT / 'scripts' / script), *map(str, flags)],
            'env': {**os.environ, 'PYTHONPATH': path}, 'text': True}


def start(cwd, *flags, script='train_labels.py', **how):
    """Runs a script to its end: `subprocess.CompletedProcess`.

    Args:
      afresh: Whether in a new Python, as a person does it. Otherwise a process that has imported
        TensorFlow is forked, which is several times quicker.
      input: Text, what the script reads from its standard input.
    """
    return run_file(ROOT / 'scripts' / script, *flags, cwd=cwd, **how)


def run_file(path, *arguments, cwd, afresh=False, input=''):
    """As `start`, of any file of Python."""
    how = command(*arguments, script=path)
    if not afresh and FORKS.can_run(how['env']):
        return FORKS.run(how['args'][1:], cwd, TIMEOUT, input)
    return subprocess.run(**how, cwd=cwd, capture_output=True, timeout=TIMEOUT, input=input)


FORKS = Forks(command()['env'])


def own_lines(stderr):
    return [line for line in stderr.splitlines() if not NOISE.match(line)]


def rows_of(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


# A run on data of one's own


def some_sequences(**changes):
    """12 sequences whose labels can be seen in their frames: 8 train, 2 validate, 2 test."""
    rng = np.random.default_rng(0)
    lengths = np.array([3, 1, 0, 5, 2, 4, 1, 3, 2, 3, 6, 1])
    labels = rng.integers(0, 3, size=lengths.sum())
    frames = np.eye(3)[labels] + 0.1 * rng.normal(size=[lengths.sum(), 3])      # float64
    split = np.array([0] * 8 + [1] * 2 + [2] * 2)
    parts = {'frames': frames, 'labels': labels, 'split': split, **changes}
    return data.Sequences(
        parts['frames'], lengths, sequences={'split': parts['split']},
        steps={} if parts['labels'] is None else {'labels': parts['labels']})


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('own')
    data.write_npz(folder / 'own.npz', some_sequences())
    return folder


@pytest.fixture(scope='module')
def own_run(folder):
    return start(folder, '--data=own.npz', '--workdir=run', '--batch_size=2',
                 '--learning_rate=0.05', '--seed=1', *SMALL, afresh=True)


def test_a_run_on_ones_own_data(own_run, folder):
    assert (own_run.returncode, own_lines(own_run.stderr)) == (0, [])
    first, *epochs, _, of_data, model, summary, best, header, _, validation, test, files = (
        own_run.stdout.splitlines())
    assert first == ('8 sequences to train on, 19 steps, of 0 to 5; 3 classes; '
                     f'{3 * 12 + 4 * 12 + 2 * 12 + (4 + 1) * 3} weights')
    assert [line.split('  ')[0] for line in epochs] == ['epoch 1/2', 'epoch 2/2']
    assert of_data == ('data        8 sequences to train on, 19 steps; 2 to validate, 2 to test; '
                       '3 classes')
    assert model == ('model       SequenceLabeller, '
                     f'{3 * 12 + 4 * 12 + 2 * 12 + (4 + 1) * 3} weights')
    assert re.fullmatch(r'training    2 epochs, [\d.]+ s of training \([\d.]+ s in this start\); '
                        r'[\d,]+ steps per second \(median epoch\)', summary)
    assert re.fullmatch(r'best epoch  [12]: loss [\d.]+, valid_loss [\d.]+, .*', best)
    assert header.split() == 'steps right mean error of sequences all'.split()
    assert re.fullmatch(r'validation( +[\d.]+%){3}', validation)
    assert re.fullmatch(r'test( +[\d.]+%){3}', test)
    assert files == ('files       in run: best/, checkpoints/, flags.json, held_out.npz, '
                     'history.csv, model.json, predictions.csv')
    assert sorted(os.listdir(folder / 'run')) == FILES
    assert [row['epoch'] for row in rows_of(folder / 'run' / 'history.csv')] == ['1', '2']


def test_predictions_have_a_row_for_each_step(own_run, folder):
    rows = rows_of(folder / 'run' / 'predictions.csv')
    whole, wanted = some_sequences(), []
    for part, value in [('validation', 1), ('test', 2)]:
        sequences = whole.select(whole.sequences['split'] == value)
        wanted += [(part, str(i), str(step), str(label)) for i in range(len(sequences))
                   for step, label in enumerate(sequences.sequence(i)['labels'])]
    assert [(r['part'], r['sequence'], r['step'], r['label']) for r in rows] == wanted
    for row in rows:
        assert row['predicted'] in ['0', '1', '2'] and 1 / 3 < float(row['probability']) <= 1
    # The table counts the same rows.
    right = [row['label'] == row['predicted'] for row in rows if row['part'] == 'test']
    shown = own_run.stdout.splitlines()[-2].split()[1]
    assert shown == f'{np.mean(right):.2%}'


def test_unseen_words_on_a_terminal(tmp_path):
    pty = pytest.importorskip('pty')
    ours, theirs = pty.openpty()
    shown = b''
    with subprocess.Popen(
            **command('--split=unseen_words', '--limit=6', '--batch_size=2', *SMALL), cwd=tmp_path,
            stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        try:
            with pytest.raises(OSError):        # how a pseudo-terminal says that nobody is left
                while True:
                    piece = os.read(ours, 4096)
                    shown += piece
                    if not piece:
                        raise OSError
            _, stderr = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()
            os.close(ours)
    assert (process.returncode, own_lines(stderr)) == (0, [])
    shown = re.sub('\033\\[[0-9;]*m', '', shown.decode())
    assert '1/3 ' in shown and '\r\033[Kepoch 2/2  loss ' in shown
    parts = {(row['part'], row['sequence']) for row in
             rows_of(tmp_path / 'workdir' / 'labels' / 'predictions.csv')}
    assert len(parts) == 6 + 6
    letters = datasets.ocr_letters()
    train = set(letters['word'][:4538])
    test = letters['word'][4538:]
    assert np.mean(np.isin(test, list(train))) < 0.02


# Bad input


@pytest.fixture(scope='module')
def bad(own_run, folder):
    """What each start with bad input gave, by its flags; several at a time."""
    frames = some_sequences().frames.copy()
    frames[5, 1] = np.nan       # sequence 3, step 1
    labels = some_sequences().steps['labels']
    negative, huge = labels.copy(), labels.copy()
    negative[4], huge[18] = -1, 7       # of sequences 3 and 7
    for name, changes in {
            'nan': dict(frames=frames), 'unlabelled': dict(labels=None),
            'negative': dict(labels=negative), 'huge': dict(labels=huge),
            'untested': dict(split=np.array([0, 1] * 6))}.items():
        data.write_npz(folder / f'{name}.npz', some_sequences(**changes))
    (folder / 'text.npz').write_text('frames,lengths\n1,2\n')
    (folder / 'unreadable').mkdir()
    (folder / 'unreadable' / 'flags.json').write_bytes(b'\xff')
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        # One of each kind as a person starts it.
        runs = {flags: pool.submit(start, folder, *flags.split(), afresh=flags in AFRESH)
                for flags in [*BAD, *WRONG_FLAGS, '--help']}
        return {flags: run.result() for flags, run in runs.items()}


BAD = {
    'letters.npz': r"'letters.npz' is not a flag: flags begin with --. See --help.",
    '--data=missing.npz': r"\[Errno 2\] No such file or directory: 'missing.npz'",
    '--data=text.npz': r'text.npz: not an .npz file, or a damaged one: .*',
    '--data=unlabelled.npz': r"'unlabelled.npz' must hold `labels`, a whole number for each frame.",
    '--data=huge.npz --num_classes=4':
        r"labels must be in \[0, 4\); sequence 7 of 'huge.npz' has 7.",
    '--data=negative.npz':
        r"labels must be in \[0, 3\); sequence 3 of 'negative.npz' has -1.",
    '--data=untested.npz':
        r'there is nothing to test on: 0 of the 12 sequences, 0 steps.',
    '--data=nan.npz':
        r"nan.npz: record 'frames' must be finite; sequence 3 holds nan at step 1.",
    '--data=own.npz --split=unseen_words':
        r'--split is for the embedded handwriting; a file has a field `split`.',
    '--limit=5 --workdir=own.npz': r"\[Errno 20\] Not a directory: 'own.npz/flags.json'",
    '--limit=5 --workdir=unreadable':
        r"'unreadable/flags.json' is not readable: .*. Choose another --workdir.",
    '--data=own.npz --workdir=run --batch_size=2 --learning_rate=0.05 --seed=1 --hidden_size=5 '
    '--num_layers=1 --nobidirectional --cell=lstm --epochs=3':
        r"workdir 'run' holds a run with other flags \(--cell=gru there, lstm here; "
        r'--hidden_size=4 there, 5 here\). Choose another --workdir, or use those flags.',
}
BAD.update({f'--{flag}': rf"--{flag.split('=')[0]} must be a finite number, got "
                         rf"{float(flag.split('=')[1])}\."
            for flag in ['learning_rate=nan', 'learning_rate=inf', 'clip_norm=nan',
                         'clip_norm=inf', 'dropout=nan']})
AFRESH = ['--data=missing.npz', '--cell=foo', '--help']
WRONG_FLAGS = {
    '--cell=foo': r'flag --cell=foo: .* one of <gru\|lstm>',
    '--hidden_size=0': 'flag --hidden_size=0: .* a positive integer',
    '--dropout=1.5': r'flag --dropout=1.5: .* in the range \[0.0, 0.99\]',
}


@pytest.mark.parametrize('flags', BAD)
def test_bad_input_is_told_in_one_line(flags, bad):
    run = bad[flags]
    line, = own_lines(run.stderr)
    assert re.fullmatch('error: ' + BAD[flags], line)
    assert run.returncode == 1 and run.stdout == ''


@pytest.mark.parametrize('flags', WRONG_FLAGS)
def test_a_wrong_flag_is_told(flags, bad):
    run = bad[flags]
    line, usage = own_lines(run.stderr)
    assert re.fullmatch('FATAL Flags parsing error: ' + WRONG_FLAGS[flags], line)
    assert usage == 'Pass --helpshort or --helpfull to see help on flags.'
    assert run.returncode == 1 and run.stdout == ''


def test_bad_input_leaves_nothing_behind(bad, folder):
    assert not (folder / 'workdir').exists()
    assert sorted(os.listdir(folder / 'run')) == FILES
    assert json.loads((folder / 'run' / 'flags.json').read_text())['cell'] == 'gru'


def test_help_shows_what_it_does_and_all_its_flags(bad):
    shown = bad['--help'].stdout
    assert shown.startswith('Trains a labeller: one label per step, for sequences of')
    assert own_lines(bad['--help'].stderr) == [] and bad['--help'].returncode == 1     # absl's
    own, of_absl = shown.split('Try --helpfull')
    assert of_absl.strip() == 'to get a list of all flags.'
    flags = re.findall(r'^  --(?:\[no\])?(\w+):', own, re.MULTILINE)
    assert flags == sorted(flags)
    assert set(flags) == {
        'accumulate', 'batch_size', 'bidirectional', 'buckets', 'cell', 'chunk_size', 'clip_norm',
        'data', 'dropout', 'embedding_size', 'epochs', 'features', 'filters', 'hidden_size',
        'implementation', 'input_dropout', 'keep_checkpoints', 'labels', 'labels_per',
        'learning_rate', 'limit', 'max_steps', 'num_classes', 'num_layers', 'patience', 'plots',
        'precision', 'recurrent_dropout', 'schedule', 'seed', 'sequence', 'split', 'standardize',
        'step_dropout', 'strategy', 'tensorboard', 'time', 'workdir'}
    assert all(len(line) <= 100 for line in own.splitlines())


# How a script ends


@pytest.mark.parametrize('error, status, message', [
    (runs.UserError('two\n  lines'), 1, 'error: two lines\n'),
    (OSError('no space left'), 1, 'error: no space left\n'),
    (FloatingPointError('10 steps in a row'), 1, 'error: 10 steps in a row\n'),
    (tf.errors.ResourceExhaustedError(None, None, 'out of memory'), 1, 'error: out of memory\n'),
    (MemoryError('Unable to allocate 7 TiB'), 1, 'error: not enough memory (Unable to allocate '
     '7 TiB). Choose smaller sizes or batches.\n'),
    (tf.errors.ResourceExhaustedError(
        None, None, '{{function_node __wrapped__SaveV2_device_/job:localhost}} run/x; No space '
        'left on device [Op:SaveV2]'), 1, 'error: run/x; No space left on device\n'),
    (KeyboardInterrupt(), 130, 'interrupted; restart with the same flags to resume from the last '
                               'finished epoch.\n'),
    (None, 0, '')])
def test_how_a_script_ends(error, status, message, monkeypatch, capsys):
    def main():
        if error is not None:
            raise error

    monkeypatch.setattr(sys, 'argv', ['script'])
    with pytest.raises(SystemExit) as ended:
        runs.run(main)
    assert ended.value.code == status
    assert capsys.readouterr().err == message


SCRIPTS = sorted(path.name for path in (ROOT / 'scripts').glob('*.py'))


def interrupted(script, cwd):
    """(status, lines of a traceback) of a script that is interrupted in TensorFlow's import."""
    options = command(script=script)
    options['args'].insert(1, '-v')         # Python tells of every import, on stderr
    with subprocess.Popen(**options, cwd=cwd, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE) as process:
        try:
            told = []
            for line in process.stderr:
                told.append(line)
                if line.startswith("import 'tensorflow.python.eager"):
                    process.send_signal(signal.SIGINT)
                    break
            told += process.stderr
            process.wait(TIMEOUT)
        finally:
            process.kill()
    return process.returncode, [line for line in told if 'Traceback' in line or 'Interrupt' in line]


@pytest.mark.parametrize('script', SCRIPTS)
def test_an_interrupt_while_it_imports_ends_a_script_without_a_traceback(script, tmp_path):
    assert interrupted(script, tmp_path) == (130, [])


def ignore_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_an_interrupt_that_is_to_be_ignored_is(tmp_path):
    options = command('--help', script='convert.py')
    with subprocess.Popen(**options, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          preexec_fn=ignore_interrupts) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        shown, _ = process.communicate(timeout=TIMEOUT)
    assert shown.startswith('Converts sequences')


def test_once_it_runs_a_script_says_that_it_was_interrupted(monkeypatch, capsys):
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(130))     # as scripts begin
    try:
        monkeypatch.setattr(sys, 'argv', ['script'])
        with pytest.raises(SystemExit) as ended:
            runs.run(lambda: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith('interrupted; ')


def test_a_bug_shows_its_traceback(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['script'])
    with pytest.raises(ZeroDivisionError):
        runs.run(lambda: 1 / 0)


@pytest.mark.parametrize('kind', [tf.errors.FailedPreconditionError, tf.errors.CancelledError,
                                  tf.errors.UnavailableError, tf.errors.AbortedError,
                                  tf.errors.DeadlineExceededError])
def test_no_worker_is_gone_where_there_is_but_one_process(kind, monkeypatch, capsys):
    def main():
        raise kind(None, None, 'stopped')

    monkeypatch.setattr(sys, 'argv', ['script'])
    with pytest.raises(kind):
        runs.run(main)
    assert 'another worker' not in capsys.readouterr().err


@pytest.mark.parametrize('error', [ValueError('3 lengths'), TypeError('3 lengths'),
                                   tf.errors.InvalidArgumentError(None, None, '3 lengths')])
def test_errors_in_a_persons_data_are_theirs(error):
    with pytest.raises(runs.UserError, match='3 lengths') as caught:
        with runs.user_errors():
            raise error
    assert caught.value.__cause__ is error


def with_small_files(limit):
    """For `preexec_fn`: no file may become longer, as on a disk that is full."""
    resource = pytest.importorskip('resource')
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


@pytest.mark.parametrize('limit, folder', [
    (14, 'best'), pytest.param(20, 'checkpoints', marks=pytest.mark.slow)])
def test_a_full_disk_is_told_in_one_line(limit, folder, tmp_path):
    """In kB; the model has 16 kB, its state 46 kB, and all else less than 2 kB."""
    data.write_npz(tmp_path / 'own.npz', some_sequences())
    run = subprocess.run(**command('--data=own.npz', '--workdir=run', *SMALL[1:],
                                   '--hidden_size=32'),
                         cwd=tmp_path, capture_output=True, timeout=TIMEOUT,
                         preexec_fn=with_small_files(1024 * limit))
    line, = own_lines(run.stderr)
    assert re.fullmatch(rf"error: the checkpoint 'run/{folder}/epoch-1' cannot be written: "
                        r'[\w ]+\. Earlier checkpoints are intact, and training can resume '
                        r'from them\.', line)
    assert run.returncode == 1


# A run that is killed


FLAGS = ['--limit=160', '--hidden_size=16', '--num_layers=1', '--nobidirectional', '--epochs=6',
         '--batch_size=8', '--recurrent_dropout=0.1']


def epoch_of(workdir, folder='checkpoints'):
    """The epoch whose checkpoint is the newest; 0 if there is none. Quick, to be asked often."""
    path = workdir / folder / 'checkpoint'
    found = re.match('model_checkpoint_path: "epoch-(\\d+)"',
                     path.read_text() if path.exists() else '')
    return int(found[1]) if found else 0


def in_the_middle_of_an_epoch(workdir):
    finished = epoch_of(workdir) >= 1
    time.sleep(0.05 if finished else 0)
    return finished


def while_a_checkpoint_is_written(workdir):
    epoch = epoch_of(workdir)
    return epoch >= 3 and any(f'epoch-{epoch + 1}' in name
                              for name in os.listdir(workdir / 'checkpoints'))


def start_and_kill(cwd, workdir, moment):
    with subprocess.Popen(**command(*FLAGS, f'--workdir={workdir}'), cwd=cwd,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            end = time.monotonic() + TIMEOUT
            while process.poll() is None and time.monotonic() < end and not moment(cwd / workdir):
                time.sleep(0.002)
        finally:
            process.send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == -signal.SIGKILL, output


def variables(folder):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(folder)))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
            if not name.startswith(('_CHECKPOINTABLE_OBJECT_GRAPH', 'save_counter'))}


@pytest.mark.slow
def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        undisturbed = pool.submit(start, tmp_path, *FLAGS, '--workdir=whole')
        for moment in [in_the_middle_of_an_epoch, while_a_checkpoint_is_written]:
            start_and_kill(tmp_path, 'parts', moment)
        last, undisturbed = start(tmp_path, *FLAGS, '--workdir=parts'), undisturbed.result()
    assert last.returncode == undisturbed.returncode == 0
    assert 'resuming after epoch' in last.stdout
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    for folder in ['checkpoints', 'best']:
        assert epoch_of(parts, folder) == epoch_of(whole, folder)
        actual, wanted = variables(parts / folder), variables(whole / folder)
        assert actual.keys() == wanted.keys() and len(wanted) > 5
        for name in wanted:
            np.testing.assert_array_equal(actual[name], wanted[name], err_msg=name)
    assert epoch_of(parts) == 6
    assert ((parts / 'predictions.csv').read_bytes() == (whole / 'predictions.csv').read_bytes())
    for row, wanted in zip(rows_of(parts / 'history.csv'), rows_of(whole / 'history.csv')):
        assert row.keys() == wanted.keys()
        assert all(row[name] == wanted[name] for name in row if 'second' not in name)
    assert last.stdout.splitlines()[-5:-1] == undisturbed.stdout.splitlines()[-5:-1]
