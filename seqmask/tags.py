"""Which tags begin a span, and which continue one?"""

from __future__ import annotations

import typing
from collections.abc import Sequence

import numpy as np


class Tags(typing.NamedTuple):
    """K tags, parsed from their names.

    Attributes:
      begins: bool [K]. B tags: begin a span.
      inside: bool [K]. I tags: continue a span.
      kinds: int [K]. Index into `kind_names`; -1 for O.
      kind_names: Sorted list of str.
    """
    begins: np.ndarray
    inside: np.ndarray
    kinds: np.ndarray
    kind_names: list[str]


def read_bio(names: Sequence[str]) -> Tags:
    """Parses 'O', 'B-KIND' and 'I-KIND'; 'B' and 'I' have the kind ''.

    Raises:
      ValueError: If a name is not of this form, or is repeated.
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
