"""scripts/benchmark.py as a person starts it, at a size that says nothing about speed."""

import re

import pytest

from test_scripts import own_lines, start

TINY = ['--batch_size=3', '--maxlen=5', '--input_size=2', '--hidden_size=4', '--repeats=1']


@pytest.mark.parametrize('cell, fill', [('lstm', '0.6'), ('gru', '1')])
def test_it_prints_a_table(cell, fill, tmp_path):
    done = start(tmp_path, f'--cell={cell}', f'--fill={fill}', *TINY, script='benchmark.py')
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    title, heading, *rows = done.stdout.splitlines()
    assert title == f'{cell}, B=3 T=5 D=2 H=4, {float(fill):.0%} of the steps real'
    assert heading.split() == 'seqmask ms Keras ms ratio min max'.split()
    assert [row.split()[0] for row in rows] == ['forward', 'train']
    assert all(re.fullmatch(r'\w+( +\d+\.\d+){5}', row) for row in rows)


def test_a_wrong_flag_is_told_in_one_line(tmp_path):
    done = start(tmp_path, '--fill=2', script='benchmark.py')
    line, _ = own_lines(done.stderr)
    assert line.startswith('FATAL Flags parsing error: flag --fill=2')
    assert done.returncode == 1
