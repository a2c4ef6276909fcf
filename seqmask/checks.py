"""Is this argument legal? One style for every error.

A wrong shape or dtype raises `ValueError` or `TypeError` at once, also while a graph is traced;
wrong values raise `tf.errors.InvalidArgumentError` when they are known. A legend such as 'B, T, D'
names the axes; one that ends in '...' allows any number of further axes.
"""

from __future__ import annotations

import os
import typing
from collections.abc import Collection

import numpy as np
import tensorflow as tf

from seqmask import known

# What an operation accepts as a tensor (tensors, arrays, numbers, lists of these), and as a path.
TensorLike = tf.types.experimental.TensorLike
PathLike = typing.Union[str, os.PathLike]


def require(condition: TensorLike, message: str, *values: TensorLike) -> tf.Operation | None:
    """Raises InvalidArgumentError, showing values, unless `condition`, a bool scalar, holds.

    Eagerly, or if the condition is known while a graph is traced, it raises at once. Otherwise it
    returns the operation that raises, for `after`.
    """
    if tf.executing_eagerly() or not tf.is_tensor(condition):
        if not bool(condition):
            shown = ', '.join(str(np.asarray(value).tolist()) for value in values)
            raise tf.errors.InvalidArgumentError(None, None, f'{message} {shown}.')
        return None
    return tf.debugging.Assert(condition, [message, *values], summarize=8)


def after(requirements: list[tf.Operation | None], value: tf.Tensor) -> tf.Tensor:
    """`value`, with a control dependency on `requirements`: a graph checks before it uses it."""
    if tf.executing_eagerly():
        return value
    with tf.control_dependencies([r for r in requirements if r is not None]):
        return tf.identity(value)


def dense(name: str, value: TensorLike, dtype: str | tf.DType | None = None) -> tf.Tensor:
    """`value` as a dense tensor; ragged ones are refused."""
    not_ragged(name, value)
    return tf.convert_to_tensor(value, dtype=dtype)


def not_ragged(name: str, value: TensorLike) -> None:
    """Refuses a `tf.RaggedTensor`, with the call that pads it."""
    if isinstance(value, tf.RaggedTensor):
        raise TypeError(f'{name} must be a padded tensor, got a tf.RaggedTensor. Pad it with '
                        f'padded, lengths = seqmask.from_ragged(ragged).')


def tensor(name: str, value: TensorLike, legend: str,
           dtype: str | tf.DType | None = None) -> tf.Tensor:
    """`value` as a tensor of the rank of `legend`, e.g. 'B, T, D' or 'B, T, ...'."""
    value = dense(name, value, dtype)
    axes = [axis for axis in legend.split(', ') if axis != '...']
    open_ended = legend.endswith('...')
    if value.shape.rank is None and not open_ended:
        value = tf.ensure_shape(value, [None] * len(axes))
    known_rank(name, value)
    rank = value.shape.rank
    if rank < len(axes) if open_ended else rank != len(axes):
        at_least = 'at least ' if open_ended else ''
        raise ValueError(f'{name} must have rank {at_least}{len(axes)} [{legend}], '
                         f'got shape {shown(value.shape)}.')
    return value


def floating(name: str, value: TensorLike, legend: str,
             dtype: tf.DType | None = None) -> tf.Tensor:
    """`value` as a floating-point tensor of the rank of `legend`; of `dtype`, if given, uncast."""
    value = tensor(name, value, legend)
    if not value.dtype.is_floating:
        raise TypeError(f'{name} must be floating-point [{legend}], got {value.dtype.name}. '
                        f'Cast with tf.cast({name}, tf.float32).')
    if dtype is not None and value.dtype != dtype:
        raise TypeError(f'{name} must have the dtype of the layer, {dtype.name}, got '
                        f'{value.dtype.name}. Cast them, or build the layer with '
                        f'dtype={value.dtype.name!r}.')
    return value


def float_dtype(name: str, value: str | tf.DType) -> tf.DType:
    """`value` as a floating-point `tf.DType`."""
    value = tf.as_dtype(value)
    if not value.is_floating:
        raise TypeError(f'{name} must be floating-point, got {value.name}.')
    return value


