"""Checkpoints in a folder, one an epoch: each is whole, or is known not to be.

  epoch-7.data-00000-of-00001, epoch-7.index    as TensorFlow writes them
  epoch-7.sha256                                their checksums, as `sha256sum -c` reads them
  epoch-7-1.*                                   what replaced them, its first version
  checkpoint                                    the newest one, for `tf.train.latest_checkpoint`

They are written in this order, and only then are older ones removed. So a kill leaves the newest
whole one as it was, and what it left half-written has no checksums and is not listed. A checkpoint
counts from the moment its checksums appear, which is one rename; of several versions of an epoch
the latest with checksums is the one. So whoever reads has nothing to finish, and never writes.
`tf.train.CheckpointManager` would remove older ones before the newer one has its checksums, and
believes whatever stands in `checkpoint`.
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
      folder: Path; made when the first one is saved.
      writes: Whether this process keeps what it saves; of several workers the chief alone does, and
        the others take part in saving, because some variables are read from all of them.
      state: Objects and variables to save, by name.
    """

    def __init__(self, folder: str, writes: bool = True, **state):
        self._folder, self._writes = folder, writes
        self._checkpoint = tf.train.Checkpoint(**state)
        self._checkpoint.save_counter       # now, since `Checkpoint.restore` looks for it

    def save(self, epoch: int) -> None:
        """Adds the checkpoint of an epoch, or replaces it."""
        if not self._writes:
            with tempfile.TemporaryDirectory() as folder:
                self._checkpoint.write(os.path.join(folder, 'epoch'))
            return
        os.makedirs(self._folder, exist_ok=True)
        for version in _versions(self._folder, epoch):
            os.remove(_named(self._folder, epoch, version) + CHECKSUMS)     # of another state
        self._seal(_named(self._folder, epoch, 0))

    def replace(self, epoch: int) -> None:
        """As `save`, of an epoch that is needed: a kill leaves the old one or the new one."""
        if not self._writes:
            self.save(epoch)
            return
        version = 1 + max(_versions(self._folder, epoch), default=0)
        self._seal(_named(self._folder, epoch, version))
        self.keep(self.epochs())

    def keep(self, epochs: Iterable[int]) -> None:
        """Records the given epochs, and removes all other files, half-written ones included."""
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
        # Checksums first: without them, what a kill leaves is not taken for a damaged checkpoint.
        for name in sorted(os.listdir(self._folder), key=lambda name: not name.endswith(CHECKSUMS)):
            found = re.match(r'(epoch-\d+(?:-\d+)?)[._]', name)
            if found and found[1] not in kept:
                path = os.path.join(self._folder, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)

    def epochs(self) -> list[int]:
        """Numbers of the epochs that were saved, the newest first."""
        return saved_epochs(self._folder)

    def restore(self, epoch: int) -> typing.Any:
        """Puts an epoch's state back; returns TensorFlow's load status."""
        return self._checkpoint.restore(_prefix(self._folder, epoch))

    def _seal(self, prefix):
        try:
            self._checkpoint.write(prefix)
        except tf.errors.OpError as error:
            if self._folder not in error.message:       # a worker that is gone, say
                raise
            said = re.sub(r'{{.*?}}|\[Op:.*?\]', '', error.message).rpartition('; ')[2].strip()
            raise OSError(f'the checkpoint {prefix!r} cannot be written: {said}. What was saved '
                          f'before is as it was, and training can go on from there.') from error
        _write_checksums(prefix)


def saved_epochs(folder: str) -> list[int]:
    """Numbers of the epochs that have a checkpoint, whole or damaged, the newest first."""
    listed = _listed(folder)
    saved = {*listed, *(epoch for epoch, _ in _files_with(folder, CHECKSUMS))}
    if not listed:
        # Those of seqmask's first versions have no checksums. But the first epoch's may be half of
        # what a kill left, if no list was ever written.
        written = {epoch for epoch, _ in _files_with(folder, '.index')}
        if written - {1} or os.path.exists(os.path.join(folder, STATE)):
            saved |= written
    return sorted(saved, reverse=True)


