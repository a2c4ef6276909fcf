"""Standardized features, by statistics of real steps alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from seqmask import checks, kernels, known
from seqmask.checks import TensorLike
from seqmask.data.moments import Moments, real_frames
from seqmask.data.sequences import Sequences
from seqmask.data.stream import Stream
from seqmask.masking import apply_mask
from seqmask.operands import real_only, steps_or_vectors

KINDS = ('standard', 'minmax')


class Standardizer(tf.Module):
    """Shifts and scales each feature by statistics of the data it was fitted to.

    out[b, t] = (inputs[b, t] - mean) / scale   for t < lengths[b];   0 after it
    out[b] = (inputs[b] - mean) / scale for vectors, which have no time axis and no lengths

    Its variables are saved with a model that holds it, and exported.

    Variables: `mean`, `scale`, float32 [D] (float64 for float64), not trainable.

    Args:
      mean: [D]. What becomes 0; for kind 'minmax' the minimum.
      scale: [D]. The distance from there that becomes 1, positive.
      dtype: Of inputs and outputs; float16 and bfloat16 are computed in float32.

    Raises:
      TypeError: If dtype is not floating-point.
      ValueError: If shapes do not fit, mean is not finite or scale is not finite and positive; the
        message names the feature.

    >>> standardizer = seqmask.data.Standardizer.fit(
    ...     seqmask.data.Sequences([[1., 7.], [3., 7.]], [1, 1]))
    >>> standardizer(tf.constant([[[5., 7.], [9., 9.]]]), tf.constant([1])).numpy().tolist()
    [[[3.0, 0.0], [0.0, 0.0]]]
    """

    def __init__(self, mean: TensorLike, scale: TensorLike, *, dtype: str | tf.DType = 'float32',
                 name: str | None = None):
        super().__init__(name=name)
        self.dtype = checks.float_dtype('dtype', dtype)
        wide = _wide(self.dtype)
        # What overflows becomes inf, and is refused below.
        with np.errstate(over='ignore'):
            mean, scale = (np.asarray(value).astype(wide.as_numpy_dtype) for value in (mean, scale))
        if mean.ndim != 1 or mean.shape != scale.shape:
            raise ValueError(f'mean and scale must have shape [D], got shapes {mean.shape} and '
                             f'{scale.shape}.')
        for feature in np.flatnonzero(~np.isfinite(mean)):
            raise ValueError(f'mean must be finite in {wide.name}; that of feature {feature} is '
                             f'{mean[feature]}.')
        for feature in np.flatnonzero(~(np.isfinite(scale) & (scale > 0))):
            raise ValueError(f'scale must be finite and positive in {wide.name}; that of feature '
                             f'{feature} is {scale[feature]}.')
        self.input_size = len(mean)
        self.mean = tf.Variable(mean, trainable=False, name='mean')
        self.scale = tf.Variable(scale, trainable=False, name='scale')

    @classmethod
    def fit(cls, source: Sequences | Stream | Iterable[Mapping[str, TensorLike]],
            kind: str = 'standard', *, dtype: str | tf.DType = 'float32',
            name: str | None = None) -> Standardizer:
        """The standardizer of a source, in one pass, a chunk in memory at a time.

        standard:  mean = sum x / N,   scale = sqrt(sum (x - mean)^2 / N)
        minmax:    mean = min x,       scale = max x - min x

        over the N real steps, for each feature, in float64. A constant feature has scale 1, so it
        becomes 0. Values that are NaN or inf are ignored.

        Args:
          source: `Sequences`; a `Stream`; or `Batches`, `StreamBatches` or any iterable of dicts
            with 'inputs' [B, T, D] and 'lengths' [B], which is iterated once. Fit to training data
            only: statistics of test data would leak into the model.
          kind: 'standard', or 'minmax', which gives values in [0, 1].
          dtype: As of the class.
          name: As of the class.

        Returns:
          `Standardizer`.

        Raises:
          TypeError: If source is none of these.
          ValueError: If there is no real step, or a feature is finite at none of them.
        """
        checks.choice('kind', kind, KINDS)
        wide = _wide(checks.float_dtype('dtype', dtype))
        moments = None
        for frames in real_frames(source):
            moments = moments or Moments(frames.shape[1])
            moments.add(frames)
        if moments is None or not moments.steps:
            raise ValueError('a Standardizer is fitted to real steps, got none.')
        for feature in np.flatnonzero(moments.count == 0):
            raise ValueError(f'every feature must be finite at some real step; feature {feature} '
                             f'is NaN or inf at all {moments.steps}. Leave it out.')
        mean, scale = moments.standard() if kind == 'standard' else moments.minmax()
        # A range that is too small to divide by counts as constant, too.
        scale = np.where(scale < np.finfo(wide.as_numpy_dtype).tiny, 1.0, scale)
        return cls(mean, scale, dtype=dtype, name=name)

    def __call__(self, inputs: TensorLike, lengths: TensorLike | None = None) -> tf.Tensor:
        """Standardizes the real steps, or the vectors.

        Args:
          inputs: float [B, T, D], values at padded steps are ignored, NaN included; or float
            [B, D], vectors.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T; None for vectors.

        Returns:
          float [B, T, D], 0 at padded steps; or float [B, D].

        Raises:
          ValueError: If a rank or a static size does not fit, or [B, T, D] come without lengths.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
        """
        inputs, mask = steps_or_vectors(inputs, lengths, self.input_size, self.dtype)
        x = tf.cast(inputs, self.mean.dtype)
        outputs = tf.cast((x - self.mean) / self.scale, self.dtype)
        known.with_sizes_of(outputs, inputs)
        return outputs if mask is None else apply_mask(outputs, mask)

    def stages(self) -> list[kernels.Stage] | None:
        """What `StepRunner` runs in C++; None if the dtype is not float32."""
        if self.dtype != tf.float32:
            return None
        return [kernels.Stage('standardize', self.input_size, self.input_size,
                              (self.mean, self.scale))]

    def inverse(self, outputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
        """Undoes a call: predictions in the units of the data.

        out[b, t] = outputs[b, t] scale + mean   for t < lengths[b];   0 after it

        Args:
          outputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.

        Returns and raises: As a call.
        """
        outputs, _, mask = real_only(outputs, lengths, self.input_size, self.dtype)
        x = tf.cast(outputs, self.mean.dtype)
        return apply_mask(tf.cast(x * self.scale + self.mean, self.dtype), mask)

    def apply(self, frames: TensorLike) -> np.ndarray | tf.Tensor:
        """Standardizes unpadded frames.

        out = (frames - mean) / scale

        Args:
          frames: float [..., D], NumPy or a tensor; a `Sequences` has them as `frames`.

        Returns:
          The shape of frames, in `dtype`: NumPy for NumPy, else a tensor.

        Raises:
          ValueError: If the last axis does not fit.

        >>> standardizer = seqmask.data.Standardizer(mean=[1.], scale=[2.])
        >>> standardizer.apply(np.array([[5.], [1.]])).tolist()
        [[2.0], [0.0]]
        """
        is_tensor = tf.is_tensor(frames)
        if not is_tensor:
            frames = np.asarray(frames)
        shape = tf.TensorShape(frames.shape)
        if shape.rank == 0 or shape.rank and shape[-1] not in (None, self.input_size):
            raise ValueError(f'frames must have D = {self.input_size} on their last axis, got '
                             f'shape {checks.shown(shape)}.')
        if is_tensor:
            x = tf.cast(frames, self.mean.dtype)
            return tf.cast((x - self.mean) / self.scale, self.dtype)
        # In the dtype of the mean: else a constant would become its rounding error, not 0.
        x = frames.astype(self.mean.dtype.as_numpy_dtype)
        return ((x - self.mean.numpy()) / self.scale.numpy()).astype(self.dtype.as_numpy_dtype)


def standardize_sequences(inputs: TensorLike, lengths: TensorLike) -> tf.Tensor:
    """Each sequence by the mean and the deviation of its own real steps, feature by feature.

    out[b, t] = (inputs[b, t] - mean[b]) / deviation[b]   for t < lengths[b];   0 after it
    mean[b] = sum over t < n of inputs[b, t] / n,   n = lengths[b]
    deviation[b] = sqrt(sum over t < n of (inputs[b, t] - mean[b])^2 / n);   1 where that is 0

    So a sequence of one step, and a feature that is constant within a sequence, become 0. The level
    and the range of each sequence are lost: `Standardizer` keeps them.

    Args:
      inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
      lengths: int32 [B]. Time steps, 0 <= lengths <= T.

    Returns:
      float [B, T, D], 0 at padded steps.

    Raises:
      ValueError: If a rank or a static size does not fit.
      TypeError: If a dtype does not fit.
      tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).

    >>> inputs = tf.constant([[[1.], [3.], [9.]]])
    >>> seqmask.data.standardize_sequences(inputs, tf.constant([2])).numpy().ravel()
    array([-1.,  1.,  0.], dtype=float32)
    """
    inputs, lengths, mask = real_only(inputs, lengths)
    wide = _wide(inputs.dtype)
    x = tf.cast(inputs, wide)
    n = tf.cast(lengths, wide)[:, None, None]
    # Relative to the first step, so that a constant has no deviation from rounding.
    x = apply_mask(x - tf.stop_gradient(x[:, :1]), mask)
    mean = tf.math.divide_no_nan(tf.reduce_sum(x, axis=1, keepdims=True), n)
    centred = apply_mask(x - mean, mask)        # masked again: padding would be -mean
    variance = tf.math.divide_no_nan(
        tf.reduce_sum(tf.square(centred), axis=1, keepdims=True), n)
    # Selected before the pole: the gradient of the square root is infinite at 0.
    smallest = tf.cast(np.finfo(wide.as_numpy_dtype).tiny, wide)
    variance = tf.where(variance < smallest, tf.ones([], wide), variance)
    return apply_mask(tf.cast(centred / tf.sqrt(variance), inputs.dtype), mask)


def _wide(dtype):
    return tf.float32 if dtype.size < 4 else dtype
