"""The parent's side: a process for each peer, asked one thing at a time, and always ended."""

import contextlib
import json
import os
import pathlib
import queue
import signal
import subprocess
import tempfile
import threading

from seqmask.runs import UserError

WORKER = pathlib.Path(__file__).with_name('worker.py')
PATIENCE = 1800     # seconds that one answer may take
LAST_WORDS = 5      # lines of a dead process's stderr that are shown


class Unable(UserError):
    """A peer that runs, and answered with an error."""


class Process:
    """One peer's process. It reads a JSON line for each command and answers in one.

    It gets a session of its own, so that a Ctrl-C reaches the parent alone, which ends it. Should
    the parent be killed, it ends by itself: there is nothing more to read.
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
            pass        # it died; what there is to say about that is read from its end
        return self.answer()

    def answer(self):
        """What the process says next.

        Raises:
          Unable: If that is an error.
          UserError: If it died, or says nothing.
        """
        try:
            line = self._answers.get(timeout=PATIENCE)
        except queue.Empty:
            raise UserError(f'{self.name}: no answer for {PATIENCE} seconds.') from None
        if not line:
            raise UserError(self._obituary())
        answer = json.loads(line)
        if 'error' in answer:
            raise Unable(f'{self.name}: {answer["error"]}')
        return answer

    def end(self):
        """Ends the process and what it started, a compiler say; within seconds."""
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

    def _obituary(self):
        status = self._process.wait(timeout=10)
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors='replace').splitlines()
        words = ' / '.join(line.strip() for line in lines[-LAST_WORDS:] if line.strip())
        how = f'signal {-status}' if status < 0 else f'exit status {status}'
        return f'{self.name}: its process ended ({how}){": " if words else "."}{words}'


def environment(threads):
    """That of a process: as many threads as asked for, which sleep while they wait."""
    # Threads that spin while another peer is measured would slow that one down.
    passive = {'OMP_WAIT_POLICY': 'PASSIVE', 'KMP_BLOCKTIME': '0', 'GOMP_SPINCOUNT': '0'}
    limits = {name: str(threads) for name in
              ('OMP_NUM_THREADS', 'MKL_NUM_THREADS', 'OPENBLAS_NUM_THREADS')}
    processor = {'CUDA_VISIBLE_DEVICES': '-1', 'JAX_PLATFORMS': 'cpu'}
    return {**os.environ, **passive, **limits, **processor, 'TF_CPP_MIN_LOG_LEVEL': '3',
            'PYTHONUNBUFFERED': '1'}


@contextlib.contextmanager
def uninterrupted():
    """Puts a Ctrl-C off until the end of the block."""
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
    """Processes for peers: (processes that imported their framework, in order; why others did not).

    Args:
      peers: List of `Peer`.
      interpreters: dict of framework to the Python that has it.
      threads: int.

    Returns:
      Context of (list of `Process`, dict of a peer's name to the reason). All are ended after it.
    """
    processes = []
    try:
        # All import at the same time: the slowest takes several seconds.
        for peer in peers:
            with uninterrupted():       # a process that nobody knows of could not be ended
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
