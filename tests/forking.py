"""Starts scripts without the seconds that importing TensorFlow takes.

Run as a script, this file imports everything once and then forks a process for each start.
Importing starts no thread, so a fork is as good as a new process: the script sees its own flags,
folder and streams, and exits as it would alone.
"""

import atexit
import json
import os
import pathlib
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading

ONE_THREAD = {'OPENBLAS_NUM_THREADS': '1'}      # or importing NumPy would start threads


class Forks:
    """A process that imports everything at the first `run`, and forks from then on.

    Args:
      environment: dict, the environment of all forks.
    """

    def __init__(self, environment):
        self._environment = _without_pytest(environment)
        self._lock = threading.Lock()
        self._address = None

    def can_run(self, environment):
        """Whether a fork is equivalent to a new Python process with this environment."""
        return sys.platform == 'linux' and _without_pytest(environment) == self._environment

    def run(self, arguments, cwd, timeout, input=''):
        """As `subprocess.run` with captured text, from any thread; `arguments[0]` is a script."""
        with self._lock:
            if self._address is None:
                self._start()
        with (socket.socket(socket.AF_UNIX) as connection, tempfile.TemporaryDirectory() as folder):
            given, *streams = [pathlib.Path(folder, name) for name in ('in', 'out', 'err')]
            given.write_text(input, encoding='utf-8')
            connection.settimeout(timeout)
            connection.connect(self._address)
            with connection.makefile('rw') as lines:
                request = [arguments, str(cwd), str(given), *map(str, streams)]
                print(json.dumps(request), file=lines, flush=True)
                process = int(lines.readline())
                try:
                    status = int(lines.readline())
                except TimeoutError:
                    os.kill(process, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(
                        arguments, timeout, *(path.read_text() for path in streams)) from None
            return subprocess.CompletedProcess(arguments, status,
                                               *(path.read_text() for path in streams))

    def _start(self):
        folder = tempfile.TemporaryDirectory()
        address = os.path.join(folder.name, 'socket')
        process = subprocess.Popen(
            [sys.executable, __file__, address], env={**self._environment, **ONE_THREAD}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        atexit.register(folder.cleanup)
        atexit.register(process.communicate)        # closes its stdin, so that it exits
        assert process.stdout.readline() == 'ready\n', 'it cannot import TensorFlow and seqmask'
        self._address = address


def _without_pytest(environment):
    return {name: value for name, value in environment.items() if not name.startswith('PYTEST_')}


def serve(address):
    import seqmask.keras  # noqa: F401
    import seqmask.runs  # noqa: F401
    import seqmask.training  # noqa: F401
    for name in ONE_THREAD:
        del os.environ[name]
    assert len(os.listdir('/proc/self/task')) == 1, 'a process with threads must not be forked'
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        print('ready', flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            connection, _ = listening.accept()
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)       # leaves no zombies
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return attend(connection)
            connection.close()


def attend(connection):
    """Runs a script in a separate process, and sends its process id, then its exit status."""
    with connection.makefile('rw') as lines:
        request = json.loads(lines.readline())
        process = os.fork()
        if not process:
            return run(*request)
        print(process, file=lines, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), file=lines, flush=True)
        os._exit(0)


def run(arguments, cwd, given, out, err):
    write = os.O_WRONLY | os.O_CREAT
    for descriptor, path, flags in ((0, given, os.O_RDONLY), (1, out, write), (2, err, write)):
        os.dup2(os.open(path, flags), descriptor)
    os.chdir(cwd)
    sys.argv = arguments
    sys.path[0] = os.path.dirname(arguments[0])
    runpy.run_path(arguments[0], run_name='__main__')


if __name__ == '__main__':
    serve(sys.argv[1])
