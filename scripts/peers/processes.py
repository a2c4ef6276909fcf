"""Starts a process for each peer, sends it one command at a time, and always ends it."""

import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading

from seqmask.runs import UserError

WORKER = pathlib.Path(__file__).with_name('worker.py')
TIMEOUT = 1800      # seconds until an answer
STDERR_LINES = 5    # of a process that died, to show


class PeerError(UserError):
    """The error with which a running peer answered."""


class Process:
    """The process of one peer, which answers each JSON line with one.

    It has its own session, so that Ctrl-C reaches only the parent, which ends it. If the parent is
    killed, it ends at the end of its input.
    """

    def __init__(self, peer, interpreter, threads):
        self.peer = peer
        self.name = peer.name
        self._stderr = tempfile.TemporaryFile()
        config = {'peer': peer.key, 'module': peer.module, 'threads': threads}
        self._process = subprocess.Popen(
            [interpreter, str(WORKER), json.dumps(config)], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=self._stderr, env=environment(threads), text=True,
            start_new_session=True)
        self._answers = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def ask(self, command, **arguments):
        """The answer to a command, a dict."""
        try:
            self._process.stdin.write(json.dumps({'do': command, **arguments}) + '\n')
            self._process.stdin.flush()
        except OSError:
            pass        # it died, which `answer` reports
        return self.answer()

    def answer(self):
        """The next answer of the process.

        Raises:
          PeerError: If it is an error.
          UserError: If the process died or does not answer in time.
        """
        try:
            line = self._answers.get(timeout=TIMEOUT)
        except queue.Empty:
            raise UserError(f'{self.name}: no answer for {TIMEOUT} seconds.') from None
        if not line:
            raise UserError(self._describe_exit())
        answer = json.loads(line)
        if 'error' in answer:
            raise PeerError(f'{self.name}: {answer["error"]}')
        return answer

    def end(self):
        """Kills the process and its children, such as compilers."""
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, 'killpg'):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired, OSError):
            self._process.wait(timeout=10)
            self._process.stdin.close()
        self._stderr.close()

    def _listen(self):
        with self._process.stdout as stdout:
            for line in stdout:
                self._answers.put(line)
        self._answers.put('')

    def _describe_exit(self):
        status = self._process.wait(timeout=10)
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors='replace').splitlines()
        shown = ' / '.join(line.strip() for line in lines[-STDERR_LINES:] if line.strip())
        cause = f'signal {-status}' if status < 0 else f'exit status {status}'
        return f'{self.name}: its process ended ({cause}){": " if shown else "."}{shown}'


def environment(threads):
    """Environment variables of a peer: its number of threads, and CPU only."""
    # Idle threads sleep: spinning would slow down the peer that is being timed.
    passive = {'OMP_WAIT_POLICY': 'PASSIVE', 'KMP_BLOCKTIME': '0', 'GOMP_SPINCOUNT': '0'}
    limits = {name: str(threads) for name in
              ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')}
    processor = {'CUDA_VISIBLE_DEVICES': '-1', 'JAX_PLATFORMS': 'cpu'}
    return {**os.environ, **passive, **limits, **processor, 'TF_CPP_MIN_LOG_LEVEL': '3',
            'PYTHONUNBUFFERED': '1'}


@contextlib.contextmanager
def uninterrupted():
    """Delays Ctrl-C until the end of the block."""
    interrupts = []
    before = signal.signal(signal.SIGINT, lambda *_: interrupts.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupts and callable(before):
        before(signal.SIGINT, None)


@contextlib.contextmanager
def started(peers, interpreters, threads):
    """Context in which the processes of peers run.

    Args:
      peers: List of `Peer`.
      interpreters: dict of framework -> Python that has it.
      threads: int.

    Yields:
      (list of `Process` that imported their framework; dict of other peer's name -> reason).
    """
    processes = []
    try:
        # Their imports, of several seconds, run in parallel.
        for peer in peers:
            with uninterrupted():       # else a process might start and not be recorded
                processes.append(Process(peer, interpreters[peer.framework], threads))
        ready, absent = [], {}
        for process in processes:
            answer = process.answer()
            if 'missing' in answer:
                absent[process.name] = (f"not installed ({answer['missing']}): "
                                        "pip install '.[bench]'")
            else:
                process.versions = answer['versions']
                ready.append(process)
        yield ready, absent
    finally:
        for process in processes:
            process.end()


def run_again(script, name, *options):
    """Runs a script with options in a new process, for its own memory peak.

    Returns:
      The last line of its output, parsed as JSON.

    Raises:
      UserError: If it fails; `name` says what it was to measure.
    """
    done = subprocess.run([sys.executable, os.path.abspath(script), *options],
                          capture_output=True, text=True)
    if done.returncode:
        raise UserError(f'{name}: {done.stderr.strip().splitlines()[-1]}')
    return json.loads(done.stdout.splitlines()[-1])