def lengths(value: TensorLike, batch: TensorLike | None = None,
            maxlen: TensorLike | None = None, name: str = 'lengths') -> tf.Tensor:
    """`lengths` as int32 [B], checked: 0 <= lengths <= maxlen, one for each of `batch` rows.

    They are clipped, too, because XLA and TensorFlow Lite drop checks of values. While a graph is
    traced, lengths are not checked again against sizes that are known to be the same.
    """
    checked = known.checked_already(value, batch, maxlen)
    if checked is not None:
        return checked
    if value is None:
        raise TypeError(f'{name} must be int32 or int64 [B], got None.')
    if not tf.is_tensor(value):
        value = np.asarray(value)
        if value.size == 0:
            value = value.astype(np.int32)      # NumPy makes an empty list float64
    if value.dtype not in (tf.int32, tf.int64):
        raise TypeError(f'{name} must be int32 or int64 [B], got {tf.as_dtype(value.dtype).name}. '
                        f'Lengths are counted in steps; cast with tf.cast({name}, tf.int32).')
    value = tensor(name, value, 'B')
    requirements = []
    if batch is not None:
        static = tf.get_static_value(batch)
        if static is not None and value.shape[0] is not None:
            if int(static) != value.shape[0]:
                raise ValueError(f'{name} must have one entry for each of the {int(static)} '
                                 f'sequences [B], got shape {shown(value.shape)}.')
        else:
            requirements.append(require(
                tf.equal(tf.size(value), batch),
                f'{name} must have one entry for each sequence [B]; entries and sequences are',
                tf.size(value), batch))
    bound = None
    if maxlen is not None:
        maxlen = tf.convert_to_tensor(maxlen)
        if not maxlen.dtype.is_integer:
            raise TypeError(f'maxlen must be an int or an int scalar, got {maxlen.dtype.name}.')
        bound = tf.cast(maxlen, value.dtype)
    requirements += _in_range(name, value, bound)
    checked = after(requirements, value)
    if not tf.executing_eagerly():
        # Not with minimum and maximum, which TensorFlow Lite fuses to a float relu6 where T = 6.
        checked = tf.where(checked < 0, tf.zeros_like(checked), checked)
        checked = checked if bound is None else tf.where(checked > bound, bound, checked)
    return known.checked(tf.cast(checked, tf.int32), batch, maxlen, raw=value)


def _in_range(name, lengths, maxlen):
    values = [tf.get_static_value(x) for x in (lengths, maxlen) if x is not None]
    reduce_all = tf.reduce_all
    if not any(value is None for value in values):      # also while a graph is traced
        lengths, maxlen, reduce_all = values[0], None if maxlen is None else values[1], np.all
    requirements = [require(reduce_all(lengths >= 0), f'{name} must not be negative, got', lengths)]
    if maxlen is not None:
        size = 'number of time steps T' if name == 'lengths' else 'padded width L'
        requirements.append(require(
            reduce_all(lengths <= maxlen),
            f'{name} must not exceed the {size}; {name} and {size[-1]} are', lengths, maxlen))
    return requirements


def mask(value: TensorLike, values: tf.Tensor, name: str = 'values') -> tf.Tensor:
    """`mask` as bool, of the shape of the leading axes of `values`."""
    return prefix('mask', mask_tensor(value), name, values)


def mask_tensor(value: TensorLike) -> tf.Tensor:
    """`mask` as a bool tensor."""
    if not tf.is_tensor(value):
        value = np.asarray(value)
    if value.dtype not in (tf.bool, np.dtype(bool)):
        raise TypeError(f'mask must be bool, True at real steps, got '
                        f'{tf.as_dtype(value.dtype).name}. Build it with '
                        f'seqmask.sequence_mask(lengths, maxlen) or compare: mask > 0.')
    return dense('mask', value)


def broadcast_mask(value: TensorLike, values: tf.Tensor, name: str) -> tf.Tensor:
    """`mask` as bool, broadcastable to `values` and of the same rank."""
    value = mask_tensor(value)
    known_rank('mask', value)
    known_rank(name, values)
    fits = value.shape.rank == values.shape.rank and all(
        m in (1, None) or v is None or m == v
        for m, v in zip(value.shape.as_list(), values.shape.as_list()))
    if not fits:
        raise ValueError(f'mask must have the shape of {name}, or 1 for an axis, got mask '
                         f'{shown(value.shape)} for {name} {shown(values.shape)}.')
    sizes, of_sizes = tf.shape(value), tf.shape(values)
    return after([require(tf.reduce_all((sizes == 1) | (sizes == of_sizes)),
                          f'mask must have the shape of {name}, or 1 for an axis; their shapes are',
                          sizes, of_sizes)], value)


