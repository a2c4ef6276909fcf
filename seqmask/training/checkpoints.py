"""Checkpoints in a folder, one per epoch: each is complete, or detectably damaged.

  epoch-7.data-00000-of-00001, epoch-7.index    written by TensorFlow
  epoch-7.sha256                                their checksums, readable by `sha256sum -c`
  epoch-7-1.*                                   the first version that replaced them
  checkpoint                                    the newest one, for `tf.train.latest_checkpoint`

They are written in this order, and older ones are removed afterwards. So a kill leaves the newest
complete checkpoint untouched; half-written files have no checksums and are not listed. A checkpoint
exists once its checksums do, which takes one rename; of several versions of an epoch the latest
with checksums counts. So readers never write. `tf.train.CheckpointManager` would remove older
checkpoints before the newer one has its checksums, and trusts whatever `checkpoint` says.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import re
import shutil
import tempfile
import typing
from collections.abc import Iterable

import tensorflow as tf

from seqmask.data.files.whole import write_whole

log = logging.getLogger('seqmask')
STATE, CHECKSUMS = 'checkpoint', '.sha256'


class Checkpoints:
    """The checkpoints of one set of objects.

    Args:
      folder: Path; created with the first checkpoint.
      writes: Whether this process writes to the folder. Only the chief of several workers does; the
        others join in saving, because some variables are read from all workers.
      **state: Objects and variables to save, by name.
    """

    def __init__(self, folder: str, writes: bool = True, **state):
        self._folder, self._writes = folder, writes
        self._checkpoint = tf.train.Checkpoint(**state)
        self._checkpoint.save_counter       # creates it, because `Checkpoint.restore` expects it

    def save(self, epoch: int) -> None:
        """Writes the checkpoint of an epoch, over an existing one if any."""
        if not self._writes:
            with tempfile.TemporaryDirectory() as folder:
                self._checkpoint.write(os.path.join(folder, 'epoch'))
            return
        os.makedirs(self._folder, exist_ok=True)
        for version in _versions(self._folder, epoch):
            os.remove(_version_prefix(self._folder, epoch, version) + CHECKSUMS)    # outdated
        self._write(_version_prefix(self._folder, epoch, 0))

    def replace(self, epoch: int) -> None:
        """As `save`, atomically: a kill leaves the old checkpoint or the new one."""
        if not self._writes:
            self.save(epoch)
            return
        version = 1 + max(_versions(self._folder, epoch), default=0)
        self._write(_version_prefix(self._folder, epoch, version))
        self.keep(self.epochs())

    def keep(self, epochs: Iterable[int]) -> None:
        """Lists the given epochs in `checkpoint`, and removes the files of all others."""
        if not self._writes or not os.path.isdir(self._folder):
            return
        kept = [os.path.basename(_prefix(self._folder, epoch)) for epoch in sorted(epochs)]
        state = os.path.join(self._folder, STATE)
        names = [*(('model_checkpoint_path', name) for name in kept[-1:]),
                 *(('all_model_checkpoint_paths', name) for name in kept)]
        if names:
            write_whole(state, lambda file: file.writelines(
                f'{key}: "{name}"\n' for key, name in names))
        elif os.path.exists(state):
            os.remove(state)
        # Checksums first, so that a kill here leaves no checkpoint that looks damaged.
        for name in sorted(os.listdir(self._folder), key=lambda name: not name.endswith(CHECKSUMS)):
            found = re.match(r'(epoch-\d+(?:-\d+)?)[._]', name)
            if found and found[1] not in kept:
                path = os.path.join(self._folder, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def epochs(self) -> list[int]:
        """The saved epochs, newest first."""
        return saved_epochs(self._folder)

    def restore(self, epoch: int) -> typing.Any:
        """Restores the state of an epoch; returns TensorFlow's load status."""
        return self._checkpoint.restore(_prefix(self._folder, epoch))

    def _write(self, prefix):
        try:
            self._checkpoint.write(prefix)
        except tf.errors.OpError as error:
            if self._folder not in error.message:       # a lost worker, for example
                raise
            reason = re.sub(r'{{.*?}}|\[Op:.*?\]', '', error.message).rpartition('; ')[2].strip()
            raise OSError(f'the checkpoint {prefix!r} cannot be written: {reason}. Earlier '
                          f'checkpoints are intact, and training can resume from them.') from error
        _write_checksums(prefix)


