"""The base of recurrent layers, which stop where each sequence stops."""

from __future__ import annotations

import typing
from collections.abc import Sequence

import tensorflow as tf

from seqmask import checks, kernels, known, noise
from seqmask.checks import TensorLike
from seqmask.lengths import sequence_mask
from seqmask.masking import apply_mask, reverse as reverse_steps
from seqmask.packing import pack, take_rows, unpack

FEW_ROWS = 8        # up to here the kernel's step, which has one thread, is the faster one


class LSTMState(typing.NamedTuple):
    """State of an LSTM: `hidden` and `cell`, float [B, H] each."""
    hidden: tf.Tensor
    cell: tf.Tensor


class Recurrent(tf.Module):
    """A cell over time; a subclass supplies the cell, its equations and their source.

    Variables: `kernel` [D, G H] (Glorot uniform), `recurrent_kernel` [H, G H] (orthogonal), `bias`
    [G H] or [2, G H], gate by gate, where G is the number of gates.
    """

    _cell: kernels.Cell
    _bias: Sequence             # initial values: one number per gate, or two rows of them

    def __init__(self, input_size: int, hidden_size: int, *, dropout: float = 0.0,
                 recurrent_dropout: float = 0.0, implementation: str = 'auto',
                 dtype: str | tf.DType = 'float32', seed: int | None = None,
                 weights: Sequence[tf.Variable | tf.Tensor] | None = None, name: str | None = None):
        super().__init__(name=name)
        self.input_size = checks.width('input_size', input_size)
        self.hidden_size = checks.width('hidden_size', hidden_size)
        self.dropout = checks.fraction('dropout', dropout)
        self.recurrent_dropout = checks.fraction('recurrent_dropout', recurrent_dropout)
        self.implementation = checks.choice('implementation', implementation,
                                            ('auto', 'kernel', 'graph'))
        self.dtype = checks.float_dtype('dtype', dtype)
        if implementation == 'kernel':
            if not self._cell.has_kernel:
                raise ValueError(f"implementation='kernel' has no {type(self).__name__}: choose "
                                 "'graph' or 'auto'.")
            if self.dtype != tf.float32:
                raise ValueError("implementation='kernel' has dtype float32 only, got "
                                 f"{self.dtype.name}: choose 'graph' or 'auto'.")
            kernels.native.load()
        width = self._cell.num_gates * hidden_size
        kernel_seed, recurrent_seed, noise_seed = noise.seeds(seed, 3)
        if weights is None:
            glorot = tf.keras.initializers.GlorotUniform(kernel_seed)
            orthogonal = tf.keras.initializers.Orthogonal(seed=recurrent_seed)
            bias = tf.repeat(self._bias, hidden_size, axis=-1)
            weights = [tf.Variable(tf.cast(value, self.dtype), name=name) for name, value in [
                ('kernel', glorot([input_size, width])),
                ('recurrent_kernel', orthogonal([hidden_size, width])), ('bias', bias)]]
        self.kernel, self.recurrent_kernel, self.bias = weights
        if dropout or recurrent_dropout:
            self._noise = noise.generator(noise_seed)

    # AutoGraph has nothing to convert here, and would take most of the time of a trace.
    @tf.autograph.experimental.do_not_convert
    def __call__(self, inputs: TensorLike, lengths: TensorLike,
                 initial_state: TensorLike | LSTMState | None = None, *, reverse: bool = False,
                 training: bool = False) -> tuple[tf.Tensor, tf.Tensor | LSTMState]:
        """Runs over the real steps of a batch.

        Args:
          inputs: float [B, T, D]. Values at padded steps are ignored, NaN included.
          lengths: int32 [B]. Time steps, 0 <= lengths <= T.
          initial_state: As `final_state`; zeros by default.
          reverse: Whether each sequence runs from its own last step to its first; the output of a
            step stays at that step, and the final state is that after step 0.
          training: Whether to apply dropout, with one mask for all steps of a sequence.

        Returns:
          (outputs float [B, T, H], 0 at padded steps; final_state: the state after each sequence's
          own last step, or its initial state if its length is 0).

        Raises:
          ValueError: If a rank or a static size does not fit.
          TypeError: If inputs do not have the layer's dtype, or lengths are not integers.
          tf.errors.InvalidArgumentError: If a length is negative or exceeds T (clipped under XLA).
        """
        inputs = self._checked('inputs', inputs, 'B, T, D')
        batch, maxlen = known.sizes(inputs)
        lengths = checks.lengths(lengths, batch=batch, maxlen=maxlen)
        state = self._checked_state(initial_state, batch)
        if training and self.dropout:
            kept = noise.dropout_mask(self._noise, [batch, 1, self.input_size], self.dropout,
                                      self.dtype)
            inputs = known.with_sizes_of(inputs * kept, inputs)
        m = None if not (training and self.recurrent_dropout) else noise.dropout_mask(
            self._noise, [batch, self.hidden_size], self.recurrent_dropout, self.dtype)
        outputs, state = self._over_time(inputs, state)(inputs, lengths, state, m, reverse)
        outputs = tf.ensure_shape(outputs, [*inputs.shape[:2], self.hidden_size])
        state = [tf.ensure_shape(s, [inputs.shape[0], self.hidden_size]) for s in state]
        return known.with_sizes_of(outputs, inputs), self._structured(state)

    def step(self, x_t: TensorLike,
             state: TensorLike | LSTMState) -> tuple[tf.Tensor, tf.Tensor | LSTMState]:
        """One step, for streams. Running step by step equals a call on the whole sequence.

        The kernel's step is one operation, on one thread: 'auto' takes it where B is known to be 8
        or less, and the graph above, which is faster there.

        Args:
          x_t: float [B, D].
          state: As `final_state` of a call, or `initial_state(batch)`.

        Returns:
          (output float [B, H], state).
        """
        x_t = self._checked('x_t', x_t, 'B, D')
        state = self._checked_state(state, tf.shape(x_t)[0])
        few_rows = x_t.shape[0] is not None and x_t.shape[0] <= FEW_ROWS
        if (few_rows or self.implementation == 'kernel') and self._on_kernel([x_t, *state]):
            state = kernels.native.step(self._cell, x_t, self._weights(), state)
        else:
            state, _ = self._cell.forward(self._project(x_t), state, self._recurrent_weights(),
                                          None)
        return state[0], self._structured(state)

    def initial_state(self, batch: int | tf.Tensor) -> tf.Tensor | LSTMState:
        """The state before the first step of `batch` sequences: zeros."""
        zeros = tf.zeros([batch, self.hidden_size], self.dtype)
        return self._structured([zeros] * self._cell.num_states)

    def stages(self) -> list[kernels.Stage] | None:
        """What `StepRunner` runs in C++; None if the core does not know the cell, or the dtype."""
        if self._cell.name not in kernels.network.STATES or self.dtype != tf.float32:
            return None
        return [kernels.Stage(self._cell.name, self.input_size, self.hidden_size, self._weights())]

    def _over_time(self, inputs, state):
        if self._on_kernel([inputs, *state]):
            return self._over_kernel
        wants_fixed_shapes = kernels.inside_xla() or kernels.inside_pfor()
        return self._over_padding if wants_fixed_shapes else self._over_packing

    def _on_kernel(self, tensors):
        # Exported, compiled and vectorized graphs cannot contain the kernel's operations.
        if kernels.inside_xla() or kernels.inside_pfor():
            return False
        forward_mode = kernels.inside_forward_mode([*tensors, *self._weights()])
        return not kernels.inside_export() and (self.implementation == 'kernel' or (
            self.implementation == 'auto' and self._cell.has_kernel and self.dtype == tf.float32
            and not forward_mode and kernels.native.usable()))

    def _over_kernel(self, inputs, lengths, state, m, reverse):
        return kernels.native.recur(self._cell, inputs, lengths, self._weights(), state, m, reverse)

    def _over_packing(self, inputs, lengths, state, m, reverse):
        packed = pack(inputs, lengths, reverse=reverse)
        batch_order = tf.argsort(packed.order)
        outputs, state = kernels.recur(
            self._cell, kernels.Packing(packed.batch_sizes), self._project(packed.values),
            self._recurrent_weights(), [take_rows(s, packed.order) for s in state],
            None if m is None else take_rows(m, packed.order))
        return unpack(packed._replace(values=outputs)), [
            take_rows(s, batch_order) for s in state]

    def _over_padding(self, inputs, lengths, state, m, reverse):
        mask = sequence_mask(lengths, tf.shape(inputs)[1])
        inputs = reverse_steps(inputs, lengths) if reverse else apply_mask(inputs, mask)
        alive = tf.transpose(mask)
        outputs, state = kernels.recur(
            self._cell, kernels.Padding(alive), self._project(tf.transpose(inputs, [1, 0, 2])),
            self._recurrent_weights(), state, m)
        outputs = tf.transpose(apply_mask(outputs, alive), [1, 0, 2])
        return (reverse_steps(outputs, lengths) if reverse else outputs), state

    def _project(self, x):
        """The input projection of each gate: one large product per gate, for all steps."""
        return [tf.matmul(x, W) + b for W, b in
                zip(self._gates(self.kernel), self._input_biases())]

    def _gates(self, weight):
        return tf.split(tf.convert_to_tensor(weight), self._cell.num_gates, axis=-1)

    def _weights(self):
        return self.kernel, self.recurrent_kernel, self.bias

    def _input_biases(self):
        return self._gates(self.bias)

    def _recurrent_weights(self):
        return self._gates(self.recurrent_kernel)

    def _structured(self, state):
        return state[0]

    def _checked(self, name, value, legend):
        value = checks.floating(name, value, legend, dtype=self.dtype)
        checks.axis_size(name, value, -1, self.input_size, 'input_size')
        return value

    def _checked_state(self, state, batch):
        if state is None:
            return tf.nest.flatten(self.initial_state(batch))
        parts = tf.nest.flatten(state)
        if len(parts) != self._cell.num_states:
            raise ValueError(f'the state of {type(self).__name__} has {self._cell.num_states} '
                             f'tensors [B, H], got {len(parts)}.')
        parts = [checks.floating('a state', part, 'B, H', dtype=self.dtype) for part in parts]
        for k, part in enumerate(parts):
            checks.axis_size('a state', part, -1, self.hidden_size, 'hidden_size')
            fits = checks.require(
                tf.equal(tf.shape(part)[0], batch),
                'a state must have one row for each sequence; rows and sequences are',
                tf.shape(part)[0], batch)
            parts[k] = checks.after([fits], tf.ensure_shape(part, [None, self.hidden_size]))
        return parts
