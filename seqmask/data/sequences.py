"""A collection of sequences in memory, concatenated, without padding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from seqmask.checks import TensorLike

RESERVED = ('frames', 'frames_packed', 'tokens', 'inputs', 'lengths', 'step_fields', 'label_names')


class Sequences:
    """B sequences with their frames and fields. Arrays are not copied: do not modify them.

    Sequence i has the lengths[i] frames from lengths[0] + ... + lengths[i - 1] on. Lengths are not
    changed: a zero frame at the end of a sequence stays part of it. Length 0 is legal.

    Attributes:
      frames: float [N, D]. N = sum of lengths. Whole numbers and bool become float32. Or tokens
        [N], one per step: int32, from whole numbers of any kind, or strings.
      lengths: int32 [B]. Time steps.
      steps: Dict of arrays [N, ...], one entry per frame, such as labels.
      sequences: Dict of arrays [B, ...], one entry per sequence. Both may hold strings.

    Raises:
      TypeError: If a dtype does not fit.
      ValueError: If a shape, a length or a name does not fit; the message names the sequence.

    >>> collection = seqmask.data.Sequences(
    ...     frames=[[1.], [2.], [3.]], lengths=[2, 1], steps={'labels': [0, 1, 1]})
    >>> len(collection), collection.select([1]).steps['labels']
    (2, array([1]))
    >>> seqmask.data.Sequences(['the', 'end', 'so'], [2, 1]).sequence(0)['inputs']
    array(['the', 'end'], dtype='<U3')
    """

    def __init__(self, frames: TensorLike, lengths: TensorLike,
                 steps: Mapping[str, TensorLike] | None = None,
                 sequences: Mapping[str, TensorLike] | None = None):
        self.frames = _frames('frames', frames)
        self.lengths = _lengths(lengths, len(self.frames))
        self._starts = np.cumsum(self.lengths, dtype=np.int64) - self.lengths
        self.steps = _fields('steps', steps, len(self.frames), 'frame [N, ...]')
        self.sequences = _fields('sequences', sequences, len(self), 'sequence [B, ...]')
        twice = sorted(set(self.steps) & set(self.sequences))
        if twice:
            raise ValueError(f'{twice[0]!r} is given per step and per sequence. Rename one.')

    @classmethod
    def from_list(cls, frames: Iterable[TensorLike],
                  steps: Mapping[str, Iterable[TensorLike]] | None = None,
                  sequences: Mapping[str, TensorLike] | None = None) -> Sequences:
        """A collection from one array per sequence.

        Args:
          frames: List of B arrays [length, D], or of tokens [length]. Their first axes are the
            lengths.
          steps: Dict of lists of B arrays [length, ...].
          sequences: Dict of arrays or lists [B, ...].

        Returns:
          `Sequences`.

        Raises:
          TypeError: If a dtype does not fit.
          ValueError: If a shape does not fit; the message names the sequence.

        >>> collection = seqmask.data.Sequences.from_list(
        ...     [np.ones([2, 3]), np.ones([4, 3])], sequences={'labels': [0, 1]})
        >>> collection.frames.shape, collection.lengths
        ((6, 3), array([2, 4], dtype=int32))
        """
        frames = [np.asarray(part) for part in frames]
        are_tokens = any(part.size for part in frames) and all(
            part.ndim == 1 and (not part.size or part.dtype.kind in 'iuUS') for part in frames)
        for i, part in enumerate([] if are_tokens else frames):
            if part.ndim != 2 or part.shape[1] != frames[0].shape[1]:
                size = frames[0].shape[1] if frames[0].ndim == 2 else 'D'
                raise ValueError(f'frames of sequence {i} must have shape [length, {size}], '
                                 f'got shape {part.shape}.')
        lengths = [len(part) for part in frames]
        joined = {name: _join(name, parts, lengths) for name, parts in (steps or {}).items()}
        return cls(_concatenate(frames) if frames else np.zeros([0, 0], np.float32),
                   np.array(lengths, np.int32), joined, sequences)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def are_tokens(self) -> bool:
        """Whether each step is a token, so that frames have rank 1 [N]."""
        return self.frames.ndim == 1

    def sequence(self, i: int) -> dict[str, np.ndarray | np.generic]:
        """One sequence, unpadded.

        Args:
          i: int, 0 <= i < B.

        Returns:
          Dict: 'inputs' float [length, D], or tokens [length]; 'lengths' its length; and every
          field: [length, ...] per step, [...] per sequence.

        Raises:
          ValueError: If there is no such sequence.
        """
        if not 0 <= i < len(self):
            raise ValueError(f'sequence {i} does not exist: there are {len(self)}.')
        real = slice(self._starts[i], self._starts[i] + self.lengths[i])
        return {'inputs': self.frames[real], 'lengths': self.lengths[i],
                **{name: values[real] for name, values in self.steps.items()},
                **{name: values[i] for name, values in self.sequences.items()}}

    def select(self, mask_or_indices: TensorLike) -> Sequences:
        """The chosen sequences as a new collection.

        Args:
          mask_or_indices: bool [B], True = chosen; or indices, which may repeat, in any order.

        Returns:
          `Sequences`.

        Raises:
          TypeError: If the argument is neither bool nor whole numbers.
          ValueError: If its shape does not fit, or there is no such sequence.

        >>> collection = seqmask.data.Sequences(np.zeros([3, 1]), [1, 0, 2])
        >>> collection.select(collection.lengths > 0).lengths
        array([1, 2], dtype=int32)
        """
        chosen = np.asarray(mask_or_indices)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise ValueError(f'a mask must have one entry for each of the {len(self)} '
                                 f'sequences [B], got shape {chosen.shape}.')
            chosen = np.flatnonzero(chosen)
        elif chosen.size and chosen.dtype.kind not in 'iu':
            raise TypeError(f'select takes a bool mask or whole numbers, got {chosen.dtype}.')
        if chosen.ndim != 1:
            raise ValueError(f'indices must have rank 1, got shape {chosen.shape}.')
        wrong = chosen[(chosen < 0) | (chosen >= len(self))]
        if wrong.size:
            raise ValueError(f'sequence {wrong[0]} does not exist: there are {len(self)}.')
        chosen = chosen.astype(np.int64)
        lengths = self.lengths[chosen]
        # Each new step comes from its own number, shifted as its sequence is.
        new_starts = np.cumsum(lengths, dtype=np.int64) - lengths
        places = np.repeat(self._starts[chosen] - new_starts, lengths) + np.arange(lengths.sum())
        return Sequences(self.frames[places], lengths,
                         {name: values[places] for name, values in self.steps.items()},
                         {name: values[chosen] for name, values in self.sequences.items()})

    def cast(self, dtype: str | np.dtype) -> Sequences:
        """The collection with its frames in another dtype; tokens stay as they are.

        Args:
          dtype: 'float16', 'float32' or 'float64'.

        Returns:
          `Sequences`.

        Raises:
          ValueError: If a finite value is beyond the range of dtype; the message names the sequence
            and the step.

        >>> seqmask.data.Sequences(np.ones([3, 1]), [2, 1]).cast('float32').frames.dtype
        dtype('float32')
        """
        if self.are_tokens:
            return self
        return Sequences(cast_frames('frames', self.frames, self.lengths, dtype), self.lengths,
                         self.steps, self.sequences)


def cast_frames(name: str, frames: np.ndarray, lengths: np.ndarray,
                dtype: str | np.dtype) -> np.ndarray:
    """Frames [N, D] in another dtype; a finite value beyond its range is an error that names it."""
    with np.errstate(over='ignore'):
        cast = frames.astype(dtype, copy=False)     # inf beyond its range
    if cast.dtype.itemsize < frames.dtype.itemsize:
        lost = np.isfinite(frames) & ~np.isfinite(cast)
        for frame in np.flatnonzero(lost.any(axis=1))[:1]:
            sequence, step = place_of(frame, lengths)
            raise ValueError(f'{name} must be in the range of {cast.dtype}; sequence {sequence} '
                             f'holds {frames[frame][lost[frame]][0]} at step {step}.')
    return cast


def require_sequences(value: object) -> None:
    """Refuses anything but a `Sequences`."""
    if not isinstance(value, Sequences):
        raise TypeError(f'sequences must be a Sequences, got {type(value).__name__}.')


def place_of(frame: int, lengths: np.ndarray) -> tuple[int, int]:
    """(sequence, step in it) of a frame, counted through all sequences."""
    ends = np.cumsum(lengths, dtype=np.int64)
    sequence = int(np.searchsorted(ends, frame, side='right'))
    return sequence, int(frame - (ends[sequence] - lengths[sequence]))


def _frames(name, value):
    value = np.asarray(value)
    if value.ndim == 1 and value.dtype.kind in 'iuUS':
        return as_tokens(name, value)
    if value.ndim != 2:
        raise ValueError(f'{name} must have rank 2 [N, D], or be whole numbers or strings of rank '
                         f'1 [N], which are tokens; got {value.dtype} of shape {value.shape}.')
    if value.dtype.kind in 'biu':
        return value.astype(np.float32)
    if value.dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f'{name} must be numbers, float16, float32 or float64, '
                        f'got {value.dtype}.')
    return value


def as_tokens(name: str, values: np.ndarray) -> np.ndarray:
    """Tokens [N] as int32 or str."""
    if values.dtype.kind == 'S':
        return np.char.decode(values, 'utf-8')
    if values.dtype.kind == 'U':
        return values
    for token in (values.min(initial=0), values.max(initial=0)):
        if not -2**31 <= token < 2**31:
            raise ValueError(f'{name} must be in the range of int32, got the token {token}.')
    return values.astype(np.int32)


def _lengths(value, num_frames):
    value = np.asarray(value)
    if value.size == 0:
        value = value.astype(np.int32)      # an empty list is float64 to NumPy
    if value.dtype not in (np.int32, np.int64):
        raise TypeError(f'lengths must be int32 or int64 [B], got {value.dtype}.')
    if value.ndim != 1:
        raise ValueError(f'lengths must have rank 1 [B], got shape {value.shape}.')
    # One by one first: the sum of absurd lengths may overflow to the right number.
    for i in np.flatnonzero((value < 0) | (value > num_frames)):
        problem = 'is negative' if value[i] < 0 else f'exceeds the {num_frames} frames in all'
        raise ValueError(f'lengths must be numbers of frames; that of sequence {i} is {value[i]}, '
                         f'which {problem}.')
    if value.sum(dtype=np.int64) != num_frames:
        raise ValueError(f'lengths must sum to the number of frames; {len(value)} lengths sum to '
                         f'{value.sum(dtype=np.int64)}, and there are {num_frames} frames.')
    return value.astype(np.int32)


def _fields(kind, fields, size, axis):
    checked = {}
    for name, value in (fields or {}).items():
        if not isinstance(name, str) or not name or name in RESERVED:
            raise ValueError(f'{kind} must be named by strings other than {", ".join(RESERVED)}; '
                             f'got {name!r}.')
        value = np.asarray(value)
        if value.dtype.kind not in 'biufUS':
            raise TypeError(f'{kind}[{name!r}] must be numbers, bool or strings, '
                            f'got {value.dtype}.')
        if value.ndim == 0 or len(value) != size:
            raise ValueError(f'{kind}[{name!r}] must have one entry for each {axis}, {size} in '
                             f'all, got shape {value.shape}.')
        checked[name] = value
    return checked


def _join(name, parts, lengths):
    parts = [np.asarray(part) for part in parts]
    if len(parts) != len(lengths):
        raise ValueError(f'steps[{name!r}] must have one entry for each of the {len(lengths)} '
                         f'sequences, got {len(parts)}.')
    for i, (part, length) in enumerate(zip(parts, lengths)):
        if part.ndim == 0 or len(part) != length:
            raise ValueError(f'steps[{name!r}] of sequence {i} must have one entry for each of its '
                             f'{length} frames, got shape {part.shape}.')
    first = next((part for part in parts if len(part)), None)
    for i, part in enumerate(parts):
        if len(part) and part.shape[1:] != first.shape[1:]:
            raise ValueError(f'steps[{name!r}] of sequence {i} must have shape [length, ...] with '
                             f'{first.shape[1:]} after the length, got shape {part.shape}.')
    return _concatenate(parts) if parts else np.zeros([0], np.int32)


def _concatenate(parts):
    # An empty list is float64 to NumPy, which would turn integer labels into floats.
    return np.concatenate([part for part in parts if len(part)] or parts[:1])
