"""What does a layer see? Checked inputs, zero at padded steps. And what does it return?"""

from __future__ import annotations

import typing

import tensorflow as tf

from seqmask import checks, known
from seqmask.checks import TensorLike
from seqmask.lengths import sequence_mask


def real_only(inputs: TensorLike, lengths: TensorLike, input_size: int | None = None,
              dtype: tf.DType | None = None) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Checks a layer's operands and masks its inputs.

    Args:
      inputs: float [B, T, D].
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.
      input_size: D, if the layer fixes it.
      dtype: `tf.DType` of the layer, if it has one.

    Returns:
      (inputs with zeros at padded steps, lengths int32 [B], mask bool [B, T]).

    Raises:
      ValueError: If a rank or a static size does not fit.
      TypeError: If a dtype does not fit.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
    """
    inputs = _operand(inputs, 'B, T, D', input_size, dtype)
    batch, maxlen = known.sizes(inputs)
    lengths = checks.lengths(lengths, batch=batch, maxlen=maxlen)
    mask = sequence_mask(lengths, maxlen)
    # Masked before the layer, too: in its gradient, NaN in the padding times zero would be NaN.
    inputs = tf.where(mask[:, :, None], inputs, tf.zeros([], inputs.dtype))
    return known.with_sizes_of(inputs, mask), lengths, mask


def real_tokens(tokens: TensorLike,
                lengths: TensorLike) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Checks tokens [B, T], integers or strings, and their lengths.

    Returns:
      (tokens, 0 or '' at padded steps; lengths int32 [B]; mask bool [B, T]).

    Raises:
      ValueError: If a rank or a static size does not fit.
      TypeError: If tokens are neither integers nor strings, or lengths no integers.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
    """
    tokens = checks.tensor('tokens', tokens, 'B, T')
    if not (tokens.dtype.is_integer or tokens.dtype == tf.string):
        raise TypeError(f'tokens must be integers or strings [B, T], got {tokens.dtype.name}.')
    batch, maxlen = known.sizes(tokens)
    lengths = checks.lengths(lengths, batch=batch, maxlen=maxlen)
    mask = sequence_mask(lengths, maxlen)
    tokens = tf.where(mask, tokens, tf.zeros([], tokens.dtype))
    return known.with_sizes_of(tokens, mask), lengths, mask


def steps_or_vectors(inputs: TensorLike, lengths: TensorLike | None, input_size: int | None = None,
                     dtype: tf.DType | None = None) -> tuple[tf.Tensor, tf.Tensor | None]:
    """Checks the operands of a layer that works step by step, and so takes vectors, too.

    Args:
      inputs: float [B, T, D]; or float [B, D], vectors.
      lengths: int32 [B]. Time steps, 0 <= lengths <= T; None for vectors.
      input_size, dtype: As of `real_only`.

    Returns:
      (inputs with zeros at padded steps, mask bool [B, T]); (inputs, None) for vectors.

    Raises:
      As `real_only`.
    """
    if lengths is not None:
        inputs, _, mask = real_only(inputs, lengths, input_size, dtype)
        return inputs, mask
    inputs = tf.convert_to_tensor(inputs)
    if inputs.shape.rank == 3:
        raise ValueError('inputs [B, T, D] need lengths, int32 [B]; only vectors [B, D] go '
                         f'without. Got shape {checks.shown(inputs.shape)}.')
    return _operand(inputs, 'B, D', input_size, dtype), None


def mean_over_time(inputs: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Average of the real steps [B, D], summed in float32 at least; inputs as of `real_only`."""
    wide = tf.cast(inputs, tf.float32) if inputs.dtype.size < 4 else inputs
    count = tf.cast(lengths[:, None], wide.dtype)
    return tf.cast(tf.math.divide_no_nan(tf.reduce_sum(wide, axis=1), count), inputs.dtype)


def _operand(inputs, legend, input_size, dtype):
    inputs = checks.floating('inputs', inputs, legend, dtype=dtype)
    if input_size is not None:
        checks.axis_size('inputs', inputs, -1, input_size, 'input_size')
    return inputs


def rounded(inputs: TensorLike, dtype: str | tf.DType,
            lengths: TensorLike | None = None) -> tf.Tensor:
    """Float32 inputs cast to a half-precision model's dtype; any others unchanged.

    Args:
      inputs: float [B, T, D]; or [B, D], vectors.
      dtype: Of the model.
      lengths: int32 [B]. Time steps; None for vectors.

    Raises:
      tf.errors.InvalidArgumentError: If a finite real step would be infinite in float16.
    """
    inputs = checks.dense('inputs', inputs)
    dtype = tf.as_dtype(dtype)
    if inputs.dtype != tf.float32 or dtype not in (tf.bfloat16, tf.float16):
        return inputs
    if dtype == tf.float16:
        if lengths is not None:
            inputs, _, _ = real_only(inputs, lengths)       # padding may be out of range
        sizes = tf.where(tf.math.is_finite(inputs), tf.abs(inputs), 0.0)
        inputs = known.with_sizes_of(checks.after([checks.require(
            tf.reduce_all(tf.math.is_finite(tf.cast(sizes, dtype))),
            f'inputs must be within +-{dtype.max:.0f}, the range of float16. Scale them with a '
            f'standardizer, or compute in bfloat16 or float32; the largest is',
            tf.reduce_max(sizes))], inputs), inputs)
    return known.with_sizes_of(tf.cast(inputs, dtype), inputs)


def outputs_and_lengths(result: typing.Any, lengths: TensorLike) -> tuple[tf.Tensor, TensorLike]:
    """The outputs of a layer or a model, and their lengths.

    Args:
      result: Outputs of the same lengths as the inputs; (outputs, lengths); or (outputs,
        final_state).
      lengths: int [B], of the inputs.

    Raises:
      TypeError: If result is none of these.
    """
    if not isinstance(result, (tuple, list)):
        return result, lengths
    if len(result) != 2 or not tf.is_tensor(result[0]):
        raise TypeError(f'a layer or a model must return outputs, (outputs, lengths) or (outputs, '
                        f'final_state), got {len(result)} values.')
    outputs, second = result
    # A state is floating-point; lengths are integers.
    is_lengths = tf.is_tensor(second) and second.dtype.is_integer
    return outputs, second if is_lengths else lengths
