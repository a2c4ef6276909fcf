"""Is this argument legal? One voice for every error.

What a shape or a dtype shows raises `ValueError` or `TypeError` at once, also while a graph is
traced; what only the values show raises `tf.errors.InvalidArgumentError` when they are known.
A legend such as 'B, T, D' names the axes; one that ends in '...' allows any number of further axes.
"""

import numpy as np
import tensorflow as tf


def require(condition, message, *values):
    """Raises InvalidArgumentError unless `condition`, a bool scalar, holds; values are shown."""
    if tf.executing_eagerly():
        if not bool(condition):
            shown = ', '.join(str(np.asarray(value).tolist()) for value in values)
            raise tf.errors.InvalidArgumentError(None, None, f'{message} {shown}.')
    else:
        tf.debugging.Assert(condition, [message, *values], summarize=8)


def tensor(name, value, legend, dtype=None):
    """`value` as a tensor of the rank that `legend` spells, e.g. 'B, T, D' or 'B, T, ...'."""
    value = tf.convert_to_tensor(value, dtype=dtype)
    rank = value.shape.rank
    axes = [axis for axis in legend.split(', ') if axis != '...']
    open_ended = legend.endswith('...')
    if rank is not None and (rank < len(axes) if open_ended else rank != len(axes)):
        at_least = 'at least ' if open_ended else ''
        raise ValueError(f'{name} must have rank {at_least}{len(axes)} [{legend}], '
                         f'got shape {shown(value.shape)}.')
    return value


def floating(name, value, legend):
    """`value` as a floating-point tensor of that rank; Python and NumPy integers are not cast."""
    value = tensor(name, value, legend)
    if not value.dtype.is_floating:
        raise TypeError(f'{name} must be floating-point [{legend}], got {value.dtype.name}. '
                        f'Cast with tf.cast({name}, tf.float32).')
    return value


def lengths(value, batch=None, maxlen=None):
    """`lengths` as int32 [B], checked: 0 <= lengths <= maxlen, one for each of `batch` rows."""
    if not tf.is_tensor(value):
        value = np.asarray(value)
        if value.size == 0:
            value = value.astype(np.int32)      # NumPy makes an empty list float64
    if value.dtype not in (tf.int32, tf.int64):
        raise TypeError(f'lengths must be int32 or int64 [B], got {tf.as_dtype(value.dtype).name}. '
                        f'Lengths are counted in time steps; cast with tf.cast(lengths, tf.int32).')
    value = tensor('lengths', value, 'B')
    if batch is not None:
        static = tf.get_static_value(batch)
        if static is not None and value.shape[0] is not None:
            if int(static) != value.shape[0]:
                raise ValueError(f'lengths must have one entry for each of the {int(static)} '
                                 f'sequences [B], got shape {shown(value.shape)}.')
        else:
            require(tf.equal(tf.size(value), batch),
                    'lengths must have one entry for each sequence [B]; entries and sequences are',
                    tf.size(value), batch)
    require(tf.reduce_all(value >= 0), 'lengths must not be negative, got', value)
    if maxlen is not None:
        require(tf.reduce_all(value <= tf.cast(maxlen, value.dtype)),
                'lengths must not exceed the number of time steps T; lengths and T are',
                value, maxlen)
    return tf.cast(value, tf.int32)


def mask(value, values, name='values'):
    """`mask` as bool whose shape is that of the leading axes of `values`."""
    if not tf.is_tensor(value):
        value = np.asarray(value)
    if value.dtype not in (tf.bool, np.dtype(bool)):
        raise TypeError(f'mask must be bool, True at real steps, got '
                        f'{tf.as_dtype(value.dtype).name}. Build it with '
                        f'seqmask.sequence_mask(lengths, maxlen) or compare: mask > 0.')
    value = tf.convert_to_tensor(value)
    prefix('mask', value, name, values)
    return value


def prefix(name, value, of_name, of):
    """The shape of `value` must be that of the leading axes of `of`."""
    rank, of_rank = value.shape.rank, of.shape.rank
    if rank is None or of_rank is None:
        require(tf.reduce_all(tf.equal(tf.shape(value), tf.shape(of)[:tf.rank(value)])),
                f'{name} must have the leading axes of {of_name}; their shapes are',
                tf.shape(value), tf.shape(of))
        return
    if rank > of_rank or not value.shape.is_compatible_with(of.shape[:rank]):
        raise ValueError(f'{name} must have the leading axes of {of_name}, got {name} '
                         f'{shown(value.shape)} for {of_name} {shown(of.shape)}.')
    if not (value.shape.is_fully_defined() and of.shape[:rank].is_fully_defined()):
        require(tf.reduce_all(tf.equal(tf.shape(value), tf.shape(of)[:rank])),
                f'{name} must have the leading axes of {of_name}; their shapes are',
                tf.shape(value), tf.shape(of))


def same_shape(name, value, of_name, of):
    """Both shapes must be equal."""
    if value.shape.rank != of.shape.rank:
        raise ValueError(f'{name} must have the shape of {of_name}, got {name} '
                         f'{shown(value.shape)} for {of_name} {shown(of.shape)}.')
    prefix(name, value, of_name, of)


def axis_size(name, value, axis, expected, meaning):
    """The static size of one axis must be `expected`."""
    size = value.shape[axis]
    if size is not None and size != expected:
        raise ValueError(f'{name} must have {meaning} = {expected} on axis {axis}, '
                         f'got shape {shown(value.shape)}.')


def size(name, value, minimum=1):
    """`value` as a Python int of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f'{name} must be an int, got {value!r}.')
    if value < minimum:
        raise ValueError(f'{name} must be at least {minimum}, got {value}.')
    return int(value)


def fraction(name, value):
    """`value` as a Python float in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f'{name} must be a number, got {value!r}.')
    if not 0 <= value < 1:
        raise ValueError(f'{name} must be in [0, 1), got {value}.')
    return float(value)


def choice(name, value, options):
    """`value` must be one of `options`."""
    if value not in options:
        raise ValueError(f'{name} must be one of {", ".join(map(repr, options))}, got {value!r}.')
    return value


def shown(shape):
    """A shape as people write it: (4, None, 7)."""
    return 'of unknown rank' if shape.rank is None else str(tuple(shape.as_list()))
