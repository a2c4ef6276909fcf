"""scripts/stream.py as a person starts it: a file's sequences, and lines of standard input."""

import concurrent.futures
import csv
import re
import subprocess

import numpy as np
import pytest

from seqmask import data, runs
from test_scripts import TIMEOUT, command, own_lines, start
from tiny_runs import some_sequences, trained

TOLD = re.compile(r'(\d+) steps on (kernel|lite|graph): '
                  r'([\d.]+) us per step \(median\), ([\d.]+) us \(99th percentile\)')

HEADER = 'sequence,step,predicted,probability'
BAD_FLAGS = {
    '--workdir=none': r"there is no folder 'none': .*",
    '--workdir=classifier': r"the model in 'classifier', SequenceClassifier, cannot run step by "
                            r'step: streams need a causal model, .*',
    '--workdir=labels --data=none.npz': r"\[Errno 2\] No such file or directory: 'none.npz'",
}
BAD_LINES = {
    '1 2 3\n1,2\n':
        r"standard input, line 2: a step must have 3 numbers, as in the training data of "
        r"'labels', got 2\.",
    '1,2,x\n': r"standard input, line 1: number 3 must be finite in float32, got 'x'\.",
    '\n1 1e39 3\n': r"standard input, line 2: number 2 must be finite in float32, got '1e39'\.",
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return trained(tmp_path_factory)


def stream(folder, lines):
    return start(folder, '--workdir=labels', script='stream.py', input=lines,
                 afresh=lines not in BAD_LINES)


def lines_of(sequences):
    """As a person writes them: spaces or commas, an empty line after each sequence."""
    text = ''
    for i in range(len(sequences)):
        for k, frame in enumerate(sequences.sequence(i)['inputs']):
            text += (', ' if k % 2 else ' ').join(map(repr, frame.tolist())) + '\n'
        text += '\n'
    return text


@pytest.fixture(scope='module')
def wanted(folder):
    """The rows of the whole model's predictions."""
    run, whole = runs.load_run(str(folder / 'labels')), data.read_npz(folder / 'labels.npz')
    inputs = data.Sequences(whole.frames.astype(np.float32), whole.lengths)
    return list(run.output.rows(run.output.predict(run.trainer, data.Batches(inputs, 4))))


@pytest.fixture(scope='module')
def finished(folder):
    whole = some_sequences('step')
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        of_lines = {lines: pool.submit(stream, folder, lines)
                    for lines in (lines_of(whole), *BAD_LINES)}
        of_flags = {flags: pool.submit(start, folder, *flags.split(), script='stream.py')
                    for flags in ('--workdir=labels --data=labels.npz',
                                  '--workdir=labels --data=labels.npz --implementation=graph',
                                  *BAD_FLAGS)}
        return {key: run.result() for key, run in {**of_lines, **of_flags}.items()}


def assert_predicts(done, wanted, numbered=True):
    assert done.returncode == 0, done.stderr
    header, *rows = csv.reader(done.stdout.splitlines())
    assert ','.join(header) == HEADER
    assert [row[1:3] for row in rows] == [[str(row['step']), row['predicted']] for row in wanted]
    if numbered:
        assert [row[0] for row in rows] == [str(row['sequence']) for row in wanted]
    np.testing.assert_allclose([float(row[3]) for row in rows],
                               [float(row['probability']) for row in wanted], atol=2e-4)
    *_, told = own_lines(done.stderr)
    steps, _, median, percentile = TOLD.fullmatch(told).groups()
    assert int(steps) == len(wanted) and 0 < float(median) <= float(percentile)


@pytest.mark.parametrize('flags', ['', ' --implementation=graph'])
def test_the_sequences_of_a_file(flags, finished, wanted):
    done = finished[f'--workdir=labels --data=labels.npz{flags}']
    assert_predicts(done, wanted)
    assert not flags or ' on graph: ' in done.stderr


def test_lines_of_standard_input(finished, wanted):
    # An empty sequence has no line that would tell of it, so numbers run on.
    assert_predicts(finished[lines_of(some_sequences('step'))], wanted, numbered=False)


@pytest.mark.parametrize('key', [*BAD_FLAGS, *BAD_LINES])
def test_bad_input_is_told_in_one_line(key, finished):
    done = finished[key]
    assert done.returncode == 1
    line, = own_lines(done.stderr)
    assert re.fullmatch('error: ' + {**BAD_FLAGS, **BAD_LINES}[key], line)
    good = 1 if key == '1 2 3\n1,2\n' else 0
    assert len(done.stdout.splitlines()) == (1 + good if key in BAD_LINES else 0)


def test_each_line_is_answered_before_the_next_and_the_reader_may_leave(folder):
    with subprocess.Popen(**command('--workdir=labels', script='stream.py'), cwd=folder,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == HEADER + '\n'
        for step in range(3):
            process.stdin.write('0.5 0 1\n')
            process.stdin.flush()
            assert process.stdout.readline().startswith(f'0,{step},')
        process.stdout.close()
        process.stdin.write('0.5 0 1\n' * 2)
        process.stdin.close()
        told = own_lines(process.stderr.read())
        assert process.wait(TIMEOUT) == 0, told
    assert len(told) == 1 and ' steps on ' in told[0]