def prefix(name: str, value: tf.Tensor, of_name: str, of: tf.Tensor) -> tf.Tensor:
    """`value`, which must have the shape of the leading axes of `of`."""
    known_rank(name, value)
    known_rank(of_name, of)
    rank = value.shape.rank
    if rank > of.shape.rank or not value.shape.is_compatible_with(of.shape[:rank]):
        raise ValueError(f'{name} must have the leading axes of {of_name}, got {name} '
                         f'{shown(value.shape)} for {of_name} {shown(of.shape)}.')
    if value.shape.is_fully_defined() and of.shape[:rank].is_fully_defined():
        return value
    if rank == 2 and known.have_same_sizes(value, of):
        return value
    return after([require(tf.reduce_all(tf.equal(tf.shape(value), tf.shape(of)[:rank])),
                          f'{name} must have the leading axes of {of_name}; their shapes are',
                          tf.shape(value), tf.shape(of))], value)


def known_rank(name: str, value: tf.Tensor) -> None:
    """Refuses an unknown rank. Sizes may be unknown while a graph is traced."""
    if value.shape.rank is None:
        raise ValueError(f'{name} must have a known rank, got shape {shown(value.shape)}. '
                         f'Set it with tf.ensure_shape({name}, [None, None, ...]).')


def same_shape(name: str, value: tf.Tensor, of_name: str, of: tf.Tensor) -> tf.Tensor:
    """`value`, which must have the shape of `of`."""
    if value.shape.rank != of.shape.rank:
        raise ValueError(f'{name} must have the shape of {of_name}, got {name} '
                         f'{shown(value.shape)} for {of_name} {shown(of.shape)}.')
    return prefix(name, value, of_name, of)


def class_labels(value: TensorLike, logits: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """`value` as int64, of the shape of `logits` without its last axis, 0 where `real` is False.

    At real steps it must be in [0, K), where K is the size of that last axis.
    """
    value = tensor('labels', value, 'B, ...')
    if not value.dtype.is_integer:
        raise TypeError(f'labels must be integers in [0, K), got {value.dtype.name}. For '
                        f'distributions over the classes use losses.softmax_cross_entropy.')
    if value.shape.rank + 1 != logits.shape.rank:
        raise ValueError(f'labels must have the shape of logits without its last axis, got labels '
                         f'{shown(value.shape)} for logits {shown(logits.shape)}.')
    value = prefix('labels', value, 'logits', logits)
    value = tf.where(real, tf.cast(value, tf.int64), 0)
    num_classes = tf.shape(logits, tf.int64)[-1]
    return after([require(
        tf.reduce_all((value >= 0) & (value < num_classes)),
        'labels must be in [0, K) at real steps; K, the lowest and the highest label are',
        num_classes, tf.reduce_min(value), tf.reduce_max(value))], value)


def axis_size(name: str, value: tf.Tensor, axis: int, expected: int, meaning: str) -> None:
    """Refuses a static size of one axis that is not `expected`."""
    size = value.shape[axis]
    if size is not None and size != expected:
        raise ValueError(f'{name} must have {meaning} = {expected} on axis {axis}, '
                         f'got shape {shown(value.shape)}.')


def size(name: str, value: int, minimum: int = 1, maximum: int | None = None) -> int:
    """`value` as a Python int of at least `minimum`, and at most `maximum`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f'{name} must be an int, got {value!r}.')
    if value < minimum:
        raise ValueError(f'{name} must be at least {minimum}, got {value}.')
    if maximum is not None and value > maximum:
        raise ValueError(f'{name} must be at most {maximum:,}, got {value}.')
    return int(value)


def width(name: str, value: int, minimum: int = 1) -> int:
    """`value` as a width of weights: a few times as much must fit an int32, or it overflows."""
    return size(name, value, minimum, maximum=100_000_000)


def fraction(name: str, value: float) -> float:
    """`value` as a Python float in [0, 1)."""
    _require_number(name, value)
    if not 0 <= value < 1:
        raise ValueError(f'{name} must be in [0, 1), got {value}.')
    return float(value)


def positive(name: str, value: float, or_zero: bool = False) -> float:
    """`value` as a finite Python float above 0, or at least 0 with `or_zero`."""
    _require_number(name, value)
    if not (np.isfinite(value) and (value > 0 or or_zero and value == 0)):
        raise ValueError(f'{name} must be finite and {"not negative" if or_zero else "positive"}, '
                         f'got {value}.')
    return float(value)


def _require_number(name, value):
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f'{name} must be a number, got {value!r}.')


def choice(name: str, value: str, options: Collection[str]) -> str:
    """`value`, which must be one of `options`."""
    if value not in options:
        raise ValueError(f'{name} must be one of {", ".join(map(repr, options))}, got {value!r}.')
    return value


def shown(shape: tf.TensorShape) -> str:
    """A shape for a message: (4, None, 7)."""
    return 'of unknown rank' if shape.rank is None else str(tuple(shape.as_list()))
