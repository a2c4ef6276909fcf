"""A peer's side: a process that holds one peer and times it when it is asked to.

Started by `processes`, in whatever Python has the peer's framework, with its config as argument.
It reads a command a line, as JSON, and answers in a line; it ends when there is no more to read.

A peer's module has `start(threads)`, which returns the versions in use, and `build(peer, data,
settings)`, which returns its calls, functions by name that return when their work is done; the
values to compare with those of other peers, arrays by name; and facts to report, by name.
"""

import ctypes
import gc
import importlib
import json
import os
import sys
import time
import traceback

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

MEGABYTE = 2**20


def main():
    config = json.loads(sys.argv[1])
    # Whatever a framework prints goes where its other noise goes.
    answers = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)

    def answer(content):
        answers.write(json.dumps(content) + '\n')
        answers.flush()

    stay_on(config['threads'])
    try:
        module = importlib.import_module('peers.' + config['module'])
    except ImportError as error:
        answer({'missing': str(error)})
        return
    answer({'versions': module.start(config['threads'])})
    commands = Commands(module, config['peer'])
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer(getattr(commands, command.pop('do'))(**command) or {})
        except Exception as error:      # whatever it is, the parent says it and goes on
            traceback.print_exc()
            answer({'error': f'{type(error).__name__}: {error}'})


def stay_on(threads):
    """Leaves this process as many cores as threads: XLA has no setting for its own."""
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


class Commands:
    """What the parent may ask for."""

    def __init__(self, module, peer):
        self._module = module
        self._peer = peer
        self._calls = {}

    def load(self, data, values, settings):
        import numpy as np
        self._calls = {}        # those of the sizes before
        with np.load(data) as records:
            self._calls, found, facts = self._module.build(self._peer, dict(records), settings)
        np.savez(values, **found)
        return {'facts': facts}

    def warm_up(self, number):
        for _ in range(number):
            for call in self._calls.values():
                call()

    def time(self, call):
        call = self._calls[call]
        start = time.perf_counter()
        call()
        return {'seconds': time.perf_counter() - start}

    def held(self):
        return {'megabytes': held()}

    def memory(self, call):
        return {'megabytes': most(self._calls[call])}


def held():
    """Megabytes resident, without those that are free but kept; or None where nobody tells."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        pass
    return resident('VmRSS')


def most(call):
    """The most megabytes resident during two calls, on Linux; else None."""
    held()
    try:
        with open('/proc/self/clear_refs', 'w', encoding='ascii') as file:
            file.write('5')     # lowers VmHWM to VmRSS
    except OSError:
        return None
    call()
    call()
    return resident('VmHWM')


def resident(name):
    try:
        with open('/proc/self/status', encoding='ascii') as file:
            lines = [line for line in file if line.startswith(name + ':')]
    except OSError:
        return None
    return int(lines[0].split()[1]) * 1024 / MEGABYTE


if __name__ == '__main__':
    main()
