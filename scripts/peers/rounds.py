"""Measuring in turns, and what follows from the times: medians, spread, ratios, agreement."""

import os
import statistics
import typing

import numpy as np

from peers import FLOOR, processes
from seqmask.runs import UserError

TOLERANCE = 1e-4        # of a quantity's largest value
WARM_UP = 2


class Spread(typing.NamedTuple):
    """Of one quantity over the repeats."""
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values):
        return cls(statistics.median(values), min(values), max(values))

    def times(self, factor):
        return Spread(*(factor * value for value in self))


class Measured(typing.NamedTuple):
    """Attributes:
      times: dict of call to dict of a peer's name to the seconds of each repeat.
      memory: dict of a peer's name to megabytes, or None.
      facts: dict of a peer's name to what it told of itself.
    """
    times: dict
    memory: dict
    facts: dict

    def spread(self, call, name):
        return Spread.of(self.times[call][name])

    def ratio(self, call, ours, theirs):
        """How long one takes beside another, repeat by repeat: that survives a drifting machine."""
        return Spread.of([a / b for a, b in
                          zip(self.times[call][ours], self.times[call][theirs])])


def measure(workers, absent, problem, settings, folder, calls, repeats, small=None,
            warm_up=WARM_UP):
    """Gives all the same problem, checks that they agree, and times them in turns.

    Args:
      workers: List of `Process`; those that cannot run it are ended and taken out.
      absent: dict of a peer's name to the reason; they are added.
      problem: dict of arrays.
      settings: What else a peer's `build` takes.
      folder: For files on the way.
      calls: Names of what is timed; memory is that of the last one.
      repeats: int.
      small: A problem of the same kind, as small as can be, to measure memory against; or None.
      warm_up: int. Calls before, which are not timed.

    Returns:
      `Measured`.

    Raises:
      UserError: If nobody can run it, or two do not agree.
    """
    before = {}
    if small is not None:
        load(workers, absent, small, settings, folder, warm_up)
        before = {worker.name: worker.ask('held')['megabytes'] for worker in workers}
    facts = load(workers, absent, problem, settings, folder, warm_up)
    memory = {worker.name: peak_memory(worker, calls[-1], before[worker.name], problem)
              for worker in workers if before and worker.peer is not FLOOR}
    return Measured(alternate(workers, calls, repeats), memory, facts)


def peak_memory(worker, call, before, problem):
    """Megabytes that a problem costs a process, the problem's own arrays not counted; or None.

    peak = most resident during the call - resident with a small problem - bytes of the arrays

    The small problem is one that is warm as well: what a framework, its traces and its compiler
    hold is no peer's memory. What its allocator keeps for the next call is: frameworks do keep it.
    """
    most = worker.ask('memory', call=call)['megabytes']
    if most is None or before is None:
        return None
    return most - before - sum(array.nbytes for array in problem.values()) / 2**20


def load(workers, absent, problem, settings, folder, warm_up):
    data, values = (os.path.join(folder, name) for name in ('problem.npz', 'values.npz'))
    np.savez(data, **problem)
    facts, found = {}, {}
    for worker in list(workers):
        try:
            facts[worker.name] = worker.ask('load', data=data, values=values,
                                            settings=settings)['facts']
        except processes.Unable as error:
            absent[worker.name] = f'not available: {shortened(error)}'
            worker.end()
            workers.remove(worker)
            continue
        with np.load(values) as records:
            if records.files:       # not of the floor, which computes nothing of interest
                found[worker.name] = dict(records)
    if not found:
        raise UserError('there is nothing to measure: ' + '; '.join(
            f'{name} is {reason}' for name, reason in absent.items()))
    check_agreement(found)
    for worker in workers:
        worker.ask('warm_up', number=warm_up)
    return facts


def alternate(workers, calls, repeats):
    """{call: {name: seconds of each repeat}}; in each repeat another one comes first."""
    times = {call: {worker.name: [] for worker in workers} for call in calls}
    for repeat in range(repeats):
        turn = repeat % len(workers)
        for call in calls:
            for worker in workers[turn:] + workers[:turn]:
                times[call][worker.name].append(worker.ask('time', call=call)['seconds'])
    return times


def check_agreement(found):
    """All against Keras's numbers where there are some, else against the first peer's.

    Args:
      found: dict of a peer's name to a dict of a quantity's name to its array.

    Raises:
      UserError: If two are more than 1e-4 of the largest value apart; it names both and the
        quantity.
    """
    reference = 'Keras' if 'Keras' in found else next(iter(found))
    for name, values in found.items():
        for quantity, wanted in found[reference].items():
            value = values[quantity]
            if value.shape != wanted.shape:
                raise UserError(f'{name} does not compute what {reference} does: {quantity} has '
                                f'shape {value.shape} there, {wanted.shape} here.')
            apart = np.max(np.abs(value - wanted), initial=0.0)
            scale = np.max(np.abs(wanted), initial=0.0)
            if not apart <= TOLERANCE * scale:      # nor if it is NaN
                raise UserError(f'{name} does not compute what {reference} does: {quantity} is up '
                                f'to {apart:.2g} apart, and {scale:.2g} at most.')


def shortened(error, longest=200):
    text = ' '.join(str(error).split()).partition(': ')[2]
    return text if len(text) <= longest else text[:longest - 3] + '...'
