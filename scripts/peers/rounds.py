"""Measures peers in turns, and computes medians, spreads and ratios; checks that they agree."""

import os
import statistics
import typing

import numpy as np

from peers import FLOOR, processes
from seqmask.runs import UserError

TOLERANCE = 1e-4        # of a quantity's largest value
WARM_UP = 2


class Spread(typing.NamedTuple):
    """Of a quantity over the repeats."""
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values):
        return cls(statistics.median(values), min(values), max(values))

    def times(self, factor):
        return Spread(*(factor * value for value in self))


class Measured(typing.NamedTuple):
    """The measurements.

    Attributes:
      times: dict of call -> dict of peer's name -> seconds of each repeat.
      memory: dict of peer's name -> megabytes, or None.
      facts: dict of peer's name -> facts that it reported.
    """
    times: dict
    memory: dict
    facts: dict

    def spread(self, call, name):
        return Spread.of(self.times[call][name])

    def ratio(self, call, ours, theirs):
        """Ratio of times within each repeat, which is robust to a drift of the machine's speed."""
        return Spread.of([a / b for a, b in
                          zip(self.times[call][ours], self.times[call][theirs])])


def measure(workers, absent, problem, settings, folder, calls, repeats, small=None,
            warm_up=WARM_UP):
    """Gives all peers the same problem, checks that they agree, and times them in turns.

    Args:
      workers: List of `Process`; those that cannot run the problem are ended and removed.
      absent: dict of peer's name -> reason; they are added to it.
      problem: dict of arrays.
      settings: Further argument of a peer's `build`.
      folder: For temporary files.
      calls: Names of the calls to time; memory is measured in the last one.
      repeats: int.
      small: A minimal problem of the same kind, the baseline of memory; None not to measure it.
      warm_up: int. Calls that are not timed, first.

    Returns:
      `Measured`.

    Raises:
      UserError: If no peer can run the problem, or two do not agree.
    """
    before = {}
    if small is not None:
        load(workers, absent, small, settings, folder, warm_up)
        before = {worker.name: worker.ask('resident')['megabytes'] for worker in workers}
    facts = load(workers, absent, problem, settings, folder, warm_up)
    memory = {worker.name: peak_memory(worker, calls[-1], before[worker.name], problem)
              for worker in workers if before and worker.peer is not FLOOR}
    return Measured(alternate(workers, calls, repeats), memory, facts)


def peak_memory(worker, call, before, problem):
    """Megabytes that a problem costs a process, without the problem's own arrays; or None.

    memory = peak resident during the call - resident with a small problem - bytes of the arrays

    The small problem is warmed up too, so that the framework, its traces and its compiler do not
    count. Memory that its allocator keeps for the next call does.
    """
    peak = worker.ask('memory', call=call)['megabytes']
    if peak is None or before is None:
        return None
    return peak - before - sum(array.nbytes for array in problem.values()) / 2**20


def load(workers, absent, problem, settings, folder, warm_up):
    data, values = (os.path.join(folder, name) for name in ('problem.npz', 'values.npz'))
    np.savez(data, **problem)
    facts, found = {}, {}
    for worker in list(workers):
        try:
            facts[worker.name] = worker.ask('load', data=data, values=values,
                                            settings=settings)['facts']
        except processes.PeerError as error:
            absent[worker.name] = f'not available: {shortened(error)}'
            worker.end()
            workers.remove(worker)
            continue
        with np.load(values) as records:
            if records.files:       # the floor has no values to compare
                found[worker.name] = dict(records)
    if not found:
        raise UserError('there is nothing to measure: ' + '; '.join(
            f'{name} is {reason}' for name, reason in absent.items()))
    check_agreement(found)
    for worker in workers:
        worker.ask('warm_up', number=warm_up)
    return facts


def alternate(workers, calls, repeats):
    """{call: {name: seconds of each repeat}}; each repeat starts with another peer."""
    times = {call: {worker.name: [] for worker in workers} for call in calls}
    for repeat in range(repeats):
        turn = repeat % len(workers)
        for call in calls:
            for worker in workers[turn:] + workers[:turn]:
                times[call][worker.name].append(worker.ask('time', call=call)['seconds'])
    return times


def check_agreement(found):
    """Compares all values with Keras's, if Keras is measured, else with the first peer's.

    Args:
      found: dict of peer's name -> dict of quantity -> array.

    Raises:
      UserError: If they differ by more than 1e-4 of the largest value; names peers and quantity.
    """
    reference = 'Keras' if 'Keras' in found else next(iter(found))
    for name, values in found.items():
        for quantity, expected in found[reference].items():
            value = values[quantity]
            if value.shape != expected.shape:
                raise UserError(f'{name} does not compute what {reference} does: {quantity} has '
                                f'shape {value.shape}, not {expected.shape}.')
            difference = np.max(np.abs(value - expected), initial=0.0)
            scale = np.max(np.abs(expected), initial=0.0)
            if not difference <= TOLERANCE * scale:     # True for NaN, too
                raise UserError(f'{name} does not compute what {reference} does: {quantity} '
                                f'differs by up to {difference:.2g}, at values up to {scale:.2g}.')


def shortened(error, longest=200):
    text = ' '.join(str(error).split()).partition(': ')[2]
    return text if len(text) <= longest else text[:longest - 3] + '...'
