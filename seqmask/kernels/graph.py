"""A cell over time, in TensorFlow operations.

The loop is written once; where the rows of a step stand is a question of its own. `Packing` visits
real steps only. `Padding` visits all and selects: XLA wants every shape fixed and takes no other.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.eager import forwardprop_util
from tensorflow.python.saved_model import save_context

_FIXED = contextvars.ContextVar('fixed_shapes', default=False)


class Packing:
    """Values [N, ...]: step t holds the rows that are still alive, longest sequence first."""

    def __init__(self, batch_sizes):
        self.count = tf.size(batch_sizes)
        self._sizes = batch_sizes
        self._starts = tf.cumsum(tf.concat([[0], batch_sizes], axis=0))

    def rows(self, t, values):
        return values[self._starts[t]:self._starts[t + 1]]

    def array(self, like):
        array = tf.TensorArray(like.dtype, self.count + 1, element_shape=[None, *like.shape[1:]],
                               infer_shape=False, clear_after_read=False)
        # No rows, but something to concatenate where no step is real.
        return array.write(self.count, like[:0])

    def gather(self, array):
        # TensorFlow's own errors show the name where it vectorizes what was traced before.
        return array.concat(name='set_implementation_kernel_to_vectorize')

    def enter(self, t, state):
        return state[:self._sizes[t]]

    def leave(self, t, new, state):
        # All rows, alive or not: TensorFlow's graph optimizer takes the rows of a loop's variable
        # to be as many at every step, and would spoil second derivatives if they were not.
        return tf.ensure_shape(tf.concat([new, state[self._sizes[t]:]], axis=0), state.shape)

    def padded(self, batch):
        """`Padding` of the same rows in the same order, and what takes values there and back."""
        # A step and a row more, for there may be none, of which TensorFlow stacks nothing.
        sizes = tf.concat([self._sizes, [0]], axis=0)
        alive = tf.sequence_mask(sizes, batch)                          # [L + 1, B]
        places = tf.where(tf.reshape(alive, [-1]))[:, 0]                # [N]
        number = tf.cumsum(tf.cast(tf.reshape(alive, [-1]), tf.int32), exclusive=True)
        source = tf.where(alive, tf.reshape(number, tf.shape(alive)), 0)

        def there(values):
            return tf.gather(tf.pad(values, [[0, 1], [0, 0]]), source)

        def back(values):
            return tf.gather(_rows_of_all_steps(values), places)

        return Padding(alive), there, back


class Padding:
    """Values [T, B, ...]: every step holds every row; those that have ended keep their state."""

    def __init__(self, alive):
        self.count = tf.shape(alive)[0] if alive.shape[0] is None else alive.shape[0]
        self._alive = alive[:, :, None]     # [T, B, 1]
        self._batch = alive.shape[1]

    def rows(self, t, values):
        return values[t]

    def array(self, like):
        return tf.TensorArray(like.dtype, self.count, clear_after_read=False,
                              element_shape=[self._batch, *like.shape[1:]])

    def gather(self, array):
        return array.stack()

    def enter(self, t, state):
        return tf.where(self._alive[t], state, tf.zeros([], state.dtype))

    def leave(self, t, new, state):
        return tf.where(self._alive[t], new, state)


def recur(cell, steps, x, U, initial_state, m=None):
    """Runs a cell over time; the gradient to each weight is one product over all real steps.

    Args:
      cell: `Cell`.
      steps: `Packing` or `Padding`.
      x: The inputs' share of each gate, list of [N, H] (or [T, B, H]).
      U: The recurrent weights, as the cell takes them.
      initial_state: Tuple of [B, H], in the order of the rows of `steps`.
      m: Dropout mask of the state [B, H], without a gradient; or None.

    Returns:
      (outputs [N, H] or [T, B, H], final state: tuple of [B, H]).
    """
    num_x, num_U = len(x), len(U)

    @tf.custom_gradient
    def run(*flat):
        x, U, initial = flat[:num_x], flat[num_x:num_x + num_U], flat[num_x + num_U:]
        outputs, final, saved = _forward(cell, steps, x, U, initial, m)

        def gradient(d_outputs, *d_final):
            d_gates, d_initial = _backward_anywhere(
                cell, steps, saved, U, d_outputs, d_final, m)
            flat_rows = [_rows_of_all_steps(d) for d in d_gates]
            d_U = cell.weight_gradients(
                lambda k: _rows_of_all_steps(saved[k]), flat_rows)
            return (*d_gates[:num_x], *d_U, *d_initial)

        return (outputs, *final), gradient

    outputs, *final = run(*x, *U, *initial_state)
    return outputs, tuple(final)


def _forward(cell, steps, x, U, initial, m):
    def body(t, state, outputs, saved):
        x_t = [steps.rows(t, x_k) for x_k in x]
        m_t = None if m is None else steps.enter(t, m)
        new, keep = cell.forward(x_t, tuple(steps.enter(t, s) for s in state), U, m_t)
        state = tuple(steps.leave(t, n, s) for n, s in zip(new, state))
        saved = tuple(array.write(t, k) for array, k in zip(saved, keep))
        return t + 1, state, outputs.write(t, new[0]), saved

    like = initial[0]
    _, final, outputs, saved = tf.while_loop(
        lambda t, *_: t < steps.count, body,
        (tf.constant(0), tuple(initial), steps.array(like),
         tuple(steps.array(like) for _ in range(cell.num_saved))),
        maximum_iterations=steps.count)
    # As tensors: neither XLA nor a SavedModel hands arrays from forward to backward.
    return steps.gather(outputs), final, [steps.gather(array) for array in saved]


def _backward(cell, steps, saved, U, d_outputs, d_final, m):
    def body(t, d_state, d_gates):
        d_h, *d_rest = (steps.enter(t, d) for d in d_state)
        d_h += steps.rows(t, d_outputs)
        m_t = None if m is None else steps.enter(t, m)
        d_gates_t, d_old = cell.backward([steps.rows(t, k) for k in saved], (d_h, *d_rest), U, m_t)
        d_state = tuple(steps.leave(t, o, d) for o, d in zip(d_old, d_state))
        return t - 1, d_state, tuple(a.write(t, d) for a, d in zip(d_gates, d_gates_t))

    _, d_initial, d_gates = tf.while_loop(
        lambda t, *_: t >= 0, body,
        (tf.convert_to_tensor(steps.count - 1), tuple(d_final),
         tuple(steps.array(d_final[0]) for _ in range(cell.num_d_gates))),
        maximum_iterations=steps.count)
    return [steps.gather(d) for d in d_gates], d_initial


def _backward_anywhere(cell, steps, saved, U, d_outputs, d_final, m):
    """`_backward`, over all steps where TensorFlow vectorizes it, as `tape.jacobian` does."""
    if isinstance(steps, Padding) or not inside_pfor():
        return _backward(cell, steps, saved, U, d_outputs, d_final, m)
    padding, there, back = steps.padded(tf.shape(d_final[0])[0])
    d_gates, d_initial = _backward(cell, padding, [there(k) for k in saved], U, there(d_outputs),
                                   d_final, m)
    return [back(d) for d in d_gates], d_initial


def _rows_of_all_steps(values):
    return tf.reshape(values, [-1, values.shape[-1]])


@contextlib.contextmanager
def fixed_shapes() -> Iterator[None]:
    """Around the tracing of a graph for a converter that, as XLA does, wants fixed shapes."""
    token = _FIXED.set(True)
    try:
        yield
    finally:
        _FIXED.reset(token)


def inside_xla() -> bool:
    """Whether the graph being traced is compiled by `tf.function(jit_compile=True)`, or alike."""
    if _FIXED.get():
        return True
    for graph in _graphs():
        context = graph._get_control_flow_context()
        while context is not None:
            if context.IsXLAContext():
                return True
            context = context.outer_context
    return False


def inside_pfor() -> bool:
    """Whether the graph being traced is vectorized: `tf.vectorized_map`, `tape.jacobian`.

    TensorFlow traces what it vectorizes in a scope of this name. It vectorizes a loop, but not the
    concatenation of a loop's results where they differ in size.
    """
    return any(scope.startswith('loop_body') for graph in _graphs()
               for scope in graph.get_name_scope().split('/'))


def inside_forward_mode(values) -> bool:
    """Whether a `tf.autodiff.ForwardAccumulator` follows any of the tensors and variables."""
    followed = forwardprop_util.pack_tangents(
        [getattr(value, 'handle', value) for value in values]).tangents
    if followed and not tf.executing_eagerly():
        # Neither it nor Keras gets through a loop that keeps the results of its steps.
        raise ValueError(
            'TensorFlow has no forward mode for a recurrent layer where the ForwardAccumulator '
            "stands inside a tf.function: put it around the function (implementation='graph'), or "
            'run eagerly.')
    return bool(followed)


def _graphs():
    """The graph being traced, and those around it."""
    graph = None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()
    while graph is not None:
        yield graph
        graph = getattr(graph, 'outer_graph', None)


def inside_export() -> bool:
    """Whether the graph being traced is for `tf.saved_model.save`."""
    return save_context.in_save_context()
