"""Collections of sequences, and assertions shared by the tests of all readers."""

import contextlib
import os
import subprocess
import sys

import numpy as np
import pytest

from seqmask import data

LENGTHS = [3, 0, 1, 5, 2, 0]


def collection(lengths=LENGTHS, dtype=np.float32, seed=0):
    """Sequences with fields of many dtypes."""
    rng = np.random.default_rng(seed)
    total, count = sum(lengths), len(lengths)
    return data.Sequences(
        rng.normal(size=[total, 2]).astype(dtype), np.array(lengths, np.int32),
        {'labels': rng.integers(-2**31, 2**31, total).astype(np.int32),
         'pose': rng.normal(size=[total, 3, 2]), 'seen': rng.random(total) < 0.5},
        {'word': np.array([f'wört {k}' * k for k in range(count)], dtype='U40'),
         'big': rng.integers(2**63, 2**64 - 1, count, dtype=np.uint64),
         'half': rng.normal(size=[count, 2]).astype(np.float16),
         'id': np.arange(count) - 2**62})


def assert_same(actual, expected):
    """Names, shapes, dtypes and bits are equal; strings may have another width."""
    pairs = [('frames', actual.frames, expected.frames),
             ('lengths', actual.lengths, expected.lengths)]
    for kind in ('steps', 'sequences'):
        ours, theirs = getattr(actual, kind), getattr(expected, kind)
        assert set(ours) == set(theirs)
        pairs += [(name, ours[name], theirs[name]) for name in ours]
    for name, ours, theirs in pairs:
        assert ours.shape == theirs.shape, name
        if theirs.dtype.kind == 'U':
            assert ours.dtype.kind == 'U' and ours.tolist() == theirs.tolist(), name
        else:
            assert ours.dtype == theirs.dtype, name
            assert ours.tobytes() == theirs.tobytes(), name


def assert_examples(stream, expected):
    """The stream yields the sequences of `expected`, in order, each time it is read."""
    dataset = stream.examples()
    assert dataset.element_spec == stream.schema.element_spec
    for _ in range(2):
        actual = list(dataset.as_numpy_iterator())
        assert len(actual) == len(expected)
        for i, example in enumerate(actual):
            sequence = expected.sequence(i)
            assert set(example) == set(sequence)
            for name, value in sequence.items():
                value = np.asarray(value)
                if value.dtype.kind == 'U':
                    value = np.array([v.encode() for v in value.ravel()],
                                     dtype=object).reshape(value.shape)
                np.testing.assert_array_equal(example[name], value)


def assert_refused(open_source, message):
    """Reading fails with one sentence, the same from NumPy's side and through tf.data."""
    with pytest.raises(ValueError, match=message) as caught:
        open_source().to_sequences()
    assert '\n' not in str(caught.value)
    try:
        stream = open_source()
    except ValueError:
        return
    with pytest.raises(type(caught.value)) as raised:
        list(data.StreamBatches(stream, 2))
    assert str(raised.value) == str(caught.value)


@contextlib.contextmanager
def full_disk():
    """No file may grow beyond 1,000 bytes, here and in the processes that are started."""
    resource = pytest.importorskip('resource', reason='the system has no limit of file sizes')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def flips(whole, count, seed=0):
    """Yields `count` copies of the bytes, each with one random bit flipped."""
    rng = np.random.default_rng(seed)
    for place, bit in zip(rng.integers(0, len(whole), count), rng.integers(0, 8, count)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        yield bytes(damaged)


GROWTH = '''
import sys
from seqmask import data

def memory(line):
    with open("/proc/self/status") as file:
        return next(int(text.split()[1]) * 1024 for text in file if text.startswith(line))

opened, read, small, large = sys.argv[1:]
def steps(path):
    if read == "to_sequences":
        return len(getattr(data, opened)(path).to_sequences().frames)
    return sum(int(example["lengths"]) for example in getattr(data, opened)(path).examples())
steps(small)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")         # resets the peak, which would include the imports
before = memory("VmRSS:")
number = steps(large)
print(number, memory("VmHWM:") - before)
'''


def growth(opened, small, large, read='examples'):
    """(steps, bytes by which peak memory rises while `large` is read)."""
    if not os.access('/proc/self/clear_refs', os.W_OK):
        pytest.skip('only Linux can reset the peak of resident memory')
    done = subprocess.run([sys.executable, '-c', GROWTH, opened, read, str(small), str(large)],
                          capture_output=True, text=True, timeout=110,
                          env={**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'})
    assert done.returncode == 0, done.stderr
    number, grown = done.stdout.split()
    return int(number), int(grown)


def many_steps(sequences):
    """Sequences of 200 steps and 64 features each."""
    frames = np.random.default_rng(0).normal(size=[200 * sequences, 64]).astype(np.float32)
    return data.Sequences(frames, np.full(sequences, 200, np.int32))
