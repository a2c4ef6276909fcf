"""Two processes in one workdir: the second is refused, until the first ends, however it ends."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest

from seqmask.training import lock
from test_scripts import ROOT, SMALL, TIMEOUT, own_lines, start
from test_trainer import a_trainer
from test_workdir import some_batches

HOLDER = '''
import fcntl, os, sys
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(file, fcntl.LOCK_EX)
print('held', flush=True)
sys.stdin.read()
'''
READER = '''
import sys
from seqmask import training
from test_trainer import a_trainer
training.restore_best(a_trainer(seed=5).model, sys.argv[1])
'''
IN_USE = ("workdir '{}' is in use: another process is training in it. Wait until it ends, or "
          'choose another workdir.')


@pytest.fixture
def held(tmp_path):
    """A folder, and the process that holds its lock."""
    with subprocess.Popen([sys.executable, '-c', HOLDER, str(tmp_path / lock.LOCK)],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == 'held\n'
        yield tmp_path, process
        process.kill()


def test_a_second_trainer_is_refused_until_the_first_is_killed(held):
    folder, process = held
    with pytest.raises(BlockingIOError) as refused:
        a_trainer().fit(*some_batches(), epochs=1, workdir=str(folder))
    assert str(refused.value) == IN_USE.format(folder)
    assert os.listdir(folder) == [lock.LOCK]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(a_trainer().fit(*some_batches(), epochs=1, workdir=str(folder))) == 1
    assert len(a_trainer().fit(*some_batches(), epochs=2, workdir=str(folder))) == 2


def test_a_second_script_is_refused_in_one_line(held):
    folder, _ = held
    run = start(folder.parent, '--limit=5', f'--workdir={folder.name}', *SMALL)
    assert (run.returncode, run.stdout) == (1, '')
    assert own_lines(run.stderr) == ['error: ' + IN_USE.format(folder.name)]


def test_readers_do_not_ask_for_it(tmp_path):
    a_trainer().fit(*some_batches(), epochs=1, workdir=str(tmp_path))
    keep, names = lock.hold(str(tmp_path)), sorted(os.listdir(tmp_path))
    child = subprocess.run([sys.executable, '-c', READER, str(tmp_path)], cwd=ROOT / 'tests',
                           env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=TIMEOUT)
    assert child.returncode == 0 and sorted(os.listdir(tmp_path)) == names
    del keep


def test_one_process_holds_it_several_times_over_and_then_lets_go(tmp_path):
    first, second = lock.hold(str(tmp_path)), lock.hold(os.path.join(tmp_path, '..', tmp_path.name))
    other = os.open(tmp_path / lock.LOCK, os.O_RDWR)
    try:
        del first
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        del second
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError, match='is in use'):
            lock.hold(str(tmp_path))
    finally:
        os.close(other)


def test_a_forked_process_does_not_hold_it(tmp_path):
    keep, child = lock.hold(str(tmp_path)), os.fork()
    if not child:
        status = 1
        try:
            lock.hold(str(tmp_path))
        except BlockingIOError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    del keep


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch):
    def flock(file, kind):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', flock)
    with pytest.warns(UserWarning) as told:
        lock.hold(str(tmp_path))
    assert [str(warning.message) for warning in told] == [
        f"workdir '{tmp_path}' cannot be locked ([Errno {errno.ENOLCK}] No locks available): make "
        f'sure that no other process trains in it.']
