"""What a person sees: a bar on a terminal, plain lines elsewhere."""

import io
import re
import sys

import pytest

import seqmask
from seqmask.training.progress import EpochProgress
from test_trainer import a_collection, a_trainer


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def batches(rng):
    return seqmask.data.Batches(a_collection(rng), 2)


def test_one_plain_line_an_epoch(batches, capsys):
    a_trainer(progress=True).fit(batches, batches, epochs=2)
    first, second = capsys.readouterr().out.splitlines()
    number = r'-?\d[\d.e+-]*'
    assert re.fullmatch(
        fr'epoch 1/2  loss {number}  learning_rate 0.05  skipped 0  seconds {number}  '
        fr'steps_per_second \d+  valid_accuracy {number}  valid_loss {number}', first)
    assert second.startswith('epoch 2/2  loss ')


def test_a_bar_on_a_terminal_that_ends_as_the_line(batches, capsys, monkeypatch):
    a_trainer(progress=True).fit(batches, epochs=1)
    plain = capsys.readouterr().out
    monkeypatch.setattr(sys, 'stdout', Terminal())
    trainer = a_trainer(progress=True)      # made before, so that fit looks for itself
    trainer.fit(batches, epochs=1)
    shown = sys.stdout.getvalue()
    assert '1/4' in re.sub('\033[^m]*m', '', shown) and 'loss: ' in shown      # of Progbar
    *bars, line = shown.split('\r\033[K')
    assert len(bars) == 1 and line.count('\n') == 1 and '\n' not in bars[0].strip()
    assert line.split('  seconds')[0] == plain.split('  seconds')[0]


def test_the_number_of_batches_may_be_unknown(batches, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', Terminal())
    a_trainer(progress=True).fit((batch for batch in batches), epochs=1)
    assert '1/Unknown' in re.sub('\033[^m]*m', '', sys.stdout.getvalue())


@pytest.mark.parametrize('terminal', [True, False])
def test_nothing_is_printed_if_nothing_shall_be(terminal, batches, capsys, monkeypatch, tmp_path):
    if terminal:
        monkeypatch.setattr(sys, 'stdout', Terminal())
    trainer = a_trainer(progress=False, patience=1)
    trainer.fit(batches, epochs=2, workdir=tmp_path)
    trainer.fit(batches, epochs=3, workdir=tmp_path)
    assert (sys.stdout.getvalue() if terminal else capsys.readouterr().out) == ''


def test_values_are_short(capsys):
    EpochProgress(3, 9, None).close({'epoch': 3, 'loss': 1 / 3, 'small': 1e-9, 'count': 12345678})
    assert capsys.readouterr().out == 'epoch 3/9  loss 0.3333  small 1e-09  count 12345678\n'
