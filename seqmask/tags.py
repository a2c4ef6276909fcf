"""What do the names of tags say? Which begin a span, and which go on with it."""

from __future__ import annotations

import typing
from collections.abc import Sequence

import numpy as np


class Tags(typing.NamedTuple):
    """The names of K tags, read.

    Attributes:
      begins: bool [K]. B: begins a span.
      inside: bool [K]. I: goes on with one.
      kinds: int [K]. The number of the span's kind, -1 for O.
      kind_names: list of the kinds' names, sorted.
    """
    begins: np.ndarray
    inside: np.ndarray
    kinds: np.ndarray
    kind_names: list[str]


def read_bio(names: Sequence[str]) -> Tags:
    """Reads 'O', 'B-KIND' and 'I-KIND'; 'B' and 'I' are of the kind ''.

    Raises:
      ValueError: If a name is none of these, or stands twice.
    """
    names = [str(name) for name in names]
    parts = [name.partition('-') for name in names]
    for name, (prefix, dash, kind) in zip(names, parts):
        if prefix not in ('O', 'B', 'I') or prefix == 'O' and dash or bool(dash) != bool(kind):
            raise ValueError(f"names of tags must be 'O', 'B-KIND' or 'I-KIND', got {name!r}.")
    if len(set(names)) < len(names):
        raise ValueError(f'names of tags must differ, got {names}.')
    kind_names = sorted({kind for prefix, _, kind in parts if prefix != 'O'})
    kinds = [-1 if prefix == 'O' else kind_names.index(kind) for prefix, _, kind in parts]
    return Tags(np.array([prefix == 'B' for prefix, _, _ in parts], bool),
                np.array([prefix == 'I' for prefix, _, _ in parts], bool),
                np.array(kinds, int), kind_names)