def saved_epochs(folder: str) -> list[int]:
    """The epochs that have a checkpoint, complete or damaged, newest first."""
    listed = _listed(folder)
    saved = {*listed, *(epoch for epoch, _ in _files_with(folder, CHECKSUMS))}
    if not listed:
        # seqmask's first versions wrote no checksums. Without any list, epoch 1 may be half of what
        # a killed process wrote.
        written = {epoch for epoch, _ in _files_with(folder, '.index')}
        if written - {1} or os.path.exists(os.path.join(folder, STATE)):
            saved |= written
    return sorted(saved, reverse=True)


def newest_complete(folder: str) -> int | None:
    """The newest epoch with an undamaged checkpoint; None if there is no checkpoint yet.

    Logs one warning per damaged checkpoint.

    Raises:
      ValueError: If all are damaged.
    """
    faults, state = [], os.path.join(folder, STATE)
    if os.path.exists(state) and not _listed(folder):
        log.warning('damaged checkpoint list: %r names no epoch. Using the files next to it.',
                    state)
    for epoch in saved_epochs(folder):
        fault = fault_of(folder, epoch)
        if fault is None:
            for line in faults:
                log.warning('damaged checkpoint: %s. Falling back to epoch %d, %s.', line, epoch,
                            _prefix(folder, epoch))
            return epoch
        faults.append(fault)
    if not faults:
        return None
    raise ValueError(f'no checkpoint in {folder!r} can be used, all are damaged: '
                     f'{"; ".join(faults)}. Restore the folder from a backup, or choose '
                     f'another workdir.')


def fault_of(folder: str, epoch: int) -> str | None:
    """What is wrong with the files of a checkpoint, naming one; None if they are intact."""
    prefix = _prefix(folder, epoch)
    try:
        with open(prefix + CHECKSUMS, encoding='latin-1') as file:
            wanted = [re.fullmatch(r'([0-9a-f]{64})  (epoch-[\w.-]+)', line)
                      for line in file.read().splitlines()]
    except FileNotFoundError:
        return _fault_without_checksums(prefix)
    if len(wanted) < 2 or None in wanted:
        return f'{prefix + CHECKSUMS!r} holds no checksums'
    for checksum, name in (line.groups() for line in wanted):
        path = os.path.join(folder, name)
        try:
            if _checksum(path) != checksum:
                return f'{path!r} has changed since it was written: its checksum differs'
        except FileNotFoundError:
            return f'{path!r} is missing'
    return None


def _prefix(folder, epoch):
    """Path prefix of an epoch's latest version with checksums."""
    return _version_prefix(folder, epoch, max(_versions(folder, epoch), default=0))


def _version_prefix(folder, epoch, version):
    return os.path.join(folder, f'epoch-{epoch}' + (f'-{version}' if version else ''))


def _versions(folder, epoch):
    return [version for saved, version in _files_with(folder, CHECKSUMS) if saved == epoch]


def _listed(folder):
    """The epochs listed in `checkpoint`."""
    try:
        with open(os.path.join(folder, STATE), encoding='latin-1') as file:
            text = file.read()
    except FileNotFoundError:
        return []
    return [int(epoch) for epoch in re.findall(
        r'^(?:all_)?model_checkpoint_paths?: "(?:.*/)?epoch-(\d+)(?:-\d+)?"$', text, re.MULTILINE)]


def _files_with(folder, ending):
    """(epoch, version) of each file in a folder with the given ending."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = (re.fullmatch(rf'epoch-(\d+)(?:-(\d+))?{re.escape(ending)}', name) for name in names)
    return [(int(match[1]), int(match[2] or 0)) for match in matches if match]


def _write_checksums(prefix):
    paths = sorted(glob.glob(glob.escape(prefix) + '.data-*')) + [prefix + '.index']
    lines = [f'{_checksum(path, sync=True)}  {os.path.basename(path)}\n' for path in paths]
    write_whole(prefix + CHECKSUMS, lambda file: file.writelines(lines))


def _checksum(path, sync=False):
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        if sync:
            os.fsync(file.fileno())         # TensorFlow does not
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def _fault_without_checksums(prefix):
    """What is wrong with a checkpoint without checksums; None if TensorFlow can read all of it."""
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except Exception as error:              # a different type for each kind of damage
        return f'{prefix + CHECKSUMS!r} is missing, and {" ".join(str(error).split()).rstrip(".")}'
    return None
