"""Statistics of the real steps of any source, in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from seqmask.checks import TensorLike
from seqmask.data.sequences import Sequences
from seqmask.data.stream import Stream

MOST_FRAMES = 1 << 16     # at a time


class Moments:
    """Number, mean, squared deviations and range of the finite values of each of D features.

    In float64, and merged part by part, so that neither an offset nor many steps cost precision.

    Source: Chan, Golub, LeVeque. Updating formulae and a pairwise algorithm for computing sample
      variances. COMPSTAT, 1982.
    """

    def __init__(self, size: int):
        self.steps = 0
        self.count = np.zeros(size, np.int64)
        self.mean = np.zeros(size)
        self.squares = np.zeros(size)
        self.low = np.full(size, np.inf)
        self.high = np.full(size, -np.inf)

    def add(self, frames: np.ndarray) -> None:
        """Merges in the moments of frames [N, D], by Chan's formula."""
        frames = frames.astype(np.float64)
        if frames.shape[1:] != self.mean.shape:
            raise ValueError(f'all inputs must have the same number of features, got '
                             f'{frames.shape[1]} after {len(self.mean)}.')
        finite = np.isfinite(frames)
        count = finite.sum(axis=0)
        self.steps += len(frames)
        total = self.count + count
        # What overflows becomes inf, which `Standardizer` refuses.
        with np.errstate(over='ignore', invalid='ignore'):
            mean = np.where(finite, frames, 0).sum(axis=0) / np.maximum(count, 1)
            squares = np.where(finite, (frames - mean)**2, 0).sum(axis=0)
            shift = mean - self.mean
            self.squares += squares + shift**2 * (self.count * (count / np.maximum(total, 1)))
            self.mean += shift * (count / np.maximum(total, 1))
        low = np.where(finite, frames, np.inf).min(axis=0, initial=np.inf)
        high = np.where(finite, frames, -np.inf).max(axis=0, initial=-np.inf)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.count = total

    def standard(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each feature; 1 where it is constant."""
        constant = self.low == self.high        # exactly; a sum of equals is rounded
        return (np.where(constant, self.low, self.mean),
                np.where(constant, 1.0, np.sqrt(self.squares / self.count)))

    def minmax(self) -> tuple[np.ndarray, np.ndarray]:
        """Minimum and range of each feature; 1 where it is constant."""
        return self.low, np.where(self.low == self.high, 1.0, self.high - self.low)


def real_frames(
        source: Sequences | Stream | Iterable[Mapping[str, TensorLike]]) -> Iterator[np.ndarray]:
    """The real frames of a source, [N, D] at a time; tokens are refused."""
    for frames in _real_steps(source):
        if frames.ndim != 2:
            raise ValueError(f'a Standardizer scales features [N, D], got {frames.dtype} of shape '
                             f'{frames.shape}: tokens have no scale.')
        yield frames


def _real_steps(source):
    if isinstance(source, Sequences):
        for start in range(0, len(source.frames), MOST_FRAMES):
            yield source.frames[start:start + MOST_FRAMES]
    elif isinstance(source, Stream):
        for chunk in source.chunks():
            yield chunk['inputs']
    elif isinstance(source, Iterable) and not isinstance(source, (np.ndarray, dict, str)):
        for batch in source:
            inputs, lengths = np.asarray(batch['inputs']), np.asarray(batch['lengths'])
            yield inputs[np.arange(inputs.shape[1]) < lengths[:, None]]
    else:
        raise TypeError(f'source must be Sequences, a Stream or batches, got '
                        f'{type(source).__name__}.')
