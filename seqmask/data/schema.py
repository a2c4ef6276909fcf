"""What a source of sequences holds: names, dtypes, shapes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from seqmask import checks
from seqmask.data.sequences import RESERVED, Sequences


class Field(NamedTuple):
    """One entry of a schema.

    Attributes:
      dtype: `tf.DType`.
      shape: Tuple of ints, without the leading axis of steps or sequences.
      per: 'step' or 'sequence': what each entry belongs to.

    >>> seqmask.data.Field(tf.int32, (), 'step').dtype.name
    'int32'
    """

    dtype: tf.DType
    shape: tuple[int, ...]
    per: str


class Schema:
    """What a source holds: for each name a dtype, a shape, and whether per step or per sequence.

    There is always 'inputs', per step: features, floating-point of rank 1 [D]; or tokens, integers
    or strings of rank 0. 'lengths' is implied.

    Attributes:
      fields: Dict of name -> `Field`, 'inputs' first.

    Args:
      fields: Dict of name -> `Field`, or (dtype, shape, per).

    Raises:
      TypeError: If a dtype does not fit.
      ValueError: If a name, a shape or a `per` does not fit; the message names the field.

    >>> schema = seqmask.data.Schema({'inputs': ('float32', [63], 'step'),
    ...                               'labels': ('int32', [], 'step'),
    ...                               'word': ('string', [], 'sequence')})
    >>> print(schema)
    inputs  float32  [63]  per step
    labels  int32    []    per step
    word    string   []    per sequence
    >>> schema.element_spec['inputs']
    TensorSpec(shape=(None, 63), dtype=tf.float32, name=None)
    >>> seqmask.data.Schema.from_json(schema.to_json()) == schema
    True
    """

    def __init__(self, fields: Mapping[str, Field | tuple]):
        checked = {name: _field(name, *field) for name, field in dict(fields).items()}
        if 'inputs' not in checked:
            raise ValueError(f"a schema must have 'inputs', the features or token of a step, got "
                             f"{', '.join(map(repr, checked)) or 'no fields'}.")
        inputs = checked.pop('inputs')
        is_token = not inputs.shape and (inputs.dtype.is_integer or inputs.dtype == tf.string)
        if not (is_token or inputs.dtype.is_floating):
            raise TypeError(f"'inputs' must be floating-point, or tokens, integers or strings of "
                            f'shape [], got {inputs.dtype.name} of shape {list(inputs.shape)}.')
        if inputs.per != 'step' or not is_token and len(inputs.shape) != 1:
            raise ValueError(f"'inputs' must have shape [D] per step, got {list(inputs.shape)} per "
                             f'{inputs.per}.')
        self.fields = {'inputs': inputs, **checked}

    @classmethod
    def of(cls, sequences: Sequences) -> Schema:
        """The schema of a collection in memory.

        Args:
          sequences: `Sequences`.

        Returns:
          `Schema`.

        Raises:
          TypeError: If TensorFlow has no such dtype.

        >>> print(seqmask.data.Schema.of(seqmask.data.Sequences([[1.], [2.]], [2])))
        inputs  float64  [1]  per step
        """
        def field(name, values, per):
            return Field(tensor_dtype(name, values.dtype), values.shape[1:], per)

        return cls({'inputs': field('inputs', sequences.frames, 'step'),
                    **{name: field(name, values, 'step')
                       for name, values in sequences.steps.items()},
                    **{name: field(name, values, 'sequence')
                       for name, values in sequences.sequences.items()}})

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """The schema that `to_json` wrote.

        Args:
          text: String.

        Returns:
          `Schema`.

        Raises:
          ValueError: If it is anything else.
        """
        try:
            return cls({name: (field['dtype'], field['shape'], field['per'])
                        for name, field in json.loads(text).items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'this is not the JSON of a schema: {error}') from error

    def to_json(self) -> str:
        """The schema as a line of JSON, which `from_json` reads."""
        return json.dumps({name: {'dtype': field.dtype.name, 'shape': field.shape,
                                  'per': field.per} for name, field in self.fields.items()})

    @property
    def steps(self) -> list[str]:
        """Names of the fields per step, 'inputs' first."""
        return [name for name, field in self.fields.items() if field.per == 'step']

    @property
    def sequences(self) -> list[str]:
        """Names of the fields per sequence, 'lengths' not among them."""
        return [name for name, field in self.fields.items() if field.per == 'sequence']

    @property
    def element_spec(self) -> dict[str, tf.TensorSpec]:
        """Dict of `tf.TensorSpec` of one unpadded sequence.

        'inputs' [None, D], of tokens [None], 'lengths' int32 scalar, [None, ...] per step, [...]
        per sequence.
        """
        spec = {name: tf.TensorSpec([None] * (field.per == 'step') + list(field.shape), field.dtype)
                for name, field in self.fields.items()}
        return {'inputs': spec.pop('inputs'), 'lengths': tf.TensorSpec([], tf.int32), **spec}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schema):
            return NotImplemented
        return self.fields == other.fields

    def __hash__(self) -> int:
        return hash(frozenset(self.fields.items()))

    def __str__(self) -> str:
        rows = [(name, field.dtype.name, str(list(field.shape)), f'per {field.per}')
                for name, field in self.fields.items()]
        widths = [max(map(len, column)) for column in zip(*rows)]
        return '\n'.join('  '.join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                         for row in rows)

    def __repr__(self) -> str:
        return f'Schema.from_json({self.to_json()!r})'


def tensor_dtype(name: str, dtype: np.dtype) -> tf.DType:
    """The `tf.DType` of a field's NumPy dtype, strings of any kind; a TypeError names the field."""
    dtype = np.dtype(dtype)
    if dtype.kind in 'USO':
        return tf.string
    try:
        return tf.as_dtype(dtype.newbyteorder('='))
    except TypeError as error:
        raise TypeError(f'{name!r} must be of a dtype that TensorFlow has, got {dtype}.') from error


def _field(name, dtype, shape, per):
    if not isinstance(name, str) or not name or name in RESERVED and name != 'inputs':
        raise ValueError(f'fields must be named by strings other than {", ".join(RESERVED)}; '
                         f'got {name!r}.')
    try:
        dtype = tf.as_dtype(dtype)
    except TypeError as error:
        raise TypeError(f'{name!r} must be of a dtype that TensorFlow has, got '
                        f'{dtype!r}.') from error
    if not (dtype.is_floating or dtype.is_integer or dtype in (tf.bool, tf.string)):
        raise TypeError(f'{name!r} must be numbers, bool or strings, got {dtype.name}.')
    shape = tuple(checks.size(f'a size of {name!r}', size, minimum=0) for size in shape)
    return Field(dtype, shape, checks.choice(f'per of {name!r}', per, ['step', 'sequence']))
