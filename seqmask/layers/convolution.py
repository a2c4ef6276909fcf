"""Convolution over time that respects where each sequence ends."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from seqmask import checks, kernels, known, noise
from seqmask.checks import TensorLike
from seqmask.lengths import sequence_mask
from seqmask.masking import apply_mask
from seqmask.operands import real_only
from seqmask.windows import PADDINGS, surround, window_lengths


class Conv1D(tf.Module):
    """Convolution over time.

    out[b, k] = sum over j < kernel_size of x[b, k strides + j dilation - before] W[j] + b
    before = (kernel_size - 1) dilation // 2 for 'same', all of it for 'causal', 0 for 'valid'

    for k < lengths_out[b];   0 after it. Each sequence is padded with zeros on its own: the result
    depends neither on T nor on the batch, unlike TensorFlow's 'SAME' with strides, whose zeros
    shift with T. lengths_out is ceil(length / strides) for 'same' and 'causal', and for 'valid' the
    number of windows that lie wholly inside the sequence.

    Variables: `kernel` [kernel_size, D / groups, filters] (Glorot uniform) and `bias` [filters]
    (zeros), laid out as in Keras.

    Args:
      input_size: D.
      filters: Width of the outputs.
      kernel_size: Steps in a window.
      strides: Steps from one window to the next.
      padding: 'same', 'valid' or 'causal'.
      dilation: Steps from one tap of a window to the next.
      groups: Number of groups of features that are convolved separately; divides D and filters.
      use_bias: Whether to add b.
      dtype: Of weights, inputs and outputs.
      seed: int; the same seed gives the same weights.
      weights: (kernel, bias) of another layer to share; new variables by default.

    >>> conv = seqmask.Conv1D(1, 1, kernel_size=3, strides=2)
    >>> conv.kernel.assign(tf.ones([3, 1, 1])).shape
    TensorShape([3, 1, 1])
    >>> outputs, lengths = conv(tf.reshape(tf.range(1., 8.), [1, 7, 1]), tf.constant([5]))
    >>> outputs.numpy().ravel(), lengths.numpy()    # 0+1+2, 2+3+4, 4+5+0
    (array([3., 9., 9., 0.], dtype=float32), array([3], dtype=int32))
    """

    def __init__(self, input_size: int, filters: int, kernel_size: int, *, strides: int = 1,
                 padding: str = 'same', dilation: int = 1, groups: int = 1, use_bias: bool = True,
                 dtype: str | tf.DType = 'float32', seed: int | None = None,
                 weights: Sequence[tf.Variable | tf.Tensor | None] | None = None,
                 name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.width('input_size', input_size)
        self.filters = checks.width('filters', filters)
        self.kernel_size = checks.width('kernel_size', kernel_size)
        self.strides = checks.width('strides', strides)
        self.padding = checks.choice('padding', padding, PADDINGS)
        self.dilation = checks.width('dilation', dilation)
        self.groups = checks.size('groups', groups)
        self.dtype = checks.float_dtype('dtype', dtype)
        for option, width in (('input_size', input_size), ('filters', filters)):
            if width % groups:
                raise ValueError(f'groups must divide {option}, got {groups} and {width}.')
        if weights is None:
            glorot = tf.keras.initializers.GlorotUniform(noise.seeds(seed, 1)[0])
            kernel = glorot([kernel_size, input_size // groups, filters])
            weights = [tf.Variable(tf.cast(kernel, self.dtype), name='kernel'),
                       tf.Variable(tf.zeros([filters], self.dtype), name='bias')]
        self.kernel, bias = weights
        self.bias = bias if use_bias else None

    def __call__(self, inputs: TensorLike,
                 lengths: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
        """Convolves the real steps.

        Args and errors: As of `mean_pool`.

        Returns:
          (outputs float [B, T', filters], 0 at padded steps; lengths int32 [B]).
        """
        inputs, lengths, _ = real_only(inputs, lengths, self.input_size, self.dtype)
        batch, _ = known.sizes(inputs)
        window = {'stride': self.strides, 'dilation': self.dilation, 'padding': self.padding}
        inputs, count = surround(inputs, self.kernel_size, **window)
        outputs = self._convolve(inputs, self.strides, self.dilation)[:, :count]
        lengths = known.checked(window_lengths(lengths, self.kernel_size, **window), batch, count)
        outputs = known.with_sizes_of(outputs, lengths)
        return apply_mask(outputs, sequence_mask(lengths, count)), lengths

    def initial_state(self, batch: int | tf.Tensor) -> tf.Tensor:
        """The state before the first step of `batch` sequences: zeros."""
        reach = (self.kernel_size - 1) * self.dilation
        return tf.zeros([batch, reach, self.input_size], self.dtype)

    def step(self, x_t: TensorLike, state: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
        """One step of a causal convolution without strides, for streams.

        Running step by step equals a call on the whole sequence.

        Args:
          x_t: float [B, D].
          state: The inputs before x_t, as the last step returned them, or `initial_state(batch)`.

        Returns:
          (output float [B, filters], state).

        Raises:
          ValueError: If the convolution is not causal, or strided, or a size does not fit.
          TypeError: If a dtype does not fit.
          tf.errors.InvalidArgumentError: If state and x_t differ in B.
        """
        if self.padding != 'causal' or self.strides != 1:
            raise ValueError(f"step needs padding='causal' and strides=1, so that no output sees "
                             f'later steps. Got {self.padding!r} and {self.strides}.')
        x_t = checks.floating('x_t', x_t, 'B, D', dtype=self.dtype)
        checks.axis_size('x_t', x_t, -1, self.input_size, 'input_size')
        state = checks.floating('state', state, 'B, steps, D', dtype=self.dtype)
        reach = (self.kernel_size - 1) * self.dilation
        checks.axis_size('state', state, 1, reach, '(kernel_size - 1) * dilation')
        checks.axis_size('state', state, -1, self.input_size, 'input_size')
        checks.require(tf.equal(tf.shape(state)[0], tf.shape(x_t)[0]),
                       'state must have one row for each sequence; rows and sequences are',
                       tf.shape(state)[0], tf.shape(x_t)[0])
        state = tf.ensure_shape(state, [None, reach, self.input_size])
        seen = tf.concat([state, x_t[:, None]], axis=1)                 # [B, reach + 1, D]
        return self._convolve(seen[:, ::self.dilation])[:, 0], seen[:, 1:]

    def stages(self) -> list[kernels.Stage] | None:
        """What `StepRunner` runs in C++; None where there are groups, or another dtype."""
        if (self.padding, self.strides, self.groups, self.dtype) != ('causal', 1, 1, tf.float32):
            return None
        return [kernels.Stage('convolution', self.input_size, self.filters,
                              (self.kernel, self.bias), self.kernel_size, self.dilation)]

    def _convolve(self, inputs, strides=1, dilation=1):
        """[B, T, D] -> [B, T', filters] over all windows inside T, group by group."""
        # On CPUs tf.nn has no gradient for groups, and cannot combine strides with dilation.
        both = strides > 1 and dilation > 1
        batch = tf.shape(inputs)[0]
        # For an empty batch, tf.nn on CPUs may return the inputs in their own shape.
        inputs = tf.pad(inputs, [[0, tf.cast(batch == 0, tf.int32)], [0, 0], [0, 0]])
        kernels = tf.split(tf.convert_to_tensor(self.kernel), self.groups, axis=-1)
        outputs = tf.concat([
            tf.nn.convolution(x, W, 1 if both else strides, 'VALID', dilations=dilation)
            for x, W in zip(tf.split(inputs, self.groups, axis=-1), kernels)], axis=-1)
        outputs = outputs[:batch, ::strides if both else 1]
        return outputs if self.bias is None else outputs + self.bias
