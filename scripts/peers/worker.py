"""The child process of one peer: loads it and times it on request.

Started by `processes` in the Python that has the peer's framework, with a JSON config as argument.
It reads one JSON command per line and answers each with a line, until the end of its input.

A peer's module has `start(threads)`, which returns the versions in use, and `build(peer, data,
settings)`, which returns three dicts by name: functions to time, which return when their work is
done; arrays to compare with those of other peers; and facts to report.
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

from peers import memory        # noqa: E402

MEGABYTE = 2**20


def main():
    config = json.loads(sys.argv[1])
    # Redirects what a framework prints to stderr.
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
        except Exception as error:      # of any kind: the parent reports it
            traceback.print_exc()
            answer({'error': f'{type(error).__name__}: {error}'})


def stay_on(threads):
    """Pins this process to as many cores as threads: XLA's thread pool cannot be configured."""
    if hasattr(os, 'sched_setaffinity'):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


class Commands:
    """The commands of the parent, a method each."""

    def __init__(self, module, peer):
        self._module, self._peer, self._calls = module, peer, {}

    def load(self, data, values, settings):
        import numpy as np
        self._calls = {}        # frees those of the previous problem
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

    def resident(self):
        return {'megabytes': resident()}

    def memory(self, call):
        return {'megabytes': peak(self._calls[call])}


def resident():
    """Megabytes resident, after freed memory is returned to the system; None if unknown."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        pass
    return megabytes('VmRSS')


def peak(call):
    """Peak resident megabytes during two calls, on Linux; else None."""
    resident()
    try:
        with open('/proc/self/clear_refs', 'w', encoding='ascii') as file:
            file.write('5')     # resets VmHWM to VmRSS
    except OSError:
        return None
    call()
    call()
    return megabytes('VmHWM')


def megabytes(field):
    size = memory.read_status(field)
    return None if size is None else size / MEGABYTE


if __name__ == '__main__':
    main()
