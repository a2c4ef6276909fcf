"""scripts/benchmark_input.py as a person starts it, at sizes that say nothing about speed."""

import re

import pytest

from test_scripts import own_lines, start

TINY = ['--steps=300', '--length=5', '--input_size=2', '--batch_size=4', '--epochs=1']


def run(folder, *flags, **how):
    return start(folder, *flags, script='benchmark_input.py', **how)


@pytest.mark.slow
def test_a_tiny_run(tmp_path):
    chosen = ['memory plain', 'memory budget', 'stream npz buckets', 'stream tfrecord buckets']
    done = run(tmp_path, f'--pipelines={",".join(chosen)}', *TINY, afresh=True)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    first, header, *rows = done.stdout.splitlines()
    assert re.fullmatch(r'\d+ sequences of \d+ to \d+ steps, 3\d\d in all, 2 features', first)
    assert header.split() == ['steps/s', 'padding', 'memory', 'MB', 'file', 'MB']
    assert [row[:24].strip() for row in rows] == chosen
    for row in rows:
        rate, padding, memory, file = row[24:].split()
        assert int(rate.replace(',', '')) > 0 and 0 <= float(padding.rstrip('%')) < 100
        assert float(memory) >= 0 and float(file) >= 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_exact_lengths_show_no_padding(tmp_path):
    *_, row = run(tmp_path, '--pipelines=memory exact', *TINY).stdout.splitlines()
    assert row[24:].split()[1] == '0.0%'


@pytest.mark.parametrize('flag, message', [
    ('--pipelines=disk', r'error: --pipelines must be some of memory plain, .*; got disk\.'),
])
def test_bad_input_is_told_in_one_line(flag, message, tmp_path):
    done = run(tmp_path, flag, *TINY)
    line, = own_lines(done.stderr)
    assert re.fullmatch(message, line) and done.returncode == 1
