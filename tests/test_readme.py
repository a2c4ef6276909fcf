"""README.md says what is true: its examples run, its names exist."""

import doctest
import pathlib
import re

import numpy as np
import tensorflow as tf

import seqmask

PATH = pathlib.Path(__file__).resolve().parent.parent / 'README.md'
README = PATH.read_text()


def test_the_first_example_runs_and_prints_what_it_says(capsys):
    example = re.search(r'## A first example\n+```python\n(.*?)```', README, re.DOTALL).group(1)
    exec(compile(example, 'README.md', 'exec'), {})
    wanted = re.search(r'print\(.*#\s*(.*)\n', example).group(1)
    assert capsys.readouterr().out.strip() == wanted


def test_every_public_name_stands_in_the_table():
    table = README.split('## What is there')[1].split('`help(')[0]
    named = set(re.findall(r'`(?:seqmask\.)?(\w+)`', table))
    rooms = [seqmask, seqmask.losses, seqmask.metrics, seqmask.data, seqmask.datasets,
             seqmask.models, seqmask.keras, seqmask.export]
    left_out = {name for room in rooms for name in room.__all__} - named
    assert left_out <= {'LSTMState', 'Packed', '__version__'}


def test_its_links_lead_somewhere():
    titles = {re.sub(r'[^\w -]', '', title.lower()).replace(' ', '-')
              for title in re.findall(r'^#+ (.*)$', README, re.MULTILINE)}
    for target in re.findall(r'\]\((.*?)\)', README):
        if target.startswith('#'):
            assert target[1:] in titles
        else:
            assert (PATH.parent / target).exists()


def test_the_examples_with_prompts_print_what_they_say():
    # A line of ``` would count as printed.
    text = re.sub(r'^```.*$', '', README, flags=re.MULTILINE)
    names = {'tf': tf, 'np': np, 'seqmask': seqmask}
    examples = doctest.DocTestParser().get_doctest(text, names, 'README.md', 'README.md', 0)
    assert len(examples.examples) > 10
    report = []
    doctest.DocTestRunner(verbose=False).run(examples, out=report.append)
    assert not report, ''.join(report)
