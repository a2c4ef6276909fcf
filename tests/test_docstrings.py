"""Docstrings: their examples run, and no public name goes without."""

import doctest
import importlib
import inspect
import pkgutil
import re
import tempfile

import numpy as np
import pytest
import tensorflow as tf

import seqmask

# A package that cannot be imported fails in its own test below, not while names are collected.
NAMES = ['seqmask'] + sorted(
    found.name for found in pkgutil.walk_packages(seqmask.__path__, 'seqmask.',
                                                  onerror=lambda name: None)
    if not found.name.endswith('.__main__'))
every_module = pytest.mark.parametrize('name', NAMES)


def failures(module):
    """What the docstring examples of one module print where they should print something else."""
    report = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder().find(
            module, extraglobs={'tf': tf, 'np': np, 'seqmask': seqmask, 'tempfile': tempfile}):
        runner.run(test, out=report.append)
    return ''.join(report)


def own_words(thing):
    """The docstring that somebody wrote; NamedTuple and dataclass make one from the signature."""
    words = inspect.cleandoc(thing.__dict__.get('__doc__') if inspect.isclass(thing)
                             else thing.__doc__ or '') if thing.__doc__ else ''
    return '' if words.startswith(f'{thing.__name__}(') else words


def undocumented(module):
    """Names in `__all__` of functions and classes without a docstring."""
    public = {name: getattr(module, name) for name in getattr(module, '__all__', [])}
    return [name for name, thing in public.items()
            if (inspect.isfunction(thing) or inspect.isclass(thing)) and not own_words(thing)]


@every_module
def test_examples_run(name):
    found = failures(importlib.import_module(name))
    assert not found, found


@every_module
def test_every_module_says_what_it_answers(name):
    if name != 'seqmask.version':
        assert importlib.import_module(name).__doc__


@every_module
def test_every_public_name_has_a_docstring(name):
    assert not undocumented(importlib.import_module(name))


def functions_of(room):
    module = importlib.import_module(f'seqmask.{room}')
    return [pytest.param(thing, id=f'{room}.{name}') for name, thing in vars(module).items()
            if inspect.isfunction(thing) and thing.__module__ == module.__name__
            and name in seqmask.__all__]


@pytest.mark.parametrize('function', [
    *functions_of('lengths'), *functions_of('masking'), *functions_of('packing')])
def test_every_function_of_the_foundation_says_what_it_returns_and_shows_it(function):
    words = own_words(function)
    assert 'Args:' in words
    assert 'Returns:' in words
    assert '>>> ' in words
    documented = words.split('Args:')[1]
    for parameter in inspect.signature(function).parameters:
        assert f'\n  {parameter}: ' in documented


# The rules can fail

class Undocumented:
    pass


class Inherited(dict):
    pass


def silent():
    pass


def test_a_missing_docstring_is_found():
    class module:
        __all__ = ['Undocumented', 'Inherited', 'silent', 'functions_of_', 'Tally', 'MAX']
        MAX = 3
        Tally = seqmask.Tally
        functions_of_ = staticmethod(undocumented)
    module.Undocumented, module.Inherited = Undocumented, Inherited
    module.silent = staticmethod(silent)
    assert undocumented(module) == ['Undocumented', 'Inherited', 'silent']


def test_a_wrong_example_is_found():
    class module:
        __name__ = 'module'
        __doc__ = '>>> int(np.sum([1, 1]))\n3'
    found = failures(module)
    assert 'Expected:\n    3' in found
    assert 'Got:\n    2' in found


def test_help_of_the_package_is_a_table_of_contents():
    named = set(re.findall(r'\w+', seqmask.__doc__))
    assert set(seqmask.__all__) <= named
    assert set(seqmask.models.__all__) - {'factorize_ratings', 'rating_biases'} <= named
