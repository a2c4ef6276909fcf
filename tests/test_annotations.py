"""Every public name says which types it takes and gives."""

import inspect
import typing

import pytest

import seqmask

ROOMS = [seqmask, seqmask.losses, seqmask.metrics, seqmask.decode, seqmask.data, seqmask.datasets,
         seqmask.models, seqmask.training, seqmask.export, seqmask.keras]
NAMES = {f'{room.__name__}.{name}': getattr(room, name) for room in ROOMS for name in room.__all__
         if callable(getattr(room, name))}


def functions_of(thing):
    """A function itself; of a class its own public methods and what makes and calls it."""
    if not inspect.isclass(thing):
        return [thing]
    found = []
    for base in thing.__mro__:
        for name, member in vars(base).items():
            member = getattr(member, '__func__', getattr(member, 'fget', member))
            public = not name.startswith('_') or name in ('__init__', '__call__')
            if public and inspect.isfunction(member) and base.__module__.startswith('seqmask'):
                found.append(member)
    return found


def lacking(function):
    """The parameters without a type, and 'return'."""
    signature = inspect.signature(function)
    bare = [p.name for p in signature.parameters.values()
            if p.annotation is p.empty and p.name not in ('self', 'cls')
            and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if signature.return_annotation is signature.empty and function.__name__ != '__init__':
        bare.append('return')
    return bare


@pytest.mark.parametrize('name', NAMES)
def test_types_are_there_and_known(name):
    for function in functions_of(NAMES[name]):
        # What Keras calls on its own layers is typed there, if anywhere.
        if not function.__module__.startswith('seqmask.keras') or not inspect.isclass(NAMES[name]):
            assert not lacking(function), function.__qualname__
            typing.get_type_hints(function)


def test_what_lacks_a_type_is_found():
    def bare(a, b: int, *more, c=1, **rest):
        pass

    assert lacking(bare) == ['a', 'c', 'return']
    assert {function.__name__ for function in functions_of(seqmask.GRU)} >= {
        '__init__', '__call__', 'step', 'initial_state'}