def newest_whole(folder: str) -> int | None:
    """The newest epoch whose checkpoint is whole; None if there is no checkpoint yet.

    Each damaged one is told in one warning.

    Raises:
      ValueError: If all are damaged.
    """
    faults, state = [], os.path.join(folder, STATE)
    if os.path.exists(state) and not _listed(folder):
        log.warning('damaged checkpoint list: %r names no epoch. Going by the files beside it.',
                    state)
    for epoch in saved_epochs(folder):
        fault = fault_of(folder, epoch)
        if fault is None:
            for line in faults:
                log.warning('damaged checkpoint: %s. Going back to epoch %d, %s.', line, epoch,
                            _prefix(folder, epoch))
            return epoch
        faults.append(fault)
    if not faults:
        return None
    raise ValueError(f'no checkpoint in {folder!r} can be used, all are damaged: '
                     f'{"; ".join(faults)}. Put the folder back from a copy, or choose another '
                     f'workdir to begin anew.')


def fault_of(folder: str, epoch: int) -> str | None:
    """What is wrong with the files of a checkpoint, naming one; None if they are as written."""
    prefix = _prefix(folder, epoch)
    try:
        with open(prefix + CHECKSUMS, encoding='latin-1') as file:
            wanted = [re.fullmatch(r'([0-9a-f]{64})  (epoch-[\w.-]+)', line)
                      for line in file.read().splitlines()]
    except FileNotFoundError:
        return _unreadable(prefix)
    if len(wanted) < 2 or None in wanted:
        return f'{prefix + CHECKSUMS!r} holds no checksums'
    for checksum, name in (line.groups() for line in wanted):
        path = os.path.join(folder, name)
        try:
            if _checksum(path) != checksum:
                return f'{path!r} is not as it was written, its checksum is another'
        except FileNotFoundError:
            return f'{path!r} is missing'
    return None


def _prefix(folder, epoch):
    """Of the files of an epoch's latest version with checksums."""
    return _named(folder, epoch, max(_versions(folder, epoch), default=0))


def _named(folder, epoch, version):
    return os.path.join(folder, f'epoch-{epoch}' + (f'-{version}' if version else ''))


def _versions(folder, epoch):
    return [version for of, version in _files_with(folder, CHECKSUMS) if of == epoch]


def _listed(folder):
    """The epochs that stand in `checkpoint`, whoever wrote it."""
    try:
        with open(os.path.join(folder, STATE), encoding='latin-1') as file:
            text = file.read()
    except FileNotFoundError:
        return []
    return [int(epoch) for epoch in re.findall(
        r'^(?:all_)?model_checkpoint_paths?: "(?:.*/)?epoch-(\d+)(?:-\d+)?"$', text, re.MULTILINE)]


def _files_with(folder, ending):
    """(epoch, version) of the files in a folder that end like that."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = (re.fullmatch(rf'epoch-(\d+)(?:-(\d+))?{re.escape(ending)}', name) for name in names)
    return [(int(of[1]), int(of[2] or 0)) for of in found if of]


def _write_checksums(prefix):
    paths = sorted(glob.glob(glob.escape(prefix) + '.data-*')) + [prefix + '.index']
    lines = [f'{_checksum(path, sync=True)}  {os.path.basename(path)}\n' for path in paths]
    write_whole(prefix + CHECKSUMS, lambda file: file.writelines(lines))


def _checksum(path, sync=False):
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        if sync:
            os.fsync(file.fileno())         # TensorFlow leaves that to the system
        for block in iter(lambda: file.read(1 << 20), b''):
            digest.update(block)
    return digest.hexdigest()


def _unreadable(prefix):
    """What is wrong with a checkpoint without checksums; None if TensorFlow can read it all."""
    try:
        reader = tf.train.load_checkpoint(prefix)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except Exception as error:              # the reader has a type for each way to be damaged
        return f'{prefix + CHECKSUMS!r} is missing, and {" ".join(str(error).split()).rstrip(".")}'
    return None
